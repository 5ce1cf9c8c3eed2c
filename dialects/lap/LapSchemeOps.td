// Quantization schemes: what a block stores, and what a stored value means.
#ifndef LAP_SCHEME_OPS
#define LAP_SCHEME_OPS

include "LapBase.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"

def Lap_SchemeOp : Lap_Op<"scheme", [Symbol, IsolatedFromAbove, SingleBlock,
                                     DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmBlockArgumentNames"]>]> {
  let summary = "a quantization scheme";
  let description = [{
    A row of a matrix is cut into blocks of columns, and a block is stored as fields. A field has a value a column (the code),
    `per N` a value for each N columns, or `per row` one for the whole row. The block is as long as the largest N; a row's last
    block may be partly unused. The region says what a column's stored fields mean: an integer field arrives as `i32`, a float
    field as `f32`, and the `f32` that it yields is the weight.

    Field types: `ui1`..`ui8` and `si1`..`si8`, `f32`, `f16`, `bf16`, `f8E4M3FN`, `f8E5M2`, `f8E8M0FNU`, `f4E2M1FN`. `from A to B`
    after an integer type says which values an encoder may write.

    `encode` says how the fields are found: `nearest` (codes nearest to the values, outer fields by the block's range), `absmax`
    (the largest magnitude exactly at the end of the codes), `search` (least squared error), `weighted` (the default: least
    squared error, weighted by the importance of columns where it is known).

    `affine` is set by `lap-recognize-affine`: the weight is `slope * code + offset`, where neither depends on the code.

    - (C1) 1 to 16 fields, of which exactly one has a value a column.
    - (C2) types are of the list above, bounds are within the type and A < B.
    - (C3) N is a multiple of 4, at most 65536, and divides the block.
    - (C4) the region has 1 to 256 scalar ops of `arith`, `math` and `lap.lookup` on i32, f32 and i1, without side effects, and yields
      an f32.

    Example:
    ```mlir
    lap.scheme @q4_0(%code : ui4, %scale : f16 per 32) {
      %zero = arith.constant 8 : i32
      %centred = arith.subi %code, %zero : i32
      %value = arith.sitofp %centred : i32 to f32
      %weight = arith.mulf %value, %scale : f32
      lap.yield %weight : f32
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrArrayAttr:$field_names, TypeArrayAttr:$field_types,
                       DenseI64ArrayAttr:$field_columns, DenseI64ArrayAttr:$field_bounds,
                       DefaultValuedAttr<Lap_EncodeAttr, "Encode::Weighted">:$encode, UnitAttr:$affine);
  let regions = (region SizedRegion<1>:$decode);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The number of the field with a value a column.
    unsigned getCode();
    /// The scheme as the rest of the compiler uses it.
    ::lapidary::Scheme getModel();
  }];
}

def Lap_LookupOp : Lap_Op<"lookup", [Pure]> {
  let summary = "an entry of a table";
  let description = [{
    `result = table[index mod size]`. The table is of f32 or of i32.

    - (C1) the table's size is a power of two, 2 to 256, and its type is the result's.

    Example:
    ```mlir
    %v = lap.lookup %code, array<f32: -1.0, -0.5, 0.5, 1.0> -> f32
    ```
  }];
  let arguments = (ins I32:$index, AnyAttrOf<[DenseF32ArrayAttr, DenseI32ArrayAttr]>:$table);
  let results = (outs AnyTypeOf<[F32, I32]>:$result);
  let assemblyFormat = "$index `,` $table attr-dict `->` type($result)";
  let hasVerifier = 1;
}

def Lap_YieldOp : Lap_Op<"yield", [Pure, Terminator, HasParent<"SchemeOp">]> {
  let summary = "the weight that a scheme's fields mean";
  let arguments = (ins F32:$value);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

#endif // LAP_SCHEME_OPS
