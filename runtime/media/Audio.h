// From a sound file to what the audio embedder reads: mono samples at the
// model's rate, cut into frames, one frame a token.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

/// Decodes a WAV, FLAC, OGG (Vorbis or Opus) or MP3 file that lies in memory to
/// mono (the mean of the channels) at `rate` samples a second; a file that has
/// that rate already is not resampled. A sound of more than `maxSeconds` is an
/// error, found before more than that is decoded. `origin` is what error
/// messages call the bytes.
Result<std::vector<float>> decodeAudio(std::span<const uint8_t> bytes,
                                       std::string_view origin, int32_t rate,
                                       double maxSeconds);

/// decodeAudio of a file's content.
Result<std::vector<float>> readAudio(const std::string &path, int32_t rate,
                                     double maxSeconds);

struct AudioFrames {
  int32_t count = 0;
  /// count rows of samplesPerToken samples; the last one is zero-padded.
  std::vector<float> samples;
};

/// Cuts samples into frames. No samples, more than `maxTokens` frames, and a
/// sample that is no finite number are errors.
Result<AudioFrames> preprocessAudio(std::span<const float> samples,
                                    int32_t samplesPerToken, int32_t maxTokens);

} // namespace lapidary
