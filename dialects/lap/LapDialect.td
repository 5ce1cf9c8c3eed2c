// The `lap` dialect and its types and attributes.
#ifndef LAP_DIALECT
#define LAP_DIALECT

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def LapDialect : Dialect {
  let name = "lap";
  let cppNamespace = "::mlir::lap";
  let summary = "A decoder-only multimodal model, from the checkpoint's tensors to dispatches of compiled kernels.";
  let description = [{
    Three levels share the dialect. *Model level* ops say what the checkpoint
    says, on tensors, one op a mathematical step. *Kernel level* ops are what
    fusion makes of them: each will be one compiled kernel. *Program level* ops
    (`lap.kernel`, `lap.dispatch`, `lap.unpack`, `lap.arena`) say what runs in
    which order on which memory.

    Activations are `tensor<TxDxf32>`: a row a token of the step. `T` is static
    in an entry point for a fixed number of tokens (`decode`: 1) and dynamic
    elsewhere. Row `t` is at position `past + t` of the sequence; `past` is an
    `index` argument of the entry point. The bytes of weights are never in the
    IR: a `lap.weight` names a file and an offset.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

class Lap_Type<string typeName, string typeMnemonic> : TypeDef<LapDialect, typeName> {
  let mnemonic = typeMnemonic;
}

def Lap_QuantizedType : Lap_Type<"Quantized", "quantized"> {
  let summary = "A weight matrix stored in a quantization scheme";
  let description = [{
    The logical shape of the matrix (rows x columns) and the `lap.scheme` that
    says how its values are coded. Blocks run along columns.

    - (C1) rows and columns are positive, and their product is at most 2^40.

    Example: `!lap.quantized<4096x3840, @q8_0>`
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, "::mlir::FlatSymbolRefAttr":$scheme);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

def Lap_KvCacheType : Lap_Type<"KvCache", "kv_cache"> {
  let summary = "A handle to the keys and values of one layer";
  let description = [{
    f16 keys and values of `heads` heads of `head_dim` elements for each position: all positions when `window` is 0, else
    those that a sliding window of `window` positions needs. Keys are stored in blocks of 16 positions, transposed (block,
    head, element, position), values position by position (position, head, element): both are read by whole vectors without a
    horizontal sum.

    Whole blocks are read and what is not visible gets a weight of 0, so the memory of positions that were not written yet must
    hold finite values (fresh pages are zeros): 0 times a NaN or an infinity is no 0.

    - (C1) `heads` and `head_dim` are 1 to 65536, `window` is 0 to 2^31 - 1.

    Example: `!lap.kv_cache<heads = 8, head_dim = 256, window = 1024>`
  }];
  let parameters = (ins "int64_t":$heads, "int64_t":$head_dim, "int64_t":$window);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

class Lap_EnumAttr<EnumInfo info, string attrMnemonic> : EnumAttr<LapDialect, info, attrMnemonic> {
  let assemblyFormat = "`<` $value `>`";
}

def Lap_Norm : I32EnumAttr<"Norm", "The normalization fused in front of a linear op", [
    I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"Rms", 1, "rms">, I32EnumAttrCase<"Layer", 2, "layer">]> {
  let cppNamespace = "::mlir::lap";
  let genSpecializedAttr = 0;
}
def Lap_NormAttr : Lap_EnumAttr<Lap_Norm, "norm">;

def Lap_Epilogue : I32EnumAttr<"Epilogue", "What is fused behind a linear op", [
    I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"GatedGelu", 1, "gated_gelu">,
    I32EnumAttrCase<"Softcap", 2, "softcap">]> {
  let cppNamespace = "::mlir::lap";
  let genSpecializedAttr = 0;
}
def Lap_EpilogueAttr : Lap_EnumAttr<Lap_Epilogue, "epilogue">;

def Lap_Layout : I32EnumAttr<"Layout", "How a target arranges a stored weight", [
    I32EnumAttrCase<"Plain", 0, "plain">, I32EnumAttrCase<"Rows16", 1, "rows16">]> {
  let cppNamespace = "::mlir::lap";
  let genSpecializedAttr = 0;
}
def Lap_LayoutAttr : Lap_EnumAttr<Lap_Layout, "layout">;

def Lap_Encode : I32EnumAttr<"Encode", "How the encoder finds a scheme's fields", [
    I32EnumAttrCase<"Nearest", 0, "nearest">, I32EnumAttrCase<"Absmax", 1, "absmax">,
    I32EnumAttrCase<"Search", 2, "search">, I32EnumAttrCase<"Weighted", 3, "weighted">]> {
  let cppNamespace = "::mlir::lap";
  let genSpecializedAttr = 0;
}
def Lap_EncodeAttr : Lap_EnumAttr<Lap_Encode, "encode">;

def Lap_Activations : I32EnumAttr<"Activations", "What a linear op's input is rounded to before it is multiplied", [
    I32EnumAttrCase<"F32", 0, "f32">, I32EnumAttrCase<"BF16", 1, "bf16">,
    I32EnumAttrCase<"Int8Block", 2, "int8">, I32EnumAttrCase<"Int8Token", 3, "int8_token">]> {
  let cppNamespace = "::mlir::lap";
  let genSpecializedAttr = 0;
}
def Lap_ActivationsAttr : Lap_EnumAttr<Lap_Activations, "activations">;

def Lap_PackedAttr : AttrDef<LapDialect, "Packed"> {
  let mnemonic = "packed";
  let summary = "what a row of a packed input holds";
  let description = [{
    The encoding of a tensor of i32 that holds, for each token, what linear kernels read of `columns` inputs
    (dialects/lap/PackedInput.h has the places): with `values` each as f32, with `halves` as bf16, with `codes` as the 8-bit
    multiples of scales; for each N of `sums` the sums of N inputs as f32 (0: of the row); for each pair N, E of `code_sums` the
    sums of N codes times -E as i32.

    - (C1) `columns` is 1 to 2^24, `codes` goes with 8-bit `activations` and `halves` with bf16.
    - (C2) N of `sums` is at least 0, of `code_sums` at least 1; these come in pairs, with `codes`, and E is 1 to 128.

    Example: `#lap.packed<columns = 256, activations = int8, values = false, halves = false, codes = true,
    sums = [], code_sums = [32, 8]>`
  }];
  let parameters = (ins "int64_t":$columns, EnumParameter<Lap_Activations>:$activations, "bool":$values, "bool":$halves,
                        "bool":$codes, "::mlir::DenseI64ArrayAttr":$sums, "::mlir::DenseI64ArrayAttr":$code_sums);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

#endif // LAP_DIALECT
