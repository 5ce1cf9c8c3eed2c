// The one way in: whatever a user calls a checkpoint.
#pragma once

#include "frontends/safetensors/Importer.h"

#include <cstdint>
#include <vector>

namespace mlir::lap {

/// Imports a Hugging Face folder, or a GGUF file with an optional one of
/// projections (`media`, only with a GGUF file). Errors go to the context's
/// diagnostics.
FailureOr<ImportedModel> importModel(MLIRContext *context, StringRef path,
                                     StringRef media = {});

/// The compiled tokenizer (runtime/schema/tokenizer.fbs) that came with it.
lapidary::Result<std::vector<uint8_t>>
compileModelTokenizer(const ImportedModel &model);

/// The compiled chat template (runtime/schema/template.fbs); empty where none
/// came with it.
lapidary::Result<std::vector<uint8_t>>
compileModelTemplate(const ImportedModel &model);

} // namespace mlir::lap
