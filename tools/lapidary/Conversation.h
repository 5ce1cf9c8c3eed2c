// From what the user gave (a text or a file of messages, and media files) to
// what the model reads: the rendered prompt, its token ids with every soft
// token in place, and the media's pixels and samples.
#pragma once

#include "runtime/core/Bundle.h"
#include "runtime/media/PreparedPrompt.h"
#include "runtime/model/Generator.h"
#include "runtime/model/Prompt.h"
#include "runtime/model/Tokenizer.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace lapidary::cli {

/// A file as the command line names it.
struct MediaFile {
  MediaKind kind;
  /// Relative, or only a name for messages where there are `bytes`.
  std::string path;
  /// An image's budget of soft tokens; 0: the checkpoint's.
  int32_t imageTokens = 0;
  /// A video's frames, each a picture, in place of a clip at `path`, and how
  /// many of them are a second.
  std::vector<std::string> frames = {};
  double frameRate = 1;
  /// An image's or a sound's file, where it is not at `path`.
  std::vector<uint8_t> bytes = {};
};

/// "image", "audio" or "video".
const char *mediaName(MediaKind kind);

/// An error that names the file and what the model lacks to take it.
Status checkModality(const schema::Model &model, const MediaFile &file);

/// The kinds of the media parts of messages that have been checked, in order.
std::vector<MediaKind>
conversationMedia(const nlohmann::ordered_json &messages);

/// A chat of one turn: the media, then the text.
nlohmann::ordered_json makeMessages(const std::string &system,
                                    const std::string &text,
                                    const std::vector<MediaFile> &media);

/// Nesting that a conversation may have, tools' schemas included.
inline constexpr int maxMessagesDepth = 128;
/// What a chat template renders.
struct Conversation {
  nlohmann::ordered_json messages, options;
};
/// Reads a text {"messages": [...], "options": {...}, "tools": [...]}; `origin`
/// begins error messages.
Result<Conversation> readConversation(const std::string &text,
                                      const std::string &origin);
/// Takes an object's messages, options and tools out of it; other fields are
/// the caller's.
Result<Conversation> takeConversation(nlohmann::ordered_json &object,
                                      const std::string &origin);

/// Reads the media (an error names the file, and the modality where the model
/// lacks it), puts them into the prompt's placeholders in order, and tokenizes.
/// The prompt may have protected text (Tokenizer::protect).
/// `videoFps` 0: evenly sampled, or a folder's frames one a second.
Result<PreparedPrompt> preparePrompt(const schema::Model &model,
                                     const Tokenizer &tokenizer,
                                     const std::string &prompt,
                                     const std::vector<MediaFile> &media,
                                     double videoFps);

} // namespace lapidary::cli
