// The whole way from a checkpoint to a bundle.
#include "tools/compile/Compile.h"

#include "compiler/BundleFile.h"
#include "compiler/BundleWriter.h"
#include "compiler/Importance.h"
#include "compiler/SelfTestData.h"
#include "frontends/Import.h"
#include "targets/cpu/CodeGeneration.h"
#include "targets/vulkan/CodeGeneration.h"
#include "tools/compile/TargetList.h"
#include "tools/compiler/CompilerTool.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Support/FileUtilities.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Parallel.h"
#include "llvm/Support/ToolOutputFile.h"

#include <new>

using namespace mlir;
using namespace mlir::lap;

namespace {

class Compiler {
public:
  Compiler(MLIRContext &context, const CompileOptions &options)
      : context(context), options(options) {}
  LogicalResult run();

private:
  InFlightDiagnostic error() { return emitError(UnknownLoc::get(&context)); }
  LogicalResult check(const lapidary::Status &status) {
    return lap::check(context, status);
  }
  void report(StringRef what, double done) {
    if (options.progress)
      options.progress(what, done);
  }
  LogicalResult runPasses(ModuleOp module,
                          function_ref<void(OpPassManager &)> build);
  LogicalResult print(function_ref<void(llvm::raw_ostream &)> write);
  LogicalResult emitModule(ModuleOp module) {
    return print([&](llvm::raw_ostream &out) { module.print(out); });
  }
  FailureOr<std::unique_ptr<llvm::Module>>
  lowerKernels(const cpu::CpuVariant &variant, llvm::LLVMContext &llvmContext,
               llvm::StringMap<KernelInfo> *infos = nullptr);
  LogicalResult generateCode(cpu::Architecture architecture);
  LogicalResult generateVulkan();
  LogicalResult emitCode();
  LogicalResult emitGpuCode();
  LogicalResult prepareFile();
  LogicalResult writeFile();
  bool isCancelled() const { return options.cancel && *options.cancel; }

  MLIRContext &context;
  const CompileOptions &options;
  ImportedModel model;
  std::vector<TargetCode> targets;
  /// The model level, as it was before passes.
  OwningOpRef<ModuleOp> reference;
  /// What kernels round the inputs of a weight's products to.
  llvm::StringMap<Activations> activations;
  Importance importance;
  std::vector<uint8_t> tokenizer, chatTemplate;
};

} // namespace

LogicalResult Compiler::runPasses(ModuleOp module,
                                  function_ref<void(OpPassManager &)> build) {
  PassManager passes(&context);
  if (failed(applyPassManagerCLOptions(passes)))
    return failure();
  applyDefaultTimingPassManagerCLOptions(passes);
  build(passes);
  return passes.run(module);
}

LogicalResult Compiler::print(function_ref<void(llvm::raw_ostream &)> write) {
  std::string message;
  StringRef path = options.output.empty() ? "-" : StringRef(options.output);
  auto file = openOutputFile(path, &message);
  if (!file)
    return error() << message;
  llvm::raw_fd_ostream &out = file->os();
  write(out);
  out.flush();
  if (std::error_code code = out.error()) {
    // LLVM ends the process for an error that nobody took note of.
    out.clear_error();
    return error() << "cannot write " << path << ": " << code.message();
  }
  file->keep();
  return success();
}

/// LLVM IR of all kernels for a variant, not optimized.
FailureOr<std::unique_ptr<llvm::Module>>
Compiler::lowerKernels(const cpu::CpuVariant &variant,
                       llvm::LLVMContext &llvmContext,
                       llvm::StringMap<KernelInfo> *infos) {
  OwningOpRef<ModuleOp> kernels = cpu::extractKernels(*model.module);
  if (failed(runPasses(*kernels, [&](OpPassManager &passes) {
        cpu::buildCodePipeline(passes, variant);
      })))
    return failure();
  if (infos)
    *infos = cpu::getKernelInfo(*kernels);
  return cpu::translateToLlvm(*kernels, variant, llvmContext);
}

/// The same call serves all variants: it has scratch for any of them.
static void mergeScratch(llvm::StringMap<KernelInfo> &kernels,
                         const llvm::StringMap<KernelInfo> &others) {
  for (const auto &other : others) {
    auto [place, isNew] = kernels.insert({other.getKey(), other.second});
    Extent &scratch = place->second.scratch;
    const Extent &own = other.second.scratch;
    scratch.constant = std::max(scratch.constant, own.constant);
    scratch.perToken = std::max(scratch.perToken, own.perToken);
  }
}

LogicalResult Compiler::generateCode(cpu::Architecture architecture) {
  report("compiling kernels", 0);
  TargetCode &code = targets.emplace_back();
  code.device = "cpu";
  code.architecture = cpu::getName(architecture).str();
  struct Job {
    const cpu::CpuVariant *variant;
    std::unique_ptr<llvm::LLVMContext> context;
    std::unique_ptr<llvm::Module> module;
    FailureOr<std::string> object;
  };
  std::vector<Job> jobs;
  for (const cpu::CpuVariant *variant :
       cpu::chooseVariants(options.variant, architecture, *model.module)) {
    Job job{variant, std::make_unique<llvm::LLVMContext>(), nullptr, {}};
    llvm::StringMap<KernelInfo> infos;
    auto module = lowerKernels(*variant, *job.context, &infos);
    if (failed(module))
      return failure();
    mergeScratch(code.kernels, infos);
    job.module = std::move(*module);
    jobs.push_back(std::move(job));
  }
  if (jobs.empty())
    return error() << "--variant " << options.variant << " leaves no code for "
                   << code.architecture
                   << ": the kernels have no use for it, or this machine is "
                      "another";
  llvm::parallelForEach(jobs, [](Job &job) {
    if (succeeded(cpu::optimizeLlvm(*job.module, *job.variant)))
      job.object = cpu::generateObject(*job.module, *job.variant);
  });
  for (Job &job : jobs) {
    if (failed(job.object))
      return error() << "LLVM made no code for " << job.variant->blocking.name;
    FailureOr<std::string> library = cpu::linkSharedObject(*job.object);
    if (failed(library))
      return failure();
    TargetCode::Variant entry{job.variant->blocking.name.str(), {}, *library};
    for (StringRef feature : job.variant->features)
      entry.features.push_back(feature.str());
    code.variants.push_back(std::move(entry));
  }
  return success();
}

LogicalResult Compiler::emitCode() {
  const cpu::CpuVariant *variant = cpu::findVariant(options.variant);
  llvm::LLVMContext llvmContext;
  auto module = lowerKernels(*variant, llvmContext);
  if (failed(module) || failed(cpu::optimizeLlvm(**module, *variant)))
    return failure();
  if (*options.emit == Phase::Llvm)
    return print(
        [&](llvm::raw_ostream &out) { (*module)->print(out, nullptr); });
  auto assembly = cpu::generateAssembly(**module, *variant);
  if (failed(assembly))
    return failure();
  return print([&](llvm::raw_ostream &out) { out << *assembly; });
}

/// A module a kernel. What a kernel does not depend on makes no other module,
/// and a variant that is all of the next one's modules is left out.
LogicalResult Compiler::generateVulkan() {
  report("compiling kernels for Vulkan", 0);
  TargetCode &code = targets.emplace_back();
  code.device = "vulkan";
  code.architecture = "spirv";
  struct Made {
    const simt::Facts *facts;
    SmallVector<std::string> uses;
    TargetCode::Variant::Module module;
  };
  llvm::StringMap<SmallVector<Made>> made;
  for (const simt::Facts *facts : chooseGpuVariants(options.variant)) {
    TargetCode::Variant &variant = code.variants.emplace_back();
    variant.name = facts->name.str();
    llvm::append_range(variant.features, vulkan::getFeatures(*facts));
    OwningOpRef<ModuleOp> kernels = cpu::extractKernels(*model.module);
    for (auto kernel :
         llvm::make_early_inc_range(kernels->getOps<KernelOp>())) {
      auto &before = made[kernel.getName()];
      const Made *same = llvm::find_if(before, [&](const Made &own) {
        return facts->agrees(*own.facts, own.uses);
      });
      if (same == before.end())
        continue;
      variant.modules[kernel.getName()] = same->module;
      kernel.erase();
    }
    if (failed(runPasses(*kernels, [&](OpPassManager &passes) {
          vulkan::buildGpuPipeline(passes, *facts);
        })))
      return failure();
    // All variants are dispatched alike.
    for (const auto &info : vulkan::getKernelInfo(*kernels))
      code.kernels[info.getKey()] = info.second;
    auto uses = vulkan::getKernelUses(*kernels);
    if (failed(runPasses(*kernels, vulkan::buildSpirvPipeline)) ||
        failed(vulkan::serialize(*kernels, code.modules, variant.modules)))
      return failure();
    for (const auto &own : uses)
      made[own.getKey()].push_back(
          {facts, own.second, variant.modules.lookup(own.getKey())});
  }
  auto isNext = [&](const TargetCode::Variant &variant) {
    const TargetCode::Variant &next = *(&variant + 1);
    return llvm::all_of(variant.modules, [&](const auto &module) {
      return next.modules.lookup(module.getKey()).offset ==
             module.second.offset;
    });
  };
  for (size_t i = 0; i + 1 < code.variants.size();)
    if (isNext(code.variants[i]))
      code.variants.erase(code.variants.begin() + ptrdiff_t(i));
    else
      ++i;
  return success();
}

LogicalResult Compiler::emitGpuCode() {
  const simt::Facts *facts = simt::findFacts(options.variant);
  OwningOpRef<ModuleOp> kernels = cpu::extractKernels(*model.module);
  if (failed(runPasses(*kernels, [&](OpPassManager &passes) {
        vulkan::buildGpuPipeline(passes, *facts);
        if (*options.emit == Phase::Spirv)
          vulkan::buildSpirvPipeline(passes);
      })))
    return failure();
  return emitModule(*kernels);
}

/// What a compile fails for at its end is found at its beginning.
LogicalResult Compiler::prepareFile() {
  if (failed(check(lapidary::BundleFile::check(options.output))))
    return failure();
  if (!options.importance.empty()) {
    auto read = readImportance(options.importance);
    if (failed(check(read.status())))
      return failure();
    importance = *std::move(read);
  }
  auto compiled = compileModelTokenizer(model);
  if (failed(check(compiled.status())))
    return failure();
  tokenizer = *std::move(compiled);
  auto conversation = compileModelTemplate(model);
  if (failed(check(conversation.status())))
    return failure();
  chatTemplate = *std::move(conversation);
  return success();
}

LogicalResult Compiler::writeFile() {
  // From here on no code of LLVM's is on the stack: memory that runs out is an
  // exception, so that the unfinished file is removed.
  std::set_new_handler(nullptr);
  SelfTestInputs selfTest = {*reference, model.config, activations,
                             *symbolizeKvFormat(options.kv)};
  BundleInputs inputs = {*model.module, model.config, *model.checkpoint,
                         importance,    targets,      tokenizer,
                         chatTemplate,  selfTest};
  return check(
      writeBundle(options.output, inputs, [&](StringRef what, double done) {
        report(what, done);
        return !isCancelled();
      }));
}

LogicalResult Compiler::run() {
  std::optional<TargetList> list = parseTargets(options.target);
  if (!list)
    return error() << "--target " << options.target << " is unknown, expected "
                   << listTargets();
  FailureOr<ImportedModel> imported = importModel(
      &context, options.checkpoint, options.media, options.assistant);
  if (failed(imported))
    return failure();
  model = std::move(*imported);
  if (options.emit == Phase::Model)
    return emitModule(*model.module);
  if (!options.emit && failed(prepareFile()))
    return failure();

  if (!options.emit)
    reference = model.module->clone();
  PipelineOptions pipeline;
  pipeline.quant = options.quant;
  pipeline.recipe = options.recipe;
  pipeline.activations = options.activations;
  pipeline.kv = options.kv;
  pipeline.gpu = list->vulkan;
  if (failed(runPasses(*model.module, [&](OpPassManager &passes) {
        buildKernelPipeline(passes, pipeline);
      })))
    return failure();
  if (options.emit == Phase::Kernels)
    return emitModule(*model.module);
  model.module->walk([&](FusedLinearOp op) {
    for (Value weight : op.getWeights())
      if (auto read = weight.getDefiningOp<GetWeightOp>())
        activations[read.getWeight()] = op.getActivations();
  });
  if (failed(runPasses(*model.module, buildProgramPipeline)))
    return failure();
  if (options.emit == Phase::Program)
    return emitModule(*model.module);
  if (options.emit == Phase::Gpu || options.emit == Phase::Spirv)
    return emitGpuCode();
  if (options.emit)
    return emitCode();

  for (cpu::Architecture architecture : list->architectures)
    if (isCancelled() || failed(generateCode(architecture)))
      return failure();
  if (list->vulkan && (isCancelled() || failed(generateVulkan())))
    return failure();
  if (isCancelled())
    return failure();
  return writeFile();
}

LogicalResult mlir::lap::compile(MLIRContext &context,
                                 const CompileOptions &options) {
  context.loadDialect<arith::ArithDialect, bufferization::BufferizationDialect,
                      func::FuncDialect, LapDialect, math::MathDialect,
                      memref::MemRefDialect>();
  return Compiler(context, options).run();
}
