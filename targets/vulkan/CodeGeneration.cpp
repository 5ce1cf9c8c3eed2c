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

llvm::StringMap<KernelInfo> vulkan::getKernelInfo(ModuleOp kernels) {
  llvm::StringMap<KernelInfo> infos;
  kernels.walk([&](gpu::GPUFuncOp function) {
    KernelInfo &info = infos[function.getName()];
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
      info.windowBytes.assign(bytes.asArrayRef().begin(),
                              bytes.asArrayRef().end());
    info.windowsRepeat = function->hasAttr("lap.windows_repeat");
  });
  return infos;
}

llvm::StringMap<SmallVector<std::string>>
vulkan::getKernelUses(ModuleOp kernels) {
  llvm::StringMap<SmallVector<std::string>> uses;
  kernels.walk([&](gpu::GPUFuncOp function) {
    auto &own = uses[function.getName()];
    if (auto names = function->getAttrOfType<ArrayAttr>("lap.uses"))
      for (auto name : names.getAsValueRange<StringAttr>())
        own.push_back(name.str());
  });
  return uses;
}

SmallVector<std::string> vulkan::getFeatures(const simt::Facts &facts) {
  SmallVector<std::string> features;
  if (facts.dotProducts)
    features.push_back("shaderIntegerDotProduct");
  if (facts.subgroups)
    features.push_back("subgroupArithmetic");
  if (facts.matrix) {
    std::string size = std::to_string(facts.matrix);
    // With the memory model atomics of caches demand the device scope.
    features.append({"shaderFloat16", "vulkanMemoryModel",
                     "vulkanMemoryModelDeviceScope",
                     "cooperativeMatrix" + size + "x" + size + "x" + size});
  }
  return features;
}

LogicalResult
vulkan::serialize(ModuleOp kernels, std::string &bytes,
                  llvm::StringMap<TargetCode::Variant::Module> &modules) {
  for (auto module : kernels.getOps<spirv::ModuleOp>()) {
    SmallVector<uint32_t, 0> words;
    spirv::SerializationOptions options;
    options.emitSymbolName = false;
    if (failed(spirv::serialize(module, words, options)))
      return failure();
    auto entries = module.getOps<spirv::EntryPointOp>();
    if (!llvm::hasSingleElement(entries))
      return module.emitError("expected one entry point");
    auto &place = modules[(*entries.begin()).getFn()];
    place.offset = bytes.size();
    place.size = words.size() * sizeof(uint32_t);
    bytes.append(reinterpret_cast<const char *>(words.data()), place.size);
  }
  return success();
}
