// Media in prompts: placeholders become runs of soft tokens.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

enum class MediaKind : uint8_t { Image, Audio, Video };

/// How many soft tokens a medium takes.
struct MediaTokens {
  struct Frame {
    /// Since the start of the video; 0 or more.
    double seconds;
    int32_t tokens;
  };
  MediaKind kind;
  /// Of an image or a sound.
  int32_t tokens = 0;
  /// Of a video.
  std::vector<Frame> frames;
};

/// Puts the n-th medium in the n-th placeholder's place (`<|image|>`,
/// `<|audio|>`, `<|video|>`): its begin mark, a placeholder for each soft
/// token, and its end mark; a video's frames each with its time (`mm:ss`), a
/// space between. Kinds and counts must agree. What looks like a placeholder in
/// protected text (Tokenizer::protect) is none.
Result<std::string> expandMedia(std::string_view prompt,
                                std::span<const MediaTokens> media);

/// The kinds of the prompt's placeholders, in order.
std::vector<MediaKind> mediaPlaceholders(std::string_view prompt);

} // namespace lapidary
