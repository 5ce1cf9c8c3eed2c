// Pictures and sounds from strangers. The first byte chooses what the rest is;
// small limits keep a run fast.
#include "runtime/media/Audio.h"
#include "runtime/media/ImagePreprocess.h"

#include <cstdlib>

using namespace lapidary;

// libsndfile forgets the decoder's state when the headers of an Ogg file are
// cut; a few kilobytes a file, and nothing that we could free.
extern "C" const char *__lsan_default_suppressions() {
  return "leak:vorbis_info_init\n";
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  std::span<const uint8_t> bytes(data + 1, size - 1);
  if (data[0] % 2 == 0) {
    Result<Image> image = decodeImage(bytes, "fuzz", 1 << 18);
    if (!image.ok())
      return 0;
    Result<ImagePatches> patches = preprocessImage(*image, 48, 1 + data[0] / 2);
    if (patches.ok() &&
        patches->pixels.size() != size_t(patches->count()) * 48 * 48 * 3)
      std::abort();
    return 0;
  }
  Result<std::vector<float>> samples = decodeAudio(bytes, "fuzz", 16000, 1);
  if (!samples.ok())
    return 0;
  Result<AudioFrames> frames = preprocessAudio(*samples, 640, 25);
  if (frames.ok() && frames->samples.size() != size_t(frames->count) * 640)
    std::abort();
  return 0;
}
