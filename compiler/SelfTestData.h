// The self-test that a bundle carries: short inputs of every modality with what
// the unquantized model gives for them, by the reference interpreter.
#pragma once

#include "compiler/ProgramBuilder.h"

namespace mlir::lap {

/// Runs `model` (model level IR, not quantized) on a text, on two decode steps,
/// and on an image and a sound where the checkpoint takes them. `quantized`
/// says whether the bundle's weights are rounded, which widens the bounds.
FailureOr<std::vector<SelfTestData>>
computeSelfTests(ModuleOp model, const lapidary::ModelConfig &config,
                 const lapidary::Checkpoint &checkpoint, bool quantized);

} // namespace mlir::lap
