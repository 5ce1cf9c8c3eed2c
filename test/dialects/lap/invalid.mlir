// Each labelled constraint of each type and op is refused when it is broken. The label is in front of its case.
// Schemes: invalid-schemes.mlir; kernel level ops: invalid-kernels.mlir.
// RUN: lapidary-opt %s -verify-diagnostics -split-input-file

// quantized C1: rows and columns are positive.
// expected-error@+1 {{expected rows x columns, both positive and of at most 2^40 elements}}
func.func private @quantized(!lap.quantized<0x256, @q8_0>)

// -----

// quantized C1: the product is bounded.
// expected-error@+1 {{expected rows x columns, both positive and of at most 2^40 elements}}
func.func private @quantized(!lap.quantized<4294967296x4294967296, @q8_0>)

// -----

// quantized C1: two dimensions.
// expected-error@+1 {{expected rows x columns}}
func.func private @quantized(!lap.quantized<4x4x4, @q8_0>)

// -----

// kv_cache C1: heads.
// expected-error@+1 {{expected heads and head_dim of 1 to 65536 and a window of 0 to 2^31 - 1, found 0, 32, 0}}
func.func private @cache(!lap.kv_cache<heads = 0, head_dim = 32, window = 0>)

// -----

// kv_cache C1: head_dim.
// expected-error@+1 {{found 1, 4294967296, 0}}
func.func private @cache(!lap.kv_cache<heads = 1, head_dim = 4294967296, window = 0>)

// -----

// kv_cache C1: window.
// expected-error@+1 {{found 1, 32, -1}}
func.func private @cache(!lap.kv_cache<heads = 1, head_dim = 32, window = -1>)

// -----

// kv_cache C2: half of the head.
// expected-error@+1 {{expected rotated of 0, or below half of an even head_dim of 32, found 16}}
func.func private @cache(!lap.kv_cache<heads = 1, head_dim = 32, window = 0, rotated = 16>)

// -----

// kv_cache C2: an odd head.
// expected-error@+1 {{expected rotated of 0, or below half of an even head_dim of 33, found 2}}
func.func private @cache(!lap.kv_cache<heads = 1, head_dim = 33, window = 0, format = q8_0, rotated = 2>)

// -----

// weight C1: the element type.
// expected-error@+1 {{expected a static tensor of f32, f16 or bf16 and of 1 to 2^40 elements, found 'tensor<4xf64>'}}
lap.weight @w : tensor<4xf64> {file = "f", offset = 0}

// -----

// weight C1: a static shape.
// expected-error@+1 {{found 'tensor<?xf32>'}}
lap.weight @w : tensor<?xf32> {file = "f", offset = 0}

// -----

// weight C1: a bounded shape.
// expected-error@+1 {{found 'tensor<4294967296x4294967296xf32>'}}
lap.weight @w : tensor<4294967296x4294967296xf32> {file = "f", offset = 0}

// -----

// weight C2
// expected-error@+1 {{expected an offset of 0 or more}}
lap.weight @w : tensor<4xf32> {file = "f", offset = -4}

// -----

// weight C3
lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
// expected-error@+1 {{expected a stored type of the shape of 'tensor<4x32xf32>', found '!lap.quantized<32x4, @q8_0>'}}
lap.weight @w : tensor<4x32xf32> {file = "f", offset = 0, stored = !lap.quantized<32x4, @q8_0>}

// -----

// weight C4
// expected-error@+1 {{@q8_0 names no lap.scheme}}
lap.weight @w : tensor<4x32xf32> {file = "f", offset = 0, stored = !lap.quantized<4x32, @q8_0>}

// -----

// rope_table C1: head_dim.
// expected-error@+1 {{expected an even head_dim and 0 <= rotated <= head_dim / 2, found 31 and 8}}
lap.rope_table @t {head_dim = 31, rotated = 8, theta = 1.0e4, positions = 64}

// -----

// rope_table C1: rotated.
// expected-error@+1 {{found 32 and 17}}
lap.rope_table @t {head_dim = 32, rotated = 17, theta = 1.0e4, positions = 64}

// -----

// rope_table C2: positions.
// expected-error@+1 {{expected 1 to 2^31 - 1 positions and a positive theta}}
lap.rope_table @t {head_dim = 32, rotated = 16, theta = 1.0e4, positions = 0}

// -----

// rope_table C2: theta.
// expected-error@+1 {{expected 1 to 2^31 - 1 positions and a positive theta}}
lap.rope_table @t {head_dim = 32, rotated = 16, theta = 0.0, positions = 64}

// -----

// get_weight C1: the name.
func.func @get_weight() {
  // expected-error@+1 {{@w names no lap.weight or lap.rope_table}}
  %w = lap.get_weight @w : tensor<4xf32>
  return
}

// -----

// get_weight C1: the type.
lap.weight @w : tensor<4xf32> {file = "f", offset = 0}
func.func @get_weight() {
  // expected-error@+1 {{@w is 'tensor<4xf32>', not 'tensor<8xf32>'}}
  %w = lap.get_weight @w : tensor<8xf32>
  return
}

// -----

// get_weight C1: the memory.
lap.weight @w : tensor<16x4xf32> {file = "f", offset = 0, layout = #lap.layout<rows16>}
func.func @get_weight() {
  // expected-error@+1 {{@w is 'memref<256xi8>', not 'memref<16x4xf32>'}}
  %w = lap.get_weight @w : memref<16x4xf32>
  return
}

// -----

// get_cache C1: the name.
func.func @get_cache() {
  // expected-error@+1 {{@c names no lap.kv_cache of type '!lap.kv_cache<heads = 1, head_dim = 32, window = 0>'}}
  %c = lap.get_cache @c : !lap.kv_cache<heads = 1, head_dim = 32, window = 0>
  return
}

// -----

// get_cache C1: the type.
lap.kv_cache @c : !lap.kv_cache<heads = 2, head_dim = 32, window = 0>
func.func @get_cache() {
  // expected-error@+1 {{@c names no lap.kv_cache of type '!lap.kv_cache<heads = 1, head_dim = 32, window = 0>'}}
  %c = lap.get_cache @c : !lap.kv_cache<heads = 1, head_dim = 32, window = 0>
  return
}

// -----

// dequantize C1: the shape.
func.func @dequantize(%q: !lap.quantized<4x32, @q8_0>) {
  // expected-error@+1 {{expected the shape of '!lap.quantized<4x32, @q8_0>', found 'tensor<32x4xf32>'}}
  %w = lap.dequantize %q : !lap.quantized<4x32, @q8_0> -> tensor<32x4xf32>
  return
}

// -----

// dequantize C1: f32.
func.func @dequantize(%q: !lap.quantized<4x32, @q8_0>) {
  // expected-error@+1 {{must be 2D tensor of 32-bit float values}}
  %w = lap.dequantize %q : !lap.quantized<4x32, @q8_0> -> tensor<4x32xf16>
  return
}

// -----

// embedding C1
func.func @embedding(%ids: tensor<?xi32>, %table: tensor<64x32xbf16>) {
  // expected-error@+1 {{expected ids x table columns, found 'tensor<?x64xf32>'}}
  %h = lap.embedding %ids, %table {scale = 1.0 : f32} : tensor<?xi32>, tensor<64x32xbf16> -> tensor<?x64xf32>
  return
}

// -----

// scatter_embeddings C1
func.func @scatter_embeddings(%h: tensor<?x32xf32>, %media: tensor<?x16xf32>, %rows: tensor<?xi32>) {
  // expected-error@+1 {{media is 16 wide, the embeddings 32}}
  %r = lap.scatter_embeddings %h, %media, %rows : tensor<?x32xf32>, tensor<?x16xf32>, tensor<?xi32>
  return
}

// -----

// scatter_embeddings C2
func.func @scatter_embeddings(%h: tensor<2x32xf32>, %media: tensor<?x32xf32>, %rows: tensor<3xi32>) {
  // expected-error@+1 {{expected a row a token, found 'tensor<3xi32>' for 'tensor<2x32xf32>'}}
  %r = lap.scatter_embeddings %h, %media, %rows : tensor<2x32xf32>, tensor<?x32xf32>, tensor<3xi32>
  return
}

// -----

// rms_norm C1
func.func @rms_norm(%x: tensor<?x32xf32>) {
  // expected-error@+1 {{expected a group that divides the row of 32, found 24}}
  %n = lap.rms_norm %x {eps = 1.0e-6 : f32, group = 24 : i64} : tensor<?x32xf32>
  return
}

// -----

// rms_norm C2
func.func @rms_norm(%x: tensor<?x32xf32>, %w: tensor<32xf32>) {
  // expected-error@+1 {{expected a weight of 16 elements, found 32}}
  %n = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 16 : i64} : tensor<?x32xf32>, tensor<32xf32>
  return
}

// -----

// layer_norm C1
func.func @layer_norm(%x: tensor<?x32xf32>, %w: tensor<32xf32>, %b: tensor<16xf32>) {
  // expected-error@+1 {{expected a weight and a bias of 32 elements}}
  %n = lap.layer_norm %x, %w, %b {eps = 1.0e-6 : f32} : tensor<?x32xf32>, tensor<32xf32>, tensor<16xf32>
  return
}

// -----

// linear C1
func.func @linear(%x: tensor<?x32xf32>, %w: tensor<32x64xf32>) {
  // expected-error@+1 {{a weight of 32 x 64 does not take 'tensor<?x32xf32>' to 'tensor<?x64xf32>'}}
  %y = lap.linear %x, %w : tensor<?x32xf32>, tensor<32x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// linear C2
func.func @linear(%x: tensor<?x32xf32>, %w: tensor<64x32xf32>, %b: tensor<32xf32>) {
  // expected-error@+1 {{expected a bias of 64 elements}}
  %y = lap.linear %x, %w bias %b : tensor<?x32xf32>, tensor<64x32xf32>, tensor<32xf32> -> tensor<?x64xf32>
  return
}

// -----

// rope C1
func.func @rope(%x: tensor<?x48xf32>, %t: tensor<513x32xf32>, %past: index) {
  // expected-error@+1 {{expected an even head_dim that divides the row of 48, found 32}}
  %r = lap.rope %x, %t, %past {head_dim = 32 : i64} : tensor<?x48xf32>, tensor<513x32xf32>
  return
}

// -----

// rope C2
func.func @rope(%x: tensor<?x32xf32>, %t: tensor<513x34xf32>, %past: index) {
  // expected-error@+1 {{expected a table row of an even width up to 32, found 34}}
  %r = lap.rope %x, %t, %past {head_dim = 32 : i64} : tensor<?x32xf32>, tensor<513x34xf32>
  return
}

// -----

// kv_update C1
func.func @kv_update(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, %k: tensor<?x32xf32>, %past: index) {
  // expected-error@+1 {{expected rows of 64, found 32}}
  lap.kv_update %c, %k, %k, %past : !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, tensor<?x32xf32>
  return
}

// -----

// attention C1
func.func @attention(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, %q: tensor<?x96xf32>, %past: index) {
  // expected-error@+1 {{expected a query whose width is a multiple of 64, found 96}}
  %a = lap.attention %c, %q, %past : !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, tensor<?x96xf32>
  return
}

// -----

// attention C2
func.func @attention(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, %q: tensor<?x64xf32>, %past: index, %end: tensor<?xi32>) {
  // expected-error@+1 {{visible ends need a cache with a window}}
  %a = lap.attention %c, %q, %past visible(%end : tensor<?xi32>) : !lap.kv_cache<heads = 2, head_dim = 32, window = 0>, tensor<?x64xf32>
  return
}

// -----

// attention C3
func.func @attention(%c: !lap.kv_cache<heads = 2, head_dim = 32, window = 8>, %q: tensor<4x64xf32>, %past: index, %end: tensor<5xi32>) {
  // expected-error@+1 {{expected a visible end a token, found 'tensor<5xi32>' for 'tensor<4x64xf32>'}}
  %a = lap.attention %c, %q, %past visible(%end : tensor<5xi32>) : !lap.kv_cache<heads = 2, head_dim = 32, window = 8>, tensor<4x64xf32>
  return
}

// -----

// scale C1
func.func @scale(%x: tensor<?x32xf32>, %s: tensor<2xf32>) {
  // expected-error@+1 {{expected a scalar of one element, found 2}}
  %r = lap.scale %x, %s : tensor<?x32xf32>, tensor<2xf32>
  return
}

// -----

// softcap C1
func.func @softcap(%x: tensor<?x32xf32>) {
  // expected-error@+1 {{expected a positive cap}}
  %r = lap.softcap %x {cap = 0.0 : f32} : tensor<?x32xf32>
  return
}

// -----

// position_embedding C1
func.func @position_embedding(%xy: tensor<?x3xi32>, %t: tensor<8x2x32xf32>) {
  // expected-error@+1 {{expected positions T x 2, a table N x 2 x E and a result T x E}}
  %r = lap.position_embedding %xy, %t : tensor<?x3xi32>, tensor<8x2x32xf32> -> tensor<?x32xf32>
  return
}

// -----

// return C1
lap.kernel @k(%x: tensor<?x32xf32>) -> tensor<?x32xf32> {
  // expected-error@+1 {{expected operands of the types of the results of @k}}
  lap.return
}

// -----

// dispatch C1: the name.
func.func @dispatch(%x: tensor<?x32xf32>) {
  // expected-error@+1 {{@k names no lap.kernel}}
  lap.dispatch @k(%x) : (tensor<?x32xf32>) -> ()
  return
}

// -----

// dispatch C1: the types.
lap.kernel @k(%x: tensor<?x32xf32>) {
  lap.return
}
func.func @dispatch(%x: tensor<?x64xf32>) {
  // expected-error@+1 {{does not fit the signature of @k: '(tensor<?x32xf32>) -> ()'}}
  lap.dispatch @k(%x) : (tensor<?x64xf32>) -> ()
  return
}

// -----

// unpack C1: the bytes.
lap.kernel @k(%bytes: memref<100xi8>) {
  // expected-error@+1 {{expected 256 bytes for 'tensor<10x4xf32>', found 'memref<100xi8>'}}
  %w = lap.unpack %bytes {layout = #lap.layout<rows16>} : memref<100xi8> -> tensor<10x4xf32>
  lap.return
}

// -----

// unpack C1: the layout has a form for the type.
lap.kernel @k(%bytes: memref<100xi8>) {
  // expected-error@+1 {{a plain layout has no form for '!lap.quantized<4x32, @q8_0>'}}
  %w = lap.unpack %bytes {layout = #lap.layout<plain>} : memref<100xi8> -> !lap.quantized<4x32, @q8_0>
  lap.return
}

// -----

// unpack C2
lap.kernel @k(%bytes: memref<100xi8>) {
  // expected-error@+1 {{expected a matrix of 1 to 2^40 elements, found 'tensor<4294967296x4294967296xf32>'}}
  %w = lap.unpack %bytes {layout = #lap.layout<rows16>} : memref<100xi8> -> tensor<4294967296x4294967296xf32>
  lap.return
}

// -----

// concat C1
func.func @concat(%a: tensor<?x32xf32>, %b: tensor<?x16xf32>) {
  // expected-error@+1 {{expected a result of 32 + 16 columns and as many tokens}}
  %r = lap.concat %a, %b : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x64xf32>
  return
}

// -----

// concat C2
func.func @concat(%a: tensor<?x32xf32>, %b: tensor<?x16xf32>, %w: tensor<32xf32>) {
  // expected-error@+1 {{expected a norm of 16 elements, found 32}}
  %r = lap.concat %a, %b norm(%w : tensor<32xf32>) {eps = 1.0e-6 : f32} : tensor<?x32xf32>, tensor<?x16xf32> -> tensor<?x48xf32>
  return
}

// -----

// rope C3
func.func @rope(%x: tensor<?x32xf32>, %t: tensor<513x16xf32>, %past: index) {
  // expected-error@+1 {{expected ahead of 0 or 1, found 7}}
  %r = lap.rope %x, %t, %past {head_dim = 32 : i64, ahead = 7 : i64} : tensor<?x32xf32>, tensor<513x16xf32>
  return
}
