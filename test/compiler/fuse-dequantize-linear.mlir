// RUN: lapidary-opt %s --lap-fuse-dequantize-linear | FileCheck %s

lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}

// Linear and embedding read the quantized matrix, and nothing decodes it in between.
// CHECK-LABEL: func.func @folded(
// CHECK-SAME: %[[IDS:.*]]: tensor<1xi32>, %[[Q:.*]]: !lap.quantized<64x32, @q8_0>
func.func @folded(%ids: tensor<1xi32>, %q: !lap.quantized<64x32, @q8_0>) -> tensor<1x64xf32> {
  // CHECK-NOT: lap.dequantize
  // CHECK: %[[H:.*]] = lap.embedding %[[IDS]], %[[Q]]
  // CHECK: lap.linear %[[H]], %[[Q]] : tensor<1x32xf32>, !lap.quantized<64x32, @q8_0> -> tensor<1x64xf32>
  %w = lap.dequantize %q : !lap.quantized<64x32, @q8_0> -> tensor<64x32xf32>
  %h = lap.embedding %ids, %w {scale = 1.0 : f32} : tensor<1xi32>, tensor<64x32xf32> -> tensor<1x32xf32>
  %l = lap.linear %h, %w : tensor<1x32xf32>, tensor<64x32xf32> -> tensor<1x64xf32>
  return %l : tensor<1x64xf32>
}

// A bias stays where it is.
// CHECK-LABEL: func.func @with_bias(
// CHECK-SAME: %{{.*}}: tensor<?x32xf32>, %[[Q:.*]]: !lap.quantized<64x32, @q8_0>, %[[B:.*]]: tensor<64xf32>
func.func @with_bias(%x: tensor<?x32xf32>, %q: !lap.quantized<64x32, @q8_0>, %b: tensor<64xf32>) -> tensor<?x64xf32> {
  // CHECK: lap.linear %{{.*}}, %[[Q]] bias %[[B]]
  %w = lap.dequantize %q : !lap.quantized<64x32, @q8_0> -> tensor<64x32xf32>
  %l = lap.linear %x, %w bias %b : tensor<?x32xf32>, tensor<64x32xf32>, tensor<64xf32> -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}

// Decoded values that others read too stay for them.
// CHECK-LABEL: func.func @also_returned(
func.func @also_returned(%x: tensor<?x32xf32>, %q: !lap.quantized<64x32, @q8_0>) -> (tensor<?x64xf32>, tensor<64x32xf32>) {
  // CHECK: %[[W:.*]] = lap.dequantize %[[Q:.*]] :
  // CHECK: lap.linear %{{.*}}, %[[Q]]
  // CHECK: return %{{.*}}, %[[W]]
  %w = lap.dequantize %q : !lap.quantized<64x32, @q8_0> -> tensor<64x32xf32>
  %l = lap.linear %x, %w : tensor<?x32xf32>, tensor<64x32xf32> -> tensor<?x64xf32>
  return %l, %w : tensor<?x64xf32>, tensor<64x32xf32>
}
