// Kernels in the gpu dialect become SPIR-V modules, by MLIR's own conversions.
#include "targets/vulkan/Passes.h"

#include "mlir/Conversion/ArithToSPIRV/ArithToSPIRV.h"
#include "mlir/Conversion/GPUToSPIRV/GPUToSPIRV.h"
#include "mlir/Conversion/MathToSPIRV/MathToSPIRV.h"
#include "mlir/Conversion/MemRefToSPIRV/MemRefToSPIRV.h"
#include "mlir/Conversion/SCFToSPIRV/SCFToSPIRV.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVDialect.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVOps.h"
#include "mlir/Dialect/SPIRV/IR/TargetAndABI.h"
#include "mlir/Dialect/SPIRV/Transforms/Passes.h"
#include "mlir/Dialect/SPIRV/Transforms/SPIRVConversion.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/DialectConversion.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"

#define DEBUG_TYPE "lap-convert-gpu-to-vulkan"

namespace mlir::lap::vulkan {
#define GEN_PASS_DEF_CONVERTGPUTOVULKANPASS
#include "targets/vulkan/Passes.h.inc"
} // namespace mlir::lap::vulkan

using namespace mlir;

/// What modules may use; what they do use is found out at the end.
static spirv::TargetEnvAttr getEnvironment(MLIRContext *context) {
  auto triple = spirv::VerCapExtAttr::get(
      spirv::Version::V_1_6,
      {spirv::Capability::Shader, spirv::Capability::DotProduct,
       spirv::Capability::DotProductInput4x8BitPacked,
       spirv::Capability::GroupNonUniform,
       spirv::Capability::GroupNonUniformArithmetic, spirv::Capability::Float16,
       spirv::Capability::CooperativeMatrixKHR},
      {spirv::Extension::SPV_KHR_storage_buffer_storage_class,
       spirv::Extension::SPV_KHR_integer_dot_product,
       spirv::Extension::SPV_KHR_cooperative_matrix},
      context);
  return spirv::TargetEnvAttr::get(
      triple, spirv::getDefaultResourceLimits(context),
      spirv::ClientAPI::Vulkan, spirv::Vendor::Unknown,
      spirv::DeviceType::Unknown, spirv::TargetEnvAttr::kUnknownDeviceID);
}

static std::optional<spirv::StorageClass> getStorageClass(Attribute space) {
  auto own = dyn_cast_or_null<gpu::AddressSpaceAttr>(space);
  if (!own)
    return spirv::mapMemorySpaceToVulkanStorageClass(space);
  switch (own.getValue()) {
  case gpu::AddressSpace::Global:
    return spirv::StorageClass::StorageBuffer;
  case gpu::AddressSpace::Workgroup:
    return spirv::StorageClass::Workgroup;
  default:
    return std::nullopt;
  }
}

/// Whether nothing but loads comes of a pointer.
static bool isOnlyRead(Value pointer) {
  return llvm::all_of(pointer.getUsers(), [](Operation *user) {
    if (auto chain = dyn_cast<spirv::AccessChainOp>(user))
      return isOnlyRead(chain);
    return isa<spirv::LoadOp, spirv::KHRCooperativeMatrixLoadOp>(user);
  });
}

/// Tells drivers which buffers a kernel only reads: they may go through other
/// caches then.
static void markReadOnly(spirv::ModuleOp module) {
  llvm::StringSet<> written;
  module.walk([&](spirv::AddressOfOp address) {
    if (!isOnlyRead(address))
      written.insert(address.getVariable());
  });
  for (auto variable : module.getOps<spirv::GlobalVariableOp>())
    if (variable.storageClass() == spirv::StorageClass::StorageBuffer &&
        !written.contains(variable.getSymName()))
      variable->setAttr("non_writable", UnitAttr::get(module.getContext()));
}

/// The numbers at the end of a kernel's arguments become reads of push
/// constants.
static void movePushConstants(gpu::GPUFuncOp function) {
  Block &body = function.getBody().front();
  SmallVector<unsigned> numbers;
  for (auto [i, type] : llvm::enumerate(function.getArgumentTypes()))
    if (type.isInteger(32))
      numbers.push_back(i);
  auto builder = OpBuilder::atBlockBegin(&body);
  BitVector erased(function.getNumArguments());
  for (auto [offset, argument] : llvm::enumerate(numbers)) {
    Value value = spirv::getPushConstantValue(function, numbers.size(), offset,
                                              builder.getI32Type(), builder);
    function.getArgument(argument).replaceAllUsesWith(value);
    erased.set(argument);
  }
  (void)function.eraseArguments(erased);
}

/// What workgroups share becomes allocations, which MLIR makes variables of.
static void moveWorkgroupMemory(gpu::GPUFuncOp function) {
  auto builder = OpBuilder::atBlockBegin(&function.getBody().front());
  for (BlockArgument memory : function.getWorkgroupAttributions()) {
    Value allocated = memref::AllocOp::create(
        builder, function.getLoc(), cast<MemRefType>(memory.getType()));
    memory.replaceAllUsesWith(allocated);
  }
  // Attributions are the block's last arguments.
  Block &body = function.getBody().front();
  body.eraseArguments(function.getNumArguments(),
                      body.getNumArguments() - function.getNumArguments());
  function->removeAttr(function.getNumWorkgroupAttributionsAttrName());
}

/// MLIR's conversion writes a loop's results in each round: of a loop without
/// rounds they would be anything.
static void defineLoopResults(gpu::GPUModuleOp module) {
  module.walk([](scf::ForOp loop) {
    std::optional<APInt> rounds = loop.getStaticTripCount();
    if (loop.getNumResults() == 0 || (rounds && !rounds->isZero()))
      return;
    OpBuilder builder(loop->getContext());
    builder.setInsertionPointAfter(loop);
    Value any =
        arith::CmpIOp::create(builder, loop.getLoc(), arith::CmpIPredicate::slt,
                              loop.getLowerBound(), loop.getUpperBound());
    for (auto [result, initial] :
         llvm::zip_equal(loop.getResults(), loop.getInitArgs())) {
      auto defined =
          arith::SelectOp::create(builder, loop.getLoc(), any, result, initial);
      result.replaceAllUsesExcept(defined, defined);
    }
  });
}

/// Matrices demand Vulkan's memory model, in which what invocations tell each
/// other is marked as such, and made available and visible where they wait.
static void useVulkanMemoryModel(spirv::ModuleOp module) {
  MLIRContext *context = module.getContext();
  auto shared = spirv::MemoryAccessAttr::get(
      context, spirv::MemoryAccess::NonPrivatePointer);
  module.walk([&](Operation *op) {
    TypeSwitch<Operation *>(op)
        .Case<spirv::LoadOp, spirv::StoreOp>([&](auto access) {
          // Buffers are written for other dispatches alone.
          if (cast<spirv::PointerType>(access.getPtr().getType())
                  .getStorageClass() == spirv::StorageClass::Workgroup)
            access.setMemoryAccessAttr(shared);
        })
        .Case<spirv::KHRCooperativeMatrixLoadOp,
              spirv::KHRCooperativeMatrixStoreOp>(
            [&](auto access) { access.setMemoryOperandAttr(shared); })
        .Case([&](spirv::ControlBarrierOp barrier) {
          barrier.setMemorySemantics(barrier.getMemorySemantics() |
                                     spirv::MemorySemantics::MakeAvailable |
                                     spirv::MemorySemantics::MakeVisible);
        });
  });
  module.setMemoryModel(spirv::MemoryModel::Vulkan);
}

namespace {

struct ConvertGpuToVulkanPass
    : lap::vulkan::impl::ConvertGpuToVulkanPassBase<ConvertGpuToVulkanPass> {
  void runOnOperation() override {
    for (auto module :
         llvm::make_early_inc_range(getOperation().getOps<gpu::GPUModuleOp>()))
      if (failed(convert(module)))
        return signalPassFailure();
    for (auto module : getOperation().getOps<spirv::ModuleOp>()) {
      if (failed(finish(module)))
        return signalPassFailure();
      markReadOnly(module);
    }
  }

  LogicalResult convert(gpu::GPUModuleOp module) {
    MLIRContext *context = &getContext();
    defineLoopResults(module);
    spirv::TargetEnvAttr environment = getEnvironment(context);
    module->setAttr(spirv::getTargetEnvAttrName(), environment);
    for (auto function : module.getOps<gpu::GPUFuncOp>()) {
      // Before its numbers: a push constant's variable comes first.
      movePushConstants(function);
      moveWorkgroupMemory(function);
      auto size = function.getKnownBlockSizeAttr();
      if (!size)
        return function.emitOpError("has no known_block_size");
      function->setAttr(
          spirv::getEntryPointABIAttrName(),
          spirv::getEntryPointABIAttr(context, size.asArrayRef()));
    }

    spirv::MemorySpaceToStorageClassConverter classes(getStorageClass);
    spirv::convertMemRefTypesAndAttrs(module, classes);

    SPIRVConversionOptions options;
    SPIRVTypeConverter types(environment, options);
    populateMMAToSPIRVCoopMatrixTypeConversion(types);
    std::unique_ptr<ConversionTarget> target =
        SPIRVConversionTarget::get(environment);
    RewritePatternSet patterns(context);
    ScfToSPIRVContext loops;
    populateGPUToSPIRVPatterns(types, patterns);
    populateGpuWMMAToSPIRVCoopMatrixKHRConversionPatterns(types, patterns);
    arith::populateArithToSPIRVPatterns(types, patterns);
    populateMathToSPIRVPatterns(types, patterns);
    populateMemRefToSPIRVPatterns(types, patterns);
    populateSCFToSPIRVPatterns(types, loops, patterns);
    if (failed(applyFullConversion(module, *target, std::move(patterns))))
      return failure();
    ++converted;
    return success();
  }

  /// Interfaces, what the module needs of a device, and its version.
  LogicalResult finish(spirv::ModuleOp module) {
    PassManager passes(&getContext(), spirv::ModuleOp::getOperationName());
    passes.addPass(spirv::createSPIRVLowerABIAttributesPass());
    passes.addPass(spirv::createSPIRVUpdateVCEPass());
    if (failed(runPipeline(passes, module)))
      return failure();
    // Bits of a word are set in any order; MLIR's order would be of no memory
    // at all, which validators refuse.
    module.walk([](Operation *op) {
      TypeSwitch<Operation *>(op).Case<spirv::AtomicAndOp, spirv::AtomicOrOp>(
          [](auto atomic) {
            atomic.setSemantics(spirv::MemorySemantics::None);
          });
    });
    // The interface of an entry point lists its buffers only from 1.4 on. What
    // MLIR knows of 1.6 alone is an extension before that.
    auto needed = *module.getVceTriple();
    SmallVector<spirv::Extension> extensions(needed.getExtensions());
    constexpr auto dots = spirv::Extension::SPV_KHR_integer_dot_product;
    bool hasDots = llvm::is_contained(needed.getCapabilities(),
                                      spirv::Capability::DotProduct);
    if (hasDots && !llvm::is_contained(extensions, dots))
      extensions.push_back(dots);
    auto capabilities = llvm::to_vector(needed.getCapabilities());
    // MLIR does not look at variables for what they need.
    constexpr auto subgroups = spirv::Capability::GroupNonUniform;
    auto isOfSubgroup = [](spirv::GlobalVariableOp variable) {
      std::optional<StringRef> builtIn = variable.getBuiltIn();
      return builtIn &&
             (*builtIn == "NumSubgroups" || builtIn->starts_with("Subgroup"));
    };
    if (llvm::any_of(module.getOps<spirv::GlobalVariableOp>(), isOfSubgroup) &&
        !llvm::is_contained(capabilities, subgroups))
      capabilities.push_back(subgroups);
    if (llvm::is_contained(capabilities,
                           spirv::Capability::CooperativeMatrixKHR)) {
      useVulkanMemoryModel(module);
      capabilities.push_back(spirv::Capability::VulkanMemoryModel);
      extensions.push_back(spirv::Extension::SPV_KHR_vulkan_memory_model);
    }
    module.setVceTripleAttr(spirv::VerCapExtAttr::get(
        spirv::Version::V_1_4, capabilities, extensions, &getContext()));
    return success();
  }
};

} // namespace
