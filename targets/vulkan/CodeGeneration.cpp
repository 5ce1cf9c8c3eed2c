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

bool vulkan::needsVariant(ModuleOp kernels, const simt::Facts &facts) {
  if (!facts.dotProducts)
    return true;
  return kernels
      .walk([&](FusedLinearOp op) {
        PackedAttr packing = op.getPacking();
        return packing && packing.getCodes() ? WalkResult::interrupt()
                                             : WalkResult::advance();
      })
      .wasInterrupted();
}

FailureOr<TargetCode::Variant> vulkan::serialize(ModuleOp kernels,
                                                 const simt::Facts &facts) {
  TargetCode::Variant variant;
  variant.name = facts.name.str();
  if (facts.dotProducts)
    variant.features.push_back("shaderIntegerDotProduct");
  for (auto module : kernels.getOps<spirv::ModuleOp>()) {
    SmallVector<uint32_t, 0> words;
    spirv::SerializationOptions options;
    options.emitSymbolName = false;
    if (failed(spirv::serialize(module, words, options)))
      return failure();
    auto entries = module.getOps<spirv::EntryPointOp>();
    if (!llvm::hasSingleElement(entries))
      return module.emitError("expected one entry point");
    auto &place = variant.modules[(*entries.begin()).getFn()];
    place.offset = variant.bytes.size();
    place.size = words.size() * sizeof(uint32_t);
    variant.bytes.append(reinterpret_cast<const char *>(words.data()),
                         place.size);
  }
  return variant;
}
