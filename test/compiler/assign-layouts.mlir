// RUN: lapidary-opt %s --lap-assign-layouts | FileCheck %s
// RUN: lapidary-opt %s --lap-assign-layouts --lap-assign-layouts | FileCheck %s

lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}

// Every matrix of a product and the embedding's table, quantized ones too.
// CHECK-DAG: lap.weight @table : {{.*}}layout = #lap.layout<rows16>
// CHECK-DAG: lap.weight @gate : {{.*}}layout = #lap.layout<rows16>, {{.*}}stored = !lap.quantized<64x32, @q8_0>
// CHECK-DAG: lap.weight @up : {{.*}}layout = #lap.layout<rows16>, {{.*}}stored = !lap.quantized<64x32, @q8_0>
// CHECK-DAG: lap.weight @head : {{.*}}layout = #lap.layout<rows16>
lap.weight @table : tensor<100x32xbf16> {file = "f", offset = 0}
lap.weight @gate : tensor<64x32xbf16> {file = "f", offset = 8192, stored = !lap.quantized<64x32, @q8_0>}
lap.weight @up : tensor<64x32xbf16> {file = "f", offset = 16384, stored = !lap.quantized<64x32, @q8_0>}
lap.weight @head : tensor<64x64xf16> {file = "f", offset = 32768}

// Vectors, a matrix that is no product's, and what nothing uses stay plain.
// CHECK-DAG: lap.weight @norm : tensor<32xbf16> {file = "f", offset = 65536 : i64}
// CHECK-DAG: lap.weight @positions : tensor<8x2x32xbf16> {file = "f", offset = 69632 : i64}
// CHECK-DAG: lap.weight @unused : tensor<64x32xbf16> {file = "f", offset = 73728 : i64}
lap.weight @norm : tensor<32xbf16> {file = "f", offset = 65536}
lap.weight @positions : tensor<8x2x32xbf16> {file = "f", offset = 69632}
lap.weight @unused : tensor<64x32xbf16> {file = "f", offset = 73728}

// The function itself does not change.
// CHECK-LABEL: func.func @step(
// CHECK: %[[T:.*]] = lap.get_weight @table : tensor<100x32xbf16>
// CHECK: %[[H:.*]] = lap.embed %{{.*}}, %[[T]]
func.func @step(%ids: tensor<?xi32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %t = lap.get_weight @table : tensor<100x32xbf16>
  %n = lap.get_weight @norm : tensor<32xbf16>
  %g = lap.get_weight @gate : !lap.quantized<64x32, @q8_0>
  %u = lap.get_weight @up : !lap.quantized<64x32, @q8_0>
  %w = lap.get_weight @head : tensor<64x64xf16>
  %h = lap.embed %ids, %t {scale = 4.0 : f32} : tensor<?xi32>, tensor<100x32xbf16> -> tensor<?x32xf32>
  %m = lap.fused_linear %h norm(%n : tensor<32xbf16>) weights(%g, %u : !lap.quantized<64x32, @q8_0>, !lap.quantized<64x32, @q8_0>)
      {norm = #lap.norm<rms>, eps = 1.0e-6 : f32, epilogue = #lap.epilogue<gated_gelu>} : tensor<?x32xf32> -> tensor<?x64xf32>
  %l = lap.fused_linear %m weights(%w : tensor<64x64xf16>) : tensor<?x64xf32> -> tensor<?x64xf32>
  return %m, %l : tensor<?x64xf32>, tensor<?x64xf32>
}

// A table that is added, not multiplied; a matrix that is an argument has no layout to choose.
// CHECK-LABEL: func.func @patches(
func.func @patches(%x: tensor<?x32xf32>, %v: tensor<32xbf16>, %xy: tensor<?x2xi32>, %w: tensor<64x32xbf16>) -> tensor<?x64xf32> {
  %t = lap.get_weight @positions : tensor<8x2x32xbf16>
  %p = lap.patch_embedding %x, %v, %v, %xy, %t, %v, %v {eps = 1.0e-5 : f32}
      : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>, tensor<?x2xi32>, tensor<8x2x32xbf16>, tensor<32xbf16>, tensor<32xbf16>
  %r = lap.fused_linear %p weights(%w : tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}
