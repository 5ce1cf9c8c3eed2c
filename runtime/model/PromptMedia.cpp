// Media placeholders to runs of soft tokens, at the level of text, so that the
// tokenizer sees what the reference's tokenizer sees.
#include "runtime/model/Prompt.h"

#include <cmath>

namespace lapidary {

namespace {

struct KindMarks {
  MediaKind kind;
  const char *name;
  std::string_view begin, soft, end;
};

/// By kind. A video has no marks of its own: its frames are images of
/// `<|video|>` tokens.
constexpr KindMarks marksOf[] = {
    {MediaKind::Image, "an image", "<|image>", "<|image|>", "<image|>"},
    {MediaKind::Audio, "a sound", "<|audio>", "<|audio|>", "<audio|>"},
    {MediaKind::Video, "a video", "<|image>", "<|video|>", "<image|>"}};

/// More than any context holds; keeps a wrong count from filling the memory.
constexpr int64_t mostTokens = int64_t{1} << 24;
/// 99:59:59, far beyond what a prompt can show.
constexpr double mostSeconds = 360000;

/// Finds the first placeholder at or after `from`; null if there is none.
const KindMarks *findPlaceholder(std::string_view prompt, size_t &from) {
  for (; (from = prompt.find("<|", from)) != std::string_view::npos; from += 2)
    for (const KindMarks &marks : marksOf)
      if (prompt.substr(from).starts_with(marks.soft))
        return &marks;
  return nullptr;
}

std::string twoDigits(int64_t value) {
  return (value < 10 ? "0" : "") + std::to_string(value);
}

/// Minutes and whole seconds, rounded down.
std::string timeStamp(double seconds) {
  auto whole = static_cast<int64_t>(seconds);
  return twoDigits(whole / 60) + ":" + twoDigits(whole % 60);
}

/// Appends one run and counts its tokens.
Status appendRun(std::string &text, const KindMarks &marks, int32_t tokens,
                 size_t index, int64_t &total) {
  total += tokens;
  if (tokens < 1 || total > mostTokens)
    return invalidArgument("media " + std::to_string(index) +
                           ": expected 1 or more soft tokens, and at most " +
                           std::to_string(mostTokens) + " in all, found " +
                           std::to_string(tokens));
  text += marks.begin;
  for (int32_t i = 0; i < tokens; ++i)
    text += marks.soft;
  text += marks.end;
  return {};
}

Status appendMedium(std::string &text, const MediaTokens &medium,
                    const KindMarks &marks, size_t index, int64_t &total) {
  if (medium.kind != MediaKind::Video)
    return appendRun(text, marks, medium.tokens, index, total);
  if (medium.frames.empty())
    return invalidArgument("media " + std::to_string(index) +
                           ": a video without frames");
  for (const MediaTokens::Frame &frame : medium.frames) {
    if (!(frame.seconds >= 0 && frame.seconds < mostSeconds))
      return invalidArgument("media " + std::to_string(index) +
                             ": expected a frame's time from 0 to " +
                             std::to_string(static_cast<int64_t>(mostSeconds)) +
                             " s, found " + std::to_string(frame.seconds));
    text += (&frame == medium.frames.data() ? "" : " ") +
            timeStamp(frame.seconds) + " ";
    LAPIDARY_TRY(appendRun(text, marks, frame.tokens, index, total));
  }
  return {};
}

} // namespace

std::vector<MediaKind> mediaPlaceholders(std::string_view prompt) {
  std::vector<MediaKind> kinds;
  for (size_t at = 0; const KindMarks *marks = findPlaceholder(prompt, at);
       at += marks->soft.size())
    kinds.push_back(marks->kind);
  return kinds;
}

Result<std::string> expandMedia(std::string_view prompt,
                                std::span<const MediaTokens> media) {
  size_t count = mediaPlaceholders(prompt).size();
  if (count != media.size())
    return invalidArgument(
        "the prompt has " + std::to_string(count) +
        " placeholders (<|image|>, <|audio|>, <|video|>) for " +
        std::to_string(media.size()) + " media");
  std::string text;
  int64_t total = 0;
  size_t copied = 0;
  for (size_t i = 0, at = 0; i < media.size(); ++i) {
    const KindMarks &marks = *findPlaceholder(prompt, at);
    if (marks.kind != media[i].kind)
      return invalidArgument("media " + std::to_string(i) + " is " +
                             marksOf[static_cast<size_t>(media[i].kind)].name +
                             ", but the prompt's placeholder there, at byte " +
                             std::to_string(at) + ", is " +
                             std::string(marks.soft));
    text += prompt.substr(copied, at - copied);
    LAPIDARY_TRY(appendMedium(text, media[i], marks, i, total));
    copied = at += marks.soft.size();
  }
  text += prompt.substr(copied);
  return text;
}

} // namespace lapidary
