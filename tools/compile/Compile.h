// The whole way from a checkpoint to a bundle, or to the text of a stage.
#pragma once

#include "compiler/Pipeline.h"

#include <atomic>
#include <functional>
#include <string>

namespace mlir::lap {

/// Whether `--quant` names a format of the checkpoint, not a scheme.
inline bool isFloatFormat(StringRef quant) {
  return quant == "bf16" || quant == "f16" || quant == "f32";
}

struct CompileOptions {
  std::string checkpoint;
  /// A path; "-" is standard output, for `emit`.
  std::string output;
  std::string target = "cpu";
  /// "" keeps the checkpoint's formats; else the scheme of all matrices.
  std::string quant;
  /// Stop after this phase and print it instead of writing a bundle.
  std::optional<Phase> emit;
  /// The CPU variant that `emit` shows machine code of.
  std::string variant = "avx512";
  /// Set to stop; looked at between stages and while weights are written.
  const std::atomic<bool> *cancel = nullptr;
  /// Told what is being done, and how much of it is (0..1).
  std::function<void(StringRef what, double done)> progress;
};

/// Errors go to the context's diagnostics.
LogicalResult compile(MLIRContext &context, const CompileOptions &options);

} // namespace mlir::lap
