// RUN: lapidary-opt %s --lap-fuse-patch-projection | FileCheck %s

// Norm, position and norm are one kernel.
// CHECK-LABEL: func.func @patches(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x32xf32>, %[[W2:[a-z0-9]+]]: tensor<32xbf16>, %[[B2:[a-z0-9]+]]: tensor<32xbf16>, %[[XY:[a-z0-9]+]]: tensor<?x2xi32>, %[[T:[a-z0-9]+]]: tensor<8x2x32xbf16>, %[[W3:[a-z0-9]+]]: tensor<32xbf16>, %[[B3:[a-z0-9]+]]: tensor<32xbf16>
func.func @patches(%x: tensor<?x32xf32>, %w2: tensor<32xbf16>, %b2: tensor<32xbf16>, %xy: tensor<?x2xi32>, %table: tensor<8x2x32xbf16>,
                   %w3: tensor<32xbf16>, %b3: tensor<32xbf16>) -> tensor<?x32xf32> {
  // CHECK-NEXT: %[[R:.*]] = lap.patch_embedding %[[X]], %[[W2]], %[[B2]], %[[XY]], %[[T]], %[[W3]], %[[B3]] {eps = {{.*}} : f32}
  // CHECK-NEXT: return %[[R]]
  %n = lap.layer_norm %x, %w2, %b2 {eps = 1.0e-5 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  %p = lap.position_embedding %xy, %table : tensor<?x2xi32>, tensor<8x2x32xbf16> -> tensor<?x32xf32>
  %s = lap.add %n, %p : tensor<?x32xf32>
  %r = lap.layer_norm %s, %w3, %b3 {eps = 1.0e-5 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  return %r : tensor<?x32xf32>
}

// The terms may stand in the other order; four patches.
// CHECK-LABEL: func.func @commuted(
func.func @commuted(%x: tensor<4x32xf32>, %w: tensor<32xbf16>, %xy: tensor<4x2xi32>, %table: tensor<8x2x32xbf16>) -> tensor<4x32xf32> {
  // CHECK-NEXT: lap.patch_embedding
  %n = lap.layer_norm %x, %w, %w {eps = 1.0e-5 : f32} : tensor<4x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  %p = lap.position_embedding %xy, %table : tensor<4x2xi32>, tensor<8x2x32xbf16> -> tensor<4x32xf32>
  %s = lap.add %p, %n : tensor<4x32xf32>
  %r = lap.layer_norm %s, %w, %w {eps = 1.0e-5 : f32} : tensor<4x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  return %r : tensor<4x32xf32>
}

// Refused: the norms differ in eps.
// CHECK-LABEL: func.func @other_eps(
func.func @other_eps(%x: tensor<?x32xf32>, %w: tensor<32xbf16>, %xy: tensor<?x2xi32>, %table: tensor<8x2x32xbf16>) -> tensor<?x32xf32> {
  // CHECK-COUNT-2: = lap.layer_norm
  %n = lap.layer_norm %x, %w, %w {eps = 1.0e-5 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  %p = lap.position_embedding %xy, %table : tensor<?x2xi32>, tensor<8x2x32xbf16> -> tensor<?x32xf32>
  %s = lap.add %n, %p : tensor<?x32xf32>
  %r = lap.layer_norm %s, %w, %w {eps = 1.0e-6 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  return %r : tensor<?x32xf32>
}

// Refused: the sum has another use.
// CHECK-LABEL: func.func @sum_used_twice(
func.func @sum_used_twice(%x: tensor<?x32xf32>, %w: tensor<32xbf16>, %xy: tensor<?x2xi32>, %table: tensor<8x2x32xbf16>) -> (tensor<?x32xf32>, tensor<?x32xf32>) {
  // CHECK: lap.add
  %n = lap.layer_norm %x, %w, %w {eps = 1.0e-5 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  %p = lap.position_embedding %xy, %table : tensor<?x2xi32>, tensor<8x2x32xbf16> -> tensor<?x32xf32>
  %s = lap.add %n, %p : tensor<?x32xf32>
  %r = lap.layer_norm %s, %w, %w {eps = 1.0e-5 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  return %r, %s : tensor<?x32xf32>, tensor<?x32xf32>
}

// Refused: the sum of two norms has no position in it.
// CHECK-LABEL: func.func @no_position(
func.func @no_position(%x: tensor<?x32xf32>, %w: tensor<32xbf16>) -> tensor<?x32xf32> {
  // CHECK: lap.add
  %n = lap.layer_norm %x, %w, %w {eps = 1.0e-5 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  %s = lap.add %n, %n : tensor<?x32xf32>
  %r = lap.layer_norm %s, %w, %w {eps = 1.0e-5 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  return %r : tensor<?x32xf32>
}
