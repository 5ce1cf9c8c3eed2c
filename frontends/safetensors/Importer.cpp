// Reads a checkpoint's configuration and headers, builds the module, and
// accounts for every tensor.
#include "frontends/safetensors/Importer.h"

#include "frontends/safetensors/ModelBuilder.h"
#include "frontends/safetensors/WeightSymbols.h"

#include "mlir/IR/Verifier.h"

using namespace mlir;
using namespace mlir::lap;

FailureOr<ImportedModel> mlir::lap::importCheckpoint(MLIRContext *context,
                                                     StringRef folder) {
  context->loadDialect<LapDialect, func::FuncDialect>();
  auto location = UnknownLoc::get(context);
  lapidary::Result<lapidary::ModelConfig> config =
      lapidary::readModelConfig(folder.str());
  if (!config.ok())
    return emitError(location) << config.status().message();
  lapidary::Result<lapidary::Checkpoint> checkpoint =
      lapidary::Checkpoint::open(folder.str());
  if (!checkpoint.ok())
    return emitError(location) << checkpoint.status().message();

  ImportedModel model{
      *std::move(config),
      std::make_shared<lapidary::Checkpoint>(*std::move(checkpoint)),
      ModuleOp::create(location)};
  WeightSymbols weights(*model.module, *model.checkpoint);
  ModelBuilder builder(*model.module, model.config, weights);
  if (failed(builder.build()) || failed(weights.checkAllUsed(location)) ||
      failed(verify(*model.module)))
    return failure();
  return model;
}
