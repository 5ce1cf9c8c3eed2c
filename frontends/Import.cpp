// Tells a folder from a GGUF file.
#include "frontends/Import.h"

#include "frontends/formats/ChatTemplateFile.h"
#include "frontends/formats/GgufTensors.h"
#include "frontends/formats/GgufTokenizer.h"
#include "frontends/formats/Json.h"
#include "frontends/formats/TokenizerJson.h"
#include "frontends/gguf/Importer.h"

#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace mlir::lap;

/// Far above any tokenizer.json: that of 262144 tokens has 32 MB.
static constexpr uint64_t maxTokenizerBytes = uint64_t(256) << 20;

FailureOr<ImportedModel>
mlir::lap::importModel(MLIRContext *context, StringRef path, StringRef media) {
  if (lapidary::isGgufFile(path.str()))
    return importGguf(context, path, media);
  if (llvm::sys::fs::is_regular_file(path))
    return emitError(UnknownLoc::get(context))
           << path
           << ": expected a Hugging Face folder or a GGUF file, found a file "
              "of another kind";
  if (!media.empty())
    return emitError(UnknownLoc::get(context))
           << "--mmproj goes with a GGUF file, and " << path
           << " is none: a folder has its projections";
  return importCheckpoint(context, path);
}

lapidary::Result<std::vector<uint8_t>>
mlir::lap::compileModelTokenizer(const ImportedModel &model) {
  if (const lapidary::GgufTensors *files = model.checkpoint->gguf())
    return lapidary::compileGgufTokenizer(files->text());
  std::string path = model.checkpoint->folder() + "/tokenizer.json";
  std::string text =
      LAPIDARY_TRY(lapidary::readTextFile(path, maxTokenizerBytes));
  return lapidary::compileTokenizer(text, path);
}

lapidary::Result<std::vector<uint8_t>>
mlir::lap::compileModelTemplate(const ImportedModel &model) {
  if (const lapidary::GgufTensors *files = model.checkpoint->gguf())
    return lapidary::compileGgufTemplate(files->text());
  return lapidary::compileFolderTemplate(model.checkpoint->folder());
}
