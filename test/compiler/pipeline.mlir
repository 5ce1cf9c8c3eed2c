// A whole small model, from what the frontend writes to what a target takes: all of it becomes dispatches.
// RUN: lapidary-opt %s --lap-kernel-pipeline | FileCheck %s --check-prefix=KERNELS
// RUN: lapidary-opt %s --lap-kernel-pipeline --lap-program-pipeline | FileCheck %s --check-prefix=PROGRAM
// RUN: lapidary-opt %s --lap-kernel-pipeline="quant=q8_0 activations=int8" | FileCheck %s --check-prefix=QUANTIZED
// Twice the same input gives twice the same text, and canonicalization changes nothing that matters.
// RUN: lapidary-opt %s --lap-kernel-pipeline --lap-program-pipeline > %t.first
// RUN: lapidary-opt %s --lap-kernel-pipeline --lap-program-pipeline | diff %t.first -
// RUN: lapidary-opt %s --canonicalize --cse --lap-kernel-pipeline --canonicalize --cse --lap-program-pipeline | FileCheck %s --check-prefix=PROGRAM

!sliding = !lap.kv_cache<heads = 2, head_dim = 16, window = 8>
!full = !lap.kv_cache<heads = 1, head_dim = 32, window = 0>

// QUANTIZED: lap.scheme @q8_0({{.*}}) affine {
// QUANTIZED-COUNT-10: stored = !lap.quantized<
// QUANTIZED-COUNT-8: lap.fused_linear {{.*}}activations = #lap.activations<int8>

lap.weight @table : tensor<64x32xbf16> {file = "f", offset = 0, layout = #lap.layout<rows16>}
lap.weight @norm : tensor<32xbf16> {file = "f", offset = 4096}
lap.weight @head_norm : tensor<16xbf16> {file = "f", offset = 4160}
lap.weight @full_norm : tensor<32xbf16> {file = "f", offset = 4192}
lap.weight @scalar : tensor<1xbf16> {file = "f", offset = 4256}
lap.weight @q : tensor<64x32xbf16> {file = "f", offset = 8192, layout = #lap.layout<rows16>}
lap.weight @k : tensor<32x32xbf16> {file = "f", offset = 12288, layout = #lap.layout<rows16>}
lap.weight @v : tensor<32x32xbf16> {file = "f", offset = 14336, layout = #lap.layout<rows16>}
lap.weight @o : tensor<32x64xbf16> {file = "f", offset = 16384, layout = #lap.layout<rows16>}
lap.weight @gate : tensor<48x32xbf16> {file = "f", offset = 20480, layout = #lap.layout<rows16>}
lap.weight @up : tensor<48x32xbf16> {file = "f", offset = 24576, layout = #lap.layout<rows16>}
lap.weight @down : tensor<32x48xbf16> {file = "f", offset = 28672, layout = #lap.layout<rows16>}
lap.weight @patch : tensor<32x24xbf16> {file = "f", offset = 32768}
lap.weight @patch_norm : tensor<24xbf16> {file = "f", offset = 36864}
lap.weight @positions : tensor<8x2x32xbf16> {file = "f", offset = 40960}
lap.weight @project : tensor<32x32xbf16> {file = "f", offset = 45056}
lap.rope_table @rope.sliding {head_dim = 16, rotated = 8, theta = 1.0e4, positions = 512}
lap.rope_table @rope.full {head_dim = 32, rotated = 4, theta = 1.0e6, positions = 512}
lap.kv_cache @layers.0 : !sliding
lap.kv_cache @layers.1 : !full

// A sliding layer, then a full one whose values are its keys.
// KERNELS-LABEL: func.func @prefill(
// KERNELS: lap.embed {{.*}} media(
// KERNELS: %[[X0:.*]] = lap.pack_input {{.*}} norm = #lap.norm<rms>
// KERNELS: %[[QKV:.*]]:3 = lap.fused_linear %[[X0]] weights(
// KERNELS: %[[R0:.*]] = lap.rope_kv_update %{{.*}}, %[[QKV]]#0, %[[QKV]]#1, %[[QKV]]#2,
// KERNELS: %[[A0:.*]] = lap.attention %{{.*}}, %[[R0]], %{{.*}} visible(
// KERNELS: %[[X1:.*]] = lap.pack_input %[[A0]] :
// KERNELS: %[[O0:.*]] = lap.fused_linear %[[X1]] weights(
// KERNELS: %[[H1:.*]] = lap.residual_norm %{{.*}}, %[[O0]], %{{[a-z0-9]*}} {
// KERNELS: %[[X2:.*]] = lap.pack_input %[[H1]] {{.*}} norm = #lap.norm<rms>
// KERNELS: lap.fused_linear %[[X2]] {{.*}}epilogue = #lap.epilogue<gated_gelu>
// KERNELS: lap.residual_norm %[[H1]], {{.*}} scale(
// KERNELS: %[[QK:.*]]:2 = lap.fused_linear
// KERNELS: lap.rope_kv_update %{{.*}}, %[[QK]]#0, %[[QK]]#1, %[[QK]]#1,
// PROGRAM-LABEL: func.func @prefill(
// PROGRAM-SAME: %{{.*}}: memref<?x32xf32> {lap.name = "hidden", lap.result})
// While the first layer's queries turn, 64 rows of 32 + 2 * 64 + 2 * 32 floats live (the residual stream, the queries before
// and after, keys and values); no arena could be smaller.
// PROGRAM-SAME: lap.arena_bytes = 57344 : i64
// PROGRAM: lap.arena : memref<57344xi8>
// PROGRAM: lap.dispatch @embed_media_bf16_64x32_tn(
// PROGRAM: lap.dispatch @pack_input_rms_f32_32_tn(
// PROGRAM: lap.dispatch @fused_linear_bf16_128x32_tn(
// PROGRAM: lap.dispatch @rope_kv_update_4x2x16_tn(
// PROGRAM: lap.dispatch @attention_window_visible_4x2x16_tn(
// PROGRAM: lap.dispatch @fused_linear_bf16_32x64_tn(
// PROGRAM: lap.dispatch @residual_norm_32_tn(
// PROGRAM: lap.dispatch @fused_linear_gated_gelu_bf16_96x32_tn(
// PROGRAM: lap.dispatch @fused_linear_bf16_32x48_tn(
// PROGRAM: lap.dispatch @residual_norm_scaled_32_tn(
// PROGRAM: lap.dispatch @fused_linear_bf16_96x32_tn(
// PROGRAM: lap.dispatch @rope_kv_update_shared_rotated_2x1x32_tn(
// PROGRAM: lap.dispatch @attention_rotated_2x1x32_tn(
// PROGRAM: lap.dispatch @fused_linear_bf16_32x64_tn(
// PROGRAM: lap.dispatch @residual_norm_scaled_32_tn({{.*}}, %arg5)
// PROGRAM-NOT: memref.alloc
func.func @prefill(%tokens: tensor<?xi32> {lap.name = "tokens"}, %rows: tensor<?xi32> {lap.name = "media_rows"},
                   %media: tensor<?x32xf32> {lap.name = "media"}, %end: tensor<?xi32> {lap.name = "visible_end"},
                   %past: index {lap.name = "past"}) -> (tensor<?x32xf32> {lap.name = "hidden"}) attributes {lap.max_tokens = 64 : i64} {
  %table = lap.get_weight @table : tensor<64x32xbf16>
  %rope0 = lap.get_weight @rope.sliding : tensor<513x16xf32>
  %rope1 = lap.get_weight @rope.full : tensor<513x8xf32>
  %e = lap.embedding %tokens, %table {scale = 5.65685425 : f32} : tensor<?xi32>, tensor<64x32xbf16> -> tensor<?x32xf32>
  %h0 = lap.scatter_embeddings %e, %media, %rows : tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>

  %w0 = lap.get_weight @norm : tensor<32xbf16>
  %x0 = lap.rms_norm %h0, %w0 {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %wq0 = lap.get_weight @q : tensor<64x32xbf16>
  %q0 = lap.linear %x0, %wq0 : tensor<?x32xf32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  %wk0 = lap.get_weight @k : tensor<32x32xbf16>
  %k0 = lap.linear %x0, %wk0 : tensor<?x32xf32>, tensor<32x32xbf16> -> tensor<?x32xf32>
  %wv0 = lap.get_weight @v : tensor<32x32xbf16>
  %v0 = lap.linear %x0, %wv0 : tensor<?x32xf32>, tensor<32x32xbf16> -> tensor<?x32xf32>
  %hn = lap.get_weight @head_norm : tensor<16xbf16>
  %qn0 = lap.rms_norm %q0, %hn {eps = 1.0e-6 : f32, group = 16 : i64} : tensor<?x64xf32>, tensor<16xbf16>
  %qr0 = lap.rope %qn0, %rope0, %past {head_dim = 16 : i64} : tensor<?x64xf32>, tensor<513x16xf32>
  %kn0 = lap.rms_norm %k0, %hn {eps = 1.0e-6 : f32, group = 16 : i64} : tensor<?x32xf32>, tensor<16xbf16>
  %kr0 = lap.rope %kn0, %rope0, %past {head_dim = 16 : i64} : tensor<?x32xf32>, tensor<513x16xf32>
  %vn0 = lap.rms_norm %v0 {eps = 1.0e-6 : f32, group = 16 : i64} : tensor<?x32xf32>
  %c0 = lap.get_cache @layers.0 : !sliding
  lap.kv_update %c0, %kr0, %vn0, %past : !sliding, tensor<?x32xf32>
  %a0 = lap.attention %c0, %qr0, %past visible(%end : tensor<?xi32>) : !sliding, tensor<?x64xf32>
  %wo0 = lap.get_weight @o : tensor<32x64xbf16>
  %o0 = lap.linear %a0, %wo0 : tensor<?x64xf32>, tensor<32x64xbf16> -> tensor<?x32xf32>
  %on0 = lap.rms_norm %o0, %w0 {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %h1 = lap.add %h0, %on0 : tensor<?x32xf32>
  %m0 = lap.rms_norm %h1, %w0 {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %wg0 = lap.get_weight @gate : tensor<48x32xbf16>
  %g0 = lap.linear %m0, %wg0 : tensor<?x32xf32>, tensor<48x32xbf16> -> tensor<?x48xf32>
  %wu0 = lap.get_weight @up : tensor<48x32xbf16>
  %u0 = lap.linear %m0, %wu0 : tensor<?x32xf32>, tensor<48x32xbf16> -> tensor<?x48xf32>
  %ge0 = lap.gelu %g0 : tensor<?x48xf32>
  %gu0 = lap.multiply %ge0, %u0 : tensor<?x48xf32>
  %wd0 = lap.get_weight @down : tensor<32x48xbf16>
  %d0 = lap.linear %gu0, %wd0 : tensor<?x48xf32>, tensor<32x48xbf16> -> tensor<?x32xf32>
  %dn0 = lap.rms_norm %d0, %w0 {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %h2 = lap.add %h1, %dn0 : tensor<?x32xf32>
  %s0 = lap.get_weight @scalar : tensor<1xbf16>
  %h3 = lap.scale %h2, %s0 : tensor<?x32xf32>, tensor<1xbf16>

  %w1 = lap.get_weight @norm : tensor<32xbf16>
  %x1 = lap.rms_norm %h3, %w1 {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %wq1 = lap.get_weight @q : tensor<64x32xbf16>
  %q1 = lap.linear %x1, %wq1 : tensor<?x32xf32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  %wk1 = lap.get_weight @k : tensor<32x32xbf16>
  %k1 = lap.linear %x1, %wk1 : tensor<?x32xf32>, tensor<32x32xbf16> -> tensor<?x32xf32>
  %fn = lap.get_weight @full_norm : tensor<32xbf16>
  %qn1 = lap.rms_norm %q1, %fn {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x64xf32>, tensor<32xbf16>
  %qr1 = lap.rope %qn1, %rope1, %past {head_dim = 32 : i64} : tensor<?x64xf32>, tensor<513x8xf32>
  %kn1 = lap.rms_norm %k1, %fn {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %kr1 = lap.rope %kn1, %rope1, %past {head_dim = 32 : i64} : tensor<?x32xf32>, tensor<513x8xf32>
  %vn1 = lap.rms_norm %k1 {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>
  %c1 = lap.get_cache @layers.1 : !full
  lap.kv_update %c1, %kr1, %vn1, %past : !full, tensor<?x32xf32>
  %a1 = lap.attention %c1, %qr1, %past : !full, tensor<?x64xf32>
  %wo1 = lap.get_weight @o : tensor<32x64xbf16>
  %o1 = lap.linear %a1, %wo1 : tensor<?x64xf32>, tensor<32x64xbf16> -> tensor<?x32xf32>
  %on1 = lap.rms_norm %o1, %w1 {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>, tensor<32xbf16>
  %h4 = lap.add %h3, %on1 : tensor<?x32xf32>
  %s1 = lap.get_weight @scalar : tensor<1xbf16>
  %h5 = lap.scale %h4, %s1 : tensor<?x32xf32>, tensor<1xbf16>
  return %h5 : tensor<?x32xf32>
}

// One token, and the head behind it.
// KERNELS-LABEL: func.func @decode(
// KERNELS: lap.pack_input {{.*}} norm = #lap.norm<rms>
// KERNELS: lap.fused_linear {{.*}}epilogue = #lap.epilogue<softcap>
// PROGRAM-LABEL: func.func @decode(
// PROGRAM-SAME: %{{.*}}: memref<1xi32>{{.*}}, %{{.*}}: memref<1x64xf32> {lap.name = "logits", lap.result})
// One row of 32 floats between the first two, and one of 48 words.
// PROGRAM-SAME: lap.arena_bytes = 512 : i64
// PROGRAM: lap.dispatch @embed_bf16_64x32_t1(
// PROGRAM: lap.dispatch @pack_input_rms_f32_32_t1(
// PROGRAM: lap.dispatch @fused_linear_softcap_bf16_64x32_t1(
func.func @decode(%tokens: tensor<1xi32> {lap.name = "tokens"}, %past: index {lap.name = "past"}) -> (tensor<1x64xf32> {lap.name = "logits"})
    attributes {lap.max_tokens = 1 : i64} {
  %table = lap.get_weight @table : tensor<64x32xbf16>
  %h = lap.embedding %tokens, %table {scale = 5.65685425 : f32} : tensor<1xi32>, tensor<64x32xbf16> -> tensor<1x32xf32>
  %w = lap.get_weight @norm : tensor<32xbf16>
  %n = lap.rms_norm %h, %w {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<1x32xf32>, tensor<32xbf16>
  %l = lap.linear %n, %table : tensor<1x32xf32>, tensor<64x32xbf16> -> tensor<1x64xf32>
  %s = lap.softcap %l {cap = 30.0 : f32} : tensor<1x64xf32>
  return %s : tensor<1x64xf32>
}

// The patch projection: three kernels, and their inputs.
// KERNELS-LABEL: func.func @embed_image(
// KERNELS: lap.pack_input {{.*}} norm = #lap.norm<layer>
// KERNELS: lap.fused_linear {{.*}} bias(
// KERNELS: lap.patch_embedding
// KERNELS: lap.pack_input {{.*}} norm = #lap.norm<rms>
// KERNELS: lap.fused_linear %{{[0-9a-z]*}} weights(
// PROGRAM-LABEL: func.func @embed_image(
// PROGRAM: lap.dispatch @pack_input_layer_f32_24_tn(
// PROGRAM: lap.dispatch @fused_linear_bf16_32x24_tn(
// PROGRAM: lap.dispatch @patch_embedding_8x32_tn(
// PROGRAM: lap.dispatch @pack_input_rms_f32_32_tn
// PROGRAM: lap.dispatch @fused_linear_bf16_32x32_tn(
func.func @embed_image(%patches: tensor<?x24xf32> {lap.name = "patches"}, %xy: tensor<?x2xi32> {lap.name = "positions"})
    -> (tensor<?x32xf32> {lap.name = "embeddings"}) attributes {lap.max_tokens = 16 : i64} {
  %pn = lap.get_weight @patch_norm : tensor<24xbf16>
  %n = lap.get_weight @norm : tensor<32xbf16>
  %wp = lap.get_weight @patch : tensor<32x24xbf16>
  %t = lap.get_weight @positions : tensor<8x2x32xbf16>
  %wo = lap.get_weight @project : tensor<32x32xbf16>
  %a = lap.layer_norm %patches, %pn, %pn {eps = 1.0e-5 : f32} : tensor<?x24xf32>, tensor<24xbf16>, tensor<24xbf16>
  %b = lap.linear %a, %wp bias %n : tensor<?x24xf32>, tensor<32x24xbf16>, tensor<32xbf16> -> tensor<?x32xf32>
  %c = lap.layer_norm %b, %n, %n {eps = 1.0e-5 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  %p = lap.position_embedding %xy, %t : tensor<?x2xi32>, tensor<8x2x32xbf16> -> tensor<?x32xf32>
  %s = lap.add %c, %p : tensor<?x32xf32>
  %d = lap.layer_norm %s, %n, %n {eps = 1.0e-5 : f32} : tensor<?x32xf32>, tensor<32xbf16>, tensor<32xbf16>
  %e = lap.rms_norm %d {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x32xf32>
  %f = lap.linear %e, %wo : tensor<?x32xf32>, tensor<32x32xbf16> -> tensor<?x32xf32>
  return %f : tensor<?x32xf32>
}
