// From a module of kernels to SPIR-V: a module a kernel.
#pragma once

#include "targets/gpu/KernelEmitter.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"

namespace mlir::lap::vulkan {

/// Appends the passes from bufferized `lap.kernel`s to the gpu dialect, for the
/// variant.
void buildGpuPipeline(OpPassManager &passes, const simt::Facts &facts);
/// Appends those from there to SPIR-V.
void buildSpirvPipeline(OpPassManager &passes);

/// How each kernel of a module that `buildGpuPipeline` has seen is dispatched.
llvm::StringMap<simt::DispatchInfo> getDispatchInfo(ModuleOp kernels);

/// The features that a device must have for a variant, by Vulkan's names.
SmallVector<StringRef> getFeatures(const simt::Facts &facts);

/// The words of each kernel's SPIR-V, by its name.
FailureOr<llvm::StringMap<SmallVector<uint32_t, 0>>>
serializeModules(ModuleOp kernels);

} // namespace mlir::lap::vulkan
