// The passes of the CPU target.
#ifndef LAP_CPU_PASSES
#define LAP_CPU_PASSES

include "mlir/Pass/PassBase.td"

def AssignLayoutsPass : Pass<"lap-assign-layouts", "::mlir::ModuleOp"> {
  let summary = "Decides how the CPU stores each weight";
  let description = [{
    Every `lap.weight` that a kernel reads as a matrix (the weights of
    `lap.fused_linear`, the table of `lap.embed`) gets the layout `rows16`; the
    others stay `plain`.

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

def LowerKernelsToCpuPass : Pass<"lap-lower-kernels-to-cpu", "::mlir::ModuleOp"> {
  let summary = "Writes the loops of each kernel";
  let description = [{
    Every bufferized `lap.kernel` becomes a `func.func` with the runtime's C
    signature (buffers, sizes, scratch, first tile, end tile; see
    runtime/schema/bundle.fbs) and explicit vectors. Attributes say how to call
    it: `lap.tiles`, `lap.tile_work` and `lap.scratch` are each
    constant + per token.

    Before: kernels hold one kernel level op between memrefs.
    After: no op of the dialect is left in a kernel.

    ```mlir
    lap.kernel @k(%x: memref<1x256xf32>, ...) { ... lap.residual_norm ... }
    // becomes
    func.func @k(%buffers: !llvm.ptr, %sizes: !llvm.ptr, %scratch: !llvm.ptr, %begin: i64, %end: i64)
        attributes {lap.tiles = array<i64: 0, 1>, ...} { scf.for ... vector.load ... }
    ```
  }];
  let options = [Option<"variant", "variant", "std::string", "\"avx512\"",
                        "Instruction set and register blocking: see Variants.cpp">];
  let dependentDialects = ["arith::ArithDialect", "func::FuncDialect", "LLVM::LLVMDialect", "math::MathDialect",
                           "memref::MemRefDialect", "scf::SCFDialect", "vector::VectorDialect"];
  let statistics = [Statistic<"lowered", "lowered", "Kernels lowered">];
}

#endif // LAP_CPU_PASSES
