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
llvm::StringMap<KernelInfo> getKernelInfo(ModuleOp kernels);

/// Of each kernel of such a module, the facts that it depends on (see Facts).
llvm::StringMap<SmallVector<std::string>> getKernelUses(ModuleOp kernels);

/// What the runtime looks for before it takes the variant.
SmallVector<std::string> getFeatures(const simt::Facts &facts);

/// Appends the SPIR-V of each kernel of a module that `buildSpirvPipeline` has
/// seen to `bytes`, and says in `modules` where it is.
LogicalResult serialize(ModuleOp kernels, std::string &bytes,
                        llvm::StringMap<TargetCode::Variant::Module> &modules);

} // namespace mlir::lap::vulkan
