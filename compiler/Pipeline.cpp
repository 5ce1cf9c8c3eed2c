// The pipelines: which passes run, in which order.
#include "compiler/Pipeline.h"

#include "compiler/Passes.h"

#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace mlir::lap;

namespace {

struct PhaseName {
  Phase phase;
  StringRef name;
};

constexpr PhaseName phaseNames[] = {
    {Phase::Model, "model"},     {Phase::Kernels, "kernels"},
    {Phase::Program, "program"}, {Phase::Llvm, "llvm"},
    {Phase::Asm, "asm"},         {Phase::Gpu, "gpu"},
    {Phase::Spirv, "spirv"}};

} // namespace

StringRef mlir::lap::getPhaseName(Phase phase) {
  return phaseNames[static_cast<size_t>(phase)].name;
}

std::optional<Phase> mlir::lap::parsePhase(StringRef name) {
  for (const PhaseName &known : phaseNames)
    if (known.name == name)
      return known.phase;
  return std::nullopt;
}

std::string mlir::lap::listPhases(StringRef separator) {
  return llvm::join(
      llvm::map_range(phaseNames,
                      [](const PhaseName &known) { return known.name; }),
      separator);
}

void mlir::lap::buildKernelPipeline(OpPassManager &manager,
                                    const PipelineOptions &options) {
  // How weights are stored.
  manager.addPass(createQuantizeWeightsPass({options.quant, options.recipe}));
  manager.addPass(createRecognizeAffinePass());
  manager.addPass(createFuseDequantizeLinearPass());

  // Linear ops, with what stands before and behind them. Norms go first: the
  // rest looks for the kernels that this makes.
  manager.addPass(createFuseNormLinearPass());
  manager.addPass(createFuseGatedMlpPass());
  manager.addPass(createFuseSoftcapPass());

  // What is left between linear ops.
  manager.addPass(createFuseEmbeddingPass());
  manager.addPass(createFusePatchProjectionPass());
  manager.addPass(createFuseRopeKvUpdatePass());
  manager.addPass(createFuseResidualNormPass());
  manager.addPass(createFuseNormConcatPass());

  // How caches are stored, and attention divided.
  manager.addPass(createAssignCachesPass({options.kv}));
  manager.addPass(createSplitAttentionPass({options.gpu}));

  // How weights lie in memory, and how linear kernels compute.
  manager.addPass(createAssignLayoutsPass());
  manager.addPass(createSetActivationsPass({options.activations}));
  manager.addPass(createPackInputsPass());

  // What a GPU's program has beyond a CPU's: the sampler is where the CPU's
  // logits are.
  if (options.gpu)
    manager.addPass(createSelectCandidatesPass());
}

void mlir::lap::buildProgramPipeline(OpPassManager &manager) {
  // Kernels and their uses.
  manager.addPass(createOutlineKernelsPass());

  // Memory.
  manager.addPass(createBufferizePass());
  manager.addPass(createPlanMemoryPass());
}

void mlir::lap::registerLapPipelines() {
  PassPipelineRegistration<PipelineOptions>("lap-kernel-pipeline",
                                            "From model level to kernel level",
                                            buildKernelPipeline);
  PassPipelineRegistration<>("lap-program-pipeline",
                             "From kernel level to program level",
                             buildProgramPipeline);
}
