// Compiles one kernel from IR text, for any target, and calls it as the runtime
// does.
#pragma once

#include "runtime/devices/cpu/CpuFeatures.h"
#include "targets/cpu/CodeGeneration.h"
#include "test/targets/cpu/EmulatedKernel.h"
#include "test/targets/cpu/EmulatedTiles.h"
#include "test/targets/cpu/GuardedVector.h"
#include "test/targets/gpu/VulkanKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Parser/Parser.h"
#include "gtest/gtest.h"

#include <dlfcn.h>
#include <unistd.h>

namespace mlir::lap::cpu {

/// A variant of one of the targets: the other's is null.
struct TestVariant {
  const CpuVariant *cpu = nullptr;
  const simt::Facts *gpu = nullptr;

  std::string getName() const {
    return gpu ? "vulkan_" + gpu->name.str() : cpu->blocking.name.str();
  }
  bool isEmulated() const {
    return cpu && cpu->blocking.architecture == Architecture::Aarch64;
  }
  bool hasDotProducts() const {
    return gpu ? gpu->dotProducts : cpu->blocking.dotProducts;
  }
  bool hasHalfProducts() const { return cpu && cpu->blocking.halfProducts; }
};

/// All variants of all targets.
inline const std::vector<TestVariant> &getTestVariants() {
  static const std::vector<TestVariant> variants = [] {
    std::vector<TestVariant> variants;
    for (const CpuVariant &variant : getVariants())
      variants.push_back({&variant, nullptr});
    for (const simt::Facts &facts : simt::getFacts())
      variants.push_back({nullptr, &facts});
    return variants;
  }();
  return variants;
}

/// Whether this machine can run the variant's code, if only by emulation.
inline bool canRun(const TestVariant &tested) {
  if (tested.gpu)
    return simt::canRun(*tested.gpu);
  const CpuVariant &variant = *tested.cpu;
  if (variant.blocking.architecture == Architecture::Aarch64)
    return canEmulate();
  return llvm::all_of(variant.features, [](StringRef feature) {
    return feature.starts_with("amx-") || lapidary::cpuFeatures().has(feature);
  });
}

/// Whether this machine has the variant's matrix registers, if it has such.
inline bool hasTiles(const CpuVariant &variant) {
  return llvm::all_of(variant.features, [](StringRef feature) {
    return lapidary::cpuFeatures().has(feature);
  });
}

class CompiledKernel {
public:
  using Function = void (*)(void *const *, const int64_t *, void *, int64_t,
                            int64_t);

  /// `text` holds one lap.kernel named @kernel, and schemes.
  CompiledKernel(const std::string &text, const TestVariant &tested) {
    MLIRContext context;
    context.loadDialect<LapDialect, arith::ArithDialect,
                        bufferization::BufferizationDialect, func::FuncDialect,
                        math::MathDialect>();
    OwningOpRef<ModuleOp> module =
        parseSourceString<ModuleOp>(text, ParserConfig(&context));
    if (!module) {
      ADD_FAILURE() << "cannot parse " << text;
      return;
    }
    if (tested.gpu) {
      vulkan = std::make_unique<simt::VulkanKernel>(*module, *tested.gpu);
      return;
    }
    const CpuVariant &variant = *tested.cpu;
    PassManager passes(&context);
    buildCodePipeline(passes, variant);
    // What is lowered carries its extents; read them before LLVM drops them.
    if (failed(passes.run(*module))) {
      ADD_FAILURE() << "cannot lower " << text;
      return;
    }
    info = getKernelInfo(*module).lookup("kernel");
    llvm::LLVMContext llvmContext;
    auto llvmModule = translateToLlvm(*module, variant, llvmContext);
    if (succeeded(llvmModule) && variant.blocking.tiles && !hasTiles(variant))
      emulateTiles(**llvmModule);
    if (failed(llvmModule) || failed(optimizeLlvm(**llvmModule, variant))) {
      ADD_FAILURE() << "no LLVM IR";
      return;
    }
    auto code = generateObject(**llvmModule, variant);
    auto object = linkSharedObject(*code);
    if (failed(object)) {
      ADD_FAILURE() << "no shared object";
      return;
    }
    char path[] = "/tmp/lapidary-kernel-XXXXXX";
    int file = mkstemp(path);
    EXPECT_EQ(write(file, object->data(), object->size()),
              static_cast<ssize_t>(object->size()));
    close(file);
    if (variant.blocking.architecture == Architecture::Aarch64) {
      emulatedPath = path;
      emulated = std::make_unique<EmulatedKernel>(variant, path);
      return;
    }
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    unlink(path);
    if (library)
      function = reinterpret_cast<Function>(dlsym(library, "kernel"));
    if (!function)
      ADD_FAILURE() << "cannot load the kernel: " << dlerror();
  }
  ~CompiledKernel() {
    if (library)
      dlclose(library);
    if (emulated)
      unlink(emulatedPath.c_str());
  }
  CompiledKernel(const CompiledKernel &) = delete;

  /// Runs all tiles, in `parts` calls, each with its own scratch.
  void run(std::vector<void *> buffers, int64_t tokens, int64_t past = 0,
           int64_t chunk = 16, int64_t parts = 3) {
    ASSERT_TRUE(function || emulated || vulkan);
    if (vulkan)
      return vulkan->run(buffers, tokens, past, chunk, parts);
    auto evaluate = [&](Extent extent) {
      return extent.constant + extent.perToken * tokens;
    };
    int64_t sizes[] = {tokens, past, chunk};
    int64_t tiles = evaluate(info.tiles);
    size_t scratchBytes = (evaluate(info.scratch) + 63) / 64 * 64;
    if (emulated) {
      emulated->run(buffers, {tokens, past, chunk, tiles, parts,
                              static_cast<int64_t>(scratchBytes)});
      return;
    }
    for (int64_t part = 0; part < parts; ++part) {
      // NaNs: what was not written must not be read.
      GuardedVector<uint8_t> scratch(scratchBytes, 0xff);
      function(buffers.data(), sizes, scratch.data(), tiles * part / parts,
               tiles * (part + 1) / parts);
    }
  }

  KernelInfo info;

private:
  void *library = nullptr;
  Function function = nullptr;
  /// For code of another architecture, and the path of it.
  std::unique_ptr<EmulatedKernel> emulated;
  std::string emulatedPath;
  std::unique_ptr<simt::VulkanKernel> vulkan;
};

} // namespace mlir::lap::cpu
