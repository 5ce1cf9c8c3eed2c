// Media of requests: from a file's bytes to patches and frames. Images take the
// soft tokens that their `detail` asks for; a sound that is longer than the
// model hears (30 s) is refused, never cut.
#include "runtime/core/Text.h"
#include "runtime/media/Audio.h"
#include "runtime/media/ImagePreprocess.h"
#include "runtime/media/Video.h"
#include "tools/serve/MediaFetch.h"
#include "tools/serve/ServedModel.h"

#include <sys/mman.h>
#include <unistd.h>

namespace lapidary::serve {

namespace {

constexpr int32_t lowDetail = 70, highDetail = 1120;

/// A file without a name, for what reads files by their path.
class MemoryFile {
public:
  ~MemoryFile() {
    if (descriptor >= 0)
      close(descriptor);
  }
  Result<std::string> write(std::span<const uint8_t> bytes) {
    descriptor = memfd_create("video", MFD_CLOEXEC);
    if (descriptor < 0)
      return outOfMemory("no file in memory for a video");
    while (!bytes.empty()) {
      const ssize_t done = ::write(descriptor, bytes.data(), bytes.size());
      if (done <= 0)
        return outOfMemory("no memory for a video's file");
      bytes = bytes.subspan(static_cast<size_t>(done));
    }
    return concat("/proc/self/fd/", descriptor);
  }

private:
  int descriptor = -1;
};

PreparedPrompt::Item takeItem(ImagePatches &&patches) {
  PreparedPrompt::Item item;
  item.pixels = std::move(patches.pixels);
  item.positions = std::move(patches.positions);
  return item;
}

class Loader {
public:
  Loader(const schema::Model &model, int64_t chunk, LoadedMedia &loaded)
      : model(model), chunk(chunk), loaded(loaded) {}

  Status load(const MediaSource &medium) {
    switch (medium.kind) {
    case MediaKind::Image:
      return loadImage(medium);
    case MediaKind::Audio:
      return loadAudio(medium);
    case MediaKind::Video:
      return loadVideo(medium);
    }
    return internalError("a medium of no known kind");
  }

private:
  /// An image must be seen in one step, and at positions that the model has.
  Result<int32_t> budgetOf(const MediaSource &medium) const {
    const schema::Vision &vision = *model.vision();
    const auto most = static_cast<int32_t>(
        std::min<int64_t>({chunk, vision.positions(), maxSoftTokenBudget}));
    if (medium.softTokens > most)
      return invalidArgument(concat("max_soft_tokens is ", medium.softTokens,
                                    ", but this server takes at most ", most,
                                    " an image (--image-max-tokens)"));
    if (medium.softTokens > 0)
      return medium.softTokens;
    const int32_t wanted = medium.detail == Detail::Low ? lowDetail
                           : medium.detail == Detail::High
                               ? highDetail
                               : vision.max_soft_tokens();
    return std::min(wanted, most);
  }

  Status loadImage(const MediaSource &medium) {
    const std::vector<uint8_t> fetched = LAPIDARY_TRY(bytesOf(medium));
    const Image image = LAPIDARY_TRY(decodeImage(
        medium.bytes.empty() ? fetched : medium.bytes, medium.place));
    ImagePatches patches = LAPIDARY_TRY(preprocessImage(
        image, model.vision()->patch_size(), LAPIDARY_TRY(budgetOf(medium))));
    loaded.tokens.push_back({MediaKind::Image, patches.count(), {}});
    loaded.items.push_back(takeItem(std::move(patches)));
    return {};
  }

  Status loadAudio(const MediaSource &medium) {
    const schema::Audio &audio = *model.audio();
    const double longest = static_cast<double>(audio.max_tokens()) *
                           audio.samples_per_token() / audio.rate();
    const std::vector<uint8_t> fetched = LAPIDARY_TRY(bytesOf(medium));
    const std::vector<float> samples =
        LAPIDARY_TRY(decodeAudio(medium.bytes.empty() ? fetched : medium.bytes,
                                 medium.place, audio.rate(), longest));
    AudioFrames frames = LAPIDARY_TRY(preprocessAudio(
        samples, audio.samples_per_token(), audio.max_tokens()));
    loaded.tokens.push_back({MediaKind::Audio, frames.count, {}});
    PreparedPrompt::Item item;
    item.frames = std::move(frames.samples);
    loaded.items.push_back(std::move(item));
    return {};
  }

  Result<Video> readClip(const MediaSource &medium) const {
    VideoOptions options;
    options.framesPerSecond = medium.framesPerSecond;
    options.maxFrames = model.vision()->video_frames();
    if (medium.frames.empty()) {
      const std::vector<uint8_t> fetched = LAPIDARY_TRY(bytesOf(medium));
      MemoryFile file;
      const std::string path = LAPIDARY_TRY(
          file.write(medium.bytes.empty() ? fetched : medium.bytes));
      Result<Video> video = readVideo(path, options);
      if (video.ok())
        return video;
      // The path says nothing to a client.
      std::string message = video.status().message();
      for (size_t at; (at = message.find(path)) != message.npos;)
        message.replace(at, path.size(), medium.place);
      return Status(video.status().getCode(), message);
    }
    if (medium.frames.size() > static_cast<size_t>(options.maxFrames))
      return invalidArgument(concat("a video of ", medium.frames.size(),
                                    " frames, at most ", options.maxFrames,
                                    " are taken"));
    Video video;
    for (const MediaSource &frame : medium.frames) {
      const std::vector<uint8_t> fetched = LAPIDARY_TRY(bytesOf(frame));
      video.seconds.push_back(static_cast<double>(video.frames.size()) /
                              medium.framesPerSecond);
      video.frames.push_back(LAPIDARY_TRY(decodeImage(
          frame.bytes.empty() ? fetched : frame.bytes, frame.place)));
    }
    return video;
  }

  Status loadVideo(const MediaSource &medium) {
    const schema::Vision &vision = *model.vision();
    const Video video = LAPIDARY_TRY(readClip(medium));
    MediaTokens tokens{MediaKind::Video, 0, {}};
    for (size_t i = 0; i < video.frames.size(); ++i) {
      ImagePatches patches = LAPIDARY_TRY(preprocessImage(
          video.frames[i], vision.patch_size(), vision.video_soft_tokens()));
      tokens.frames.push_back({video.seconds[i], patches.count()});
      loaded.items.push_back(takeItem(std::move(patches)));
    }
    loaded.tokens.push_back(std::move(tokens));
    return {};
  }

  static Result<std::vector<uint8_t>> bytesOf(const MediaSource &medium) {
    if (medium.url.empty())
      return std::vector<uint8_t>();
    return fetchMedium(medium.url);
  }

  const schema::Model &model;
  int64_t chunk;
  LoadedMedia &loaded;
};

bool takesKind(const schema::Model &model, MediaKind kind) {
  const bool sees = model.vision() != nullptr;
  return (kind == MediaKind::Image && sees && model.image_token() >= 0) ||
         (kind == MediaKind::Video && sees && model.video_token() >= 0) ||
         (kind == MediaKind::Audio && model.audio() &&
          model.audio_token() >= 0);
}

} // namespace

bool ServedModel::takes(MediaKind kind) const {
  return takesKind(model(), kind);
}

LoadedMedia loadMedia(const schema::Model &model,
                      const std::vector<MediaSource> &media, int64_t chunk,
                      Problems &problems) {
  LoadedMedia loaded;
  Loader loader(model, chunk, loaded);
  for (const MediaSource &medium : media) {
    const char *kind = medium.kind == MediaKind::Image   ? "images"
                       : medium.kind == MediaKind::Audio ? "sounds"
                                                         : "videos";
    if (!takesKind(model, medium.kind)) {
      problems.add(medium.place,
                   concat("'", medium.place, "': this model takes no ", kind));
      break;
    }
    const Status status = loader.load(medium);
    if (!status.ok()) {
      problems.add(medium.place,
                   concat("'", medium.place, "': ", status.message()),
                   status.getCode() == StatusCode::OutOfMemory ? 503 : 400);
      break;
    }
  }
  return loaded;
}

} // namespace lapidary::serve
