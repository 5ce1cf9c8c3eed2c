// What a model is calibrated with: windows of a text, and media files with
// their prompts.
#pragma once

#include "frontends/formats/ModelConfig.h"
#include "runtime/chat/ChatTemplate.h"
#include "runtime/media/Audio.h"
#include "runtime/media/ImagePreprocess.h"
#include "runtime/model/Tokenizer.h"

#include <string>
#include <vector>

namespace lapidary {

/// A tokenizer and the table behind it.
struct LoadedTokenizer {
  std::vector<uint8_t> table;
  std::optional<Tokenizer> tokenizer;
};
/// Takes the compiled table of a checkpoint.
Result<LoadedTokenizer> loadTokenizer(std::vector<uint8_t> table);

/// A chat template and the table behind it.
struct LoadedTemplate {
  std::vector<uint8_t> table;
  std::optional<ChatTemplate> chat;
};
/// Takes the compiled table of a checkpoint; an empty one is an error.
Result<LoadedTemplate> loadTemplate(std::vector<uint8_t> table,
                                    const Tokenizer &tokenizer);

/// The text in windows of up to `window` tokens, each with the model's first
/// token in front, of at most `tokens` tokens in all.
Result<std::vector<std::vector<int32_t>>>
cutText(const Tokenizer &tokenizer, const ModelConfig &config,
        const std::string &path, int64_t window, int64_t tokens);

/// The files of a folder with the endings that pictures or sounds have, sorted;
/// none is an error.
Result<std::vector<std::string>> listImages(const std::string &folder);
Result<std::vector<std::string>> listSounds(const std::string &folder);

Result<ImagePatches> loadImage(const ModelConfig &config,
                               const std::string &path);
Result<AudioFrames> loadSound(const ModelConfig &config,
                              const std::string &path);

/// The tokens of a turn that asks about one image or sound of `softTokens`.
Result<std::vector<int32_t>> makeMediaPrompt(const ChatTemplate &chat,
                                             const Tokenizer &tokenizer,
                                             bool image, int32_t softTokens);

} // namespace lapidary
