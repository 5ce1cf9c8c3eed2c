// RUN: lapidary-opt %s --lap-fuse-norm-concat | FileCheck %s

// CHECK-LABEL: func.func @normed(
// CHECK-SAME: %[[A:[a-z0-9]+]]: tensor<?x32xf32>, %[[B:[a-z0-9]+]]: tensor<?x64xf32>, %[[W:[a-z0-9]+]]: tensor<64xbf16>
func.func @normed(%a: tensor<?x32xf32>, %b: tensor<?x64xf32>, %w: tensor<64xbf16>) -> tensor<?x96xf32> {
  // CHECK-NEXT: %[[R:.*]] = lap.concat %[[A]], %[[B]] norm(%[[W]] : tensor<64xbf16>) {eps = 9.99999997E-7 : f32}
  // CHECK-NEXT: return %[[R]]
  %n = lap.rms_norm %b, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  %r = lap.concat %a, %n : tensor<?x32xf32>, tensor<?x64xf32> -> tensor<?x96xf32>
  return %r : tensor<?x96xf32>
}

// Norms of heads, without a weight, of the first row, and a second norm stay.
// CHECK-LABEL: func.func @others(
func.func @others(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>, %w: tensor<64xbf16>, %h: tensor<32xbf16>)
    -> (tensor<?x128xf32>, tensor<?x128xf32>, tensor<?x128xf32>, tensor<?x128xf32>) {
  // CHECK-COUNT-4: lap.rms_norm
  // CHECK-NOT: lap.rms_norm
  %n0 = lap.rms_norm %b, %h {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x64xf32>, tensor<32xbf16>
  %r0 = lap.concat %a, %n0 : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x128xf32>
  %n1 = lap.rms_norm %b {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>
  %r1 = lap.concat %a, %n1 : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x128xf32>
  %n2 = lap.rms_norm %a, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  %r2 = lap.concat %n2, %b : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x128xf32>
  %n3 = lap.rms_norm %b, %w {eps = 1.0e-6 : f32, group = 64 : i64} : tensor<?x64xf32>, tensor<64xbf16>
  %r3 = lap.concat %a, %n3 norm(%w : tensor<64xbf16>) {eps = 1.0e-6 : f32} : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x128xf32>
  return %r0, %r1, %r2, %r3 : tensor<?x128xf32>, tensor<?x128xf32>, tensor<?x128xf32>, tensor<?x128xf32>
}
