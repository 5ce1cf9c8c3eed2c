// Sounds to frames: the golden cases bit by bit, every format, rate and channel
// count by the tone that must come out, and what is no sound.
#include "runtime/media/Audio.h"
#include "MediaTestFiles.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fcntl.h>
#include <limits>
#include <numbers>
#include <unistd.h>

using namespace lapidary;
using namespace lapidary::test;
using testing::HasSubstr;

namespace {

constexpr int audioId = 2043;
constexpr int32_t rate = 16000;
constexpr double limit = 30;

class GoldenAudioTest : public testing::TestWithParam<const char *> {};

TEST_P(GoldenAudioTest, HasTheReferencesTokensAndTheFilesSamples) {
  nlohmann::json testCase = goldenCase(GetParam());
  int64_t tokens = 0;
  for (const nlohmann::json &name : testCase.at("media")) {
    auto file = name.get<std::string>();
    if (!file.ends_with(".wav"))
      continue;
    Result<std::vector<float>> samples =
        readAudio(goldenFile(GetParam(), file), rate, limit);
    ASSERT_TRUE(samples.ok()) << samples.status().message();
    // 16-bit samples behind a 44-byte header, untouched.
    std::vector<uint8_t> bytes = bytesOf(goldenFile(GetParam(), file));
    ASSERT_EQ(samples->size(), (bytes.size() - 44) / 2);
    for (size_t i = 0; i < samples->size(); ++i) {
      auto value =
          int16_t(uint16_t(bytes[44 + 2 * i] | bytes[45 + 2 * i] << 8));
      ASSERT_EQ((*samples)[i], float(value) / 32768.0f) << "sample " << i;
    }
    Result<AudioFrames> frames = preprocessAudio(*samples, 640, 750);
    ASSERT_TRUE(frames.ok()) << frames.status().message();
    tokens += frames->count;
    ASSERT_EQ(frames->samples.size(), size_t(frames->count) * 640);
    for (size_t i = samples->size(); i < frames->samples.size(); ++i)
      EXPECT_EQ(frames->samples[i], 0.0f);
  }
  EXPECT_EQ(tokens, countIds(testCase, audioId));
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenAudioTest,
                         testing::Values("audio_keys", "audio_odd", "mixed"),
                         [](const auto &info) { return info.param; });

struct Tone {
  const char *name;
  /// At 16 kHz; lossy formats may pad.
  int64_t samples, padding;
  double amplitude, noise;
};

class AudioFormatTest : public testing::TestWithParam<Tone> {};

// Each file is a tone of 440 Hz. Its amplitude comes out of a least-squares fit
// of sine and cosine over the middle of the sound; what is left is noise.
TEST_P(AudioFormatTest, HasTheTone) {
  const Tone &tone = GetParam();
  Result<std::vector<float>> samples =
      readAudio(mediaFile(tone.name), rate, limit);
  ASSERT_TRUE(samples.ok()) << samples.status().message();
  EXPECT_GE(int64_t(samples->size()), tone.samples);
  EXPECT_LE(int64_t(samples->size()), tone.samples + tone.padding);
  size_t from = size_t(tone.samples) / 4, to = size_t(tone.samples) * 3 / 4;
  double ss = 0, cc = 0, sc = 0, xs = 0, xc = 0;
  auto angle = [](size_t i) {
    return 2 * std::numbers::pi * 440 * double(i) / rate;
  };
  for (size_t i = from; i < to; ++i) {
    double s = std::sin(angle(i)), c = std::cos(angle(i)), x = (*samples)[i];
    ss += s * s, cc += c * c, sc += s * c, xs += x * s, xc += x * c;
  }
  double determinant = ss * cc - sc * sc;
  double a = (xs * cc - xc * sc) / determinant;
  double b = (xc * ss - xs * sc) / determinant;
  EXPECT_NEAR(std::hypot(a, b), tone.amplitude, 0.01);
  double noise = 0;
  for (size_t i = from; i < to; ++i)
    noise = std::max(noise, std::abs((*samples)[i] - a * std::sin(angle(i)) -
                                     b * std::cos(angle(i))));
  EXPECT_LE(noise, tone.noise);
}

INSTANTIATE_TEST_SUITE_P(
    Files, AudioFormatTest,
    testing::Values(Tone{"mono-16k.wav", 4000, 0, 0.5, 1e-4},
                    // One channel is silent, and the mean counts it.
                    Tone{"stereo-8k.wav", 4000, 0, 0.25, 1e-3},
                    Tone{"unsigned-8.wav", 1600, 0, 0.5, 1e-2},
                    Tone{"float.wav", 800, 0, 0.5, 1e-4},
                    Tone{"deep-44k.wav", 1600, 0, 0.5, 1e-3},
                    Tone{"stereo-44k.flac", 4000, 0, 0.5, 1e-3},
                    Tone{"tone.flac", 4000, 0, 0.5, 1e-4},
                    Tone{"vorbis.ogg", 4000, 0, 0.5, 2e-2},
                    Tone{"opus.ogg", 4000, 0, 0.5, 2e-2},
                    Tone{"tone.mp3", 4000, 1200, 0.475, 2e-2}),
    [](const testing::TestParamInfo<Tone> &info) {
      std::string name = info.param.name;
      std::erase_if(name, [](char letter) { return !std::isalnum(letter); });
      return name;
    });

/// Keeps what a library writes to stderr about damaged files out of the log.
class QuietStderr {
public:
  QuietStderr() : saved(dup(2)) {
    int null = open("/dev/null", O_WRONLY);
    dup2(null, 2);
    close(null);
  }
  QuietStderr(const QuietStderr &) = delete;
  ~QuietStderr() {
    dup2(saved, 2);
    close(saved);
  }

private:
  int saved;
};

// A cut sound is an error or (Ogg and MP3 are made to be cut) a shorter one.
TEST_P(AudioFormatTest, CutAnywhereIsAnErrorOrShorter) {
  std::vector<uint8_t> bytes = bytesOf(mediaFile(GetParam().name));
  QuietStderr quiet; // mpg123 speaks of every cut; gtest writes to stdout.
  bool isStream = bytes[0] == 'O' || bytes[0] == 0xff || bytes[0] == 'I';
  Result<std::vector<float>> whole = decodeAudio(bytes, "whole", rate, limit);
  ASSERT_TRUE(whole.ok());
  for (size_t size = 0; size < bytes.size();
       size += size < 200 ? 1 : bytes.size() / 50) {
    Result<std::vector<float>> cut =
        decodeAudio(std::span(bytes).first(size), "cut.snd", rate, limit);
    if (isStream && cut.ok()) {
      EXPECT_LE(cut->size(), whole->size());
      continue;
    }
    ASSERT_FALSE(cut.ok()) << size << " bytes of " << bytes.size();
    EXPECT_THAT(cut.status().message(), HasSubstr("cut.snd"));
  }
}

void append32(std::vector<uint8_t> &bytes, uint32_t value) {
  for (int i = 0; i < 4; ++i)
    bytes.push_back(uint8_t(value >> (8 * i)));
}

/// A WAV file of 16-bit silence that claims `claimed` bytes of samples.
std::vector<uint8_t> makeWav(uint32_t sampleRate, uint16_t channels,
                             size_t samples, uint32_t claimed) {
  std::vector<uint8_t> bytes = {'R', 'I', 'F', 'F'};
  append32(bytes, claimed + 36);
  for (char letter : std::string("WAVEfmt "))
    bytes.push_back(uint8_t(letter));
  append32(bytes, 16);
  append32(bytes, 1u | uint32_t(channels) << 16);
  append32(bytes, sampleRate);
  append32(bytes, sampleRate * channels * 2u);
  append32(bytes, (channels * 2u) | 16u << 16);
  for (char letter : std::string("data"))
    bytes.push_back(uint8_t(letter));
  append32(bytes, claimed);
  bytes.resize(bytes.size() + samples * channels * 2);
  return bytes;
}

std::string errorOf(const std::vector<uint8_t> &bytes) {
  return decodeAudio(bytes, "given", rate, limit).status().message();
}

TEST(AudioTest, ThirtySecondsAreTheLimit) {
  EXPECT_TRUE(
      decodeAudio(makeWav(8000, 1, 240'000, 480'000), "30 s", rate, limit)
          .ok());
  EXPECT_THAT(errorOf(makeWav(8000, 1, 248'000, 496'000)),
              HasSubstr("the sound is 31.00 s long, and the limit is 30.00 s"));
  EXPECT_NE(errorOf(makeWav(8000, 1, 240'001, 480'002)), "");
}

TEST(AudioTest, EveryCommonRateGivesSixteenKilohertz) {
  for (uint32_t from :
       {8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000, 96000, 192000}) {
    std::vector<uint8_t> bytes = makeWav(from, 2, from, from * 4);
    Result<std::vector<float>> samples =
        decodeAudio(bytes, "second", rate, limit);
    ASSERT_TRUE(samples.ok()) << samples.status().message();
    EXPECT_EQ(samples->size(), 16000u) << from;
  }
}

TEST(AudioTest, FalseLengthsCostNothing) {
  EXPECT_THAT(errorOf(makeWav(16000, 1, 100, 0x40000000)),
              HasSubstr("expected 1073741824 bytes of samples, found 200"));
  // What a program writes that does not know yet.
  Result<std::vector<float>> stream =
      decodeAudio(makeWav(16000, 1, 100, 0xffffffff), "stream", rate, limit);
  ASSERT_TRUE(stream.ok()) << stream.status().message();
  EXPECT_EQ(stream->size(), 100u);
  // A FLAC header that promises 2^36 samples.
  std::vector<uint8_t> flac = bytesOf(mediaFile("tone.flac"));
  flac[21] |= 0x0f;
  for (size_t i = 22; i < 26; ++i)
    flac[i] = 0xff;
  EXPECT_NE(errorOf(flac), "");
}

TEST(AudioTest, EmptyAndForeignDataAreNamed) {
  EXPECT_THAT(errorOf({}), HasSubstr("there are no bytes"));
  std::string text = "this is a text, and a long one at that";
  EXPECT_THAT(errorOf({text.begin(), text.end()}),
              HasSubstr("expected WAV, FLAC, OGG or MP3"));
  EXPECT_THAT(errorOf(makeWav(16000, 1, 0, 0)),
              HasSubstr("there are no samples"));
  EXPECT_NE(errorOf(makeWav(16000, 0, 100, 200)), "");
  EXPECT_THAT(errorOf(makeWav(16000, 65, 100, 13'000)),
              HasSubstr("expected 1 to 64 channels, found 65"));
  EXPECT_THAT(errorOf(makeWav(10, 1, 100, 200)),
              HasSubstr("samples a second, found 10"));
  EXPECT_NE(errorOf(makeWav(0, 1, 100, 200)), "");
  EXPECT_THAT(errorOf(bytesOf(mediaFile("rgb.png"))),
              HasSubstr("another kind of data"));
  EXPECT_THAT(errorOf(bytesOf(mediaFile("clip.mp4"))),
              HasSubstr("another kind of data"));
}

TEST(AudioTest, FilesThatCannotBeReadAreNamed) {
  TemporaryFolder folder;
  Status missing = readAudio(folder.path("none.wav"), rate, limit).status();
  EXPECT_EQ(missing.getCode(), StatusCode::NotFound);
  EXPECT_THAT(missing.message(), HasSubstr("none.wav"));
  writeBytes(folder.path("empty.wav"), {});
  EXPECT_THAT(
      readAudio(folder.path("empty.wav"), rate, limit).status().message(),
      HasSubstr("the file is empty"));
}

TEST(AudioTest, ArgumentsAreChecked) {
  std::vector<uint8_t> bytes = bytesOf(mediaFile("mono-16k.wav"));
  EXPECT_FALSE(decodeAudio(bytes, "x", 0, limit).ok());
  EXPECT_FALSE(decodeAudio(bytes, "x", rate, 0).ok());
  EXPECT_FALSE(
      decodeAudio(bytes, "x", rate, std::numeric_limits<double>::quiet_NaN())
          .ok());
  EXPECT_FALSE(decodeAudio(bytes, "x", rate, 0.1).ok());
}

TEST(AudioPreprocessTest, CountsAndPads) {
  for (size_t size : {1, 639, 640, 641, 1280, 480'000}) {
    std::vector<float> samples(size, 0.5f);
    Result<AudioFrames> frames = preprocessAudio(samples, 640, 750);
    ASSERT_TRUE(frames.ok()) << frames.status().message();
    EXPECT_EQ(size_t(frames->count), (size + 639) / 640);
    EXPECT_EQ(frames->samples.size(), size_t(frames->count) * 640);
    EXPECT_EQ(frames->samples[size - 1], 0.5f);
    if (size < frames->samples.size())
      EXPECT_EQ(frames->samples[size], 0.0f);
  }
}

TEST(AudioPreprocessTest, LimitsAreNamed) {
  std::vector<float> samples(480'001);
  EXPECT_THAT(preprocessAudio(samples, 640, 750).status().message(),
              HasSubstr("480001 samples are 751 tokens, and the limit is 750"));
  EXPECT_FALSE(preprocessAudio({}, 640, 750).ok());
  EXPECT_FALSE(preprocessAudio(samples, 0, 750).ok());
  EXPECT_FALSE(preprocessAudio(samples, 640, 0).ok());
}

TEST(AudioPreprocessTest, SamplesMustBeNumbers) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(),
                    std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    std::vector<float> samples(1000);
    samples[777] = bad;
    EXPECT_THAT(preprocessAudio(samples, 640, 750).status().message(),
                HasSubstr("sample 777 is not a finite number"));
  }
}

} // namespace
