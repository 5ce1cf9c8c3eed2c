// Reads texts, pictures and sounds for calibrating.
#include "tools/calibrate/Inputs.h"

#include "frontends/formats/Json.h"
#include "runtime/model/Prompt.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <filesystem>

namespace lapidary {

namespace {

/// A text of this size takes hours already.
constexpr uint64_t maxTextBytes = uint64_t(64) << 20;
/// Of a character; a token is shorter nearly always.
constexpr int64_t bytesPerToken = 64;

Result<std::vector<std::string>>
listFiles(const std::string &folder, std::span<const std::string_view> endings,
          const std::string &what) {
  std::vector<std::string> files;
  std::error_code error;
  std::filesystem::directory_iterator entries(folder, error), end;
  for (; !error && entries != end; entries.increment(error)) {
    std::string ending = entries->path().extension().string();
    std::transform(ending.begin(), ending.end(), ending.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    if (std::find(endings.begin(), endings.end(), ending) != endings.end())
      files.push_back(entries->path().string());
  }
  if (error)
    return ioError("cannot list " + folder + ": " + error.message());
  if (files.empty()) {
    std::string list;
    for (std::string_view ending : endings)
      list += (list.empty() ? "" : ", ") + std::string(ending);
    return notFound(folder + " has no " + what +
                    ": expected files that end in " + list);
  }
  std::sort(files.begin(), files.end());
  return files;
}

} // namespace

Result<LoadedTokenizer> loadTokenizer(std::vector<uint8_t> table) {
  LoadedTokenizer loaded;
  loaded.table = std::move(table);
  loaded.tokenizer = LAPIDARY_TRY(Tokenizer::create(loaded.table));
  return loaded;
}

Result<LoadedTemplate> loadTemplate(std::vector<uint8_t> table,
                                    const Tokenizer &tokenizer) {
  if (table.empty())
    return notFound("the checkpoint has no chat template, which prompts of "
                    "pictures and sounds need");
  LoadedTemplate loaded;
  loaded.table = std::move(table);
  loaded.chat = LAPIDARY_TRY(ChatTemplate::create(loaded.table, tokenizer));
  return loaded;
}

Result<std::vector<std::vector<int32_t>>>
cutText(const Tokenizer &tokenizer, const ModelConfig &config,
        const std::string &path, int64_t window, int64_t tokens) {
  std::string text = LAPIDARY_TRY(readTextFile(path, maxTextBytes));
  // What will be thrown away need not be tokenized.
  if (static_cast<int64_t>(text.size()) / bytesPerToken > tokens)
    text.resize(static_cast<size_t>(tokens * bytesPerToken));
  std::vector<int32_t> ids = tokenizer.encode(text);
  ids.resize(std::min<size_t>(ids.size(), static_cast<size_t>(tokens)));
  if (ids.empty())
    return invalidData(path + ": expected a text, found an empty file");
  for (int32_t id : ids)
    if (id == config.imageToken || id == config.videoToken ||
        id == config.audioToken)
      return invalidData(path + " has " + std::string(tokenizer.piece(id)) +
                         ", which stands for a medium; expected a plain text");
  std::vector<std::vector<int32_t>> windows;
  for (size_t at = 0; at < ids.size();) {
    std::vector<int32_t> &own = windows.emplace_back();
    if (config.bosToken >= 0 && window > 1)
      own.push_back(static_cast<int32_t>(config.bosToken));
    size_t count =
        std::min(ids.size() - at, static_cast<size_t>(window) - own.size());
    own.insert(own.end(), ids.begin() + static_cast<ptrdiff_t>(at),
               ids.begin() + static_cast<ptrdiff_t>(at + count));
    at += count;
  }
  return windows;
}

Result<std::vector<std::string>> listImages(const std::string &folder) {
  constexpr std::array<std::string_view, 4> endings = {".png", ".jpg", ".jpeg",
                                                       ".webp"};
  return listFiles(folder, endings, "pictures");
}

Result<std::vector<std::string>> listSounds(const std::string &folder) {
  constexpr std::array<std::string_view, 5> endings = {".wav", ".flac", ".ogg",
                                                       ".opus", ".mp3"};
  return listFiles(folder, endings, "sounds");
}

Result<ImagePatches> loadImage(const ModelConfig &config,
                               const std::string &path) {
  Image image = LAPIDARY_TRY(readImage(path));
  return preprocessImage(image, static_cast<int32_t>(config.vision->patchSize),
                         static_cast<int32_t>(config.vision->maxSoftTokens));
}

Result<AudioFrames> loadSound(const ModelConfig &config,
                              const std::string &path) {
  const AudioConfig &audio = *config.audio;
  double seconds = static_cast<double>(audio.maxTokens) *
                   static_cast<double>(audio.samplesPerToken) /
                   static_cast<double>(audio.rate);
  std::vector<float> samples =
      LAPIDARY_TRY(readAudio(path, static_cast<int32_t>(audio.rate), seconds));
  return preprocessAudio(samples, static_cast<int32_t>(audio.samplesPerToken),
                         static_cast<int32_t>(audio.maxTokens));
}

Result<std::vector<int32_t>> makeMediaPrompt(const ChatTemplate &chat,
                                             const Tokenizer &tokenizer,
                                             bool image, int32_t softTokens) {
  nlohmann::ordered_json messages = {
      {{"role", "user"},
       {"content",
        {{{"type", image ? "image" : "audio"}},
         {{"type", "text"}, {"text", "What is this?"}}}}}};
  std::string prompt = LAPIDARY_TRY(chat.render(messages, nullptr));
  MediaTokens medium = {
      image ? MediaKind::Image : MediaKind::Audio, softTokens, {}};
  return tokenizer.encodeProtected(
      LAPIDARY_TRY(expandMedia(prompt, std::span(&medium, 1))));
}

} // namespace lapidary
