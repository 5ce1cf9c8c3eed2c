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

/// Whether kernels have a use for the variant.
bool needsVariant(ModuleOp kernels, const simt::Facts &facts);

/// The variant with the SPIR-V of each kernel of a module that
/// `buildSpirvPipeline` has seen.
FailureOr<TargetCode::Variant> serialize(ModuleOp kernels,
                                         const simt::Facts &facts);

} // namespace mlir::lap::vulkan
