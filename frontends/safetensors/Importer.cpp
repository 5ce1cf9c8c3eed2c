// Reads a checkpoint's configuration and headers, builds the module, and
// accounts for every tensor.
#include "frontends/safetensors/Importer.h"

#include "frontends/formats/AssistantConfig.h"
#include "frontends/safetensors/ModelBuilder.h"
#include "frontends/safetensors/WeightSymbols.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;
using namespace mlir::lap;

static lapidary::Status addAssistant(const std::string &folder,
                                     lapidary::ModelConfig &config,
                                     lapidary::Checkpoint &checkpoint) {
  config.assistant =
      LAPIDARY_TRY(lapidary::readAssistantConfig(folder, config));
  LAPIDARY_TRY(checkpoint.addCompanion(folder, lapidary::assistantPrefix));
  return lapidary::readTokenOrder(checkpoint, *config.assistant);
}

FailureOr<ImportedModel> mlir::lap::buildModel(MLIRContext *context,
                                               lapidary::ModelConfig config,
                                               lapidary::Checkpoint checkpoint,
                                               StringRef assistant) {
  context->loadDialect<LapDialect, arith::ArithDialect, func::FuncDialect,
                       math::MathDialect>();
  auto location = UnknownLoc::get(context);
  if (!assistant.empty())
    if (lapidary::Status status =
            addAssistant(assistant.str(), config, checkpoint);
        !status.ok())
      return emitError(location) << status.message();
  ImportedModel model{
      std::move(config),
      std::make_shared<lapidary::Checkpoint>(std::move(checkpoint)),
      ModuleOp::create(location)};
  WeightSymbols weights(*model.module, *model.checkpoint);
  ModelBuilder builder(*model.module, model.config, weights);
  if (failed(builder.build()) || failed(weights.checkAllUsed(location)) ||
      failed(verify(*model.module)))
    return failure();
  return model;
}

FailureOr<ImportedModel> mlir::lap::importCheckpoint(MLIRContext *context,
                                                     StringRef folder,
                                                     StringRef assistant) {
  auto location = UnknownLoc::get(context);
  lapidary::Result<lapidary::ModelConfig> config =
      lapidary::readModelConfig(folder.str());
  if (!config.ok())
    return emitError(location) << config.status().message();
  lapidary::Result<lapidary::Checkpoint> checkpoint =
      lapidary::Checkpoint::open(folder.str());
  if (!checkpoint.ok())
    return emitError(location) << checkpoint.status().message();
  for (const std::string &remark : checkpoint->remarks())
    emitRemark(location) << remark;
  return buildModel(context, *std::move(config), *std::move(checkpoint),
                    assistant);
}
