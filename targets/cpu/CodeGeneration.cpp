// From a module of kernels to machine code.
#include "targets/cpu/CodeGeneration.h"
#include "targets/cpu/Passes.h"

#include "lld/Common/Driver.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Triple.h"

LLD_HAS_DRIVER(elf)

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

void cpu::buildCodePipeline(OpPassManager &passes, const CpuVariant &variant) {
  LowerKernelsToCpuPassOptions options;
  options.variant = variant.blocking.name.str();
  passes.addPass(createLowerKernelsToCpuPass(options));
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  passes.addPass(createLoopInvariantCodeMotionPass());
  passes.addPass(createSCFToControlFlowPass());
  passes.addPass(createConvertVectorToLLVMPass());
  passes.addPass(createConvertMathToLLVMPass());
  passes.addPass(createFinalizeMemRefToLLVMConversionPass());
  passes.addPass(createArithToLLVMConversionPass());
  passes.addPass(createConvertFuncToLLVMPass());
  passes.addPass(createConvertControlFlowToLLVMPass());
  passes.addPass(createReconcileUnrealizedCastsPass());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
}

OwningOpRef<ModuleOp> cpu::extractKernels(ModuleOp program) {
  OwningOpRef<ModuleOp> kernels = ModuleOp::create(program.getLoc());
  OpBuilder builder = OpBuilder::atBlockBegin(kernels->getBody());
  for (Operation &op : *program.getBody())
    if (isa<KernelOp, SchemeOp>(op))
      builder.clone(op);
  return kernels;
}

llvm::StringMap<KernelInfo> cpu::getKernelInfo(ModuleOp kernels) {
  llvm::StringMap<KernelInfo> infos;
  kernels.walk([&](Operation *op) {
    auto symbol = dyn_cast<SymbolOpInterface>(op);
    if (!symbol || !op->hasAttr("lap.tiles"))
      return;
    auto get = [&](StringRef name) {
      ArrayRef<int64_t> values =
          op->getAttrOfType<DenseI64ArrayAttr>(name).asArrayRef();
      return Extent{values[0], values[1]};
    };
    infos[symbol.getName()] = {get("lap.tiles"), get("lap.tile_work"),
                               get("lap.scratch")};
  });
  return infos;
}

static std::unique_ptr<llvm::TargetMachine>
createTargetMachine(const CpuVariant &variant) {
  static bool initialized = [] {
    llvm::InitializeAllTargetInfos();
    llvm::InitializeAllTargets();
    llvm::InitializeAllTargetMCs();
    llvm::InitializeAllAsmPrinters();
    return true;
  }();
  (void)initialized;
  llvm::Triple triple(getName(variant.blocking.architecture).str() +
                      "-unknown-linux-gnu");
  std::string error;
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  llvm::TargetOptions options;
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, variant.cpu, variant.extra, options, llvm::Reloc::PIC_,
      llvm::CodeModel::Small, llvm::CodeGenOptLevel::Aggressive));
}

FailureOr<std::unique_ptr<llvm::Module>>
cpu::translateToLlvm(ModuleOp kernels, const CpuVariant &variant,
                     llvm::LLVMContext &context) {
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  kernels->getContext()->appendDialectRegistry(registry);
  std::unique_ptr<llvm::Module> module =
      translateModuleToLLVMIR(kernels, context, "kernels");
  std::unique_ptr<llvm::TargetMachine> machine = createTargetMachine(variant);
  if (!module || !machine)
    return kernels.emitError("no LLVM IR or no LLVM backend for ")
           << getName(variant.blocking.architecture);
  module->setTargetTriple(machine->getTargetTriple());
  module->setDataLayout(machine->createDataLayout());
  std::string width = std::to_string(variant.blocking.vectorBits);
  for (llvm::Function &function : *module) {
    if (function.isDeclaration())
      continue;
    if (variant.blocking.architecture == Architecture::X86_64) {
      // x86-64-v4 would halve 512-bit vectors without being told.
      function.addFnAttr("prefer-vector-width", width);
      function.addFnAttr("min-legal-vector-width", width);
    }
    function.addFnAttr("target-cpu", variant.cpu);
    // The shared object needs no library, so no memset or memcpy either.
    function.addFnAttr("no-builtins");
    function.addFnAttr(llvm::Attribute::NoUnwind);
  }
  return module;
}

LogicalResult cpu::optimizeLlvm(llvm::Module &module,
                                const CpuVariant &variant) {
  std::unique_ptr<llvm::TargetMachine> machine = createTargetMachine(variant);
  if (!machine)
    return failure();
  llvm::PipelineTuningOptions tuning;
  // Kernels are vectors already.
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  llvm::PassBuilder builder(machine.get(), tuning);
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  // Kernels are straight loops over vectors, unrolled and without calls
  // already: what inlines, unrolls and vectorizes would take half of the time
  // for nothing.
  llvm::ModulePassManager passes;
  if (llvm::Error error = builder.parsePassPipeline(
          passes, "function(sroa,early-cse<memssa>,simplifycfg,instcombine,"
                  "loop-mssa(loop-rotate,licm),gvn,instcombine,"
                  "loop-mssa(licm),simplifycfg)")) {
    llvm::consumeError(std::move(error));
    return failure();
  }
  passes.run(module, modules);
  return success();
}

static FailureOr<std::string> generateFile(llvm::Module &module,
                                           const CpuVariant &variant,
                                           llvm::CodeGenFileType kind) {
  std::unique_ptr<llvm::TargetMachine> machine = createTargetMachine(variant);
  if (!machine)
    return failure();
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  if (machine->addPassesToEmitFile(passes, stream, nullptr, kind))
    return failure();
  passes.run(module);
  return std::string(bytes.data(), bytes.size());
}

FailureOr<std::string> cpu::generateAssembly(llvm::Module &module,
                                             const CpuVariant &variant) {
  return generateFile(module, variant, llvm::CodeGenFileType::AssemblyFile);
}

FailureOr<std::string> cpu::generateObject(llvm::Module &module,
                                           const CpuVariant &variant) {
  return generateFile(module, variant, llvm::CodeGenFileType::ObjectFile);
}

/// A directory in the system's temporary space, removed with all in it.
namespace {
struct TemporaryDirectory {
  llvm::SmallString<128> path;
  std::error_code create() {
    return llvm::sys::fs::createUniqueDirectory("lapidary", path);
  }
  ~TemporaryDirectory() {
    if (!path.empty())
      llvm::sys::fs::remove_directories(path);
  }
};
} // namespace

FailureOr<std::string> cpu::linkSharedObject(StringRef bytes) {
  auto fail = [](const llvm::Twine &what) {
    llvm::errs() << "error: " << what << "\n";
    return failure();
  };
  TemporaryDirectory directory;
  if (std::error_code error = directory.create())
    return fail("no temporary directory: " + error.message());
  std::string object = (directory.path + "/kernels.o").str();
  std::string library = (directory.path + "/kernels.so").str();
  {
    std::error_code error;
    llvm::raw_fd_ostream file(object, error);
    if (!error) {
      file << bytes;
      file.close();
      error = file.error();
      file.clear_error();
    }
    if (error)
      return fail("cannot write " + object + ": " + error.message());
  }
  const char *arguments[] = {"ld.lld",
                             "-shared",
                             "--no-undefined",
                             "--build-id=none",
                             "--hash-style=gnu",
                             "--strip-debug",
                             "-o",
                             library.c_str(),
                             object.c_str()};
  std::string messages;
  llvm::raw_string_ostream stream(messages);
  lld::Result result =
      lld::lldMain(arguments, stream, stream, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode)
    return fail("linking the kernels failed: " + stream.str());
  auto file = llvm::MemoryBuffer::getFile(library, /*IsText=*/false,
                                          /*RequiresNullTerminator=*/false);
  if (!file)
    return fail("cannot read " + library + ": " + file.getError().message());
  return (*file)->getBuffer().str();
}
