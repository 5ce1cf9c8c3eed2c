// lapidary-calibrate: the `lapidary calibrate` command. Measures which columns
// of a checkpoint's matrices matter, for `lapidary compile --importance`.
#include "compiler/BundleFile.h"
#include "compiler/Importance.h"
#include "tools/calibrate/Calibration.h"
#include "tools/calibrate/Inputs.h"
#include "tools/compiler/CompilerTool.h"

#include <mutex>

using namespace mlir;
using namespace mlir::lap;

namespace {

struct CalibrateOptions {
  std::string checkpoint;
  /// The GGUF file of the projections; may be empty.
  std::string media;
  std::string text;
  std::string images;
  std::string audio;
  std::string output;
  int64_t tokens = 0;
  int64_t window = 0;
};

class Calibrate {
public:
  Calibrate(CompilerTool &tool, MLIRContext &context,
            const CalibrateOptions &options)
      : tool(tool), context(context), options(options) {}
  LogicalResult run();

private:
  /// What would fail after hours fails at once.
  LogicalResult loadInputs();
  LogicalResult checkMedia();
  LogicalResult runMedium(Calibration &calibration, bool image,
                          const std::string &path);
  LogicalResult fail(const lapidary::Status &status) {
    return check(context, status);
  }

  CompilerTool &tool;
  MLIRContext &context;
  const CalibrateOptions &options;
  ImportedModel model;
  lapidary::LoadedTokenizer tokenizer;
  /// Where there are pictures or sounds.
  lapidary::LoadedTemplate chat;
  std::vector<std::vector<int32_t>> windows;
  std::vector<std::string> images, sounds;
};

} // namespace

LogicalResult Calibrate::checkMedia() {
  const lapidary::ModelConfig &config = model.config;
  if (!options.images.empty()) {
    if (!config.vision || config.imageToken < 0)
      return fail(lapidary::unsupported(
          options.checkpoint + " takes no images: leave --images out"));
    auto files = lapidary::listImages(options.images);
    if (!files.ok())
      return fail(files.status());
    images = *std::move(files);
  }
  if (!options.audio.empty()) {
    if (!config.audio || config.audioToken < 0)
      return fail(lapidary::unsupported(options.checkpoint +
                                        " takes no sounds: leave --audio out"));
    auto files = lapidary::listSounds(options.audio);
    if (!files.ok())
      return fail(files.status());
    sounds = *std::move(files);
  }
  for (const std::string &path : images)
    if (auto image = lapidary::loadImage(config, path); !image.ok())
      return fail(image.status());
  for (const std::string &path : sounds)
    if (auto sound = lapidary::loadSound(config, path); !sound.ok())
      return fail(sound.status());
  return success();
}

LogicalResult Calibrate::loadInputs() {
  if (failed(fail(lapidary::BundleFile::check(options.output))))
    return failure();
  FailureOr<ImportedModel> imported =
      importModel(&context, options.checkpoint, options.media);
  if (failed(imported))
    return failure();
  model = std::move(*imported);
  auto table = compileModelTokenizer(model);
  if (!table.ok())
    return fail(table.status());
  auto loaded = lapidary::loadTokenizer(*std::move(table));
  if (!loaded.ok())
    return fail(loaded.status());
  tokenizer = *std::move(loaded);
  auto cut = lapidary::cutText(*tokenizer.tokenizer, model.config, options.text,
                               options.window, options.tokens);
  if (!cut.ok())
    return fail(cut.status());
  windows = *std::move(cut);
  // Finds the pictures and sounds.
  if (failed(checkMedia()))
    return failure();
  if (!images.empty() || !sounds.empty()) {
    auto compiled = compileModelTemplate(model);
    if (!compiled.ok())
      return fail(compiled.status());
    auto conversation =
        lapidary::loadTemplate(*std::move(compiled), *tokenizer.tokenizer);
    if (!conversation.ok())
      return fail(conversation.status());
    chat = *std::move(conversation);
  }
  return success();
}

LogicalResult Calibrate::runMedium(Calibration &calibration, bool image,
                                   const std::string &path) {
  FailureOr<ReferenceTensor> rows = failure();
  if (image) {
    auto loaded = lapidary::loadImage(model.config, path);
    if (!loaded.ok())
      return fail(loaded.status());
    rows = calibration.embedImage(*loaded);
  } else {
    auto loaded = lapidary::loadSound(model.config, path);
    if (!loaded.ok())
      return fail(loaded.status());
    rows = calibration.embedAudio(*loaded);
  }
  if (failed(rows))
    return failure();
  auto tokens =
      lapidary::makeMediaPrompt(*chat.chat, *tokenizer.tokenizer, image,
                                static_cast<int32_t>(rows->shape[0]));
  if (!tokens.ok())
    return fail(tokens.status());
  return calibration.runWindow(*tokens, &*rows);
}

LogicalResult Calibrate::run() {
  if (failed(loadInputs()))
    return failure();
  double total =
      static_cast<double>(windows.size() + images.size() + sounds.size());
  double read = 0, all = 0;
  std::mutex mutex;
  Calibration calibration(model, [&](int64_t elements) {
    std::lock_guard lock(mutex);
    read += static_cast<double>(elements);
    tool.showProgress("calibrating", std::min(1.0, read / all));
    return !CompilerTool::isInterrupted();
  });
  all = total * static_cast<double>(calibration.getWindowElements());
  for (const std::vector<int32_t> &window : windows)
    if (failed(calibration.runWindow(window)))
      return failure();
  for (const std::string &path : images)
    if (failed(runMedium(calibration, true, path)))
      return failure();
  for (const std::string &path : sounds)
    if (failed(runMedium(calibration, false, path)))
      return failure();
  if (CompilerTool::isInterrupted())
    return failure();
  return fail(writeImportance(options.output, calibration.getImportance()));
}

int main(int argc, char **argv) {
  CompilerTool tool(argc, argv, "lapidary calibrate");
  namespace cl = llvm::cl;
  cl::OptionCategory &category = tool.getCategory();
  cl::opt<std::string> checkpoint(
      cl::Positional, cl::cat(category),
      cl::desc("<checkpoint: a Hugging Face folder or a GGUF file>"));
  cl::opt<std::string> media(
      "mmproj", cl::value_desc("FILE"), cl::cat(category),
      cl::desc("The GGUF file of the projections of images and sounds, for a "
               "GGUF checkpoint"));
  cl::opt<std::string> text(
      "text", cl::value_desc("FILE"), cl::cat(category),
      cl::desc("A text like those that the model is for"));
  cl::opt<std::string> images(
      "images", cl::value_desc("DIR"), cl::cat(category),
      cl::desc("A folder of pictures (PNG, JPEG, WebP)"));
  cl::opt<std::string> audio(
      "audio", cl::value_desc("DIR"), cl::cat(category),
      cl::desc("A folder of sounds (WAV, FLAC, OGG, MP3)"));
  cl::opt<unsigned> tokens(
      "tokens", cl::value_desc("N"), cl::init(4096), cl::cat(category),
      cl::desc("Tokens of the text to use at most (default: 4096)"));
  cl::opt<unsigned> window(
      "window", cl::value_desc("N"), cl::init(512), cl::cat(category),
      cl::desc("Tokens that see each other (default: 512)"));
  cl::opt<std::string> output("o", cl::value_desc("FILE"), cl::cat(category),
                              cl::desc("The file to write"));
  if (auto code = tool.parseOptions(
          "Measures which columns of a checkpoint's matrices matter.\n\n"
          "  lapidary calibrate gemma-4-12b --text mine.txt -o "
          "importance.safetensors\n"
          "  lapidary compile gemma-4-12b --quant q4_k_m --importance "
          "importance.safetensors -o gemma.lap\n"))
    return *code;
  if (checkpoint.empty())
    return tool.failUsage("no checkpoint folder given");
  if (text.empty())
    return tool.failUsage("no text to measure with: add --text FILE");
  if (output.empty())
    return tool.failUsage("no file to write: add -o FILE");
  // A window's attention is quadratic in it.
  constexpr unsigned maxWindow = 8192;
  if (tokens < 1)
    return tool.failUsage("--tokens expects 1 or more");
  if (window < 2 || window > maxWindow)
    return tool.failUsage("--window expects 2 to " + llvm::Twine(maxWindow));
  CalibrateOptions options = {checkpoint, media,  text,   images,
                              audio,      output, tokens, window};
  return tool.run([&](MLIRContext &context) {
    return Calibrate(tool, context, options).run();
  });
}
