// From GGUF files to the model level IR.
#pragma once

#include "frontends/safetensors/Importer.h"

namespace mlir::lap {

/// `text` is the model's file; `media` is that of its projections of images and
/// sounds ("mmproj"), or empty. What the files have quantized is stored as it
/// is. Errors go to the context's diagnostics.
FailureOr<ImportedModel> importGguf(MLIRContext *context, StringRef text,
                                    StringRef media, StringRef assistant = {});

} // namespace mlir::lap
