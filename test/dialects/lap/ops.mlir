// Every op prints what it parsed, in its own form and in the generic one. The ops are the examples of the .td files.
// RUN: lapidary-opt %s | lapidary-opt | FileCheck %s
// RUN: lapidary-opt %s --mlir-print-op-generic | lapidary-opt | FileCheck %s

//===----------------------------------------------------------------------===//
// Symbols
//===----------------------------------------------------------------------===//

// CHECK: lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
// CHECK-NEXT: %[[VALUE:.*]] = arith.sitofp %code : i32 to f32
// CHECK-NEXT: %[[WEIGHT:.*]] = arith.mulf %[[VALUE]], %scale : f32
// CHECK-NEXT: lap.yield %[[WEIGHT]] : f32
lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
  %value = arith.sitofp %code : i32 to f32
  %weight = arith.mulf %value, %scale : f32
  lap.yield %weight : f32
}
// Every field type, in all three places; the bounds of a type are not printed.
// CHECK: lap.scheme @integers(%code : ui8, %a : ui1 per 4, %b : si2 per 8, %c : ui3 from 1 to 5 per 16, %d : si6 per 48, %e : si1 per row) encode(search) affine {
lap.scheme @integers(%code : ui8 from 0 to 255, %a : ui1 per 4, %b : si2 per 8, %c : ui3 from 1 to 5 per 16, %d : si6 per 48, %e : si1 per row) encode(search) affine {
  %value = arith.uitofp %code : i32 to f32
  lap.yield %value : f32
}
// CHECK: lap.scheme @floats(%a : f32 per 4, %b : f16 per 8, %c : bf16 per 16, %code : f4E2M1FN, %d : f8E4M3FN per 32, %e : f8E5M2 per 65536, %f : f8E8M0FNU per row) encode(nearest) {
lap.scheme @floats(%a : f32 per 4, %b : f16 per 8, %c : bf16 per 16, %code : f4E2M1FN, %d : f8E4M3FN per 32, %e : f8E5M2 per 65536, %f : f8E8M0FNU per row) encode(nearest) {
  lap.yield %code : f32
}
// CHECK: lap.scheme @tables(%code : ui2, %scale : f16 per 32) encode(absmax) {
lap.scheme @tables(%code : ui2, %scale : f16 per 32) encode(absmax) {
  // CHECK: lap.lookup %code, array<f32: -1.000000e+00, -5.000000e-01, 5.000000e-01, 1.000000e+00> -> f32
  %v = lap.lookup %code, array<f32: -1.0, -0.5, 0.5, 1.0> -> f32
  // CHECK: lap.lookup %code, array<i32: -3, 7> -> i32
  %i = lap.lookup %code, array<i32: -3, 7> -> i32
  %w = arith.mulf %v, %scale : f32
  lap.yield %w : f32
}
// `weighted` is what a scheme has that says nothing.
// CHECK: lap.scheme @weighted(%code : f32) {
lap.scheme @weighted(%code : f32) encode(weighted) {
  lap.yield %code : f32
}
// CHECK: lap.weight @model.norm.weight : tensor<256xbf16> {file = "model.safetensors", offset = 4096 : i64}
lap.weight @model.norm.weight : tensor<256xbf16> {file = "model.safetensors", offset = 4096 : i64}
// CHECK: lap.weight @w : tensor<64x256xbf16> {file = "m.safetensors", offset = 0 : i64, stored = !lap.quantized<64x256, @q8_0>}
lap.weight @w : tensor<64x256xbf16> {file = "m.safetensors", offset = 0 : i64, stored = !lap.quantized<64x256, @q8_0>}
// CHECK: lap.weight @rows : {{.*}} layout = #lap.layout<rows16>
lap.weight @rows : tensor<64x256xbf16> {file = "m.safetensors", offset = 0 : i64, layout = #lap.layout<rows16>}
// CHECK: lap.rope_table @rope.sliding {head_dim = 256 : i64, positions = 262144 : i64, rotated = 128 : i64, theta = 1.000000e+04 : f64}
lap.rope_table @rope.sliding {head_dim = 256 : i64, rotated = 128 : i64, theta = 1.0e4 : f64, positions = 262144 : i64}
// CHECK: lap.kv_cache @layers.0 : !lap.kv_cache<heads = 8, head_dim = 256, window = 1024>
lap.kv_cache @layers.0 : !lap.kv_cache<heads = 8, head_dim = 256, window = 1024>

// CHECK-LABEL: func.func @reads
func.func @reads() {
  // CHECK: lap.get_weight @model.norm.weight : tensor<256xbf16>
  %w = lap.get_weight @model.norm.weight : tensor<256xbf16>
  // A table has 512 rows and one for every 512 positions, of a cosine and a sine for each pair.
  // CHECK: lap.get_weight @rope.sliding : tensor<1024x256xf32>
  %table = lap.get_weight @rope.sliding : tensor<1024x256xf32>
  // CHECK: lap.get_weight @w : !lap.quantized<64x256, @q8_0>
  %q = lap.get_weight @w : !lap.quantized<64x256, @q8_0>
  // After bufferization a plain weight is a memref of its shape, any other the bytes of its layout.
  // CHECK: lap.get_weight @model.norm.weight : memref<256xbf16>
  %m = lap.get_weight @model.norm.weight : memref<256xbf16>
  // CHECK: lap.get_weight @rows : memref<32768xi8>
  %b = lap.get_weight @rows : memref<32768xi8>
  // CHECK: lap.get_cache @layers.0 : <heads = 8, head_dim = 256, window = 1024>
  %c = lap.get_cache @layers.0 : !lap.kv_cache<heads = 8, head_dim = 256, window = 1024>
  return
}

//===----------------------------------------------------------------------===//
// Model level
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @embeddings
func.func @embeddings(%ids: tensor<?xi32>, %table: tensor<2048x256xbf16>, %media: tensor<?x256xf32>, %rows: tensor<?xi32>,
                      %q: !lap.quantized<64x256, @q8_0>, %xy: tensor<?x2xi32>, %positions: tensor<1120x2x256xbf16>) {
  // CHECK: lap.dequantize %{{.*}} : <64x256, @q8_0> -> tensor<64x256xf32>
  %w = lap.dequantize %q : !lap.quantized<64x256, @q8_0> -> tensor<64x256xf32>
  // CHECK: lap.embedding %{{.*}}, %{{.*}} {scale = 1.600000e+01 : f32} : tensor<?xi32>, tensor<2048x256xbf16> -> tensor<?x256xf32>
  %h = lap.embedding %ids, %table {scale = 16.0 : f32} : tensor<?xi32>, tensor<2048x256xbf16> -> tensor<?x256xf32>
  // CHECK: lap.scatter_embeddings %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x256xf32>, tensor<?x256xf32>, tensor<?xi32>
  %h2 = lap.scatter_embeddings %h, %media, %rows : tensor<?x256xf32>, tensor<?x256xf32>, tensor<?xi32>
  // CHECK: lap.position_embedding %{{.*}}, %{{.*}} : tensor<?x2xi32>, tensor<1120x2x256xbf16> -> tensor<?x256xf32>
  %p = lap.position_embedding %xy, %positions : tensor<?x2xi32>, tensor<1120x2x256xbf16> -> tensor<?x256xf32>
  return
}

// CHECK-LABEL: func.func @norms_and_linear
func.func @norms_and_linear(%x: tensor<?x256xf32>, %w: tensor<256xbf16>, %b: tensor<256xbf16>, %m: tensor<512x256xbf16>,
                            %mb: tensor<512xbf16>, %q: !lap.quantized<512x256, @q8_0>) {
  // CHECK: lap.rms_norm %{{.*}}, %{{.*}} {eps = {{.*}} : f32, group = 256 : i64} : tensor<?x256xf32>, tensor<256xbf16>
  %n = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 256 : i64} : tensor<?x256xf32>, tensor<256xbf16>
  // CHECK: lap.rms_norm %{{.*}} {eps = {{.*}} : f32, group = 32 : i64} : tensor<?x256xf32>
  %n2 = lap.rms_norm %x {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x256xf32>
  // CHECK: lap.layer_norm %{{.*}}, %{{.*}}, %{{.*}} {eps = {{.*}} : f32} : tensor<?x256xf32>, tensor<256xbf16>, tensor<256xbf16>
  %l = lap.layer_norm %x, %w, %b {eps = 1.0e-5 : f32} : tensor<?x256xf32>, tensor<256xbf16>, tensor<256xbf16>
  // CHECK: lap.linear %{{.*}}, %{{.*}} : tensor<?x256xf32>, tensor<512x256xbf16> -> tensor<?x512xf32>
  %y = lap.linear %x, %m : tensor<?x256xf32>, tensor<512x256xbf16> -> tensor<?x512xf32>
  // CHECK: lap.linear %{{.*}}, %{{.*}} bias %{{.*}} : tensor<?x256xf32>, tensor<512x256xbf16>, tensor<512xbf16> -> tensor<?x512xf32>
  %y2 = lap.linear %x, %m bias %mb : tensor<?x256xf32>, tensor<512x256xbf16>, tensor<512xbf16> -> tensor<?x512xf32>
  // CHECK: lap.linear %{{.*}}, %{{.*}} : tensor<?x256xf32>, !lap.quantized<512x256, @q8_0> -> tensor<?x512xf32>
  %y3 = lap.linear %x, %q : tensor<?x256xf32>, !lap.quantized<512x256, @q8_0> -> tensor<?x512xf32>
  return
}

// CHECK-LABEL: func.func @attention
func.func @attention(%c: !lap.kv_cache<heads = 4, head_dim = 32, window = 128>, %x: tensor<?x256xf32>, %k: tensor<?x128xf32>,
                     %v: tensor<?x128xf32>, %table: tensor<528x32xf32>, %past: index, %end: tensor<?xi32>) {
  // CHECK: lap.rope %{{.*}}, %{{.*}}, %{{.*}} {head_dim = 32 : i64} : tensor<?x256xf32>, tensor<528x32xf32>
  %q = lap.rope %x, %table, %past {head_dim = 32 : i64} : tensor<?x256xf32>, tensor<528x32xf32>
  // CHECK: lap.kv_update %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : <heads = 4, head_dim = 32, window = 128>, tensor<?x128xf32>
  lap.kv_update %c, %k, %v, %past : !lap.kv_cache<heads = 4, head_dim = 32, window = 128>, tensor<?x128xf32>
  // CHECK: lap.attention %{{.*}}, %{{.*}}, %{{.*}} visible(%{{.*}} : tensor<?xi32>) : <heads = 4, head_dim = 32, window = 128>, tensor<?x256xf32>
  %a = lap.attention %c, %q, %past visible(%end : tensor<?xi32>)
      : !lap.kv_cache<heads = 4, head_dim = 32, window = 128>, tensor<?x256xf32>
  // CHECK: lap.attention %{{.*}}, %{{.*}}, %{{.*}} : <heads = 4, head_dim = 32, window = 128>, tensor<?x256xf32>
  %a2 = lap.attention %c, %q, %past : !lap.kv_cache<heads = 4, head_dim = 32, window = 128>, tensor<?x256xf32>
  return
}

// CHECK-LABEL: func.func @elements
func.func @elements(%x: tensor<?x512xf32>, %a: tensor<?x512xf32>, %b: tensor<?x512xf32>, %h: tensor<?x256xf32>,
                    %s: tensor<1xbf16>, %l: tensor<?x2048xf32>) {
  // CHECK: lap.gelu %{{.*}} : tensor<?x512xf32>
  %g = lap.gelu %x : tensor<?x512xf32>
  // CHECK: lap.add %{{.*}}, %{{.*}} : tensor<?x512xf32>
  %r0 = lap.add %a, %b : tensor<?x512xf32>
  // CHECK: lap.multiply %{{.*}}, %{{.*}} : tensor<?x512xf32>
  %r1 = lap.multiply %a, %b : tensor<?x512xf32>
  // CHECK: lap.scale %{{.*}}, %{{.*}} : tensor<?x256xf32>, tensor<1xbf16>
  %r2 = lap.scale %h, %s : tensor<?x256xf32>, tensor<1xbf16>
  // CHECK: lap.softcap %{{.*}} {cap = 3.000000e+01 : f32} : tensor<?x2048xf32>
  %r3 = lap.softcap %l {cap = 30.0 : f32} : tensor<?x2048xf32>
  return
}

//===----------------------------------------------------------------------===//
// Kernel level
//===----------------------------------------------------------------------===//

// CHECK-LABEL: func.func @embed
func.func @embed(%ids: tensor<?xi32>, %table: tensor<2048x256xbf16>, %media: tensor<?x256xf32>, %rows: tensor<?xi32>) {
  // CHECK: lap.embed %{{.*}}, %{{.*}} media(%{{.*}}, %{{.*}} : tensor<?x256xf32>, tensor<?xi32>) {scale = 1.600000e+01 : f32} : tensor<?xi32>, tensor<2048x256xbf16> -> tensor<?x256xf32>
  %h = lap.embed %ids, %table media(%media, %rows : tensor<?x256xf32>, tensor<?xi32>) {scale = 16.0 : f32}
      : tensor<?xi32>, tensor<2048x256xbf16> -> tensor<?x256xf32>
  // CHECK: lap.embed %{{.*}}, %{{.*}} {scale = 1.600000e+01 : f32} : tensor<?xi32>, tensor<2048x256xbf16> -> tensor<?x256xf32>
  %h2 = lap.embed %ids, %table {scale = 16.0 : f32} : tensor<?xi32>, tensor<2048x256xbf16> -> tensor<?x256xf32>
  return
}

// CHECK-LABEL: func.func @fused_linear
func.func @fused_linear(%x: tensor<?x256xf32>, %n: tensor<256xbf16>, %nb: tensor<256xbf16>, %wq: tensor<256x256xbf16>,
                        %wk: tensor<128x256xbf16>, %b: tensor<256xbf16>) {
  // CHECK: lap.fused_linear %{{.*}} norm(%{{.*}} : tensor<256xbf16>) weights(%{{.*}}, %{{.*}} : tensor<256x256xbf16>, tensor<128x256xbf16>) {eps = {{.*}} : f32, norm = #lap.norm<rms>} : tensor<?x256xf32> -> tensor<?x256xf32>, tensor<?x128xf32>
  %q, %k = lap.fused_linear %x norm(%n : tensor<256xbf16>) weights(%wq, %wk : tensor<256x256xbf16>, tensor<128x256xbf16>)
      {norm = #lap.norm<rms>, eps = 1.0e-6 : f32} : tensor<?x256xf32> -> tensor<?x256xf32>, tensor<?x128xf32>
  // CHECK: lap.fused_linear %{{.*}} norm(%{{.*}} : tensor<256xbf16>) norm_bias(%{{.*}} : tensor<256xbf16>) weights(%{{.*}} : tensor<256x256xbf16>) bias(%{{.*}} : tensor<256xbf16>) {eps = {{.*}} : f32, norm = #lap.norm<layer>}
  %l = lap.fused_linear %x norm(%n : tensor<256xbf16>) norm_bias(%nb : tensor<256xbf16>) weights(%wq : tensor<256x256xbf16>)
      bias(%b : tensor<256xbf16>) {norm = #lap.norm<layer>, eps = 1.0e-5 : f32} : tensor<?x256xf32> -> tensor<?x256xf32>
  // CHECK: lap.fused_linear %{{.*}} weights({{.*}}) {epilogue = #lap.epilogue<gated_gelu>} : tensor<?x256xf32> -> tensor<?x128xf32>
  %m = lap.fused_linear %x weights(%wk, %wk : tensor<128x256xbf16>, tensor<128x256xbf16>) {epilogue = #lap.epilogue<gated_gelu>}
      : tensor<?x256xf32> -> tensor<?x128xf32>
  // CHECK: lap.fused_linear %{{.*}} weights({{.*}}) {cap = 3.000000e+01 : f32, epilogue = #lap.epilogue<softcap>}
  %s = lap.fused_linear %x weights(%wk : tensor<128x256xbf16>) {epilogue = #lap.epilogue<softcap>, cap = 30.0 : f32}
      : tensor<?x256xf32> -> tensor<?x128xf32>
  return
}

// Attention in parts, over a cache whose keys follow from its values.
// CHECK-LABEL: func.func @parts
// CHECK-SAME: !lap.kv_cache<heads = 1, head_dim = 64, window = 0, format = q8_0, rotated = 8>
func.func @parts(%c: !lap.kv_cache<heads = 1, head_dim = 64, window = 0, format = q8_0, rotated = 8>, %q: tensor<?x256xf32>, %past: index) -> tensor<?x256xf32> {
  // CHECK: lap.partial_attention %{{.*}}, %{{.*}}, %{{.*}} {splits = 16 : i64} : <heads = 1, head_dim = 64, window = 0, format = q8_0, rotated = 8>, tensor<?x256xf32> -> tensor<?x4224xf32>
  %p = lap.partial_attention %c, %q, %past {splits = 16 : i64}
      : !lap.kv_cache<heads = 1, head_dim = 64, window = 0, format = q8_0, rotated = 8>, tensor<?x256xf32> -> tensor<?x4224xf32>
  // CHECK: lap.merge_attention %{{.*}} {heads = 4 : i64, splits = 16 : i64} : tensor<?x4224xf32> -> tensor<?x256xf32>
  %a = lap.merge_attention %p {heads = 4 : i64, splits = 16 : i64} : tensor<?x4224xf32> -> tensor<?x256xf32>
  return %a : tensor<?x256xf32>
}

#codes = #lap.packed<columns = 256, activations = int8, values = false, halves = false, codes = true, sums = [32],
                     code_sums = [32, 8]>
#values = #lap.packed<columns = 256, activations = f32, values = true, halves = false, codes = false, sums = [],
                      code_sums = []>
// CHECK-LABEL: func.func @pack_input
func.func @pack_input(%x: tensor<?x256xf32>, %n: tensor<256xbf16>, %nb: tensor<256xbf16>, %w: tensor<128x256xbf16>) {
  // CHECK: lap.pack_input %{{.*}} norm(%{{.*}} : tensor<256xbf16>) {eps = {{.*}} : f32, norm = #lap.norm<rms>} : tensor<?x256xf32> -> tensor<?x112xi32, #{{.*}}>
  %p = lap.pack_input %x norm(%n : tensor<256xbf16>) {norm = #lap.norm<rms>, eps = 1.0e-6 : f32}
      : tensor<?x256xf32> -> tensor<?x112xi32, #codes>
  // CHECK: lap.pack_input %{{.*}} norm(%{{.*}} : tensor<256xbf16>) norm_bias(%{{.*}} : tensor<256xbf16>) {eps = {{.*}} : f32, norm = #lap.norm<layer>}
  %q = lap.pack_input %x norm(%n : tensor<256xbf16>) norm_bias(%nb : tensor<256xbf16>) {norm = #lap.norm<layer>, eps = 1.0e-5 : f32}
      : tensor<?x256xf32> -> tensor<?x272xi32, #values>
  // CHECK: lap.fused_linear %{{.*}} weights(%{{.*}} : tensor<128x256xbf16>) : tensor<?x272xi32, #{{.*}}> -> tensor<?x128xf32>
  %y = lap.fused_linear %q weights(%w : tensor<128x256xbf16>) : tensor<?x272xi32, #values> -> tensor<?x128xf32>
  return
}

// CHECK-LABEL: func.func @layer
func.func @layer(%c: !lap.kv_cache<heads = 4, head_dim = 32, window = 128>, %q: tensor<?x256xf32>, %k: tensor<?x128xf32>,
                 %v: tensor<?x128xf32>, %qn: tensor<32xbf16>, %kn: tensor<32xbf16>, %table: tensor<528x32xf32>, %past: index,
                 %h: tensor<?x256xf32>, %x: tensor<?x256xf32>, %w: tensor<256xbf16>, %s: tensor<1xbf16>) {
  // CHECK: lap.rope_kv_update %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {eps = {{.*}} : f32} : <heads = 4, head_dim = 32, window = 128>, tensor<?x256xf32>, tensor<?x128xf32>, tensor<32xbf16>, tensor<32xbf16>, tensor<528x32xf32>
  %r = lap.rope_kv_update %c, %q, %k, %v, %qn, %kn, %table, %past {eps = 1.0e-6 : f32}
      : !lap.kv_cache<heads = 4, head_dim = 32, window = 128>, tensor<?x256xf32>, tensor<?x128xf32>, tensor<32xbf16>,
        tensor<32xbf16>, tensor<528x32xf32>
  // CHECK: lap.residual_norm %{{.*}}, %{{.*}}, %{{.*}} scale(%{{.*}} : tensor<1xbf16>) {eps = {{.*}} : f32} : tensor<?x256xf32>, tensor<256xbf16>
  %h2 = lap.residual_norm %h, %x, %w scale(%s : tensor<1xbf16>) {eps = 1.0e-6 : f32} : tensor<?x256xf32>, tensor<256xbf16>
  return
}

// CHECK-LABEL: func.func @patch
func.func @patch(%x: tensor<?x256xf32>, %w2: tensor<256xbf16>, %b2: tensor<256xbf16>, %xy: tensor<?x2xi32>,
                 %table: tensor<1120x2x256xbf16>, %w3: tensor<256xbf16>, %b3: tensor<256xbf16>) {
  // CHECK: lap.patch_embedding %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {eps = {{.*}} : f32} : tensor<?x256xf32>, tensor<256xbf16>, tensor<256xbf16>, tensor<?x2xi32>, tensor<1120x2x256xbf16>, tensor<256xbf16>, tensor<256xbf16>
  %p = lap.patch_embedding %x, %w2, %b2, %xy, %table, %w3, %b3 {eps = 1.0e-5 : f32}
      : tensor<?x256xf32>, tensor<256xbf16>, tensor<256xbf16>, tensor<?x2xi32>, tensor<1120x2x256xbf16>, tensor<256xbf16>, tensor<256xbf16>
  return
}

// CHECK-LABEL: func.func @candidates
func.func @candidates(%logits: tensor<?x262144xf32>) {
  // CHECK: %[[V:.*]], %[[I:.*]] = lap.top_k %{{.*}} {count = 128 : i64} : tensor<?x262144xf32> -> tensor<?x16384xf32>, tensor<?x16384xi32>
  %v, %i = lap.top_k %logits {count = 128 : i64} : tensor<?x262144xf32> -> tensor<?x16384xf32>, tensor<?x16384xi32>
  // CHECK: lap.top_k %[[V]] ids(%[[I]] : tensor<?x16384xi32>) {count = 128 : i64} : tensor<?x16384xf32> -> tensor<?x1024xf32>, tensor<?x1024xi32>
  %v2, %i2 = lap.top_k %v ids(%i : tensor<?x16384xi32>) {count = 128 : i64}
      : tensor<?x16384xf32> -> tensor<?x1024xf32>, tensor<?x1024xi32>
  return
}

//===----------------------------------------------------------------------===//
// Program level
//===----------------------------------------------------------------------===//

// CHECK-LABEL: lap.kernel @gelu(%{{.*}}: tensor<?x512xf32>) -> tensor<?x512xf32> {
lap.kernel @gelu(%x: tensor<?x512xf32>) -> tensor<?x512xf32> {
  %r = lap.gelu %x : tensor<?x512xf32>
  // CHECK: lap.return %{{.*}} : tensor<?x512xf32>
  lap.return %r : tensor<?x512xf32>
}

// CHECK-LABEL: lap.kernel @unpack(%{{.*}}: memref<131072xi8> {lap.layout = #lap.layout<rows16>}) {
lap.kernel @unpack(%bytes: memref<131072xi8> {lap.layout = #lap.layout<rows16>}) {
  // CHECK: lap.unpack %{{.*}} {layout = #lap.layout<rows16>} : memref<131072xi8> -> tensor<256x256xbf16>
  %w = lap.unpack %bytes {layout = #lap.layout<rows16>} : memref<131072xi8> -> tensor<256x256xbf16>
  // CHECK: lap.return{{$}}
  lap.return
}

// CHECK-LABEL: func.func @program
func.func @program(%x: tensor<?x512xf32>) {
  // CHECK: lap.dispatch @gelu(%{{.*}}) : (tensor<?x512xf32>) -> tensor<?x512xf32>
  %r = lap.dispatch @gelu(%x) : (tensor<?x512xf32>) -> tensor<?x512xf32>
  // CHECK: lap.arena : memref<4096xi8>
  %a = lap.arena : memref<4096xi8>
  return
}
