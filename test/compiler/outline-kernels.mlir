// RUN: lapidary-opt %s --lap-outline-kernels -verify-diagnostics -split-input-file | FileCheck %s

!cache = !lap.kv_cache<heads = 2, head_dim = 16, window = 8>

lap.weight @a : tensor<64x32xbf16> {file = "f", offset = 0}
lap.weight @b : tensor<64x32xbf16> {file = "f", offset = 4096}
lap.weight @tiled : tensor<64x32xbf16> {file = "f", offset = 8192, layout = #lap.layout<rows16>}
lap.kv_cache @c0 : !cache
lap.kv_cache @c1 : !cache

// Equal ops share a kernel, whatever their weights are called; a weight laid out in another way takes another one, and
// its argument says so. Other tokens, too, take another one.
// CHECK-LABEL: func.func @shared(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x32xf32>, %[[Y:[a-z0-9]+]]: tensor<1x32xf32>
func.func @shared(%x: tensor<?x32xf32>, %y: tensor<1x32xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<1x64xf32>) {
  // CHECK: %[[A:.*]] = lap.get_weight @a
  // CHECK: %[[B:.*]] = lap.get_weight @b
  // CHECK: %[[T:.*]] = lap.get_weight @tiled
  %a = lap.get_weight @a : tensor<64x32xbf16>
  %b = lap.get_weight @b : tensor<64x32xbf16>
  %t = lap.get_weight @tiled : tensor<64x32xbf16>
  // CHECK: lap.dispatch @fused_linear_bf16_64x32_tn(%[[X]], %[[A]]) : (tensor<?x32xf32>, tensor<64x32xbf16>) -> tensor<?x64xf32>
  %0 = lap.fused_linear %x weights(%a : tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>
  // CHECK: lap.dispatch @fused_linear_bf16_64x32_tn(%[[X]], %[[B]])
  %1 = lap.fused_linear %x weights(%b : tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>
  // CHECK: lap.dispatch @fused_linear_bf16_64x32_tn_2(%[[X]], %[[T]])
  %2 = lap.fused_linear %x weights(%t : tensor<64x32xbf16>) : tensor<?x32xf32> -> tensor<?x64xf32>
  // CHECK: lap.dispatch @fused_linear_bf16_64x32_t1(%[[Y]], %[[A]])
  %3 = lap.fused_linear %y weights(%a : tensor<64x32xbf16>) : tensor<1x32xf32> -> tensor<1x64xf32>
  return %0, %1, %2, %3 : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<1x64xf32>
}

// The layers of a model share the kernels of cache and attention. Keys that are the values are one argument, which makes
// another kernel.
// CHECK-LABEL: func.func @layers(
// CHECK-SAME: %[[Q:[a-z0-9]+]]: tensor<?x64xf32>, %[[K:[a-z0-9]+]]: tensor<?x32xf32>, %[[V:[a-z0-9]+]]: tensor<?x32xf32>, %[[N:[a-z0-9]+]]: tensor<16xbf16>, %[[M:[a-z0-9]+]]: tensor<16xbf16>, %[[T:[a-z0-9]+]]: tensor<513x16xf32>, %[[PAST:[a-z0-9]+]]: index
func.func @layers(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %v: tensor<?x32xf32>, %n: tensor<16xbf16>, %m: tensor<16xbf16>, %t: tensor<513x16xf32>,
                  %past: index) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // CHECK: %[[C0:.*]] = lap.get_cache @c0
  // CHECK: %[[C1:.*]] = lap.get_cache @c1
  %c0 = lap.get_cache @c0 : !cache
  %c1 = lap.get_cache @c1 : !cache
  // CHECK: %[[R:.*]] = lap.dispatch @rope_kv_update_4x2x16_tn(%[[C0]], %[[Q]], %[[K]], %[[V]], %[[N]], %[[M]], %[[T]], %[[PAST]])
  %r = lap.rope_kv_update %c0, %q, %k, %v, %n, %m, %t, %past {eps = 1.0e-6 : f32}
      : !cache, tensor<?x64xf32>, tensor<?x32xf32>, tensor<16xbf16>, tensor<16xbf16>, tensor<513x16xf32>
  // CHECK: lap.dispatch @attention_window_4x2x16_tn(%[[C0]], %[[R]], %[[PAST]])
  %a = lap.attention %c0, %r, %past : !cache, tensor<?x64xf32>
  // CHECK: %[[S:.*]] = lap.dispatch @rope_kv_update_shared_4x2x16_tn(%[[C1]], %[[Q]], %[[K]], %[[N]], %[[M]], %[[T]], %[[PAST]])
  %s = lap.rope_kv_update %c1, %q, %k, %k, %n, %m, %t, %past {eps = 1.0e-6 : f32}
      : !cache, tensor<?x64xf32>, tensor<?x32xf32>, tensor<16xbf16>, tensor<16xbf16>, tensor<513x16xf32>
  // CHECK: lap.dispatch @attention_window_4x2x16_tn(%[[C1]], %[[S]], %[[PAST]])
  %b = lap.attention %c1, %s, %past : !cache, tensor<?x64xf32>
  return %a, %b : tensor<?x64xf32>, tensor<?x64xf32>
}

// Each operation, variant and scheme has its name.
// CHECK-LABEL: func.func @names(
func.func @names(%ids: tensor<?xi32>, %table: !lap.quantized<64x32, @q8_0>, %media: tensor<?x32xf32>, %rows: tensor<?xi32>, %w: tensor<32xbf16>,
                 %b: tensor<32xbf16>, %s: tensor<1xbf16>, %g: tensor<48x32xf16>, %xy: tensor<?x2xi32>, %pt: tensor<8x2x32xbf16>, %end: tensor<?xi32>,
                 %past: index) -> (tensor<?x48xf32>, tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>) {
  %c = lap.get_cache @c0 : !cache
  // CHECK: lap.dispatch @embed_media_q8_0_64x32_tn(
  %h = lap.embed %ids, %table media(%media, %rows : tensor<?x32xf32>, tensor<?xi32>) {scale = 4.0 : f32} : tensor<?xi32>, !lap.quantized<64x32, @q8_0> -> tensor<?x32xf32>
  // CHECK: lap.dispatch @fused_linear_rms_gated_gelu_f16_96x32_tn(
  %m = lap.fused_linear %h norm(%w : tensor<32xbf16>) weights(%g, %g : tensor<48x32xf16>, tensor<48x32xf16>)
      {norm = #lap.norm<rms>, eps = 1.0e-6 : f32, epilogue = #lap.epilogue<gated_gelu>} : tensor<?x32xf32> -> tensor<?x48xf32>
  // CHECK: lap.dispatch @fused_linear_layer_softcap_q8_0_64x32_tn(
  %l = lap.fused_linear %h norm(%w : tensor<32xbf16>) norm_bias(%b : tensor<32xbf16>) weights(%table : !lap.quantized<64x32, @q8_0>)
      {norm = #lap.norm<layer>, eps = 1.0e-6 : f32, epilogue = #lap.epilogue<softcap>, cap = 30.0 : f32} : tensor<?x32xf32> -> tensor<?x64xf32>
  // CHECK: lap.dispatch @attention_window_visible_2x2x16_tn(
  %a = lap.attention %c, %h, %past visible(%end : tensor<?xi32>) : !cache, tensor<?x32xf32>
  // CHECK: lap.dispatch @residual_norm_scaled_32_tn(
  %r = lap.residual_norm %h, %a, %w scale(%s : tensor<1xbf16>) {eps = 1.0e-6 : f32} : tensor<?x32xf32>, tensor<32xbf16>
  // CHECK: lap.dispatch @patch_embedding_8x32_tn(
  %p = lap.patch_embedding %h, %w, %b, %xy, %pt, %w, %b {eps = 1.0e-5 : f32}
      : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>, tensor<?x2xi32>, tensor<8x2x32xbf16>, tensor<32xbf16>, tensor<32xbf16>
  return %m, %l, %r, %p : tensor<?x48xf32>, tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
}

// Kernels stand behind the entry points in the order of first use; a body is the op on the kernel's arguments.
// CHECK: lap.kernel @fused_linear_bf16_64x32_tn(%[[X:.*]]: tensor<?x32xf32>, %[[W:.*]]: tensor<64x32xbf16>) -> tensor<?x64xf32> {
// CHECK-NEXT: %[[R:.*]] = lap.fused_linear %[[X]] weights(%[[W]] : tensor<64x32xbf16>)
// CHECK-NEXT: lap.return %[[R]] : tensor<?x64xf32>
// CHECK: lap.kernel @fused_linear_bf16_64x32_tn_2(%{{.*}}: tensor<?x32xf32>, %{{.*}}: tensor<64x32xbf16> {lap.layout = #lap.layout<rows16>})
// CHECK: lap.kernel @fused_linear_bf16_64x32_t1(
// CHECK: lap.kernel @rope_kv_update_4x2x16_tn(
// CHECK: lap.kernel @attention_window_4x2x16_tn(
// CHECK: lap.kernel @rope_kv_update_shared_4x2x16_tn(%[[C:.*]]: !lap.kv_cache<{{.*}}>, %[[Q:.*]]: tensor<?x64xf32>, %[[K:.*]]: tensor<?x32xf32>, %[[N:.*]]: tensor<16xbf16>, %[[M:.*]]: tensor<16xbf16>,
// CHECK-NEXT: lap.rope_kv_update %[[C]], %[[Q]], %[[K]], %[[K]], %[[N]], %[[M]],
// CHECK: lap.kernel @embed_media_q8_0_64x32_tn(
// CHECK: lap.kernel @fused_linear_rms_gated_gelu_f16_96x32_tn(
// CHECK-NOT: lap.kernel @fused_linear_bf16_64x32_tn_3

// -----

// A name that the module has already is left to its owner.
// CHECK-LABEL: func.func @residual_norm_32_t1(
func.func @residual_norm_32_t1(%x: tensor<1x32xf32>, %w: tensor<32xbf16>) -> tensor<1x32xf32> {
  // CHECK: lap.dispatch @residual_norm_32_t1_2(
  %r = lap.residual_norm %x, %x, %w {eps = 1.0e-6 : f32} : tensor<1x32xf32>, tensor<32xbf16>
  return %r : tensor<1x32xf32>
}
// One value that is both operands is one argument.
// CHECK: lap.kernel @residual_norm_32_t1_2(%[[X:.*]]: tensor<1x32xf32>, %[[W:.*]]: tensor<32xbf16>)
// CHECK-NEXT: lap.residual_norm %[[X]], %[[X]], %[[W]]

// -----

// What fusion has left over is named, all of it.
func.func @left_over(%x: tensor<?x32xf32>) -> tensor<?x32xf32> {
  // expected-error@+1 {{'lap.gelu' op is left at model level: no pass made a kernel of it}}
  %g = lap.gelu %x : tensor<?x32xf32>
  // expected-error@+1 {{'lap.add' op is left at model level: no pass made a kernel of it}}
  %a = lap.add %g, %x : tensor<?x32xf32>
  return %a : tensor<?x32xf32>
}

// -----

// expected-error@+1 {{expected an entry point of one block}}
func.func private @declared(tensor<?x32xf32>)
