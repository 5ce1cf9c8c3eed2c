// The passes of the Vulkan target.
#ifndef LAP_VULKAN_PASSES
#define LAP_VULKAN_PASSES

include "mlir/Pass/PassBase.td"

def ConvertGpuToVulkanPass : Pass<"lap-convert-gpu-to-vulkan", "::mlir::ModuleOp"> {
  let summary = "Kernels in the gpu dialect become SPIR-V modules";
  let description = [{
    Every `gpu.module` becomes a `spirv.module` of version 1.4, which Vulkan 1.2
    takes. The kernel's buffers are storage buffers of descriptor set 0, in
    order; its numbers, which come last, are push constants; memory of the
    workgroup are variables. Modules with matrices are in Vulkan's memory model.

    Before: `lap-lower-kernels-to-gpu` is done.
    After: only the SPIR-V dialect is left in the modules.

    ```mlir
    gpu.module @k { gpu.func @k(%sizes: memref<?xi32, #gpu.address_space<global>>, ..., %end: i32) kernel ... }
    // becomes
    spirv.module Logical GLSL450 requires #spirv.vce<v1.4, [Shader], [...]> {
      spirv.GlobalVariable @k_arg_0 bind(0, 0) : !spirv.ptr<!spirv.struct<(!spirv.rtarray<i32, stride=4> [0])>, StorageBuffer>
      spirv.EntryPoint "GLCompute" @k, ...
    }
    ```
  }];
  let dependentDialects = ["spirv::SPIRVDialect"];
  let statistics = [Statistic<"converted", "converted", "Modules converted">];
}

#endif // LAP_VULKAN_PASSES
