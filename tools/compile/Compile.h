// The whole way from a checkpoint to a bundle, or to the text of a stage.
#pragma once

#include "compiler/Pipeline.h"

#include <atomic>
#include <functional>
#include <string>

namespace mlir::lap {

struct CompileOptions {
  /// A Hugging Face folder or a GGUF file.
  std::string checkpoint;
  /// The GGUF file of the projections; may be empty.
  std::string media;
  /// The folder of a companion for multi-token prediction; may be empty.
  std::string assistant;
  /// A path; "-" is standard output, for `emit`.
  std::string output;
  /// See parseTargets in TargetList.h.
  std::string target = "cpu";
  /// A scheme or recipe, by name or path; "" keeps the checkpoint's formats.
  std::string quant;
  /// A recipe by name or path, instead of `quant`.
  std::string recipe;
  /// A file of `lapidary calibrate`; may be empty.
  std::string importance;
  /// auto, f32, bf16, int8 or int8_token.
  std::string activations = "auto";
  /// How KV caches are stored: f16, q8_0, f32 or bf16.
  std::string kv = "f16";
  /// Stop after this phase and print it instead of writing a bundle.
  std::optional<Phase> emit;
  /// The variants that a bundle holds code of (see cpu::chooseVariants and
  /// chooseGpuVariants); the one that `emit` shows code of.
  std::string variant;
  /// Set to stop; looked at between stages and while weights are written.
  const std::atomic<bool> *cancel = nullptr;
  /// Told what is being done, and how much of it is (0..1).
  std::function<void(StringRef what, double done)> progress;
};

/// Errors go to the context's diagnostics.
LogicalResult compile(MLIRContext &context, const CompileOptions &options);

} // namespace mlir::lap
