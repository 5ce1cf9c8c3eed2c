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

class Loader {
public:
  Loader(const schema::Model &model, const MediaRoom &room, LoadedMedia &loaded)
      : model(model), room(room), loaded(loaded) {}

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
    const auto most = static_cast<int32_t>(std::min<int64_t>(
        {room.imageTokens, vision.positions(), maxSoftTokenBudget}));
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
    return loaded.addImage(*model.vision(), image,
                           LAPIDARY_TRY(budgetOf(medium)));
  }

  Status loadAudio(const MediaSource &medium) {
    const schema::Audio &audio = *model.audio();
    const std::vector<uint8_t> fetched = LAPIDARY_TRY(bytesOf(medium));
    const std::vector<float> samples = LAPIDARY_TRY(
        decodeAudio(medium.bytes.empty() ? fetched : medium.bytes, medium.place,
                    audio.rate(), longestSound(audio)));
    return loaded.addSound(audio, samples);
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
      // All of them are held until the last one is decoded.
      if (!room.take(video.frames.back().rgb.size()))
        return outOfMemory("the media of all requests at hand take too much "
                           "memory");
    }
    return video;
  }

  Status loadVideo(const MediaSource &medium) {
    return loaded.addVideo(*model.vision(), LAPIDARY_TRY(readClip(medium)));
  }

  Result<std::vector<uint8_t>> bytesOf(const MediaSource &medium) const {
    if (medium.url.empty())
      return std::vector<uint8_t>();
    return fetchMedium(medium.url, room.fileBytes);
  }

  const schema::Model &model;
  const MediaRoom &room;
  LoadedMedia &loaded;
};

size_t bytesOf(const PreparedPrompt::Item &item) {
  return (item.pixels.size() + item.frames.size()) * sizeof(float) +
         item.positions.size() * sizeof(int32_t);
}

int64_t countTokens(const MediaTokens &medium) {
  int64_t count = medium.tokens;
  for (const MediaTokens::Frame &frame : medium.frames)
    count += frame.tokens;
  return count;
}

} // namespace

LoadedMedia loadMedia(const schema::Model &model,
                      const std::vector<MediaSource> &media,
                      const MediaRoom &room, Problems &problems) {
  LoadedMedia loaded;
  Loader loader(model, room, loaded);
  int64_t tokens = 0;
  size_t counted = 0;
  for (const MediaSource &medium : media) {
    const char *kind = medium.kind == MediaKind::Image   ? "images"
                       : medium.kind == MediaKind::Audio ? "sounds"
                                                         : "videos";
    if (!takesMedia(model, medium.kind)) {
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
    // Before the next one is decoded: what can never be answered, or not now,
    // takes no more memory.
    tokens += countTokens(loaded.tokens.back());
    if (tokens >= room.tokens) {
      problems.add(medium.place, concat("'", medium.place,
                                        "': the media up to this one have ",
                                        tokens, " tokens, but the context has ",
                                        room.tokens, " positions"));
      break;
    }
    size_t bytes = 0;
    for (; counted < loaded.items.size(); ++counted)
      bytes += bytesOf(loaded.items[counted]);
    if (!room.take(bytes)) {
      problems.add({}, "the media of all requests at hand take too much memory",
                   429);
      break;
    }
  }
  return loaded;
}

} // namespace lapidary::serve
