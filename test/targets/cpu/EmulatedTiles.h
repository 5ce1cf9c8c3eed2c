// Runs kernels with AMX's instructions on machines without them: calls of the
// intrinsics become calls of EmulatedTiles.c, which is linked into the kernel.
#pragma once

#include "llvm/IR/InstrTypes.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/Linker/Linker.h"
#include "llvm/Support/SourceMgr.h"
#include "gtest/gtest.h"

namespace mlir::lap::cpu {

inline void emulateTiles(llvm::Module &kernel) {
  llvm::SMDiagnostic error;
  std::unique_ptr<llvm::Module> tiles =
      llvm::parseIRFile(LAPIDARY_TEST_TILES, error, kernel.getContext());
  ASSERT_TRUE(tiles) << error.getMessage().str();
  tiles->setTargetTriple(kernel.getTargetTriple());
  tiles->setDataLayout(kernel.getDataLayout());
  constexpr llvm::StringRef prefix = "llvm.x86.";
  for (llvm::Function &function : *tiles)
    if (!function.isDeclaration() && !function.hasLocalLinkage()) {
      // As the kernel's functions: they are optimized together.
      function.setAttributes({});
      llvm::StringRef name = function.getName();
      ASSERT_TRUE(name.consume_front("emulated_"));
      llvm::Function *intrinsic = kernel.getFunction((prefix + name).str());
      if (!intrinsic)
        continue;
      llvm::FunctionCallee callee = kernel.getOrInsertFunction(
          function.getName(), intrinsic->getFunctionType());
      intrinsic->replaceUsesWithIf(callee.getCallee(), [](llvm::Use &use) {
        auto *call = llvm::dyn_cast<llvm::CallBase>(use.getUser());
        if (call)
          call->setAttributes({});
        return call != nullptr;
      });
    }
  ASSERT_FALSE(llvm::Linker::linkModules(kernel, std::move(tiles)));
}

} // namespace mlir::lap::cpu
