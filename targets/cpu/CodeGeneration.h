// From a module of kernels to machine code: MLIR to LLVM IR, LLVM to an object,
// lld to a shared object, all in process.
#pragma once

#include "targets/cpu/Variants.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"

namespace mlir::lap::cpu {

/// Appends the passes from bufferized `lap.kernel`s to the LLVM dialect.
void buildCodePipeline(OpPassManager &passes, const CpuVariant &variant);

/// A new module of `program`'s kernels and schemes alone.
OwningOpRef<ModuleOp> extractKernels(ModuleOp program);

/// What each kernel of a module that `lap-lower-kernels-to-cpu` has seen needs.
llvm::StringMap<KernelInfo> getKernelInfo(ModuleOp kernels);

/// LLVM IR of a module in the LLVM dialect, for the variant, not optimized.
FailureOr<std::unique_ptr<llvm::Module>>
translateToLlvm(ModuleOp kernels, const CpuVariant &variant,
                llvm::LLVMContext &context);

/// Optimizes in place. Modules of different LLVM contexts may be optimized and
/// generated at the same time.
LogicalResult optimizeLlvm(llvm::Module &module, const CpuVariant &variant);

/// Assembly text.
FailureOr<std::string> generateAssembly(llvm::Module &module,
                                        const CpuVariant &variant);

/// The bytes of an ELF object.
FailureOr<std::string> generateObject(llvm::Module &module,
                                      const CpuVariant &variant);

/// An ELF shared object that exports the kernels and needs no library. One at a
/// time: lld has global state.
FailureOr<std::string> linkSharedObject(StringRef object);

} // namespace mlir::lap::cpu
