// The passes that every target shares, in the order that Pipeline.cpp runs them.
#ifndef LAP_PASSES
#define LAP_PASSES

include "mlir/Pass/PassBase.td"

//===----------------------------------------------------------------------===//
// Model level to kernel level
//===----------------------------------------------------------------------===//

def QuantizeWeightsPass : Pass<"lap-quantize-weights", "::mlir::ModuleOp"> {
  let summary = "chooses how the matrices are stored";
  let description = [{
    Before: model level. After: each weight all of whose uses are as the matrix of a `lap.linear` or the table of a
    `lap.embedding` is stored in the scheme that the recipe names for it, and a `lap.dequantize` stands between it and its
    users; the module holds the `lap.scheme`. A scheme whose value is its code (bf16, f16, f32) makes the weight a tensor of
    that type. Weights with another use, those already stored in a scheme, and those that the recipe keeps, stay.

    ```mlir
    lap.weight @w : tensor<512x256xbf16> {file = "m.safetensors", offset = 0 : i64}
    %w = lap.get_weight @w : tensor<512x256xbf16>
    %y = lap.linear %x, %w : tensor<?x256xf32>, tensor<512x256xbf16> -> tensor<?x512xf32>
    ```
    becomes
    ```mlir
    lap.scheme @q8_0(%code : si8 from -127 to 127, %scale : f16 per 32) {
      %value = arith.sitofp %code : i32 to f32
      %weight = arith.mulf %value, %scale : f32
      lap.yield %weight : f32
    }
    lap.weight @w : tensor<512x256xbf16> {file = "m.safetensors", offset = 0 : i64, stored = !lap.quantized<512x256, @q8_0>}
    %w = lap.get_weight @w : !lap.quantized<512x256, @q8_0>
    %d = lap.dequantize %w : !lap.quantized<512x256, @q8_0> -> tensor<512x256xf32>
    %y = lap.linear %x, %d : tensor<?x256xf32>, tensor<512x256xf32> -> tensor<?x512xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
  let options = [
    Option<"quant", "quant", "std::string", "\"\"", "A scheme or recipe by name, or the path of one; empty: nothing changes">,
    Option<"recipe", "recipe", "std::string", "\"\"", "A recipe by name or path, instead of quant">];
  let statistics = [Statistic<"quantized", "quantized", "Weights that are stored otherwise than the checkpoint has them">];
}

def RecognizeAffinePass : Pass<"lap-recognize-affine", "::mlir::ModuleOp"> {
  let summary = "marks schemes whose weights are affine in the code";
  let description = [{
    After: each `lap.scheme` with an integer code whose decode region is `slope * code + offset`, with slope and offset that do
    not depend on the code, is `affine`. Integers added to the code are fields or small constants, so that nothing wraps.

    ```mlir
    lap.scheme @int4(%code : ui4, %scale : f16 per 128, %zero : ui4 per 128) {
      %centred = arith.subi %code, %zero : i32
      %value = arith.sitofp %centred : i32 to f32
      %weight = arith.mulf %value, %scale : f32
      lap.yield %weight : f32
    }
    ```
    becomes `lap.scheme @int4(...) affine {...}`: the slope is `scale`, the offset `-zero * scale`.
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"affine", "affine", "Schemes that are affine">];
}

def FuseDequantizeLinearPass : Pass<"lap-fuse-dequantize-linear", "::mlir::ModuleOp"> {
  let summary = "lets linear and embedding read quantized weights";
  let description = [{
    Before: model level. After: no `lap.linear` or `lap.embedding` reads a `lap.dequantize`; values are decoded where they
    are used, and never stored.

    ```mlir
    %d = lap.dequantize %w : !lap.quantized<512x256, @q8_0> -> tensor<512x256xf32>
    %y = lap.linear %x, %d : tensor<?x256xf32>, tensor<512x256xf32> -> tensor<?x512xf32>
    ```
    becomes
    ```mlir
    %y = lap.linear %x, %w : tensor<?x256xf32>, !lap.quantized<512x256, @q8_0> -> tensor<?x512xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"fused", "fused", "Uses of a dequantize folded into their op">];
}

def FuseEmbeddingPass : Pass<"lap-fuse-embedding", "::mlir::ModuleOp"> {
  let summary = "makes one kernel of the token embedding and the media put into it";
  let description = [{
    Before: model level. After: no `lap.embedding`, and no `lap.scatter_embeddings` behind one.

    ```mlir
    %e = lap.embedding %ids, %table {scale = 16.0 : f32} : tensor<?xi32>, tensor<2048x256xbf16> -> tensor<?x256xf32>
    %h = lap.scatter_embeddings %e, %media, %rows : tensor<?x256xf32>, tensor<?x256xf32>, tensor<?xi32>
    ```
    becomes
    ```mlir
    %h = lap.embed %ids, %table media(%media, %rows : tensor<?x256xf32>, tensor<?xi32>) {scale = 16.0 : f32}
        : tensor<?xi32>, tensor<2048x256xbf16> -> tensor<?x256xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"fused", "fused", "Embeddings made a kernel">,
                    Statistic<"scattered", "scattered", "Media scatters folded into them">];
}

def FuseNormLinearPass : Pass<"lap-fuse-norm-linear", "::mlir::ModuleOp"> {
  let summary = "makes one kernel of a norm and all the linear ops that read it";
  let description = [{
    Before: model level, without `lap.dequantize` in front of linear ops. After: no `lap.linear`; those that read one input
    and store their weights alike are one `lap.fused_linear`, with a result a weight in the order they stood in, and a
    norm over the whole row is part of it. A linear with a bias is a kernel of its own. A norm that other ops read too, or
    over groups of the row, stays for them.

    ```mlir
    %n = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 256 : i64} : tensor<?x256xf32>, tensor<256xbf16>
    %q = lap.linear %n, %wq : tensor<?x256xf32>, tensor<256x256xbf16> -> tensor<?x256xf32>
    %k = lap.linear %n, %wk : tensor<?x256xf32>, tensor<128x256xbf16> -> tensor<?x128xf32>
    ```
    becomes
    ```mlir
    %q, %k = lap.fused_linear %x norm(%w : tensor<256xbf16>) weights(%wq, %wk : tensor<256x256xbf16>, tensor<128x256xbf16>)
        {norm = #lap.norm<rms>, eps = 1.0e-6 : f32} : tensor<?x256xf32> -> tensor<?x256xf32>, tensor<?x128xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"fused", "fused", "Linear ops made part of a kernel">,
                    Statistic<"norms", "norms", "Norms folded into a kernel">];
}

def FuseGatedMlpPass : Pass<"lap-fuse-gated-mlp", "::mlir::ModuleOp"> {
  let summary = "multiplies gate and up where they are computed";
  let description = [{
    Before: gate and up are the two results of one `lap.fused_linear`. After: one result, `gelu(gate) * up`. Refused when
    gate, its gelu or up have another use, or when their weights differ in type.

    ```mlir
    %g, %u = lap.fused_linear %x weights(%wg, %wu : tensor<512x256xbf16>, tensor<512x256xbf16>)
        : tensor<?x256xf32> -> tensor<?x512xf32>, tensor<?x512xf32>
    %a = lap.gelu %g : tensor<?x512xf32>
    %m = lap.multiply %a, %u : tensor<?x512xf32>
    ```
    becomes
    ```mlir
    %m = lap.fused_linear %x weights(%wg, %wu : tensor<512x256xbf16>, tensor<512x256xbf16>)
        {epilogue = #lap.epilogue<gated_gelu>} : tensor<?x256xf32> -> tensor<?x512xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"fused", "fused", "Gated activations folded into a linear kernel">];
}

def FuseSoftcapPass : Pass<"lap-fuse-softcap", "::mlir::ModuleOp"> {
  let summary = "bounds logits where they are computed";
  let description = [{
    Before: the logits are the one result of a `lap.fused_linear`. After: no `lap.softcap` behind such an op. Refused when
    the unbounded logits have another use.

    ```mlir
    %l = lap.fused_linear %x weights(%w : tensor<2048x256xbf16>) : tensor<?x256xf32> -> tensor<?x2048xf32>
    %s = lap.softcap %l {cap = 30.0 : f32} : tensor<?x2048xf32>
    ```
    becomes
    ```mlir
    %s = lap.fused_linear %x weights(%w : tensor<2048x256xbf16>) {epilogue = #lap.epilogue<softcap>, cap = 30.0 : f32}
        : tensor<?x256xf32> -> tensor<?x2048xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"fused", "fused", "Soft caps folded into a linear kernel">];
}

def FusePatchProjectionPass : Pass<"lap-fuse-patch-projection", "::mlir::ModuleOp"> {
  let summary = "makes one kernel of the norms and the position between the linear ops of a patch projection";
  let description = [{
    Before: model level. After: no `lap.layer_norm` of a `lap.layer_norm` plus a `lap.position_embedding`. Refused when the
    norms differ in eps or the sum has another use.

    ```mlir
    %n = lap.layer_norm %x, %w2, %b2 {eps = 1.0e-5 : f32} : tensor<?x256xf32>, tensor<256xbf16>, tensor<256xbf16>
    %p = lap.position_embedding %xy, %table : tensor<?x2xi32>, tensor<1120x2x256xbf16> -> tensor<?x256xf32>
    %s = lap.add %n, %p : tensor<?x256xf32>
    %r = lap.layer_norm %s, %w3, %b3 {eps = 1.0e-5 : f32} : tensor<?x256xf32>, tensor<256xbf16>, tensor<256xbf16>
    ```
    becomes
    ```mlir
    %r = lap.patch_embedding %x, %w2, %b2, %xy, %table, %w3, %b3 {eps = 1.0e-5 : f32}
        : tensor<?x256xf32>, tensor<256xbf16>, tensor<256xbf16>, tensor<?x2xi32>, tensor<1120x2x256xbf16>, tensor<256xbf16>, tensor<256xbf16>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"fused", "fused", "Patch projections fused">];
}

def FuseRopeKvUpdatePass : Pass<"lap-fuse-rope-kv-update", "::mlir::ModuleOp"> {
  let summary = "makes one kernel of the norms and turns of queries and keys and the cache update";
  let description = [{
    Before: each `lap.kv_update` is followed by the `lap.attention` that reads the cache, the only user of the turned
    query. After: one `lap.rope_kv_update` in the update's place. Refused when norms, tables, positions or sizes of heads
    do not fit together, or when an op that may touch memory stands between the update and the query it waits for.

    ```mlir
    %qn = lap.rms_norm %q, %wq {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x256xf32>, tensor<32xbf16>
    %qr = lap.rope %qn, %table, %past {head_dim = 32 : i64} : tensor<?x256xf32>, tensor<528x32xf32>
    %kn = lap.rms_norm %k, %wk {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x128xf32>, tensor<32xbf16>
    %kr = lap.rope %kn, %table, %past {head_dim = 32 : i64} : tensor<?x128xf32>, tensor<528x32xf32>
    %vn = lap.rms_norm %v {eps = 1.0e-6 : f32, group = 32 : i64} : tensor<?x128xf32>
    lap.kv_update %c, %kr, %vn, %past : !lap.kv_cache<heads = 4, head_dim = 32, window = 0>, tensor<?x128xf32>
    %a = lap.attention %c, %qr, %past : !lap.kv_cache<heads = 4, head_dim = 32, window = 0>, tensor<?x256xf32>
    ```
    becomes
    ```mlir
    %qr = lap.rope_kv_update %c, %q, %k, %v, %wq, %wk, %table, %past {eps = 1.0e-6 : f32}
        : !lap.kv_cache<heads = 4, head_dim = 32, window = 0>, tensor<?x256xf32>, tensor<?x128xf32>, tensor<32xbf16>,
          tensor<32xbf16>, tensor<528x32xf32>
    %a = lap.attention %c, %qr, %past : !lap.kv_cache<heads = 4, head_dim = 32, window = 0>, tensor<?x256xf32>
    ```
    In an entry point that does not update the cache, the norm and the turn of the query become a `lap.rope_query`.
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"fused", "fused", "Cache updates fused">,
                    Statistic<"queries", "queries", "Queries without an update fused">];
}

def AssignCachesPass : Pass<"lap-assign-caches", "::mlir::ModuleOp"> {
  let summary = "says how KV caches store what they hold";
  let description = [{
    Before: cache updates are fused. After: every `lap.kv_cache`, and every value that stands for one, has the format `format`;
    where values are the keys before their weight and only a part of each key turns, keys are stored in that part alone
    (`rotated`), which the update's kernel and the attention's understand, and every `lap.rope_query` gets the weight. Not where an op that is not fused uses the
    cache, where entry points multiply keys with different weights, or where all elements or none turn.

    ```mlir
    lap.kv_cache @layers.5 : !lap.kv_cache<heads = 1, head_dim = 512, window = 0>
    ```
    becomes, with `format=q8_0`, in a layer with 64 pairs that turn,
    ```mlir
    lap.kv_cache @layers.5 : !lap.kv_cache<heads = 1, head_dim = 512, window = 0, format = q8_0, rotated = 64>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let options = [Option<"format", "format", "std::string", "\"f16\"", "f32, f16, bf16 or q8_0">];
  let statistics = [Statistic<"shared", "shared", "Caches whose keys follow from their values">];
}

def SplitAttentionPass : Pass<"lap-split-attention", "::mlir::ModuleOp"> {
  let summary = "cuts the attention of steps of few tokens over long caches into parts of the positions";
  let description = [{
    After: in entry points of at most 32 tokens (`lap.max_tokens`), attention over a cache without a window and with fewer than
    16 heads is a `lap.partial_attention` of so many splits that heads * splits is 16 or more, and a `lap.merge_attention`.
    With `gpu`, whose pieces are many more, it is of up to 16 splits that make 128 pieces, and windows are cut too, into parts
    of 64 positions or more (but for tokens that say themselves what they see: `visible`).

    ```mlir
    %a = lap.attention %c, %q, %past : !lap.kv_cache<heads = 1, head_dim = 64, window = 0>, tensor<1x256xf32>
    ```
    becomes
    ```mlir
    %p = lap.partial_attention %c, %q, %past {splits = 16 : i64}
        : !lap.kv_cache<heads = 1, head_dim = 64, window = 0>, tensor<1x256xf32> -> tensor<1x4224xf32>
    %a = lap.merge_attention %p {heads = 4 : i64, splits = 16 : i64} : tensor<1x4224xf32> -> tensor<1x256xf32>
    ```
  }];
  let options = [Option<"gpu", "gpu", "bool", "false", "Whether a GPU may run the program">];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"split", "split", "Attentions cut into parts">];
}

def FuseResidualNormPass : Pass<"lap-fuse-residual-norm", "::mlir::ModuleOp"> {
  let summary = "makes one kernel of a branch's norm, its addition to the residual and the layer's scalar";
  let description = [{
    Before: model level. After: no `lap.add` of a weighted `lap.rms_norm` over the whole row; a `lap.scale` behind the sum
    is part of the kernel if the sum has no other use.

    ```mlir
    %n = lap.rms_norm %x, %w {eps = 1.0e-6 : f32, group = 256 : i64} : tensor<?x256xf32>, tensor<256xbf16>
    %s = lap.add %h, %n : tensor<?x256xf32>
    %r = lap.scale %s, %scalar : tensor<?x256xf32>, tensor<1xbf16>
    ```
    becomes
    ```mlir
    %r = lap.residual_norm %h, %x, %w scale(%scalar : tensor<1xbf16>) {eps = 1.0e-6 : f32} : tensor<?x256xf32>, tensor<256xbf16>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"fused", "fused", "Residual additions fused">,
                    Statistic<"scaled", "scaled", "Layer scalars folded into them">];
}

def FuseNormConcatPass : Pass<"lap-fuse-norm-concat", "::mlir::ModuleOp"> {
  let summary = "folds a row's norm into the kernel that puts it beside another";
  let description = [{
    Before: model level. After: no `lap.concat` whose second row is a weighted `lap.rms_norm` over the whole row.

    ```mlir
    %n = lap.rms_norm %b, %w {eps = 1.0e-6 : f32, group = 256 : i64} : tensor<?x256xf32>, tensor<256xbf16>
    %r = lap.concat %a, %n : tensor<?x256xf32>, tensor<?x256xf32> -> tensor<?x512xf32>
    ```
    becomes
    ```mlir
    %r = lap.concat %a, %b norm(%w : tensor<256xbf16>) {eps = 1.0e-6 : f32}
        : tensor<?x256xf32>, tensor<?x256xf32> -> tensor<?x512xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"fused", "fused", "Norms folded">];
}

def SetActivationsPass : Pass<"lap-set-activations", "::mlir::ModuleOp"> {
  let summary = "says what the inputs of linear kernels are rounded to";
  let description = [{
    After: every `lap.fused_linear` rounds its normalized input to `activations` before it multiplies: with
    `auto`, to `int8` where all its weights are in schemes that are affine in a code of at most 8 bits, whose products are then
    those of integers, and not at all elsewhere.

    ```mlir
    %y = lap.fused_linear %x weights(%w : !lap.quantized<512x256, @q4_0>) : tensor<?x256xf32> -> tensor<?x512xf32>
    ```
    becomes, with `activations=int8`,
    ```mlir
    %y = lap.fused_linear %x weights(%w : !lap.quantized<512x256, @q4_0>) {activations = #lap.activations<int8>}
        : tensor<?x256xf32> -> tensor<?x512xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let options = [Option<"activations", "activations", "std::string", "\"auto\"", "auto, f32, bf16, int8 or int8_token">];
  let statistics = [Statistic<"changed", "changed", "Linear kernels whose input is rounded otherwise than before">];
}

def AssignLayoutsPass : Pass<"lap-assign-layouts", "::mlir::ModuleOp"> {
  let summary = "Decides how each weight is stored";
  let description = [{
    Every `lap.weight` that a kernel reads as a matrix (the weights of
    `lap.fused_linear`, the table of `lap.embed`) gets the layout `rows16`; the
    others stay `plain`. All targets read the same bytes.

    Before: fusion is done; a weight is a matrix or a vector, not both.
    After: every weight has its layout.

    ```mlir
    lap.weight @w : tensor<64x256xbf16> {file = "m.safetensors", offset = 0 : i64}
    // becomes
    lap.weight @w : tensor<64x256xbf16> {file = "m.safetensors", layout = #lap.layout<rows16>, offset = 0 : i64}
    ```
  }];
  let statistics = [Statistic<"packed", "packed", "Weights that get rows16">];
}

def PackInputsPass : Pass<"lap-pack-inputs", "::mlir::ModuleOp"> {
  let summary = "Makes an op of its own of what linear kernels do to their input";
  let description = [{
    Norm and rounding of a `lap.fused_linear`'s input become a `lap.pack_input`,
    one for all ops that do the same to the same input. It holds what each of
    them reads: values as f32, or codes with their scales and sums. The input of
    ops for one token that take it as it is stays.

    Before: `lap-set-activations` is done.
    After: no `lap.fused_linear` of an entry point has a norm.

    ```mlir
    %y = lap.fused_linear %x norm(%n : tensor<256xbf16>) weights(%w : !lap.quantized<64x256, @q8_0>)
        {norm = #lap.norm<rms>, eps = 1.0e-6 : f32, activations = #lap.activations<int8>} : tensor<1x256xf32> -> tensor<1x64xf32>
    // becomes
    %p = lap.pack_input %x norm(%n : tensor<256xbf16>) {norm = #lap.norm<rms>, eps = 1.0e-6 : f32}
        : tensor<1x256xf32> -> tensor<1x112xi32, #lap.packed<columns = 256, activations = int8, ...>>
    %y = lap.fused_linear %p weights(%w : !lap.quantized<64x256, @q8_0>) {activations = #lap.activations<int8>}
        : tensor<1x112xi32, #lap.packed<...>> -> tensor<1x64xf32>
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"packed", "packed", "Inputs that are packed">];
}

def SelectCandidatesPass : Pass<"lap-select-candidates", "::mlir::ModuleOp"> {
  let summary = "Adds the likeliest tokens to what gives logits";
  let description = [{
    After: each entry point with the result "logits", but not "clusters", has the results "top_logits" and "top_tokens" too: of each
    row the 128 largest logits (or all, of fewer), the largest first, and their tokens. They come from `lap.top_k` ops that are the
    function's last; `lap.candidate_ops` says how many these are, which devices leave out where only the logits are wanted.

    ```mlir
    func.func @logits(%h: tensor<?x256xf32>) -> (tensor<?x8192xf32> {lap.name = "logits"}) {
      %l = lap.fused_linear %h weights(%w : tensor<8192x256xbf16>) : tensor<?x256xf32> -> tensor<?x8192xf32>
      return %l : tensor<?x8192xf32>
    }
    // becomes
    func.func @logits(%h: tensor<?x256xf32>) -> (tensor<?x8192xf32> {lap.name = "logits"},
        tensor<?x128xf32> {lap.name = "top_logits"}, tensor<?x128xi32> {lap.name = "top_tokens"})
        attributes {lap.candidate_ops = 2 : i64} {
      %l = lap.fused_linear %h weights(%w : tensor<8192x256xbf16>) : tensor<?x256xf32> -> tensor<?x8192xf32>
      %v, %i = lap.top_k %l {count = 128 : i64} : tensor<?x8192xf32> -> tensor<?x512xf32>, tensor<?x512xi32>
      %tv, %ti = lap.top_k %v ids(%i : tensor<?x512xi32>) {count = 128 : i64}
          : tensor<?x512xf32> -> tensor<?x128xf32>, tensor<?x128xi32>
      return %l, %tv, %ti : tensor<?x8192xf32>, tensor<?x128xf32>, tensor<?x128xi32>
    }
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"selected", "selected", "Entry points with candidates">];
}

//===----------------------------------------------------------------------===//
// Kernel level to program level
//===----------------------------------------------------------------------===//

def OutlineKernelsPass : Pass<"lap-outline-kernels", "::mlir::ModuleOp"> {
  let summary = "gives each kernel level op a kernel, and each use of it a dispatch";
  let description = [{
    Before: entry points of one block, of kernel level ops, `lap.get_weight` and `lap.get_cache`; weights have their final
    layout. After: kernels at the module's end, entry points of dispatches. Ops that agree in name, attributes, types,
    layouts of their weights and in which operands are one value share a kernel; such a value is one argument. An argument
    that comes from a weight that is not laid out plainly says so in `lap.layout`. Any other op is an error, for no
    pass made a kernel of it.

    ```mlir
    func.func @f(%x: tensor<?x256xf32>) -> tensor<?x512xf32> {
      %w = lap.get_weight @w : tensor<512x256xbf16>
      %y = lap.fused_linear %x weights(%w : tensor<512x256xbf16>) : tensor<?x256xf32> -> tensor<?x512xf32>
      return %y : tensor<?x512xf32>
    }
    ```
    becomes
    ```mlir
    func.func @f(%x: tensor<?x256xf32>) -> tensor<?x512xf32> {
      %w = lap.get_weight @w : tensor<512x256xbf16>
      %y = lap.dispatch @fused_linear_bf16_512x256_tn(%x, %w) : (tensor<?x256xf32>, tensor<512x256xbf16>) -> tensor<?x512xf32>
      return %y : tensor<?x512xf32>
    }
    lap.kernel @fused_linear_bf16_512x256_tn(%x: tensor<?x256xf32>, %w: tensor<512x256xbf16>) -> tensor<?x512xf32> {
      %y = lap.fused_linear %x weights(%w : tensor<512x256xbf16>) : tensor<?x256xf32> -> tensor<?x512xf32>
      lap.return %y : tensor<?x512xf32>
    }
    ```

    A kernel's name says what it computes, by this grammar:

    ```
    name      = operation { "_" variant } [ "_" scheme ] "_" shape "_" tokens [ "_" number ]
    operation = "embed" | "pack_input" | "fused_linear" | "rope_kv_update" | "rope_query" | "attention" | "partial_attention"
              | "merge_attention" | "residual_norm" | "concat" | "patch_embedding" | "top_k"
    variant   = "media"                   -- embed with media
              | "rms" | "layer"           -- pack_input, fused_linear, concat: its norm
              | "f32" | "bf16" | "int8" | "int8_token"  -- pack_input: its activations
              | "gated_gelu" | "softcap"  -- fused_linear: its epilogue
              | "shared"                  -- rope_kv_update: values are the keys
              | "q8_0" | "bf16" | "f32"   -- rope_kv_update, attention: the cache's format, if not f16
              | "rotated"               -- rope_kv_update, attention: keys follow from values but where they turn
              | "window" | "visible"      -- attention: over a sliding window; with visible ends
              | "scaled"                  -- residual_norm with a scalar
              | "ids"                     -- top_k of what another one gave
    scheme    = how matrices are stored: "bf16", "f16", "f32" or a scheme's name
    shape     = vocabulary "x" width              -- embed
              | rows of all weights "x" columns   -- fused_linear
              | query heads "x" kv heads "x" head_dim  -- rope_kv_update, rope_query, attention, partial_attention
              | left width "_" right width        -- concat
              | query heads "x" head_dim  -- merge_attention
              | width                             -- pack_input, residual_norm
              | positions "x" width               -- patch_embedding
              | columns "x" count                 -- top_k
    tokens    = "t" count | "tn"          -- tokens of a step; tn: known when it runs
    number    = 2, 3, ... where the rest of the name is taken
    ```
  }];
  let dependentDialects = ["::mlir::lap::LapDialect"];
  let statistics = [Statistic<"kernels", "kernels", "Kernels made">,
                    Statistic<"dispatches", "dispatches", "Uses of kernels">];
}

def BufferizePass : Pass<"lap-bufferize", "::mlir::ModuleOp"> {
  let summary = "moves entry points and kernels from tensors to memory";
  let description = [{
    Before: entry points of dispatches; kernels on tensors. After: tensors are memrefs in all signatures, and results are
    arguments at the end, with the attributes that the results had and, in entry points, `lap.result`; a weight whose layout is not plain is bytes, which its
    kernels `lap.unpack`. A kernel's body reads its arguments as tensors and writes its results to the last ones. Each
    value between two dispatches of an entry point is a `memref.alloc` in front of the dispatch that writes it; a value
    that the entry point returns is written into the caller's memory.

    ```mlir
    func.func @f(%x: tensor<?x8xf32>) -> (tensor<?x8xf32> {lap.name = "y"}) {
      %y = lap.dispatch @k(%x) : (tensor<?x8xf32>) -> tensor<?x8xf32>
      %z = lap.dispatch @k(%y) : (tensor<?x8xf32>) -> tensor<?x8xf32>
      return %z : tensor<?x8xf32>
    }
    lap.kernel @k(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %y = lap.gelu %x : tensor<?x8xf32>
      lap.return %y : tensor<?x8xf32>
    }
    ```
    becomes
    ```mlir
    func.func @f(%x: memref<?x8xf32>, %z: memref<?x8xf32> {lap.name = "y", lap.result}) {
      %c0 = arith.constant 0 : index
      %tokens = memref.dim %x, %c0 : memref<?x8xf32>
      %y = memref.alloc(%tokens) : memref<?x8xf32>
      lap.dispatch @k(%x, %y) : (memref<?x8xf32>, memref<?x8xf32>) -> ()
      lap.dispatch @k(%y, %z) : (memref<?x8xf32>, memref<?x8xf32>) -> ()
      return
    }
    lap.kernel @k(%x: memref<?x8xf32>, %out: memref<?x8xf32>) {
      %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
      %y = lap.gelu %0 : tensor<?x8xf32>
      bufferization.materialize_in_destination %y in restrict writable %out : (tensor<?x8xf32>, memref<?x8xf32>) -> ()
      lap.return
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::bufferization::BufferizationDialect",
                           "::mlir::lap::LapDialect", "::mlir::memref::MemRefDialect"];
  let statistics = [Statistic<"buffers", "buffers", "Buffers between dispatches">];
}

def PlanMemoryPass : Pass<"lap-plan-memory", "::mlir::ModuleOp"> {
  let summary = "places an entry point's buffers in one arena";
  let description = [{
    Before: each `memref.alloc` of an entry point is used by dispatches alone; `lap.max_tokens` is on each function that has
    buffers of dynamic size. After: no `memref.alloc`; a buffer is a `memref.view` of the function's one `lap.arena`, at an
    offset that is a multiple of 64, and `lap.arena_bytes` on the function is the arena's size. A buffer lives from the
    first dispatch that takes it to the last, both included, so that no kernel writes what it reads. Sizes are those of
    `lap.max_tokens` tokens. The largest buffer is placed first, each into the smallest gap that it fits in between those
    that live at the same time.

    ```mlir
    func.func @f(%x: memref<4x8xf32>, %y: memref<4x8xf32>) {
      %a = memref.alloc() : memref<4x8xf32>
      lap.dispatch @k(%x, %a) : (memref<4x8xf32>, memref<4x8xf32>) -> ()
      lap.dispatch @k(%a, %y) : (memref<4x8xf32>, memref<4x8xf32>) -> ()
      return
    }
    ```
    becomes
    ```mlir
    func.func @f(%x: memref<4x8xf32>, %y: memref<4x8xf32>) attributes {lap.arena_bytes = 128 : i64} {
      %arena = lap.arena : memref<128xi8>
      %c0 = arith.constant 0 : index
      %a = memref.view %arena[%c0][] : memref<128xi8> to memref<4x8xf32>
      lap.dispatch @k(%x, %a) : (memref<4x8xf32>, memref<4x8xf32>) -> ()
      lap.dispatch @k(%a, %y) : (memref<4x8xf32>, memref<4x8xf32>) -> ()
      return
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::lap::LapDialect", "::mlir::memref::MemRefDialect"];
  let statistics = [Statistic<"arenaBytes", "arena-bytes", "Bytes of all arenas">,
                    Statistic<"unsharedBytes", "unshared-bytes", "Bytes that the buffers would take side by side">];
}

#endif // LAP_PASSES
