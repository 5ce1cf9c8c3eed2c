// RUN: lapidary-opt %s --lap-select-candidates | FileCheck %s
// RUN: lapidary-opt %s --lap-select-candidates --lap-program-pipeline | FileCheck %s --check-prefix=PROGRAM

// 262,144 logits are 128 blocks, whose candidates are 8 blocks, whose candidates are one. They stand behind all else.
// CHECK-LABEL: func.func @decode(
// CHECK-SAME: -> (tensor<1x262144xf32> {lap.name = "logits"}, tensor<1x64xf32> {lap.name = "hidden"}, tensor<1x128xf32> {lap.name = "top_logits"}, tensor<1x128xi32> {lap.name = "top_tokens"})
// CHECK-SAME: lap.candidate_ops = 3 : i64
// CHECK: %[[H:.*]] = lap.residual_norm
// CHECK: %[[L:.*]] = lap.fused_linear %[[H]]
// CHECK: %[[V:.*]], %[[I:.*]] = lap.top_k %[[L]] {count = 128 : i64} : tensor<1x262144xf32> -> tensor<1x16384xf32>, tensor<1x16384xi32>
// CHECK: %[[V2:.*]], %[[I2:.*]] = lap.top_k %[[V]] ids(%[[I]] : tensor<1x16384xi32>) {{.*}} -> tensor<1x1024xf32>, tensor<1x1024xi32>
// CHECK: %[[V3:.*]], %[[I3:.*]] = lap.top_k %[[V2]] ids(%[[I2]] : tensor<1x1024xi32>) {{.*}} -> tensor<1x128xf32>, tensor<1x128xi32>
// CHECK: return %[[L]], %[[H]], %[[V3]], %[[I3]] :
// In memory the logits that are given out are those that are looked at.
// PROGRAM-LABEL: func.func @decode(
// PROGRAM-SAME: %[[OUT:[^:]*]]: memref<1x262144xf32> {lap.name = "logits", lap.result}, %{{[^:]*}}: memref<1x64xf32> {lap.name = "hidden", lap.result}, %[[TOP:[^:]*]]: memref<1x128xf32> {lap.name = "top_logits", lap.result}, %[[TOKENS:[^:]*]]: memref<1x128xi32> {lap.name = "top_tokens", lap.result})
// PROGRAM-SAME: lap.candidate_ops = 3 : i64
// PROGRAM: lap.dispatch @fused_linear_{{.*}}, %[[OUT]])
// PROGRAM: lap.dispatch @top_k_262144x128_t1(%[[OUT]],
// PROGRAM: lap.dispatch @top_k_ids_16384x128_t1(
// PROGRAM: lap.dispatch @top_k_ids_1024x128_t1({{.*}}, %[[TOP]], %[[TOKENS]])
lap.weight @w : tensor<262144x64xbf16> {file = "f", offset = 0}
lap.weight @n : tensor<64xbf16> {file = "f", offset = 33554432}
func.func @decode(%x: tensor<1x64xf32> {lap.name = "x"}) -> (tensor<1x262144xf32> {lap.name = "logits"}, tensor<1x64xf32> {lap.name = "hidden"}) attributes {lap.max_tokens = 1 : i64} {
  %w = lap.get_weight @w : tensor<262144x64xbf16>
  %n = lap.get_weight @n : tensor<64xbf16>
  %h = lap.residual_norm %x, %x, %n {eps = 1.0e-6 : f32} : tensor<1x64xf32>, tensor<64xbf16>
  %l = lap.fused_linear %h weights(%w : tensor<262144x64xbf16>) : tensor<1x64xf32> -> tensor<1x262144xf32>
  return %l, %h : tensor<1x262144xf32>, tensor<1x64xf32>
}

// Fewer tokens than candidates: all of them, sorted.
// CHECK-LABEL: func.func @logits(
// CHECK-SAME: tensor<?x48xf32> {lap.name = "top_logits"}, tensor<?x48xi32> {lap.name = "top_tokens"})
// CHECK-SAME: lap.candidate_ops = 1 : i64
// CHECK: lap.top_k {{.*}} {count = 48 : i64} : tensor<?x48xf32> -> tensor<?x48xf32>, tensor<?x48xi32>
lap.weight @small : tensor<48x64xbf16> {file = "f", offset = 33558528}
func.func @logits(%x: tensor<?x64xf32> {lap.name = "hidden"}) -> (tensor<?x48xf32> {lap.name = "logits"}) attributes {lap.max_tokens = 16 : i64} {
  %w = lap.get_weight @small : tensor<48x64xbf16>
  %l = lap.fused_linear %x weights(%w : tensor<48x64xbf16>) : tensor<?x64xf32> -> tensor<?x48xf32>
  return %l : tensor<?x48xf32>
}

// With clusters, and without logits, nothing comes to it.
// CHECK-LABEL: func.func @draft(
// CHECK-NOT: top_k
// CHECK: return
func.func @draft(%x: tensor<?x64xf32> {lap.name = "hidden"}) -> (tensor<?x48xf32> {lap.name = "logits"}, tensor<?x48xf32> {lap.name = "clusters"}) attributes {lap.max_tokens = 16 : i64} {
  %w = lap.get_weight @small : tensor<48x64xbf16>
  %l = lap.fused_linear %x weights(%w : tensor<48x64xbf16>) : tensor<?x64xf32> -> tensor<?x48xf32>
  %c = lap.fused_linear %x weights(%w : tensor<48x64xbf16>) : tensor<?x64xf32> -> tensor<?x48xf32>
  return %l, %c : tensor<?x48xf32>, tensor<?x48xf32>
}
