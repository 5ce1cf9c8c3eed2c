// Kernel level: what fusion makes; each op becomes one compiled kernel.
#ifndef LAP_KERNEL_OPS
#define LAP_KERNEL_OPS

include "LapBase.td"

def Lap_EmbedOp : Lap_Op<"embed", [Pure, AttrSizedOperandSegments]> {
  let summary = "token embedding with media scattered into place";
  let description = [{
    `result[t] = rows[t] < 0 ? table[ids[t]] * scale : media[rows[t]]`; without media every row is a token's.

    - (C1) the result is T x D for a table of V x D.
    - (C2) `media` and `rows` come together, media is R x D, and `rows` has an element a token.

    Example:
    ```mlir
    %h = lap.embed %ids, %table media(%media, %rows : tensor<?x256xf32>, tensor<?xi32>) {scale = 16.0 : f32}
        : tensor<?xi32>, tensor<2048x256xbf16> -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins Lap_TokenIndices:$ids, Lap_Matrix:$table, Optional<Lap_Activation>:$media,
                       Optional<Lap_TokenIndices>:$rows, F32Attr:$scale);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = [{
    $ids `,` $table (`media` `(` $media^ `,` $rows `:` type($media) `,` type($rows) `)`)? attr-dict
    `:` type($ids) `,` type($table) `->` type($result)
  }];
  let hasVerifier = 1;
  let hasCanonicalizeMethod = 1;
}

def Lap_PackInputOp : Lap_Op<"pack_input", [Pure, AttrSizedOperandSegments]> {
  let summary = "normalizes and rounds the input of linear ops, once for all of them";
  let description = [{
    `norm(input)` as `lap.fused_linear` takes it, rounded as the result's encoding says: a row of words a token.

    - (C1) the result is T x W for an input of T x K; its encoding is of K columns, which take W words.
    - (C2) norm `rms` has at most a weight, `layer` a weight and a bias, `none` neither; they have K elements.

    Example:
    ```mlir
    %p = lap.pack_input %x norm(%n : tensor<256xbf16>) {norm = #lap.norm<rms>, eps = 1.0e-6 : f32}
        : tensor<?x256xf32> -> tensor<?x80xi32, #lap.packed<columns = 256, activations = int8, values = false, halves = false,
                                                            codes = true, sums = [], code_sums = []>>
    ```
  }];
  let arguments = (ins Lap_Activation:$input, Optional<Lap_Vector>:$norm_weight, Optional<Lap_Vector>:$norm_bias,
                       DefaultValuedAttr<Lap_NormAttr, "Norm::None">:$norm, DefaultValuedAttr<F32Attr, "0.0f">:$eps);
  let results = (outs Lap_PackedInput:$result);
  let assemblyFormat = [{
    $input (`norm` `(` $norm_weight^ `:` type($norm_weight) `)`)? (`norm_bias` `(` $norm_bias^ `:` type($norm_bias) `)`)?
    attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    PackedAttr getPacking() { return cast<PackedAttr>(getResult().getType().getEncoding()); }
  }];
}

def Lap_FusedLinearOp : Lap_Op<"fused_linear", [Pure, AttrSizedOperandSegments]> {
  let summary = "linear ops on one input, with the norm before and the activation after";
  let description = [{
    With `x = norm(input)`: for each weight `w` a result `x w^T + bias`. `gated_gelu` takes two weights (gate, up) and gives
    one result `gelu(x gate^T) * (x up^T)`; `softcap` gives `cap * tanh(x w^T / cap)`. Accumulated in f32.

    - (C1) every weight is M x K for an input of T x K, and its result is T x M.
    - (C2) norm `rms` has at most a weight, `layer` a weight and a bias, `none` neither; they have K elements.
    - (C3) as many results as weights; with `gated_gelu` two weights of the same type and one result.
    - (C4) a bias only with one weight, of M elements, and no `gated_gelu`.
    - (C5) `cap` is positive with `softcap` and 0 otherwise.
    - (C6) a packed input is of K columns, packed with the same `activations`, and its norm is part of it: the norm is `none`.

    `activations` says what the normalized input is rounded to before it is multiplied: `int8` to 8-bit integers with an f32 scale
    a token and 32 columns, `int8_token` with a scale a token (scale = largest magnitude / 127, ties to even), `bf16` to that.

    Example:
    ```mlir
    %q, %k = lap.fused_linear %x norm(%n : tensor<256xbf16>) weights(%wq, %wk : tensor<256x256xbf16>, tensor<128x256xbf16>)
        {norm = #lap.norm<rms>, eps = 1.0e-6 : f32} : tensor<?x256xf32> -> tensor<?x256xf32>, tensor<?x128xf32>
    ```
  }];
  let arguments = (ins AnyTypeOf<[Lap_Activation, Lap_PackedInput]>:$input, Optional<Lap_Vector>:$norm_weight,
                       Optional<Lap_Vector>:$norm_bias, Variadic<Lap_Matrix>:$weights, Optional<Lap_Vector>:$bias,
                       DefaultValuedAttr<Lap_NormAttr, "Norm::None">:$norm, DefaultValuedAttr<F32Attr, "0.0f">:$eps,
                       DefaultValuedAttr<Lap_EpilogueAttr, "Epilogue::None">:$epilogue, DefaultValuedAttr<F32Attr, "0.0f">:$cap,
                       DefaultValuedAttr<Lap_ActivationsAttr, "Activations::F32">:$activations);
  let results = (outs Variadic<Lap_Activation>:$results);
  let extraClassDeclaration = [{
    /// What the input holds; null for an input that is not packed.
    PackedAttr getPacking() {
      return dyn_cast_or_null<PackedAttr>(cast<RankedTensorType>(getInput().getType()).getEncoding());
    }
    /// Columns of the weights.
    int64_t getColumns();
  }];
  let assemblyFormat = [{
    $input (`norm` `(` $norm_weight^ `:` type($norm_weight) `)`)? (`norm_bias` `(` $norm_bias^ `:` type($norm_bias) `)`)?
    `weights` `(` $weights `:` type($weights) `)` (`bias` `(` $bias^ `:` type($bias) `)`)? attr-dict
    `:` type($input) `->` type($results)
  }];
  let hasVerifier = 1;
  let hasCanonicalizeMethod = 1;
}

def Lap_RopeKvUpdateOp : Lap_Op<"rope_kv_update", [MemoryEffects<[MemWrite<Lap_CacheResource>]>,
                                                   AllTypesMatch<["query", "result"]>, AllTypesMatch<["keys", "values"]>]> {
  let summary = "normalizes and turns queries and keys, normalizes values, appends both to the cache";
  let description = [{
    Per head: `result = rope(rms(query) * query_norm)`; the cache gets `rope(rms(keys) * key_norm)` and `rms(values)`.
    `keys` and `values` are the same value in layers whose values are their keys. Where the cache stores only the elements
    of keys that turn (`rotated`), the others of the result are multiplied by `key_norm`, because the cache's values, which
    stand for them, are not.

    - (C1) the keys' width is the cache's heads * head_dim, which divides the query's width.
    - (C2) head_dim is even, both norms have head_dim elements; the table's row is at most head_dim wide and even.
    - (C3) if the cache's `rotated` is not 0, it is half of the table's row, and `keys` and `values` are the same value.

    Example:
    ```mlir
    %r = lap.rope_kv_update %c, %q, %k, %v, %qn, %kn, %table, %past {eps = 1.0e-6 : f32}
        : !lap.kv_cache<heads = 4, head_dim = 32, window = 128>, tensor<?x256xf32>, tensor<?x128xf32>, tensor<32xbf16>,
          tensor<32xbf16>, tensor<528x32xf32>
    ```
  }];
  let arguments = (ins Lap_KvCacheType:$cache, Lap_Activation:$query, Lap_Activation:$keys, Lap_Activation:$values,
                       Lap_Vector:$query_norm, Lap_Vector:$key_norm, 2DTensorOf<[F32]>:$table, Index:$past, F32Attr:$eps);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = [{
    $cache `,` $query `,` $keys `,` $values `,` $query_norm `,` $key_norm `,` $table `,` $past attr-dict
    `:` type($cache) `,` type($query) `,` type($keys) `,` type($query_norm) `,` type($key_norm) `,` type($table)
  }];
  let hasVerifier = 1;
}

def Lap_RopeQueryOp : Lap_Op<"rope_query", [Pure, AllTypesMatch<["query", "result"]>]> {
  let summary = "normalizes and turns queries of a cache that others fill";
  let description = [{
    What `lap.rope_kv_update` does to the query, at position `past + ahead + t`; the cache is not touched, only its type
    matters. Where the cache stores only the elements of keys that turn (`rotated`), the others of the result are multiplied
    by `key_norm`, that of the update which fills the cache.

    - (C1) the cache's heads * head_dim divides the query's width.
    - (C2) head_dim is even, norms have head_dim elements; the table's row is at most head_dim wide and even.
    - (C3) there is a `key_norm` exactly if the cache's `rotated` is not 0, which is then half of the table's row.
    - (C4) `ahead` is 0 or 1.

    Example:
    ```mlir
    %r = lap.rope_query %c, %q, %qn, %table, %past {eps = 1.0e-6 : f32, ahead = 1 : i64}
        : !lap.kv_cache<heads = 4, head_dim = 32, window = 128>, tensor<?x256xf32>, tensor<32xbf16>, tensor<528x32xf32>
    ```
  }];
  let arguments = (ins Lap_KvCacheType:$cache, Lap_Activation:$query, Lap_Vector:$query_norm, 2DTensorOf<[F32]>:$table,
                       Index:$past, Optional<Lap_Vector>:$key_norm, F32Attr:$eps, DefaultValuedAttr<I64Attr, "0">:$ahead);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = [{
    $cache `,` $query `,` $query_norm `,` $table `,` $past (`key_norm` `(` $key_norm^ `:` type($key_norm) `)`)? attr-dict
    `:` type($cache) `,` type($query) `,` type($query_norm) `,` type($table)
  }];
  let hasVerifier = 1;
}

def Lap_PartialAttentionOp : Lap_Op<"partial_attention", [MemoryEffects<[MemRead<Lap_CacheResource>]>]> {
  let summary = "attention over parts of the positions";
  let description = [{
    What `lap.attention` computes, for each of `splits` parts of the positions on its own, so that one token's work is many
    independent pieces. A row of the result holds, for H query heads: the sums of values weighted by `exp(score - maximum)`
    (split, head, element), the maxima (head, split), -inf (of a GPU: -3e38) where the part is empty, and the sums of weights
    (head, split).
    `lap.merge_attention` brings them together.

    - (C1) the query's width is a multiple of the cache's heads * head_dim.
    - (C2) `splits` is 1 to 16, and the result is T x splits * H * (head_dim + 2) for a query of T tokens.

    Example:
    ```mlir
    %p = lap.partial_attention %c, %q, %past {splits = 16 : i64}
        : !lap.kv_cache<heads = 1, head_dim = 64, window = 0>, tensor<?x256xf32> -> tensor<?x4224xf32>
    ```
  }];
  let arguments = (ins Lap_KvCacheType:$cache, Lap_Activation:$query, Index:$past, I64Attr:$splits);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = [{
    $cache `,` $query `,` $past attr-dict `:` type($cache) `,` type($query) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Lap_MergeAttentionOp : Lap_Op<"merge_attention", [Pure]> {
  let summary = "brings the parts of an attention together";
  let description = [{
    The result of `lap.attention` from what `lap.partial_attention` gives: the parts' sums, each scaled by
    `exp(its maximum - the largest)`, divided by the likewise scaled sum of weights. The sums of an empty part do not count.

    - (C1) `splits` is 1 to 16, `heads` is positive and divides the result's width D.
    - (C2) the input is T x splits * (D + 2 * heads) for a result of T x D.

    Example:
    ```mlir
    %a = lap.merge_attention %p {heads = 4 : i64, splits = 16 : i64} : tensor<?x4224xf32> -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins Lap_Activation:$input, I64Attr:$heads, I64Attr:$splits);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Lap_ResidualNormOp : Lap_Op<"residual_norm", [Pure, AllTypesMatch<["residual", "input", "result"]>]> {
  let summary = "adds a normalized branch to the residual stream";
  let description = [{
    `result = (residual + rms_norm(input) * weight) * scalar`; without a scalar it is 1.

    - (C1) the weight has the row's width.
    - (C2) the scalar has one element.

    Example:
    ```mlir
    %h2 = lap.residual_norm %h, %x, %w scale(%s : tensor<1xbf16>) {eps = 1.0e-6 : f32} : tensor<?x256xf32>, tensor<256xbf16>
    ```
  }];
  let arguments = (ins Lap_Activation:$residual, Lap_Activation:$input, Lap_Vector:$weight, Optional<Lap_Vector>:$scalar, F32Attr:$eps);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = [{
    $residual `,` $input `,` $weight (`scale` `(` $scalar^ `:` type($scalar) `)`)? attr-dict `:` type($residual) `,` type($weight)
  }];
  let hasVerifier = 1;
}

def Lap_PatchEmbeddingOp : Lap_Op<"patch_embedding", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "the middle of the patch projection: norm, position, norm";
  let description = [{
    `layer_norm(layer_norm(input) + table[x, 0] + table[y, 1])`

    - (C1) weights and biases have the row's width E, positions are T x 2, the table is N x 2 x E.

    Example:
    ```mlir
    %p = lap.patch_embedding %x, %w2, %b2, %xy, %table, %w3, %b3 {eps = 1.0e-5 : f32}
        : tensor<?x256xf32>, tensor<256xbf16>, tensor<256xbf16>, tensor<?x2xi32>, tensor<1120x2x256xbf16>, tensor<256xbf16>, tensor<256xbf16>
    ```
  }];
  let arguments = (ins Lap_Activation:$input, Lap_Vector:$norm_weight, Lap_Vector:$norm_bias, 2DTensorOf<[I32]>:$positions,
                       3DTensorOf<[Lap_WeightElement]>:$table, Lap_Vector:$position_norm_weight, Lap_Vector:$position_norm_bias,
                       F32Attr:$eps);
  let results = (outs Lap_Activation:$result);
  let assemblyFormat = [{
    $input `,` $norm_weight `,` $norm_bias `,` $positions `,` $table `,` $position_norm_weight `,` $position_norm_bias attr-dict
    `:` type($input) `,` type($norm_weight) `,` type($norm_bias) `,` type($positions) `,` type($table) `,`
    type($position_norm_weight) `,` type($position_norm_bias)
  }];
  let hasVerifier = 1;
}

def Lap_TopKOp : Lap_Op<"top_k", [Pure]> {
  let summary = "the largest of each block of a row, with their tokens";
  let description = [{
    For each row, of each 2048 columns (the last block may have fewer) the `count` largest values, the largest first and of
    equal ones the one with the smaller token first. A column's token is its number, or what `ids` has for it; a column with a
    negative id counts as none. Where a block has fewer columns than `count`, the rest has the value 0 and the id -1. What is not
    finite counts as more than all numbers, infinities and NaNs of both signs as positive ones, so that one that is there is
    always among the results. Applied again to what it gave, until one block is left, it gives the largest of the row.

    - (C1) `count` is 1 to 1024.
    - (C2) the results are T x blocks * count for an input of T x V, where blocks = ceil(V / 2048).
    - (C3) `ids` has the input's shape.

    Example:
    ```mlir
    %v, %i = lap.top_k %logits {count = 128 : i64} : tensor<?x262144xf32> -> tensor<?x16384xf32>, tensor<?x16384xi32>
    %v2, %i2 = lap.top_k %v ids(%i : tensor<?x16384xi32>) {count = 128 : i64}
        : tensor<?x16384xf32> -> tensor<?x1024xf32>, tensor<?x1024xi32>
    ```
  }];
  let arguments = (ins Lap_Activation:$input, Optional<2DTensorOf<[I32]>>:$ids, I64Attr:$count);
  let results = (outs Lap_Activation:$values, 2DTensorOf<[I32]>:$value_ids);
  let extraClassDeclaration = [{
    /// Columns of a block: with their tokens, 16 KiB, which is the memory that a workgroup has on any GPU.
    static constexpr int64_t blockColumns = 2048;
    /// Blocks of a row.
    int64_t getBlocks();
  }];
  let assemblyFormat = [{
    $input (`ids` `(` $ids^ `:` type($ids) `)`)? attr-dict `:` type($input) `->` type($values) `,` type($value_ids)
  }];
  let hasVerifier = 1;
}

#endif // LAP_KERNEL_OPS
