// From kernels to SPIR-V (see the header).
#include "targets/vulkan/CodeGeneration.h"
#include "targets/gpu/Passes.h"
#include "targets/vulkan/Passes.h"

#include "mlir/Dialect/SPIRV/IR/SPIRVOps.h"
#include "mlir/Target/SPIRV/Serialization.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::lap;

void vulkan::buildGpuPipeline(OpPassManager &passes, const simt::Facts &facts) {
  simt::LowerKernelsToGpuPassOptions options;
  options.variant = facts.name.str();
  passes.addPass(simt::createLowerKernelsToGpuPass(options));
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createLoopInvariantCodeMotionPass());
  passes.addPass(createCSEPass());
}

void vulkan::buildSpirvPipeline(OpPassManager &passes) {
  passes.addPass(createConvertGpuToVulkanPass());
}

llvm::StringMap<simt::DispatchInfo>
vulkan::getDispatchInfo(ModuleOp kernels) {
  llvm::StringMap<simt::DispatchInfo> infos;
  kernels.walk([&](gpu::GPUFuncOp function) {
    simt::DispatchInfo &info = infos[function.getName()];
    auto getExtent = [&](StringRef name) {
      auto values = function->getAttrOfType<DenseI64ArrayAttr>(name);
      return Extent{values[0], values[1]};
    };
    info.tiles = getExtent("lap.tiles");
    info.tileWork = getExtent("lap.tile_work");
    if (auto tile = function->getAttrOfType<IntegerAttr>("lap.token_tile"))
      info.tokenTile = tile.getInt();
    if (auto bytes =
            function->getAttrOfType<DenseI64ArrayAttr>("lap.window_bytes"))
      llvm::append_range(info.windowBytes, bytes.asArrayRef());
    info.windowsRepeat = function->hasAttr("lap.windows_repeat");
  });
  return infos;
}

SmallVector<StringRef> vulkan::getFeatures(const simt::Facts &facts) {
  SmallVector<StringRef> features;
  if (facts.dotProducts)
    features.push_back("shaderIntegerDotProduct");
  return features;
}

FailureOr<llvm::StringMap<SmallVector<uint32_t, 0>>>
vulkan::serializeModules(ModuleOp kernels) {
  llvm::StringMap<SmallVector<uint32_t, 0>> modules;
  for (auto module : kernels.getOps<spirv::ModuleOp>()) {
    SmallVector<uint32_t, 0> words;
    spirv::SerializationOptions options;
    options.emitSymbolName = false;
    if (failed(spirv::serialize(module, words, options)))
      return failure();
    auto entries = module.getOps<spirv::EntryPointOp>();
    if (!llvm::hasSingleElement(entries))
      return module.emitError("expected one entry point");
    modules[(*entries.begin()).getFn()] = std::move(words);
  }
  return modules;
}
