// Program level: kernels, their uses, and memory.
#ifndef LAP_PROGRAM_OPS
#define LAP_PROGRAM_OPS

include "LapBase.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/FunctionInterfaces.td"

def Lap_KernelOp : Lap_Op<"kernel", [FunctionOpInterface, IsolatedFromAbove]> {
  let summary = "a kernel: one kernel level op as a function";
  let description = [{
    Specialised to the shapes of its arguments. On tensors it returns its results; after bufferization the results are memref
    arguments at the end. `index` arguments stand for the step's sizes.

    Example:
    ```mlir
    lap.kernel @gelu(%x: tensor<?x512xf32>) -> tensor<?x512xf32> {
      %r = lap.gelu %x : tensor<?x512xf32>
      lap.return %r : tensor<?x512xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<FunctionType>:$function_type,
                       OptionalAttr<DictArrayAttr>:$arg_attrs, OptionalAttr<DictArrayAttr>:$res_attrs);
  let regions = (region AnyRegion:$body);
  let builders = [OpBuilder<(ins "::llvm::StringRef":$name, "::mlir::FunctionType":$type)>];
  let skipDefaultBuilders = 1;
  // Function-like syntax has no declarative form.
  let hasCustomAssemblyFormat = 1;
  let extraClassDeclaration = [{
    ::mlir::Region *getCallableRegion() { return &getBody(); }
    ::llvm::ArrayRef<::mlir::Type> getArgumentTypes() { return getFunctionType().getInputs(); }
    ::llvm::ArrayRef<::mlir::Type> getResultTypes() { return getFunctionType().getResults(); }
  }];
}

def Lap_ReturnOp : Lap_Op<"return", [Pure, Terminator, ReturnLike, HasParent<"KernelOp">]> {
  let summary = "ends a kernel";
  let description = [{
    - (C1) the operands have the types of the kernel's results.

    Example:
    ```mlir
    lap.return %r : tensor<?x512xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$operands);
  let assemblyFormat = "attr-dict ($operands^ `:` type($operands))?";
  let hasVerifier = 1;
}

def Lap_DispatchOp : Lap_Op<"dispatch", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs a kernel";
  let description = [{
    - (C1) `kernel` names a `lap.kernel`, and the types are those of its signature.

    Example:
    ```mlir
    %r = lap.dispatch @gelu(%x) : (tensor<?x512xf32>) -> tensor<?x512xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<AnyType>:$operands);
  let results = (outs Variadic<AnyType>:$results);
  let assemblyFormat = "$kernel `(` $operands `)` attr-dict `:` functional-type($operands, $results)";
}

def Lap_UnpackOp : Lap_Op<"unpack", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a weight matrix from the bytes a target stores";
  let description = [{
    The bytes are the matrix in `layout` (dialects/lap/WeightLayout.h gives `rows16` byte for byte).

    - (C1) `bytes` has as many bytes as the layout takes for the type.
    - (C2) the matrix is static and has 1 to 2^40 elements.

    Example:
    ```mlir
    %w = lap.unpack %bytes {layout = #lap.layout<rows16>} : memref<131072xi8> -> tensor<256x256xbf16>
    ```
  }];
  let arguments = (ins MemRefRankOf<[I8], [1]>:$bytes, Lap_LayoutAttr:$layout);
  let results = (outs Lap_Matrix:$result);
  let assemblyFormat = "$bytes attr-dict `:` type($bytes) `->` type($result)";
}

def Lap_ArenaOp : Lap_Op<"arena", [MemoryEffects<[MemAlloc]>]> {
  let summary = "the memory that a step's buffers live in";
  let description = [{
    One an entry point; buffers are `memref.view`s at planned offsets.

    Example:
    ```mlir
    %a = lap.arena : memref<4096xi8>
    ```
  }];
  let results = (outs MemRefRankOf<[I8], [1]>:$result);
  let assemblyFormat = "attr-dict `:` type($result)";
}

#endif // LAP_PROGRAM_OPS
