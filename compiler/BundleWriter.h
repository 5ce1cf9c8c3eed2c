// Writes a bundle: header, program, segments (runtime/schema/bundle.fbs).
#pragma once

#include "compiler/ProgramBuilder.h"
#include "compiler/SelfTestData.h"

#include <functional>

namespace mlir::lap {

struct BundleInputs {
  /// Program level IR, and the model level's weights.
  ModuleOp program;
  const lapidary::ModelConfig &config;
  const lapidary::Checkpoint &checkpoint;
  const Importance &importance;
  ArrayRef<TargetCode> targets;
  const std::vector<uint8_t> &tokenizer;
  /// Empty where the checkpoint has none.
  const std::vector<uint8_t> &chatTemplate;
  const SelfTestInputs &selfTest;
};

/// Told what is done and how much of it (0..1); false stops the work.
using BundleProgress = std::function<bool(StringRef what, double done)>;

/// Writes the bundle whole or not at all. The same inputs give the same bytes.
lapidary::Status writeBundle(const std::string &path,
                             const BundleInputs &inputs,
                             const BundleProgress &progress);

} // namespace mlir::lap
