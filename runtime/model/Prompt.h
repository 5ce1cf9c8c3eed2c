// Gemma 4's prompt form, natively: a conversation as OpenAI's API writes it
// becomes the text that the checkpoint's chat_template.jinja makes of it, byte
// for byte, and media placeholders in it become runs of soft tokens.
#pragma once

#include "runtime/core/Status.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

/// `messages` is a list of `{role, content, tool_calls, tool_call_id, name}`.
/// Roles: system, developer, user, assistant, tool. Content: a string, null, or
/// parts of the types text, image (image_url), audio (input_audio) and video
/// (input_video, video_url); what is not text leaves a placeholder. The
/// arguments of a tool call are an object or its JSON text. `options`, an
/// object or null: `tools` (a list of `{function: {name, description,
/// parameters}}`), `enable_thinking` (false) and `add_generation_prompt`
/// (true). Text is taken as it is: marks written in it (`<turn|>`, `<|image|>`)
/// act as marks, as in the reference. Keys that differ only in case are ordered
/// by their bytes, for `nlohmann::json` does not keep the order that they came
/// in. An error names the place, for example `messages[2].content[0].type`.
Result<std::string> renderPrompt(const nlohmann::json &messages,
                                 const nlohmann::json &options);

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
/// space between. Kinds and counts must agree. A placeholder that is part of
/// someone's text counts too.
Result<std::string> expandMedia(std::string_view prompt,
                                std::span<const MediaTokens> media);

} // namespace lapidary
