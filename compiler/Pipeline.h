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
  /// The kernels in LLVM IR.
  Llvm,
  /// The kernels in the target's assembly.
  Asm,
  /// The kernels in the gpu dialect.
  Gpu,
  /// The kernels in the SPIR-V dialect.
  Spirv,
};

/// The name that `--emit` takes.
StringRef getPhaseName(Phase phase);
/// The phase of that name, if there is one.
std::optional<Phase> parsePhase(StringRef name);
/// All names, in order, separated by `separator`: for messages and usage.
std::string listPhases(StringRef separator);

struct PipelineOptions : PassPipelineOptions<PipelineOptions> {
  Option<std::string> quant{
      *this, "quant",
      llvm::cl::desc("How matrices are stored: a scheme or recipe, by name or "
                     "path; empty: as they are"),
      llvm::cl::init("")};
  Option<std::string> recipe{
      *this, "recipe",
      llvm::cl::desc("A recipe by name or path, instead of quant"),
      llvm::cl::init("")};
  Option<std::string> activations{
      *this, "activations",
      llvm::cl::desc("What inputs of linear kernels are rounded to: auto, f32, "
                     "bf16, int8 or int8_token"),
      llvm::cl::init("auto")};
  Option<std::string> kv{
      *this, "kv",
      llvm::cl::desc("How KV caches are stored: f16, q8_0, f32 or bf16"),
      llvm::cl::init("f16")};
  Option<bool> gpu{*this, "gpu",
                   llvm::cl::desc("Whether a GPU may run the program"),
                   llvm::cl::init(false)};
};

/// From model level to kernel level.
void buildKernelPipeline(OpPassManager &manager,
                         const PipelineOptions &options);

/// From kernel level, with the target's weight layouts set, to program level.
void buildProgramPipeline(OpPassManager &manager);

/// Names both for tools: lap-kernel-pipeline and lap-program-pipeline.
void registerLapPipelines();

} // namespace mlir::lap
