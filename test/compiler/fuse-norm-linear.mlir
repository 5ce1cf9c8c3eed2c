// RUN: lapidary-opt %s --lap-fuse-norm-linear | FileCheck %s

lap.weight @k : tensor<16x32xbf16> {file = "f", offset = 0}

// The norm and the three linear ops that read it are one kernel, in the order they stood in. A weight that is read
// between them moves up to the first.
// CHECK-LABEL: func.func @query_keys_values(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x32xf32>, %[[N:[a-z0-9]+]]: tensor<32xbf16>, %[[WQ:[a-z0-9]+]]: tensor<64x32xbf16>, %[[WV:[a-z0-9]+]]: tensor<16x32xbf16>
func.func @query_keys_values(%x: tensor<?x32xf32>, %n: tensor<32xbf16>, %wq: tensor<64x32xbf16>, %wv: tensor<16x32xbf16>)
    -> (tensor<?x64xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  // CHECK-NEXT: %[[WK:.*]] = lap.get_weight @k
  // CHECK-NEXT: %[[R:.*]]:3 = lap.fused_linear %[[X]] norm(%[[N]] : tensor<32xbf16>) weights(%[[WQ]], %[[WK]], %[[WV]] : {{.*}}) {eps = 9.99999997E-7 : f32, norm = #lap.norm<rms>}
  // CHECK-NEXT: return %[[R]]#0, %[[R]]#1, %[[R]]#2
  %y = lap.rms_norm %x, %n {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %q = lap.linear %y, %wq : tensor<?x32xf32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  %wk = lap.get_weight @k : tensor<16x32xbf16>
  %k = lap.linear %y, %wk : tensor<?x32xf32>, tensor<16x32xbf16> -> tensor<?x16xf32>
  %v = lap.linear %y, %wv : tensor<?x32xf32>, tensor<16x32xbf16> -> tensor<?x16xf32>
  return %q, %k, %v : tensor<?x64xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}

// One token, quantized, and keys that are the values: two weights.
// CHECK-LABEL: func.func @values_are_keys(
func.func @values_are_keys(%x: tensor<1x32xf32>, %n: tensor<32xbf16>, %wq: !lap.quantized<64x32, @q8_0>, %wk: !lap.quantized<16x32, @q8_0>)
    -> (tensor<1x64xf32>, tensor<1x16xf32>, tensor<1x16xf32>) {
  // CHECK-NEXT: %[[R:.*]]:2 = lap.fused_linear %{{.*}} norm({{.*}}) weights({{.*}} : !lap.quantized<64x32, @q8_0>, !lap.quantized<16x32, @q8_0>) {{.*}} : tensor<1x32xf32> -> tensor<1x64xf32>, tensor<1x16xf32>
  // CHECK-NEXT: return %[[R]]#0, %[[R]]#1, %[[R]]#1
  %y = lap.rms_norm %x, %n {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<1x32xf32>, tensor<32xbf16>
  %q = lap.linear %y, %wq : tensor<1x32xf32>, !lap.quantized<64x32, @q8_0> -> tensor<1x64xf32>
  %k = lap.linear %y, %wk : tensor<1x32xf32>, !lap.quantized<16x32, @q8_0> -> tensor<1x16xf32>
  return %q, %k, %k : tensor<1x64xf32>, tensor<1x16xf32>, tensor<1x16xf32>
}

// The audio projection: a norm without a weight.
// CHECK-LABEL: func.func @audio(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x32xf32>, %[[W:[a-z0-9]+]]: tensor<64x32xbf16>
func.func @audio(%x: tensor<?x32xf32>, %w: tensor<64x32xbf16>) -> tensor<?x64xf32> {
  // CHECK-NEXT: lap.fused_linear %[[X]] weights(%[[W]] : tensor<64x32xbf16>) {eps = {{.*}} : f32, norm = #lap.norm<rms>}
  %y = lap.rms_norm %x {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>
  %l = lap.linear %y, %w : tensor<?x32xf32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}

// The first linear of a patch projection: a layer norm and a bias.
// CHECK-LABEL: func.func @patches(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x32xf32>, %[[N:[a-z0-9]+]]: tensor<32xbf16>, %[[NB:[a-z0-9]+]]: tensor<32xbf16>, %[[W:[a-z0-9]+]]: tensor<64x32xbf16>, %[[B:[a-z0-9]+]]: tensor<64xbf16>
func.func @patches(%x: tensor<?x32xf32>, %n: tensor<32xbf16>, %nb: tensor<32xbf16>, %w: tensor<64x32xbf16>, %b: tensor<64xbf16>) -> tensor<?x64xf32> {
  // CHECK-NEXT: lap.fused_linear %[[X]] norm(%[[N]] : tensor<32xbf16>) norm_bias(%[[NB]] : tensor<32xbf16>) weights(%[[W]] : tensor<64x32xbf16>) bias(%[[B]] : tensor<64xbf16>) {eps = {{.*}} : f32, norm = #lap.norm<layer>}
  %y = lap.layer_norm %x, %n, %nb {eps = 1.0e-5 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  %l = lap.linear %y, %w bias %b : tensor<?x32xf32>, tensor<64x32xbf16>, tensor<64xbf16> -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}

// A linear op without a norm is a kernel too.
// CHECK-LABEL: func.func @output(
func.func @output(%x: tensor<?x32xf32>, %w: tensor<64x32xbf16>) -> tensor<?x64xf32> {
  // CHECK-NEXT: lap.fused_linear %{{.*}} weights(%{{.*}} : tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>
  %l = lap.linear %x, %w : tensor<?x32xf32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}

// A norm that others read too stays for them, and is part of the kernel as well.
// CHECK-LABEL: func.func @norm_with_other_uses(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x32xf32>
func.func @norm_with_other_uses(%x: tensor<?x32xf32>, %n: tensor<32xbf16>, %w: tensor<64x32xbf16>) -> (tensor<?x64xf32>, tensor<?x32xf32>) {
  // CHECK: %[[Y:.*]] = lap.rms_norm %[[X]]
  // CHECK: %[[L:.*]] = lap.fused_linear %[[X]] norm(
  // CHECK: return %[[L]], %[[Y]]
  %y = lap.rms_norm %x, %n {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %l = lap.linear %y, %w : tensor<?x32xf32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  return %l, %y : tensor<?x64xf32>, tensor<?x32xf32>
}

// A norm of parts of the row stays; the linear ops that read it are one kernel all the same.
// CHECK-LABEL: func.func @norm_of_groups(
func.func @norm_of_groups(%x: tensor<?x32xf32>, %n: tensor<16xbf16>, %w: tensor<64x32xbf16>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: %[[Y:.*]] = lap.rms_norm
  // CHECK: lap.fused_linear %[[Y]] weights(%[[W:.*]], %[[W]] : {{[^{]*}}) : tensor<?x32xf32> ->
  %y = lap.rms_norm %x, %n {eps = 1.0e-6 : f32, group = 16 : i64} : tensor<?x32xf32>, tensor<16xbf16>
  %l = lap.linear %y, %w : tensor<?x32xf32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  %m = lap.linear %y, %w : tensor<?x32xf32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  return %l, %m : tensor<?x64xf32>, tensor<?x64xf32>
}

// A linear with a bias, and one whose weight is stored in another way, are kernels of their own; both take the norm in.
// CHECK-LABEL: func.func @apart(
func.func @apart(%x: tensor<?x32xf32>, %n: tensor<32xbf16>, %w: tensor<64x32xbf16>, %b: tensor<64xbf16>, %q: !lap.quantized<64x32, @q8_0>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK-NEXT: lap.fused_linear %{{.*}} norm({{.*}}) weights(%{{[a-z0-9]*}} : tensor<64x32xbf16>) {eps
  // CHECK-NEXT: lap.fused_linear %{{.*}} norm({{.*}}) weights(%{{[a-z0-9]*}} : tensor<64x32xbf16>) bias(
  // CHECK-NEXT: lap.fused_linear %{{.*}} norm({{.*}}) weights(%{{[a-z0-9]*}} : !lap.quantized<64x32, @q8_0>) {eps
  // CHECK-NEXT: return
  %y = lap.rms_norm %x, %n {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %l0 = lap.linear %y, %w : tensor<?x32xf32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  %l1 = lap.linear %y, %w bias %b : tensor<?x32xf32>, tensor<64x32xbf16>, tensor<64xbf16> -> tensor<?x64xf32>
  %l2 = lap.linear %y, %q : tensor<?x32xf32>, !lap.quantized<64x32, @q8_0> -> tensor<?x64xf32>
  return %l0, %l1, %l2 : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// A weight that is computed between the linear ops cannot move up: its linear stays where it is.
// CHECK-LABEL: func.func @late_weight(
func.func @late_weight(%x: tensor<?x32xf32>, %w: tensor<64x32xf32>, %q: !lap.quantized<64x32, @q8_0>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK-NEXT: lap.fused_linear
  // CHECK-NEXT: %[[D:.*]] = lap.dequantize
  // CHECK-NEXT: lap.fused_linear %{{.*}} weights(%[[D]] :
  %l = lap.linear %x, %w : tensor<?x32xf32>, tensor<64x32xf32> -> tensor<?x64xf32>
  %d = lap.dequantize %q : !lap.quantized<64x32, @q8_0> -> tensor<64x32xf32>
  %m = lap.linear %x, %d : tensor<?x32xf32>, tensor<64x32xf32> -> tensor<?x64xf32>
  return %l, %m : tensor<?x64xf32>, tensor<?x64xf32>
}
