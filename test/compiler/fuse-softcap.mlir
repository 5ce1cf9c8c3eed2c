// RUN: lapidary-opt %s --lap-fuse-softcap | FileCheck %s

// The logits are bounded where they are computed; the norm in front stays.
// CHECK-LABEL: func.func @logits(
func.func @logits(%x: tensor<?x32xf32>, %n: tensor<32xbf16>, %w: tensor<64x32xbf16>) -> tensor<?x64xf32> {
  // CHECK-NEXT: %[[L:.*]] = lap.fused_linear %{{.*}} norm(%{{.*}}) weights(%{{.*}}) {cap = 3.000000e+01 : f32, epilogue = #lap.epilogue<softcap>, eps = {{.*}} : f32, norm = #lap.norm<rms>}
  // CHECK-NEXT: return %[[L]]
  %l = lap.fused_linear %x norm(%n : tensor<32xbf16>) weights(%w : tensor<64x32xbf16>) {norm = #lap.norm<rms>, eps = 1.0e-6 : f32} : tensor<?x32xf32> -> tensor<?x64xf32>
  %s = lap.softcap %l {cap = 30.0 : f32} : tensor<?x64xf32>
  return %s : tensor<?x64xf32>
}

// The same for one token and quantized weights.
// CHECK-LABEL: func.func @one_token(
func.func @one_token(%x: tensor<1x32xf32>, %w: !lap.quantized<64x32, @q8_0>) -> tensor<1x64xf32> {
  // CHECK-NEXT: lap.fused_linear %{{.*}} {cap = 5.000000e+01 : f32, epilogue = #lap.epilogue<softcap>} : tensor<1x32xf32> -> tensor<1x64xf32>
  %l = lap.fused_linear %x weights(%w : !lap.quantized<64x32, @q8_0>) : tensor<1x32xf32> -> tensor<1x64xf32>
  %s = lap.softcap %l {cap = 50.0 : f32} : tensor<1x64xf32>
  return %s : tensor<1x64xf32>
}

// Refused: the unbounded logits have another use.
// CHECK-LABEL: func.func @also_returned(
func.func @also_returned(%x: tensor<?x32xf32>, %w: tensor<64x32xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: lap.softcap
  %l = lap.fused_linear %x weights(%w : tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>
  %s = lap.softcap %l {cap = 30.0 : f32} : tensor<?x64xf32>
  return %s, %l : tensor<?x64xf32>, tensor<?x64xf32>
}

// Refused: the kernel has two results, or an epilogue already, or there is none.
// CHECK-LABEL: func.func @other_kernels(
func.func @other_kernels(%x: tensor<?x32xf32>, %w: tensor<64x32xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x32xf32>) {
  // CHECK-COUNT-3: = lap.softcap
  %l:2 = lap.fused_linear %x weights(%w, %w : tensor<64x32xbf16>, tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  %s = lap.softcap %l#0 {cap = 30.0 : f32} : tensor<?x64xf32>
  %m = lap.fused_linear %x weights(%w, %w : tensor<64x32xbf16>, tensor<64x32xbf16>) {epilogue = #lap.epilogue<gated_gelu>} : tensor<?x32xf32> -> tensor<?x64xf32>
  %t = lap.softcap %m {cap = 30.0 : f32} : tensor<?x64xf32>
  %u = lap.softcap %x {cap = 30.0 : f32} : tensor<?x32xf32>
  return %s, %t, %l#1, %u : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x32xf32>
}
