// The passes of the CPU target.
#ifndef LAP_CPU_PASSES
#define LAP_CPU_PASSES

include "mlir/Pass/PassBase.td"

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
