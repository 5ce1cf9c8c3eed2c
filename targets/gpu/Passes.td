// The passes that all GPU targets share.
#ifndef LAP_GPU_PASSES
#define LAP_GPU_PASSES

include "mlir/Pass/PassBase.td"

def LowerKernelsToGpuPass : Pass<"lap-lower-kernels-to-gpu", "::mlir::ModuleOp"> {
  let summary = "Writes what one invocation of each kernel does";
  let description = [{
    Every bufferized `lap.kernel` becomes a `gpu.module` with a `gpu.func`, for
    workgroups of 128 invocations, on buffers of 32-bit words: the step's sizes,
    the operands, and four i32 (table Kernel of runtime/schema/bundle.fbs says
    what they are). Attributes say how to dispatch it: `lap.tiles` and
    `lap.tile_work` are each constant + per token; `lap.token_tile`,
    `lap.window_bytes` and `lap.windows_repeat` are the schema's. `lap.uses` lists
    which facts of the variant the kernel depends on: "dot", "subgroup", "matrix".

    Before: kernels hold one kernel level op between memrefs.
    After: no op of the dialect is left in a kernel.

    ```mlir
    lap.kernel @k(%x: memref<1x256xf32>, ...) { ... lap.residual_norm ... }
    // becomes
    gpu.module @k {
      gpu.func @k(%sizes: memref<?xi32, #gpu.address_space<global>>, %x: memref<?xi32, #gpu.address_space<global>>, ...,
                  %step: i32, %first: i32, %begin: i32, %end: i32) kernel
          attributes {known_block_size = array<i32: 128, 1, 1>, lap.tiles = array<i64: 0, 1>, ...} { ... }
    }
    ```
  }];
  let options = [Option<"variant", "variant", "std::string", "\"base\"",
                        "What the device has: see Facts.cpp">];
  let dependentDialects = ["arith::ArithDialect", "gpu::GPUDialect", "math::MathDialect", "memref::MemRefDialect",
                           "scf::SCFDialect", "spirv::SPIRVDialect"];
  let statistics = [Statistic<"lowered", "lowered", "Kernels lowered">];
}

#endif // LAP_GPU_PASSES
