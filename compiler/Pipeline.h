// The pipelines: which passes run, in which order.
#pragma once

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

#include <optional>
#include <string>

namespace mlir::lap {

/// How far a checkpoint is compiled; `--emit` prints the IR at the end of one.
enum class Phase {
  /// What the frontend makes of the checkpoint.
  Model,
  /// What `buildKernelPipeline` leaves.
  Kernels,
  /// What `buildProgramPipeline` leaves.
  Program,
  /// The kernels in the LLVM dialect, by the target.
  Llvm,
  /// The kernels in the target's assembly.
  Asm,
};

/// The name that `--emit` takes.
StringRef getPhaseName(Phase phase);
/// The phase of that name, if there is one.
std::optional<Phase> parsePhase(StringRef name);
/// All names, in order, separated by `separator`: for messages and usage.
std::string listPhases(StringRef separator);

struct PipelineOptions : PassPipelineOptions<PipelineOptions> {
  Option<std::string> scheme{
      *this, "scheme",
      llvm::cl::desc("How matrices are stored: bf16 (as they are) or q8_0"),
      llvm::cl::init("")};
};

/// From model level to kernel level.
void buildKernelPipeline(OpPassManager &manager,
                         const PipelineOptions &options);

/// From kernel level, with the target's weight layouts set, to program level.
void buildProgramPipeline(OpPassManager &manager);

/// Names both for tools: lap-kernel-pipeline and lap-program-pipeline.
void registerLapPipelines();

} // namespace mlir::lap
