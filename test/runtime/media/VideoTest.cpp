// Clips to frames: which frames are taken and when they are shown, from folders
// and from files, and what is no clip.
#include "runtime/media/Video.h"
#include "MediaTestFiles.h"
#include "runtime/media/FrameSampling.h"
#include "runtime/media/ImagePreprocess.h"

#include <gmock/gmock.h>

#include <limits>

using namespace lapidary;
using namespace lapidary::test;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

constexpr int videoId = 2046;

/// The grey level of a frame: the mean of all its bytes.
double levelOf(const Image &image) {
  double sum = 0;
  for (uint8_t byte : image.rgb)
    sum += byte;
  return sum / double(image.rgb.size());
}

TEST(FrameSamplingTest, IsEvenOverTheClip) {
  EXPECT_THAT(sampleFrames(3, 32), ElementsAre(0, 1, 2));
  EXPECT_THAT(sampleFrames(10, 4), ElementsAre(0, 2, 5, 7));
  EXPECT_THAT(sampleFrames(0, 4), ElementsAre());
  EXPECT_EQ(sampleFrames(int64_t(1) << 62, 32).back(),
            (int64_t(1) << 62) / 32 * 31);
}

TEST(FrameSamplingTest, CountsByRate) {
  EXPECT_EQ(countFrames(40, 10, 0, 32), 32);
  EXPECT_EQ(countFrames(40, 10, 2, 32), 8);
  EXPECT_EQ(countFrames(40, 10, 1000, 32), 32);
  EXPECT_EQ(countFrames(5, 10, 1000, 32), 5);
  EXPECT_EQ(countFrames(40, 10, 0.01, 32), 1);
  EXPECT_EQ(countFrames(40, 10, 1e300, 32), 32);
}

TEST(VideoFolderTest, GoldenCaseHasTheReferencesTokens) {
  Result<Video> video = readVideo(goldenFile("video_digits", "."), {});
  ASSERT_TRUE(video.ok()) << video.status().message();
  EXPECT_THAT(video->seconds, ElementsAre(0, 1, 2));
  int64_t tokens = 0;
  for (const Image &frame : video->frames) {
    Result<ImagePatches> patches = preprocessImage(frame, 48, 70);
    ASSERT_TRUE(patches.ok()) << patches.status().message();
    tokens += patches->count();
  }
  EXPECT_EQ(tokens, countIds(goldenCase("video_digits"), videoId));
}

TEST(VideoFolderTest, FramesByNameAreInTheOrderGiven) {
  std::vector<std::string> paths = {goldenFile("image_shape", "image0.png"),
                                    goldenFile("image_digits", "image0.png")};
  Result<Video> video = readFrames(paths, {.framesPerSecond = 4});
  ASSERT_TRUE(video.ok()) << video.status().message();
  EXPECT_THAT(video->seconds, ElementsAre(0, 0.25));
  for (size_t i = 0; i < paths.size(); ++i)
    EXPECT_EQ(video->frames[i].rgb, readImage(paths[i])->rgb);
  EXPECT_EQ(readFrames(paths, {.maxFrames = 1})->frames.size(), 1u);
  EXPECT_FALSE(readFrames({}, {}).ok());
  EXPECT_FALSE(readFrames(paths, {.maxFrames = 0}).ok());
  paths[1] += ".none";
  EXPECT_THAT(readFrames(paths, {}).status().message(), HasSubstr(".none"));
}

/// A folder of `count` copies of a picture, with names that only numeric order
/// sorts right; every tenth is another picture.
void fillFolder(const TemporaryFolder &folder, int count) {
  std::vector<uint8_t> usual = bytesOf(mediaFile("rgb.png"));
  std::vector<uint8_t> tenth = bytesOf(mediaFile("rotated.jpg"));
  for (int i = 0; i < count; ++i)
    writeBytes(folder.path("frame" + std::to_string(i) + ".PNG"),
               i % 10 == 9 ? tenth : usual);
}

TEST(VideoFolderTest, FramesAreInNumericOrder) {
  TemporaryFolder folder;
  fillFolder(folder, 21);
  writeBytes(folder.path(".hidden.png"), {1});
  writeBytes(folder.path("notes.txt"), {1});
  Result<Video> video = readVideo(folder.path(), {.framesPerSecond = 4});
  ASSERT_TRUE(video.ok()) << video.status().message();
  ASSERT_EQ(video->frames.size(), 21u);
  for (size_t i = 0; i < 21; ++i) {
    EXPECT_EQ(video->frames[i].width, i % 10 == 9 ? 24 : 13) << i;
    EXPECT_EQ(video->seconds[i], double(i) / 4);
  }
}

TEST(VideoFolderTest, MoreThanTheLimitIsSampledEvenly) {
  TemporaryFolder folder;
  fillFolder(folder, 21);
  Result<Video> video = readVideo(folder.path(), {.maxFrames = 4});
  ASSERT_TRUE(video.ok()) << video.status().message();
  EXPECT_THAT(video->seconds, ElementsAre(0, 5, 10, 15));
  EXPECT_EQ(video->frames.size(), 4u);
}

TEST(VideoFolderTest, BadFoldersAreNamed) {
  TemporaryFolder folder;
  EXPECT_THAT(readVideo(folder.path(), {}).status().message(),
              HasSubstr("in the folder, found none"));
  fillFolder(folder, 3);
  std::vector<uint8_t> broken = bytesOf(mediaFile("rgb.png"));
  broken.resize(broken.size() / 2);
  writeBytes(folder.path("frame1.PNG"), broken);
  EXPECT_THAT(readVideo(folder.path(), {}).status().message(),
              HasSubstr("frame1.PNG"));
  Status missing = readVideo(folder.path("none"), {}).status();
  EXPECT_EQ(missing.getCode(), StatusCode::NotFound);
  EXPECT_THAT(missing.message(), HasSubstr("none"));
}

TEST(VideoTest, OptionsAreChecked) {
  std::string clip = mediaFile("clip.mp4");
  for (double rate : {-1.0, std::numeric_limits<double>::infinity(),
                      std::numeric_limits<double>::quiet_NaN()})
    EXPECT_FALSE(readVideo(clip, {.framesPerSecond = rate}).ok());
  EXPECT_FALSE(readVideo(clip, {.maxFrames = 0}).ok());
  EXPECT_FALSE(readVideo("", {}).ok());
}

class VideoFileTest : public testing::TestWithParam<const char *> {};

// Frame i of the clips is grey of level 20 + 5 * i, shown at i / 10 seconds.
TEST_P(VideoFileTest, TakesFramesEvenly) {
  int total = std::string(GetParam()).ends_with(".gif") ? 5 : 40;
  Result<Video> video = readVideo(mediaFile(GetParam()), {});
  ASSERT_TRUE(video.ok()) << video.status().message();
  ASSERT_EQ(video->frames.size(), size_t(std::min(total, 32)));
  for (size_t i = 0; i < video->frames.size(); ++i) {
    int64_t index = total > 32 ? int64_t(i) * total / 32 : int64_t(i);
    EXPECT_EQ(video->frames[i].width, 64);
    EXPECT_EQ(video->frames[i].height, 48);
    EXPECT_NEAR(levelOf(video->frames[i]), 20 + 5 * double(index), 2.4) << i;
    EXPECT_NEAR(video->seconds[i], double(index) / 10, 1e-9);
  }
}

TEST_P(VideoFileTest, TakesSoManyFramesASecond) {
  Result<Video> video =
      readVideo(mediaFile(GetParam()), {.framesPerSecond = 5});
  ASSERT_TRUE(video.ok()) << video.status().message();
  size_t count = video->frames.size();
  EXPECT_EQ(count, std::string(GetParam()).ends_with(".gif") ? 2u : 20u);
  EXPECT_NEAR(video->seconds[1], 0.2, 1e-9);
  Result<Video> few =
      readVideo(mediaFile(GetParam()), {.framesPerSecond = 5, .maxFrames = 1});
  ASSERT_TRUE(few.ok()) << few.status().message();
  EXPECT_THAT(few->seconds, ElementsAre(0));
}

TEST_P(VideoFileTest, CutFilesAreAnErrorOrShorter) {
  TemporaryFolder folder;
  std::vector<uint8_t> bytes = bytesOf(mediaFile(GetParam()));
  Result<Video> whole = readVideo(mediaFile(GetParam()), {.maxFrames = 100});
  ASSERT_TRUE(whole.ok());
  int errors = 0;
  for (size_t part = 0; part < 20; ++part) {
    std::vector<uint8_t> cut(bytes.begin(),
                             bytes.begin() +
                                 std::ptrdiff_t(bytes.size() * part / 20));
    writeBytes(folder.path("cut"), cut);
    Result<Video> video = readVideo(folder.path("cut"), {.maxFrames = 100});
    if (video.ok()) {
      EXPECT_LE(video->frames.size(), whole->frames.size());
      continue;
    }
    ++errors;
    EXPECT_THAT(video.status().message(), HasSubstr("/cut'"));
  }
  EXPECT_GE(errors, 2);
}

INSTANTIATE_TEST_SUITE_P(Files, VideoFileTest,
                         testing::Values("clip.mp4", "clip.webm", "clip.gif"),
                         [](const auto &info) {
                           return std::string(info.param).substr(5);
                         });

TEST(VideoTest, FilesThatAreNoClipsAreNamed) {
  for (const char *name : {"tone.flac", "rgb.png", "gray.png.rgb"})
    EXPECT_THAT(readVideo(mediaFile(name), {}).status().message(),
                HasSubstr("expected an MP4, WebM or GIF file"))
        << name;
  TemporaryFolder folder;
  writeBytes(folder.path("empty.mp4"), {});
  EXPECT_THAT(readVideo(folder.path("empty.mp4"), {}).status().message(),
              HasSubstr("the file is empty"));
  // A playlist must not make us open what it names.
  std::string list = "#EXTM3U\n#EXTINF:1,\n" + mediaFile("clip.mp4") + "\n";
  writeBytes(folder.path("list.m3u8"), {list.begin(), list.end()});
  EXPECT_FALSE(readVideo(folder.path("list.m3u8"), {}).ok());
  EXPECT_FALSE(readVideo("/dev/zero", {}).ok());
}

} // namespace
