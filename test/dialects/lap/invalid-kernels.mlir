// Each labelled constraint of each kernel level op is refused when it is broken. The label is in front of its case.
// RUN: lapidary-opt %s -verify-diagnostics -split-input-file

// embed C1
func.func @embed(%ids: tensor<2xi32>, %table: tensor<64x32xbf16>) {
  // expected-error@+1 {{expected ids x table columns, found 'tensor<3x32xf32>'}}
  %h = lap.embed %ids, %table {scale = 1.0 : f32} : tensor<2xi32>, tensor<64x32xbf16> -> tensor<3x32xf32>
  return
}

// -----

// embed C2: the width of media.
func.func @embed(%ids: tensor<?xi32>, %table: tensor<64x32xbf16>, %media: tensor<?x16xf32>, %rows: tensor<?xi32>) {
  // expected-error@+1 {{expected media of 32 columns with a row a token}}
  %h = lap.embed %ids, %table media(%media, %rows : tensor<?x16xf32>, tensor<?xi32>) {scale = 1.0 : f32}
      : tensor<?xi32>, tensor<64x32xbf16> -> tensor<?x32xf32>
  return
}

// -----

// embed C2: media and rows come together.
func.func @embed(%ids: tensor<?xi32>, %table: tensor<64x32xbf16>, %media: tensor<?x32xf32>) {
  // expected-error@+1 {{expected media of 32 columns with a row a token}}
  %h = "lap.embed"(%ids, %table, %media) {scale = 1.0 : f32, operandSegmentSizes = array<i32: 1, 1, 1, 0>}
      : (tensor<?xi32>, tensor<64x32xbf16>, tensor<?x32xf32>) -> tensor<?x32xf32>
  return
}

// -----

// fused_linear C1
func.func @fused_linear(%x: tensor<?x32xf32>, %w: tensor<64x16xf32>) {
  // expected-error@+1 {{a weight of 64 x 16 does not take 'tensor<?x32xf32>' to 'tensor<?x64xf32>'}}
  %y = lap.fused_linear %x weights(%w : tensor<64x16xf32>) : tensor<?x32xf32> -> tensor<?x64xf32>
  return
}

// -----

// fused_linear C2: a norm takes its operands alone.
func.func @fused_linear(%x: tensor<?x32xf32>, %n: tensor<32xf32>, %w: tensor<64x32xf32>) {
  // expected-error@+1 {{norm 'none' does not take these norm operands}}
  %y = lap.fused_linear %x norm(%n : tensor<32xf32>) weights(%w : tensor<64x32xf32>) : tensor<?x32xf32> -> tensor<?x64xf32>
  return
}

// -----

// fused_linear C2: a layer norm has a bias.
func.func @fused_linear(%x: tensor<?x32xf32>, %n: tensor<32xf32>, %w: tensor<64x32xf32>) {
  // expected-error@+1 {{norm 'layer' does not take these norm operands}}
  %y = lap.fused_linear %x norm(%n : tensor<32xf32>) weights(%w : tensor<64x32xf32>) {norm = #lap.norm<layer>, eps = 1.0e-5 : f32}
      : tensor<?x32xf32> -> tensor<?x64xf32>
  return
}

// -----

// fused_linear C2: of the row's size.
func.func @fused_linear(%x: tensor<?x32xf32>, %n: tensor<16xf32>, %w: tensor<64x32xf32>) {
  // expected-error@+1 {{norm 'rms' does not take these norm operands}}
  %y = lap.fused_linear %x norm(%n : tensor<16xf32>) weights(%w : tensor<64x32xf32>) {norm = #lap.norm<rms>, eps = 1.0e-5 : f32}
      : tensor<?x32xf32> -> tensor<?x64xf32>
  return
}

// -----

// fused_linear C3: a result a weight.
func.func @fused_linear(%x: tensor<?x32xf32>, %w: tensor<64x32xf32>) {
  // expected-error@+1 {{expected a result a weight, or two weights of one type and one result with gated_gelu}}
  %y = lap.fused_linear %x weights(%w, %w : tensor<64x32xf32>, tensor<64x32xf32>) : tensor<?x32xf32> -> tensor<?x64xf32>
  return
}

// -----

// fused_linear C3: gate and up are alike.
func.func @fused_linear(%x: tensor<?x32xf32>, %w: tensor<64x32xf32>, %v: tensor<64x32xf16>) {
  // expected-error@+1 {{expected a result a weight, or two weights of one type and one result with gated_gelu}}
  %y = lap.fused_linear %x weights(%w, %v : tensor<64x32xf32>, tensor<64x32xf16>) {epilogue = #lap.epilogue<gated_gelu>}
      : tensor<?x32xf32> -> tensor<?x64xf32>
  return
}

// -----

// fused_linear C4: not with two weights.
func.func @fused_linear(%x: tensor<?x32xf32>, %w: tensor<64x32xf32>, %b: tensor<64xf32>) {
  // expected-error@+1 {{expected a bias only with one weight, of its rows}}
  %y, %z = lap.fused_linear %x weights(%w, %w : tensor<64x32xf32>, tensor<64x32xf32>) bias(%b : tensor<64xf32>)
      : tensor<?x32xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  return
}

// -----

// fused_linear C4: of the weight's rows.
func.func @fused_linear(%x: tensor<?x32xf32>, %w: tensor<64x32xf32>, %b: tensor<32xf32>) {
  // expected-error@+1 {{expected a bias only with one weight, of its rows}}
  %y = lap.fused_linear %x weights(%w : tensor<64x32xf32>) bias(%b : tensor<32xf32>) : tensor<?x32xf32> -> tensor<?x64xf32>
  return
}

// -----

// fused_linear C5: softcap has a cap.
func.func @fused_linear(%x: tensor<?x32xf32>, %w: tensor<64x32xf32>) {
  // expected-error@+1 {{expected a positive cap with softcap and none without}}
  %y = lap.fused_linear %x weights(%w : tensor<64x32xf32>) {epilogue = #lap.epilogue<softcap>} : tensor<?x32xf32> -> tensor<?x64xf32>
  return
}

// -----

// fused_linear C5: the others have none.
func.func @fused_linear(%x: tensor<?x32xf32>, %w: tensor<64x32xf32>) {
  // expected-error@+1 {{expected a positive cap with softcap and none without}}
  %y = lap.fused_linear %x weights(%w : tensor<64x32xf32>) {cap = 30.0 : f32} : tensor<?x32xf32> -> tensor<?x64xf32>
  return
}

// -----

// rope_kv_update C1
func.func @rope_kv_update(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, %q: tensor<?x96xf32>, %k: tensor<?x64xf32>,
                          %n: tensor<32xf32>, %t: tensor<513x32xf32>, %past: index) {
  // expected-error@+1 {{expected keys of 64 and a query of a multiple of it, found 64 and 96}}
  %r = lap.rope_kv_update %c, %q, %k, %k, %n, %n, %t, %past {eps = 1.0e-6 : f32}
      : !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, tensor<?x96xf32>, tensor<?x64xf32>, tensor<32xf32>, tensor<32xf32>, tensor<513x32xf32>
  return
}

// -----

// rope_kv_update C2: the norms.
func.func @rope_kv_update(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, %q: tensor<?x128xf32>, %k: tensor<?x64xf32>,
                          %n: tensor<32xf32>, %m: tensor<64xf32>, %t: tensor<513x32xf32>, %past: index) {
  // expected-error@+1 {{expected an even head_dim, norms of 32 elements and a table row of an even width up to it}}
  %r = lap.rope_kv_update %c, %q, %k, %k, %n, %m, %t, %past {eps = 1.0e-6 : f32}
      : !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, tensor<?x128xf32>, tensor<?x64xf32>, tensor<32xf32>, tensor<64xf32>, tensor<513x32xf32>
  return
}

// -----

// rope_kv_update C2: the table.
func.func @rope_kv_update(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, %q: tensor<?x128xf32>, %k: tensor<?x64xf32>,
                          %n: tensor<32xf32>, %t: tensor<513x33xf32>, %past: index) {
  // expected-error@+1 {{expected an even head_dim, norms of 32 elements and a table row of an even width up to it}}
  %r = lap.rope_kv_update %c, %q, %k, %k, %n, %n, %t, %past {eps = 1.0e-6 : f32}
      : !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, tensor<?x128xf32>, tensor<?x64xf32>, tensor<32xf32>, tensor<32xf32>, tensor<513x33xf32>
  return
}

// -----

// rope_kv_update C3: the table.
func.func @rope_kv_update(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0, rotated = 4>, %q: tensor<?x128xf32>, %k: tensor<?x64xf32>,
                          %n: tensor<32xf32>, %t: tensor<513x16xf32>, %past: index) {
  // expected-error@+1 {{expected a table row of 8 and the keys as values}}
  %r = lap.rope_kv_update %c, %q, %k, %k, %n, %n, %t, %past {eps = 1.0e-6 : f32}
      : !lap.kv_cache<heads = 2, head_dim = 32, window = 0, rotated = 4>, tensor<?x128xf32>, tensor<?x64xf32>, tensor<32xf32>, tensor<32xf32>, tensor<513x16xf32>
  return
}

// -----

// rope_kv_update C3: the values.
func.func @rope_kv_update(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0, rotated = 8>, %q: tensor<?x128xf32>, %k: tensor<?x64xf32>,
                          %v: tensor<?x64xf32>, %n: tensor<32xf32>, %t: tensor<513x16xf32>, %past: index) {
  // expected-error@+1 {{expected a table row of 16 and the keys as values}}
  %r = lap.rope_kv_update %c, %q, %k, %v, %n, %n, %t, %past {eps = 1.0e-6 : f32}
      : !lap.kv_cache<heads = 2, head_dim = 32, window = 0, rotated = 8>, tensor<?x128xf32>, tensor<?x64xf32>, tensor<32xf32>, tensor<32xf32>, tensor<513x16xf32>
  return
}

// -----

// partial_attention C1
func.func @partial(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, %q: tensor<?x96xf32>, %past: index) {
  // expected-error@+1 {{expected a query whose width is a multiple of 64, found 96}}
  %p = lap.partial_attention %c, %q, %past {splits = 2 : i64} : !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, tensor<?x96xf32> -> tensor<?x204xf32>
  return
}

// -----

// partial_attention C2: the splits.
func.func @partial(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, %q: tensor<?x64xf32>, %past: index) {
  // expected-error@+1 {{expected 1 to 16 splits and a result of splits * 2 * (32 + 2) columns, found 17}}
  %p = lap.partial_attention %c, %q, %past {splits = 17 : i64} : !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, tensor<?x64xf32> -> tensor<?x1156xf32>
  return
}

// -----

// partial_attention C2: the result.
func.func @partial(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, %q: tensor<?x64xf32>, %past: index) {
  // expected-error@+1 {{found 2 and 'tensor<?x64xf32>'}}
  %p = lap.partial_attention %c, %q, %past {splits = 2 : i64} : !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// merge_attention C1
func.func @merge(%p: tensor<?x136xf32>) {
  // expected-error@+1 {{expected 1 to 16 splits and heads that divide 64 columns, found 2 and 3}}
  %a = lap.merge_attention %p {heads = 3 : i64, splits = 2 : i64} : tensor<?x136xf32> -> tensor<?x64xf32>
  return
}

// -----

// merge_attention C2
func.func @merge(%p: tensor<?x136xf32>) {
  // expected-error@+1 {{expected an input of 204 columns, found 'tensor<?x136xf32>'}}
  %a = lap.merge_attention %p {heads = 2 : i64, splits = 3 : i64} : tensor<?x136xf32> -> tensor<?x64xf32>
  return
}

// -----

// rope_kv_update C2: the head's size.
func.func @rope_kv_update(%c: !lap.kv_cache<heads = 2, head_dim = 5, window = 0>, %q: tensor<?x20xf32>, %k: tensor<?x10xf32>,
                          %n: tensor<5xf32>, %t: tensor<513x4xf32>, %past: index) {
  // expected-error@+1 {{expected an even head_dim}}
  %r = lap.rope_kv_update %c, %q, %k, %k, %n, %n, %t, %past {eps = 1.0e-6 : f32}
      : !lap.kv_cache<heads = 2, head_dim = 5, window = 0>, tensor<?x20xf32>, tensor<?x10xf32>, tensor<5xf32>, tensor<5xf32>, tensor<513x4xf32>
  return
}

// -----

// residual_norm C1
func.func @residual_norm(%x: tensor<?x32xf32>, %w: tensor<16xf32>) {
  // expected-error@+1 {{expected a weight of 32 elements}}
  %r = lap.residual_norm %x, %x, %w {eps = 1.0e-6 : f32} : tensor<?x32xf32>, tensor<16xf32>
  return
}

// -----

// residual_norm C2
func.func @residual_norm(%x: tensor<?x32xf32>, %w: tensor<32xf32>) {
  // expected-error@+1 {{expected a scalar of one element}}
  %r = lap.residual_norm %x, %x, %w scale(%w : tensor<32xf32>) {eps = 1.0e-6 : f32} : tensor<?x32xf32>, tensor<32xf32>
  return
}

// -----

// patch_embedding C1: weights and biases.
func.func @patch_embedding(%x: tensor<?x32xf32>, %w: tensor<32xf32>, %b: tensor<16xf32>, %xy: tensor<?x2xi32>, %t: tensor<8x2x32xf32>) {
  // expected-error@+1 {{expected weights and biases of 32 elements}}
  %r = lap.patch_embedding %x, %w, %w, %xy, %t, %w, %b {eps = 1.0e-5 : f32}
      : tensor<?x32xf32>, tensor<32xf32>, tensor<32xf32>, tensor<?x2xi32>, tensor<8x2x32xf32>, tensor<32xf32>, tensor<16xf32>
  return
}

// -----

// patch_embedding C1: positions and table.
func.func @patch_embedding(%x: tensor<?x32xf32>, %w: tensor<32xf32>, %xy: tensor<?x2xi32>, %t: tensor<8x3x32xf32>) {
  // expected-error@+1 {{expected positions T x 2 and a table N x 2 x 32}}
  %r = lap.patch_embedding %x, %w, %w, %xy, %t, %w, %w {eps = 1.0e-5 : f32}
      : tensor<?x32xf32>, tensor<32xf32>, tensor<32xf32>, tensor<?x2xi32>, tensor<8x3x32xf32>, tensor<32xf32>, tensor<32xf32>
  return
}

// -----

!c = !lap.kv_cache<heads = 2, head_dim = 32, window = 0>

// rope_query C1
func.func @rope_query(%c: !c, %q: tensor<?x96xf32>, %n: tensor<32xf32>, %t: tensor<513x16xf32>, %past: index) {
  // expected-error@+1 {{expected a query of a multiple of 64, found 96}}
  %r = lap.rope_query %c, %q, %n, %t, %past {eps = 1.0e-6 : f32} : !c, tensor<?x96xf32>, tensor<32xf32>, tensor<513x16xf32>
  return
}

// -----

!c = !lap.kv_cache<heads = 2, head_dim = 32, window = 0>

// rope_query C2
func.func @rope_query(%c: !c, %q: tensor<?x64xf32>, %n: tensor<16xf32>, %t: tensor<513x16xf32>, %past: index) {
  // expected-error@+1 {{norms of 32 elements}}
  %r = lap.rope_query %c, %q, %n, %t, %past {eps = 1.0e-6 : f32} : !c, tensor<?x64xf32>, tensor<16xf32>, tensor<513x16xf32>
  return
}

// -----

!c = !lap.kv_cache<heads = 2, head_dim = 32, window = 0, rotated = 8>

// rope_query C3
func.func @rope_query(%c: !c, %q: tensor<?x64xf32>, %n: tensor<32xf32>, %t: tensor<513x16xf32>, %past: index) {
  // expected-error@+1 {{expected the norm of keys exactly where a cache stores them in part}}
  %r = lap.rope_query %c, %q, %n, %t, %past {eps = 1.0e-6 : f32} : !c, tensor<?x64xf32>, tensor<32xf32>, tensor<513x16xf32>
  return
}

// -----

!c = !lap.kv_cache<heads = 2, head_dim = 32, window = 0>

// rope_query C4
func.func @rope_query(%c: !c, %q: tensor<?x64xf32>, %n: tensor<32xf32>, %t: tensor<513x16xf32>, %past: index) {
  // expected-error@+1 {{expected ahead of 0 or 1, found 2}}
  %r = lap.rope_query %c, %q, %n, %t, %past {eps = 1.0e-6 : f32, ahead = 2 : i64} : !c, tensor<?x64xf32>, tensor<32xf32>, tensor<513x16xf32>
  return
}

// -----

// top_k C1
func.func @top_k(%x: tensor<?x4096xf32>) {
  // expected-error@+1 {{expected a count of 1 to 1024, found 1025}}
  %v, %i = lap.top_k %x {count = 1025 : i64} : tensor<?x4096xf32> -> tensor<?x2050xf32>, tensor<?x2050xi32>
  return
}

// -----

// top_k C2
func.func @top_k(%x: tensor<?x2049xf32>) {
  // expected-error@+1 {{expected results of 2 * 8 columns, found 'tensor<?x8xi32>'}}
  %v, %i = lap.top_k %x {count = 8 : i64} : tensor<?x2049xf32> -> tensor<?x16xf32>, tensor<?x8xi32>
  return
}

// -----

// top_k C3
func.func @top_k(%x: tensor<?x16xf32>, %ids: tensor<?x8xi32>) {
  // expected-error@+1 {{expected an id for each element of 'tensor<?x16xf32>', found 'tensor<?x8xi32>'}}
  %v, %i = lap.top_k %x ids(%ids : tensor<?x8xi32>) {count = 8 : i64} : tensor<?x16xf32> -> tensor<?x8xf32>, tensor<?x8xi32>
  return
}
