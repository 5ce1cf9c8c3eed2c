// The self-test that a bundle carries: short inputs of every modality with what
// the model gives for them with the weights that the bundle stores, by the
// reference interpreter. What differs when it runs is the code.
#pragma once

#include "compiler/ProgramBuilder.h"
#include "compiler/WeightValues.h"

namespace mlir::lap {

struct SelfTestInputs {
  /// Model level IR; its weights have the types that the bundle stores.
  ModuleOp model;
  const lapidary::ModelConfig &config;
  /// What the bundle's kernels round the inputs of linear ops to, by the name
  /// of the weight.
  llvm::StringMap<Activations> activations;
  /// How the bundle's caches are stored.
  KvFormat caches = KvFormat::F16;
};

/// The tests with zeros in place of the expected values: as large as they will
/// be, for laying out the file.
std::vector<SelfTestData> draftSelfTests(const SelfTestInputs &inputs);

/// Runs the model on a text, on two decode steps, and on an image, a video
/// frame and a sound where the checkpoint takes them, and its companion.
FailureOr<std::vector<SelfTestData>>
computeSelfTests(const SelfTestInputs &inputs, const WeightValues &weights);

} // namespace mlir::lap
