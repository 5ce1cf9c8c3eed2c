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

/// LLVM IR of a module in the LLVM dialect, optimized for the variant.
FailureOr<std::unique_ptr<llvm::Module>>
generateLlvm(ModuleOp kernels, const CpuVariant &variant,
             llvm::LLVMContext &context);

/// Assembly text.
FailureOr<std::string> generateAssembly(llvm::Module &module,
                                        const CpuVariant &variant);

/// An ELF shared object that exports the kernels and needs no library.
FailureOr<std::string> generateSharedObject(llvm::Module &module,
                                            const CpuVariant &variant);

} // namespace mlir::lap::cpu
