// Model level: one op a step of the checkpoint's mathematics.
#ifndef LAP_MODEL_OPS
#define LAP_MODEL_OPS

include "LapBase.td"

//===----------------------------------------------------------------------===//
// Symbols: what outlives a step
//===----------------------------------------------------------------------===//

def Lap_WeightOp : Lap_Op<"weight", [Symbol, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a tensor of the checkpoint";
  let description = [{
    Names where the tensor's bytes lie: `file` is relative to the checkpoint,
    `offset` counts bytes from the file's start. `stored` is the quantized type
    that the bundle keeps it in (absent: as it is), and `layout` how the target
    arranges it.

    - (C1) `type` is a static tensor of f32, f16 or bf16, of 1 to 2^40 elements.
    - (C2) `offset` is not negative.
    - (C3) the shape of `stored` is the shape of `type`; it is quantized, or a tensor of f32, f16 or bf16.
    - (C4) the scheme of `stored` names a `lap.scheme`.

    Example:
    ```mlir
    lap.weight @model.norm.weight : tensor<256xbf16> {file = "model.safetensors", offset = 4096 : i64}
    lap.weight @w : tensor<64x256xbf16> {file = "m.safetensors", offset = 0 : i64, stored = !lap.quantized<64x256, @q8_0>}
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<AnyRankedTensor>:$type, StrAttr:$file, I64Attr:$offset,
                       OptionalAttr<TypeAttr>:$stored, DefaultValuedAttr<Lap_LayoutAttr, "Layout::Plain">:$layout);
  let assemblyFormat = "$sym_name `:` $type attr-dict";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The type that `lap.get_weight` gives: `stored` if there is one, else `type`.
    ::mlir::Type getValueType();
  }];
}

def Lap_RopeTableOp : Lap_Op<"rope_table", [Symbol]> {
  let summary = "cosines and sines of rotary positions, computed by the compiler";
  let description = [{
    Pair `i` of a head turns by `position * theta^(-2i / head_dim)` for
    `i < rotated`; the other pairs pass through (RoFormer, arXiv:2104.09864;
    `proportional` RoPE rotates a part). To keep the table small and exact at
    position 262,143, a position is split as `512 * high + low`; the table has 512
    rows for `low`, then a row for each `high`; a row is `rotated` cosines and
    `rotated` sines (computed in double precision), and the angles' sum follows
    from the addition theorem.

    - (C1) `head_dim` is even and positive, `0 <= rotated <= head_dim / 2`.
    - (C2) `positions` is 1 to 2^31 - 1 and `theta` is positive.

    Example:
    ```mlir
    lap.rope_table @rope.sliding {head_dim = 256 : i64, rotated = 128 : i64, theta = 1.0e4 : f64, positions = 262144 : i64}
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$head_dim, I64Attr:$rotated, F64Attr:$theta, I64Attr:$positions);
  let assemblyFormat = "$sym_name attr-dict";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    static constexpr int64_t lowRows = 512;
    /// tensor<(512 + ceil(positions / 512)) x (2 * rotated) x f32>
    ::mlir::RankedTensorType getValueType();
  }];
}

def Lap_KvCacheOp : Lap_Op<"kv_cache", [Symbol]> {
  let summary = "the keys and values of one layer";
  let description = [{
    Example:
    ```mlir
    lap.kv_cache @layers.0 : !lap.kv_cache<heads = 8, head_dim = 256, window = 1024>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<Lap_KvCacheType>:$type);
  let assemblyFormat = "$sym_name `:` $type attr-dict";
}

//===----------------------------------------------------------------------===//
// Ops on tensors
//===----------------------------------------------------------------------===//

def Lap_GetWeightOp : Lap_Op<"get_weight", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the value of a `lap.weight` or `lap.rope_table`";
  let description = [{
    - (C1) `weight` names a `lap.weight` or `lap.rope_table`, and the result has its value type, or after bufferization
      the memref of that type in the weight's layout: the tensor's shape where the layout is plain, else its bytes.

    Example:
    ```mlir
    %w = lap.get_weight @model.norm.weight : tensor<256xbf16>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$weight);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$weight attr-dict `:` type($result)";
}

def Lap_GetCacheOp : Lap_Op<"get_cache", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the handle of a `lap.kv_cache`";
  let description = [{
    - (C1) `cache` names a `lap.kv_cache` of the result's type.

    Example:
    ```mlir
    %c = lap.get_cache @layers.0 : !lap.kv_cache<heads = 8, head_dim = 256, window = 1024>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$cache);
  let results = (outs Lap_KvCacheType:$result);
  let assemblyFormat = "$cache attr-dict `:` type($result)";
}

def Lap_DequantizeOp : Lap_Op<"dequantize", [Pure]> {
  let summary = "the values that a quantized matrix stands for";
  let description = [{
    - (C1) shapes agree, and the result is f32.

    Example:
    ```mlir
    %w = lap.dequantize %q : !lap.quantized<64x256, @q8_0> -> tensor<64x256xf32>
    ```
  }];
  let arguments = (ins Lap_QuantizedType:$input);
  let results = (outs 2DTensorOf<[F32]>:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Lap_EmbeddingOp : Lap_Op<"embedding", [Pure]> {
  let summary = "rows of a table, scaled";
  let description = [{
    `result[t] = table[ids[t]] * scale`, in f32.

    - (C1) the result is T x D for T ids and a table of V x D.

    Example:
    ```mlir
    %h = lap.embedding %ids, %table {scale = 16.0 : f32} : tensor<?xi32>, tensor<2048x256xbf16> -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins Lap_TokenIndices:$ids, Lap_Matrix:$table, F32Attr:$scale);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` type($ids) `,` type($table) `->` type($result)";
  let hasVerifier = 1;
}

def Lap_ScatterEmbeddingsOp : Lap_Op<"scatter_embeddings", [Pure, AllTypesMatch<["embeddings", "result"]>]> {
  let summary = "puts media embeddings in place of their soft tokens";
  let description = [{
    `result[t] = rows[t] < 0 ? embeddings[t] : media[rows[t]]`

    - (C1) `media` has the embeddings' width.
    - (C2) `rows` has an element a token.

    Example:
    ```mlir
    %h2 = lap.scatter_embeddings %h, %media, %rows : tensor<?x256xf32>, tensor<?x256xf32>, tensor<?xi32>
    ```
  }];
  let arguments = (ins Lap_Activation:$embeddings, Lap_Activation:$media, Lap_TokenIndices:$rows);
  let results = (outs Lap_Activation:$result);
  let hasFolder = 1;
  let assemblyFormat = [{
    $embeddings `,` $media `,` $rows attr-dict `:` type($embeddings) `,` type($media) `,` type($rows)
  }];
  let hasVerifier = 1;
}

def Lap_RmsNormOp : Lap_Op<"rms_norm", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "root mean square normalization";
  let description = [{
    `x * (mean(x^2) + eps)^-0.5 * weight` over each run of `group` elements of a
    row, in f32; without a weight it is 1 (arXiv:1910.07467; the factor is the plain weight, not 1 + weight).

    - (C1) `group` divides the row.
    - (C2) the weight has `group` elements.

    Example:
    ```mlir
    %n = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 256 : i64} : tensor<?x256xf32>, tensor<256xbf16>
    ```
  }];
  let arguments = (ins Lap_Activation:$input, Optional<Lap_Vector>:$weight, F32Attr:$eps, I64Attr:$group);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = "$input (`,` $weight^)? attr-dict `:` type($input) (`,` type($weight)^)?";
  let hasVerifier = 1;
}

def Lap_LayerNormOp : Lap_Op<"layer_norm", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "layer normalization";
  let description = [{
    `(x - mean(x)) * (variance(x) + eps)^-0.5 * weight + bias` over a row, in f32,
    with the biased variance (arXiv:1607.06450).

    - (C1) weight and bias have the row's width.

    Example:
    ```mlir
    %n = lap.layer_norm %x, %w, %b {eps = 1.0e-5 : f32} : tensor<?x256xf32>, tensor<256xbf16>, tensor<256xbf16>
    ```
  }];
  let arguments = (ins Lap_Activation:$input, Lap_Vector:$weight, Lap_Vector:$bias, F32Attr:$eps);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = "$input `,` $weight `,` $bias attr-dict `:` type($input) `,` type($weight) `,` type($bias)";
  let hasVerifier = 1;
}

def Lap_LinearOp : Lap_Op<"linear", [Pure]> {
  let summary = "a matrix applied to each token";
  let description = [{
    `result[t, m] = sum_k input[t, k] * weight[m, k] + bias[m]`, accumulated in f32.

    - (C1) the weight is M x K for an input of T x K and a result of T x M.
    - (C2) the bias has M elements.

    Example:
    ```mlir
    %y = lap.linear %x, %w : tensor<?x256xf32>, tensor<512x256xbf16> -> tensor<?x512xf32>
    ```
  }];
  let arguments = (ins Lap_Activation:$input, Lap_Matrix:$weight, Optional<Lap_Vector>:$bias);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = [{
    $input `,` $weight (`bias` $bias^)? attr-dict `:` type($input) `,` type($weight) (`,` type($bias)^)? `->` type($result)
  }];
  let hasVerifier = 1;
}

def Lap_RopeOp : Lap_Op<"rope", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "rotary position embedding";
  let description = [{
    In each head of `head_dim` elements, element `i` and `i + head_dim / 2` are a pair that turns by
    the table's angle for position `past + ahead + t`: `[x1 cos - x2 sin, x2 cos + x1 sin]`.

    With an empty table row (nothing rotates) the op folds to its input.

    - (C1) `head_dim` divides the row and is even.
    - (C2) the table's row is 2 * rotated <= head_dim.
    - (C3) `ahead` is 0 or 1.

    Example:
    ```mlir
    %r = lap.rope %x, %table, %past {head_dim = 32 : i64} : tensor<?x256xf32>, tensor<528x32xf32>
    ```
  }];
  let arguments = (ins Lap_Activation:$input, 2DTensorOf<[F32]>:$table, Index:$past, I64Attr:$head_dim,
                       DefaultValuedAttr<I64Attr, "0">:$ahead);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = "$input `,` $table `,` $past attr-dict `:` type($input) `,` type($table)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Lap_KvUpdateOp : Lap_Op<"kv_update", [MemoryEffects<[MemWrite<Lap_CacheResource>]>,
                                          AllTypesMatch<["keys", "values"]>]> {
  let summary = "appends the step's keys and values to a cache";
  let description = [{
    Row `t` becomes position `past + t` of the cache.

    - (C1) the rows' width is the cache's heads * head_dim.

    Example:
    ```mlir
    lap.kv_update %c, %k, %v, %past : !lap.kv_cache<heads = 4, head_dim = 32, window = 128>, tensor<?x128xf32>
    ```
  }];
  let arguments = (ins Lap_KvCacheType:$cache, Lap_Activation:$keys, Lap_Activation:$values, Index:$past);
  let assemblyFormat = "$cache `,` $keys `,` $values `,` $past attr-dict `:` type($cache) `,` type($keys)";
  let hasVerifier = 1;
}

def Lap_AttentionOp : Lap_Op<"attention", [MemoryEffects<[MemRead<Lap_CacheResource>]>, AllTypesMatch<["query", "result"]>]> {
  let summary = "grouped-query attention over a cache";
  let description = [{
    For each token and query head: `softmax(query . key) value` over the positions `k` it may see, softmax in f32, no scale.
    Query head `h` reads key head `h / (heads / kv heads)` (arXiv:2305.13245). Token `t` at position `q = past + t` sees
    `max(0, q - window + 1) <= k < end` (without a window from 0), where `end` is `visible_end[t]` if given, else `q + 1`. With
    `visible_end` the tokens of one image see each other in both directions.
    Computed in one streaming pass (arXiv:1805.02867): memory does not grow with tokens squared.

    - (C1) the query's width is a multiple of the cache's heads * head_dim.
    - (C2) `visible_end` only with a cache that has a window.
    - (C3) `visible_end` has an element a token.

    Example:
    ```mlir
    %a = lap.attention %c, %q, %past visible(%end : tensor<?xi32>)
        : !lap.kv_cache<heads = 4, head_dim = 32, window = 128>, tensor<?x256xf32>
    ```
  }];
  let arguments = (ins Lap_KvCacheType:$cache, Lap_Activation:$query, Index:$past, Optional<Lap_TokenIndices>:$visible_end);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = [{
    $cache `,` $query `,` $past (`visible` `(` $visible_end^ `:` type($visible_end) `)`)? attr-dict
    `:` type($cache) `,` type($query)
  }];
  let hasVerifier = 1;
}

def Lap_GeluOp : Lap_Op<"gelu", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "Gaussian error linear unit, tanh form";
  let description = [{
    `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))` (arXiv:1606.08415).

    Example:
    ```mlir
    %g = lap.gelu %x : tensor<?x512xf32>
    ```
  }];
  let arguments = (ins Lap_Activation:$input);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

class Lap_BinaryOp<string mnemonic, string symbol> : Lap_Op<mnemonic, [Pure, Commutative, AllTypesMatch<["lhs", "rhs", "result"]>]> {
  let summary = "element by element " # symbol;
  let description = "`result = lhs " # symbol # " rhs`\n\nExample:\n```mlir\n%r = lap." # mnemonic #
                    " %a, %b : tensor<?x512xf32>\n```\n";
  let arguments = (ins Lap_Activation:$lhs, Lap_Activation:$rhs);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs)";
}
def Lap_AddOp : Lap_BinaryOp<"add", "+">;
def Lap_MultiplyOp : Lap_BinaryOp<"multiply", "*">;

def Lap_ConcatOp : Lap_Op<"concat", [Pure]> {
  let summary = "two rows side by side";
  let description = [{
    `result[t] = [lhs[t], rhs[t]]`. With a norm, which kernels alone have, `rhs` is `rms_norm(rhs) * norm` (see `lap.rms_norm`)
    over the whole row.

    - (C1) the result has the tokens of both and the sum of their widths.
    - (C2) the norm has an element for each of the columns of `rhs`.

    Example:
    ```mlir
    %r = lap.concat %a, %b : tensor<?x256xf32>, tensor<?x256xf32> -> tensor<?x512xf32>
    ```
  }];
  let arguments = (ins Lap_Activation:$lhs, Lap_Activation:$rhs, Optional<Lap_Vector>:$norm,
                       DefaultValuedAttr<F32Attr, "0.0f">:$eps);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = [{
    $lhs `,` $rhs (`norm` `(` $norm^ `:` type($norm) `)`)? attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Lap_ScaleOp : Lap_Op<"scale", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "multiplies by a learned scalar";
  let description = [{
    - (C1) the scalar is a weight of one element.

    Example:
    ```mlir
    %r = lap.scale %x, %s : tensor<?x256xf32>, tensor<1xbf16>
    ```
  }];
  let arguments = (ins Lap_Activation:$input, Lap_Vector:$scalar);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = "$input `,` $scalar attr-dict `:` type($input) `,` type($scalar)";
  let hasVerifier = 1;
}

def Lap_SoftcapOp : Lap_Op<"softcap", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "bounds logits smoothly";
  let description = [{
    `cap * tanh(x / cap)`

    - (C1) `cap` is positive.

    Example:
    ```mlir
    %r = lap.softcap %x {cap = 30.0 : f32} : tensor<?x2048xf32>
    ```
  }];
  let arguments = (ins Lap_Activation:$input, F32Attr:$cap);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Lap_PositionEmbeddingOp : Lap_Op<"position_embedding", [Pure]> {
  let summary = "learned embedding of a patch's column and row";
  let description = [{
    `result[t] = table[positions[t, 0], 0] + table[positions[t, 1], 1]`, in f32.

    - (C1) positions are T x 2, the table is N x 2 x E, the result T x E.

    Example:
    ```mlir
    %p = lap.position_embedding %xy, %table : tensor<?x2xi32>, tensor<1120x2x256xbf16> -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins 2DTensorOf<[I32]>:$positions, 3DTensorOf<[Lap_WeightElement]>:$table);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = "$positions `,` $table attr-dict `:` type($positions) `,` type($table) `->` type($result)";
  let hasVerifier = 1;
}

#endif // LAP_MODEL_OPS
