// RUN: lapidary-opt %s --lap-fuse-residual-norm | FileCheck %s

// The norm goes into the addition.
// CHECK-LABEL: func.func @attention_branch(
// CHECK-SAME: %[[H:[a-z0-9]+]]: tensor<?x32xf32>, %[[X:[a-z0-9]+]]: tensor<?x32xf32>, %[[W:[a-z0-9]+]]: tensor<32xbf16>
func.func @attention_branch(%h: tensor<?x32xf32>, %x: tensor<?x32xf32>, %w: tensor<32xbf16>) -> tensor<?x32xf32> {
  // CHECK-NEXT: %[[R:.*]] = lap.residual_norm %[[H]], %[[X]], %[[W]] {eps = {{.*}} : f32}
  // CHECK-NEXT: return %[[R]]
  %n = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %s = lap.add %h, %n : tensor<?x32xf32>
  return %s : tensor<?x32xf32>
}

// The layer's scalar goes along; one token, terms in the other order.
// CHECK-LABEL: func.func @end_of_layer(
// CHECK-SAME: %[[H:[a-z0-9]+]]: tensor<1x32xf32>, %[[X:[a-z0-9]+]]: tensor<1x32xf32>, %[[W:[a-z0-9]+]]: tensor<32xbf16>, %[[S:[a-z0-9]+]]: tensor<1xbf16>
func.func @end_of_layer(%h: tensor<1x32xf32>, %x: tensor<1x32xf32>, %w: tensor<32xbf16>, %scalar: tensor<1xbf16>) -> tensor<1x32xf32> {
  // CHECK-NEXT: lap.residual_norm %[[H]], %[[X]], %[[W]] scale(%[[S]] : tensor<1xbf16>) {eps = {{.*}} : f32}
  // CHECK-NEXT: return
  %n = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<1x32xf32>, tensor<32xbf16>
  %s = lap.add %n, %h : tensor<1x32xf32>
  %r = lap.scale %s, %scalar : tensor<1x32xf32>, tensor<1xbf16>
  return %r : tensor<1x32xf32>
}

// A sum that is read before it is scaled keeps the scale apart.
// CHECK-LABEL: func.func @sum_used_twice(
func.func @sum_used_twice(%h: tensor<?x32xf32>, %x: tensor<?x32xf32>, %w: tensor<32xbf16>, %scalar: tensor<1xbf16>) -> (tensor<?x32xf32>, tensor<?x32xf32>) {
  // CHECK: %[[S:.*]] = lap.residual_norm {{.*}}, %{{[^ ]*}} {eps
  // CHECK: lap.scale %[[S]]
  %n = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %s = lap.add %h, %n : tensor<?x32xf32>
  %r = lap.scale %s, %scalar : tensor<?x32xf32>, tensor<1xbf16>
  return %r, %s : tensor<?x32xf32>, tensor<?x32xf32>
}

// A second scale stays.
// CHECK-LABEL: func.func @scaled_twice(
func.func @scaled_twice(%h: tensor<?x32xf32>, %x: tensor<?x32xf32>, %w: tensor<32xbf16>, %a: tensor<1xbf16>, %b: tensor<1xbf16>) -> tensor<?x32xf32> {
  // CHECK: %[[S:.*]] = lap.residual_norm {{.*}} scale(
  // CHECK: lap.scale %[[S]]
  %n = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %s = lap.add %h, %n : tensor<?x32xf32>
  %r = lap.scale %s, %a : tensor<?x32xf32>, tensor<1xbf16>
  %q = lap.scale %r, %b : tensor<?x32xf32>, tensor<1xbf16>
  return %q : tensor<?x32xf32>
}

// Of two norms the right one is the branch.
// CHECK-LABEL: func.func @two_norms(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x32xf32>, %[[Y:[a-z0-9]+]]: tensor<?x32xf32>
func.func @two_norms(%x: tensor<?x32xf32>, %y: tensor<?x32xf32>, %w: tensor<32xbf16>) -> tensor<?x32xf32> {
  // CHECK: %[[A:.*]] = lap.rms_norm %[[X]]
  // CHECK: lap.residual_norm %[[A]], %[[Y]]
  %a = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %b = lap.rms_norm %y, %w {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %s = lap.add %a, %b : tensor<?x32xf32>
  return %s : tensor<?x32xf32>
}

// Refused: a norm of parts of the row, a norm without a weight, no norm at all.
// CHECK-LABEL: func.func @refused(
func.func @refused(%h: tensor<?x32xf32>, %x: tensor<?x32xf32>, %w: tensor<16xbf16>) -> tensor<?x32xf32> {
  // CHECK-COUNT-3: = lap.add
  %a = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 16 : i64} : tensor<?x32xf32>, tensor<16xbf16>
  %s = lap.add %h, %a : tensor<?x32xf32>
  %b = lap.rms_norm %x {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>
  %t = lap.add %s, %b : tensor<?x32xf32>
  %u = lap.add %t, %x : tensor<?x32xf32>
  return %u : tensor<?x32xf32>
}
