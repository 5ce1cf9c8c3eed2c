// From a Hugging Face folder to the model level IR: the one way in for
// safetensors checkpoints.
#pragma once

#include "frontends/formats/ModelConfig.h"
#include "frontends/formats/Safetensors.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <memory>

namespace mlir::lap {

struct ImportedModel {
  lapidary::ModelConfig config;
  /// Where the bytes of the module's weights are read from; a `lap.weight` is
  /// named as its tensor.
  std::shared_ptr<lapidary::Checkpoint> checkpoint;
  OwningOpRef<ModuleOp> module;
};

/// Reads the configuration and the tensors' headers and builds the entry
/// points; reads no weight. Errors go to the context's diagnostics and name the
/// file, the field or tensor, what was expected and what was found.
FailureOr<ImportedModel> importCheckpoint(MLIRContext *context,
                                          StringRef folder,
                                          StringRef assistant = {});

/// The module of an opened checkpoint, with the companion in the folder
/// `assistant`, unless that is empty; for importers.
FailureOr<ImportedModel> buildModel(MLIRContext *context,
                                    lapidary::ModelConfig config,
                                    lapidary::Checkpoint checkpoint,
                                    StringRef assistant);

} // namespace mlir::lap
