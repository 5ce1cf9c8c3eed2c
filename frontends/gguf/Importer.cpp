// Opens GGUF files; what follows is the same as for any checkpoint.
#include "frontends/gguf/Importer.h"

#include "frontends/formats/GgufModel.h"
#include "frontends/formats/GgufTensors.h"

using namespace mlir;
using namespace mlir::lap;

FailureOr<ImportedModel> mlir::lap::importGguf(MLIRContext *context,
                                               StringRef text, StringRef media,
                                               StringRef assistant) {
  auto location = UnknownLoc::get(context);
  auto checkpoint = lapidary::Checkpoint::openGguf(text.str(), media.str());
  if (!checkpoint.ok())
    return emitError(location) << checkpoint.status().message();
  const lapidary::GgufTensors *files = checkpoint->gguf();
  auto config = lapidary::readGgufConfig(files->text(), files->media());
  if (!config.ok())
    return emitError(location) << config.status().message();
  return buildModel(context, *std::move(config), *std::move(checkpoint),
                    assistant);
}
