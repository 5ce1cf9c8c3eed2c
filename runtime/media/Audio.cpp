// Sound files through libsndfile, resampling through libsoxr, and the cut into
// frames. A file is decoded in blocks up to the limit, whatever length it
// claims.
#include "runtime/media/Audio.h"
#include "runtime/media/MediaFile.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <sndfile.h>
#include <soxr.h>

using namespace lapidary;

namespace {

/// Rates beyond these are no sound that was meant to be heard, and would make
/// the resampler build filters of any length.
constexpr int32_t minRate = 1000, maxRate = 768'000;
constexpr int32_t maxChannels = 64;
/// Frames a block: small, so that a false length costs nothing.
constexpr sf_count_t blockFrames = 4096;

std::string message(std::string_view origin, std::string_view text) {
  std::string result = "sound '";
  result += origin;
  result += "': ";
  result += text;
  return result;
}

std::string inSeconds(double seconds) {
  char text[64];
  std::snprintf(text, sizeof text, "%.2f s", seconds);
  return text;
}

/// libsndfile's view of bytes in memory.
struct MemoryFile {
  std::span<const uint8_t> bytes;
  sf_count_t position = 0;

  sf_count_t size() const { return static_cast<sf_count_t>(bytes.size()); }
};

SF_VIRTUAL_IO memoryFunctions() {
  SF_VIRTUAL_IO io = {};
  io.get_filelen = [](void *user) {
    return static_cast<MemoryFile *>(user)->size();
  };
  io.seek = [](sf_count_t offset, int whence, void *user) -> sf_count_t {
    auto *file = static_cast<MemoryFile *>(user);
    sf_count_t base = whence == SEEK_SET   ? 0
                      : whence == SEEK_CUR ? file->position
                                           : file->size();
    sf_count_t target = 0;
    if (__builtin_add_overflow(base, offset, &target) || target < 0)
      return -1;
    file->position = std::min(target, file->size());
    return file->position;
  };
  io.read = [](void *out, sf_count_t count, void *user) -> sf_count_t {
    auto *file = static_cast<MemoryFile *>(user);
    count = std::clamp<sf_count_t>(count, 0, file->size() - file->position);
    if (count > 0)
      std::memcpy(out, file->bytes.data() + file->position,
                  static_cast<size_t>(count));
    file->position += count;
    return count;
  };
  io.write = [](const void *, sf_count_t, void *) -> sf_count_t { return 0; };
  io.tell = [](void *user) {
    return static_cast<MemoryFile *>(user)->position;
  };
  return io;
}

/// libsndfile knows many old formats whose readers few people look after; only
/// files that begin like the ones we name reach it.
bool isKnownSound(std::span<const uint8_t> bytes) {
  auto at = [&](size_t offset, std::string_view magic) {
    return bytes.size() >= offset + magic.size() &&
           std::memcmp(bytes.data() + offset, magic.data(), magic.size()) == 0;
  };
  if ((at(0, "RIFF") || at(0, "RF64") || at(0, "RIFX")) && at(8, "WAVE"))
    return true;
  if (at(0, "fLaC") || at(0, "OggS") || at(0, "ID3"))
    return true;
  // An MPEG frame: 11 bits of sync, then a layer and a version that exist.
  return bytes.size() >= 2 && bytes[0] == 0xff && (bytes[1] & 0xe0) == 0xe0 &&
         (bytes[1] & 0x06) != 0 && (bytes[1] & 0x18) != 0x08;
}

uint32_t littleEndian32(const uint8_t *bytes) {
  return uint32_t(bytes[0]) | uint32_t(bytes[1]) << 8 |
         uint32_t(bytes[2]) << 16 | uint32_t(bytes[3]) << 24;
}

/// libsndfile plays what is left of a WAV file that was cut; we say so instead.
/// A program that writes to a pipe knows no size and claims about 2 or 4 GiB.
Status checkWavLength(std::span<const uint8_t> bytes, std::string_view origin) {
  if (std::memcmp(bytes.data(), "RIFF", 4) != 0)
    return {};
  size_t position = 12;
  while (bytes.size() - position >= 8) {
    uint32_t size = littleEndian32(bytes.data() + position + 4);
    size_t left = bytes.size() - position - 8;
    if (std::memcmp(bytes.data() + position, "data", 4) == 0) {
      if (size <= left || size >= 0x7f000000)
        return {};
      return invalidData(message(
          origin, "the data is truncated: expected " + std::to_string(size) +
                      " bytes of samples, found " + std::to_string(left)));
    }
    size_t step = size_t(size) + (size & 1);
    if (step > left)
      break;
    position += 8 + step;
  }
  return invalidData(
      message(origin, "the data is truncated: there are no samples"));
}

bool isSupportedFormat(int format) {
  switch (format & SF_FORMAT_TYPEMASK) {
  case SF_FORMAT_WAV:
  case SF_FORMAT_WAVEX:
  case SF_FORMAT_RF64:
  case SF_FORMAT_FLAC:
  case SF_FORMAT_OGG:
  case SF_FORMAT_MPEG:
    return true;
  default:
    return false;
  }
}

struct Sound {
  int32_t rate = 0;
  std::vector<float> samples;
};

Status checkForm(std::string_view origin, const SF_INFO &info) {
  if (!isSupportedFormat(info.format))
    return invalidData(message(origin, "expected WAV, FLAC, OGG or MP3, found "
                                       "another format"));
  if (info.channels < 1 || info.channels > maxChannels)
    return invalidData(message(
        origin, "expected 1 to " + std::to_string(maxChannels) +
                    " channels, found " + std::to_string(info.channels)));
  if (info.samplerate < minRate || info.samplerate > maxRate)
    return invalidData(message(origin, "expected " + std::to_string(minRate) +
                                           " to " + std::to_string(maxRate) +
                                           " samples a second, found " +
                                           std::to_string(info.samplerate)));
  return {};
}

Result<Sound> decodeMono(std::span<const uint8_t> bytes,
                         std::string_view origin, double maxSeconds) {
  MemoryFile memory{bytes};
  SF_VIRTUAL_IO io = memoryFunctions();
  SF_INFO info = {};
  std::unique_ptr<SNDFILE, int (*)(SNDFILE *)> file(
      sf_open_virtual(&io, SFM_READ, &info, &memory), sf_close);
  if (!file)
    return invalidData(message(origin, sf_strerror(nullptr)));
  LAPIDARY_TRY(checkForm(origin, info));

  auto limit =
      static_cast<sf_count_t>(std::min(maxSeconds * info.samplerate, 9e15));
  auto channels = static_cast<size_t>(info.channels);
  Sound sound{info.samplerate, {}};
  std::vector<float> block(size_t(blockFrames) * channels);
  while (true) {
    sf_count_t got = sf_readf_float(file.get(), block.data(), blockFrames);
    if (got <= 0)
      break;
    for (size_t i = 0; i < size_t(got); ++i) {
      double sum = 0;
      for (size_t channel = 0; channel < channels; ++channel)
        sum += block[i * channels + channel];
      sound.samples.push_back(static_cast<float>(sum / double(channels)));
    }
    auto count = static_cast<sf_count_t>(sound.samples.size());
    if (count > limit) {
      // The claimed length, unless it is less than what is there already.
      double claimed = double(std::max(info.frames, count)) / info.samplerate;
      return invalidArgument(message(
          origin, "the sound is " + inSeconds(claimed) +
                      " long, and the limit is " + inSeconds(maxSeconds) +
                      "; cut it into shorter pieces"));
    }
  }
  int container = info.format & SF_FORMAT_TYPEMASK;
  // An MP3 file does not know its length exactly, and a stream may not at all.
  if (container == SF_FORMAT_FLAC && info.frames < SF_COUNT_MAX &&
      static_cast<sf_count_t>(sound.samples.size()) < info.frames)
    return invalidData(
        message(origin, "the data is truncated: expected " +
                            std::to_string(info.frames) + " samples, found " +
                            std::to_string(sound.samples.size())));
  if (int code = sf_error(file.get()); code != SF_ERR_NO_ERROR)
    return invalidData(message(origin, std::string("damaged or truncated: ") +
                                           sf_error_number(code)));
  return sound;
}

Result<std::vector<float>> resample(std::string_view origin, const Sound &sound,
                                    int32_t rate) {
  double ratio = double(rate) / sound.rate;
  auto room =
      static_cast<size_t>(std::ceil(double(sound.samples.size()) * ratio) + 16);
  std::vector<float> result(room);
  size_t used = 0, made = 0;
  soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  soxr_error_t error = soxr_oneshot(
      sound.rate, rate, 1, sound.samples.data(), sound.samples.size(), &used,
      result.data(), result.size(), &made, nullptr, &quality, nullptr);
  if (error)
    return internalError(message(
        origin, std::string("resampling from ") + std::to_string(sound.rate) +
                    " to " + std::to_string(rate) + " Hz: " + error));
  result.resize(made);
  return result;
}

} // namespace

Result<std::vector<float>> lapidary::decodeAudio(std::span<const uint8_t> bytes,
                                                 std::string_view origin,
                                                 int32_t rate,
                                                 double maxSeconds) {
  if (rate < minRate || rate > maxRate)
    return invalidArgument("sound: expected a rate of " +
                           std::to_string(minRate) + " to " +
                           std::to_string(maxRate) +
                           " samples a second, "
                           "found " +
                           std::to_string(rate));
  if (!(maxSeconds > 0))
    return invalidArgument("sound: expected a limit above 0 s, found " +
                           inSeconds(maxSeconds));
  if (!isKnownSound(bytes))
    return invalidData(message(origin, bytes.empty()
                                           ? "there are no bytes"
                                           : "expected WAV, FLAC, OGG or MP3, "
                                             "found another kind of data"));
  if (bytes.size() >= 12)
    LAPIDARY_TRY(checkWavLength(bytes, origin));
  Sound sound = LAPIDARY_TRY(decodeMono(bytes, origin, maxSeconds));
  if (sound.samples.empty())
    return invalidData(
        message(origin, "there are no samples: empty or truncated"));
  if (sound.rate == rate)
    return std::move(sound.samples);
  return resample(origin, sound, rate);
}

Result<std::vector<float>>
lapidary::readAudio(const std::string &path, int32_t rate, double maxSeconds) {
  std::vector<uint8_t> bytes = LAPIDARY_TRY(readMediaFile(path, "sound"));
  return decodeAudio(bytes, path, rate, maxSeconds);
}

Result<AudioFrames> lapidary::preprocessAudio(std::span<const float> samples,
                                              int32_t samplesPerToken,
                                              int32_t maxTokens) {
  if (samplesPerToken < 1 || maxTokens < 1)
    return invalidArgument("sound: expected a frame size and a token limit of "
                           "1 or more, found " +
                           std::to_string(samplesPerToken) + " and " +
                           std::to_string(maxTokens));
  if (samples.empty())
    return invalidArgument("sound: there are no samples");
  size_t frame = static_cast<size_t>(samplesPerToken);
  size_t count = (samples.size() - 1) / frame + 1;
  if (count > static_cast<size_t>(maxTokens))
    return invalidArgument(
        "sound: " + std::to_string(samples.size()) + " samples are " +
        std::to_string(count) + " tokens, and the limit is " +
        std::to_string(maxTokens) + " tokens (" +
        std::to_string(size_t(maxTokens) * frame) + " samples)");
  for (size_t i = 0; i < samples.size(); ++i)
    if (!std::isfinite(samples[i]))
      return invalidData("sound: sample " + std::to_string(i) +
                         " is not a finite number");
  AudioFrames frames;
  frames.count = static_cast<int32_t>(count);
  frames.samples.assign(samples.begin(), samples.end());
  frames.samples.resize(count * frame);
  return frames;
}
