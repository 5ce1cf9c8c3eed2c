// Prompts with media as an engine takes them: token ids, and the patches and
// frames behind the soft tokens.
#pragma once

#include "runtime/media/Image.h"
#include "runtime/media/Video.h"
#include "runtime/model/Generator.h"
#include "runtime/model/Prompt.h"

#include <span>
#include <vector>

namespace lapidary {

/// What the runtime is given, and the memory behind it.
struct PreparedPrompt {
  /// One image, sound or frame of a video.
  struct Item {
    std::vector<float> pixels;
    std::vector<int32_t> positions;
    std::vector<float> frames;
  };
  std::vector<int32_t> tokens;
  std::vector<Item> items;

  /// Points into this object.
  GenerateInput input() const;
};

/// Whether the model can be given such a medium.
bool takesMedia(const schema::Model &model, MediaKind kind);
/// Seconds of a sound that the model hears.
double longestSound(const schema::Audio &audio);

/// Media as they fill placeholders: the tokens each takes, and the items behind
/// them.
struct LoadedMedia {
  std::vector<MediaTokens> tokens;
  std::vector<PreparedPrompt::Item> items;

  /// `budget`: soft tokens at most.
  Status addImage(const schema::Vision &vision, const Image &image,
                  int32_t budget);
  /// Samples at the model's rate.
  Status addSound(const schema::Audio &audio, std::span<const float> samples);
  Status addVideo(const schema::Vision &vision, const Video &video);

private:
  /// The soft tokens that the image became.
  Result<int32_t> cut(const schema::Vision &vision, const Image &image,
                      int32_t budget);
};

} // namespace lapidary
