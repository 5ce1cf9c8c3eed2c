#include "runtime/media/PreparedPrompt.h"

#include "runtime/media/Audio.h"
#include "runtime/media/ImagePreprocess.h"

namespace lapidary {

GenerateInput PreparedPrompt::input() const {
  GenerateInput input;
  input.tokens = tokens;
  for (const Item &item : items)
    input.media.push_back({item.pixels, item.positions, item.frames, {}});
  return input;
}

bool takesMedia(const schema::Model &model, MediaKind kind) {
  switch (kind) {
  case MediaKind::Image:
    return model.vision() && model.image_token() >= 0;
  case MediaKind::Audio:
    return model.audio() && model.audio_token() >= 0;
  case MediaKind::Video:
    return model.vision() && model.video_token() >= 0;
  }
  return false;
}

double longestSound(const schema::Audio &audio) {
  return static_cast<double>(audio.max_tokens()) * audio.samples_per_token() /
         static_cast<double>(audio.rate());
}

Result<int32_t> LoadedMedia::cut(const schema::Vision &vision,
                                 const Image &image, int32_t budget) {
  ImagePatches patches =
      LAPIDARY_TRY(preprocessImage(image, vision.patch_size(), budget));
  const int32_t count = patches.count();
  items.push_back(
      {std::move(patches.pixels), std::move(patches.positions), {}});
  return count;
}

Status LoadedMedia::addImage(const schema::Vision &vision, const Image &image,
                             int32_t budget) {
  const int32_t count = LAPIDARY_TRY(cut(vision, image, budget));
  tokens.push_back({MediaKind::Image, count, {}});
  return {};
}

Status LoadedMedia::addSound(const schema::Audio &audio,
                             std::span<const float> samples) {
  AudioFrames frames = LAPIDARY_TRY(
      preprocessAudio(samples, audio.samples_per_token(), audio.max_tokens()));
  tokens.push_back({MediaKind::Audio, frames.count, {}});
  items.push_back({{}, {}, std::move(frames.samples)});
  return {};
}

Status LoadedMedia::addVideo(const schema::Vision &vision, const Video &video) {
  MediaTokens clip{MediaKind::Video, 0, {}};
  for (size_t i = 0; i < video.frames.size(); ++i)
    clip.frames.push_back(
        {video.seconds[i], LAPIDARY_TRY(cut(vision, video.frames[i],
                                            vision.video_soft_tokens()))});
  tokens.push_back(std::move(clip));
  return {};
}

} // namespace lapidary
