// RUN: lapidary-opt %s --lap-fuse-gated-mlp | FileCheck %s

// Gate and up become one result; norm and eps stay.
// CHECK-LABEL: func.func @gated(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x32xf32>, %[[N:[a-z0-9]+]]: tensor<32xbf16>, %[[G:[a-z0-9]+]]: tensor<64x32xbf16>, %[[U:[a-z0-9]+]]: tensor<64x32xbf16>
func.func @gated(%x: tensor<?x32xf32>, %n: tensor<32xbf16>, %wg: tensor<64x32xbf16>, %wu: tensor<64x32xbf16>) -> tensor<?x64xf32> {
  // CHECK-NEXT: %[[M:.*]] = lap.fused_linear %[[X]] norm(%[[N]] : tensor<32xbf16>) weights(%[[G]], %[[U]] : {{.*}}) {epilogue = #lap.epilogue<gated_gelu>, eps = {{.*}} : f32, norm = #lap.norm<rms>} : tensor<?x32xf32> -> tensor<?x64xf32>
  // CHECK-NEXT: return %[[M]]
  %g, %u = lap.fused_linear %x norm(%n : tensor<32xbf16>) weights(%wg, %wu : tensor<64x32xbf16>, tensor<64x32xbf16>)
      {norm = #lap.norm<rms>, eps = 1.0e-6 : f32} : tensor<?x32xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  %a = lap.gelu %g : tensor<?x64xf32>
  %m = lap.multiply %a, %u : tensor<?x64xf32>
  return %m : tensor<?x64xf32>
}

// The factors may stand in the other order. One token, quantized.
// CHECK-LABEL: func.func @commuted(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<1x32xf32>, %[[G:[a-z0-9]+]]: !lap.quantized<64x32, @q8_0>, %[[U:[a-z0-9]+]]: !lap.quantized<64x32, @q8_0>
func.func @commuted(%x: tensor<1x32xf32>, %wg: !lap.quantized<64x32, @q8_0>, %wu: !lap.quantized<64x32, @q8_0>) -> tensor<1x64xf32> {
  // CHECK-NEXT: lap.fused_linear %[[X]] weights(%[[G]], %[[U]] : {{.*}}) {epilogue = #lap.epilogue<gated_gelu>}
  %g, %u = lap.fused_linear %x weights(%wg, %wu : !lap.quantized<64x32, @q8_0>, !lap.quantized<64x32, @q8_0>)
      : tensor<1x32xf32> -> tensor<1x64xf32>, tensor<1x64xf32>
  %a = lap.gelu %g : tensor<1x64xf32>
  %m = lap.multiply %u, %a : tensor<1x64xf32>
  return %m : tensor<1x64xf32>
}

// Where gate is the second result, its weight becomes the first.
// CHECK-LABEL: func.func @gate_second(
// CHECK-SAME: %{{.*}}: tensor<?x32xf32>, %[[U:[a-z0-9]+]]: tensor<64x32xbf16>, %[[G:[a-z0-9]+]]: tensor<64x32xbf16>
func.func @gate_second(%x: tensor<?x32xf32>, %wu: tensor<64x32xbf16>, %wg: tensor<64x32xbf16>) -> tensor<?x64xf32> {
  // CHECK-NEXT: lap.fused_linear %{{.*}} weights(%[[G]], %[[U]] : {{.*}}) {epilogue = #lap.epilogue<gated_gelu>}
  %u, %g = lap.fused_linear %x weights(%wu, %wg : tensor<64x32xbf16>, tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  %a = lap.gelu %g : tensor<?x64xf32>
  %m = lap.multiply %a, %u : tensor<?x64xf32>
  return %m : tensor<?x64xf32>
}

// Refused: up has another use.
// CHECK-LABEL: func.func @up_used_twice(
func.func @up_used_twice(%x: tensor<?x32xf32>, %w: tensor<64x32xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: lap.multiply
  %g, %u = lap.fused_linear %x weights(%w, %w : tensor<64x32xbf16>, tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  %a = lap.gelu %g : tensor<?x64xf32>
  %m = lap.multiply %a, %u : tensor<?x64xf32>
  return %m, %u : tensor<?x64xf32>, tensor<?x64xf32>
}

// Refused: the gelu has another use.
// CHECK-LABEL: func.func @gelu_used_twice(
func.func @gelu_used_twice(%x: tensor<?x32xf32>, %w: tensor<64x32xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: lap.multiply
  %g, %u = lap.fused_linear %x weights(%w, %w : tensor<64x32xbf16>, tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  %a = lap.gelu %g : tensor<?x64xf32>
  %m = lap.multiply %a, %u : tensor<?x64xf32>
  return %m, %a : tensor<?x64xf32>, tensor<?x64xf32>
}

// Refused: the weights differ in type.
// CHECK-LABEL: func.func @other_type(
func.func @other_type(%x: tensor<?x32xf32>, %wg: tensor<64x32xbf16>, %wu: tensor<64x32xf32>) -> tensor<?x64xf32> {
  // CHECK: lap.multiply
  %g, %u = lap.fused_linear %x weights(%wg, %wu : tensor<64x32xbf16>, tensor<64x32xf32>) : tensor<?x32xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  %a = lap.gelu %g : tensor<?x64xf32>
  %m = lap.multiply %a, %u : tensor<?x64xf32>
  return %m : tensor<?x64xf32>
}

// Refused: gate and up are of two kernels, and a third result would be lost.
// CHECK-LABEL: func.func @other_kernels(
func.func @other_kernels(%x: tensor<?x32xf32>, %w: tensor<64x32xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: lap.multiply
  %g = lap.fused_linear %x weights(%w : tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>
  %u = lap.fused_linear %x weights(%w : tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>
  %a = lap.gelu %g : tensor<?x64xf32>
  %m = lap.multiply %a, %u : tensor<?x64xf32>
  // CHECK: lap.multiply
  %r:3 = lap.fused_linear %x weights(%w, %w, %w : tensor<64x32xbf16>, tensor<64x32xbf16>, tensor<64x32xbf16>)
      : tensor<?x32xf32> -> tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
  %b = lap.gelu %r#0 : tensor<?x64xf32>
  %n = lap.multiply %b, %r#1 : tensor<?x64xf32>
  return %m, %n, %r#2 : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}
