// Decoding of pictures: every kind of PNG, JPEG and WebP gives the pixels that
// the reference's loader gives (files/NAME.rgb), and what is no picture gets an
// error that says so.
#include "runtime/media/Image.h"
#include "MediaTestFiles.h"

#include <gmock/gmock.h>

using namespace lapidary;
using namespace lapidary::test;
using testing::HasSubstr;

namespace {

struct Format {
  const char *name;
  int32_t width, height;
  /// How far a channel may be off: decoders of JPEG and lossy WebP are allowed
  /// to round differently from release to release.
  int tolerance;
};

class ImageFormatTest : public testing::TestWithParam<Format> {};

TEST_P(ImageFormatTest, HasTheReferencesPixels) {
  const Format &format = GetParam();
  Result<Image> image = readImage(mediaFile(format.name));
  ASSERT_TRUE(image.ok()) << image.status().message();
  EXPECT_EQ(image->width, format.width);
  EXPECT_EQ(image->height, format.height);
  std::vector<uint8_t> expected =
      bytesOf(mediaFile(format.name + std::string(".rgb")));
  ASSERT_EQ(image->rgb.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_NEAR(image->rgb[i], expected[i], format.tolerance) << "byte " << i;
}

// A cut file is an error wherever it is cut; only the end mark may be missing.
TEST_P(ImageFormatTest, CutAnywhereIsAnError) {
  std::vector<uint8_t> bytes = bytesOf(mediaFile(GetParam().name));
  bool isJpeg = bytes[0] == 0xff, isPng = bytes[0] == 0x89;
  // PNG: the IEND chunk and the check sums before it; JPEG: its end mark.
  size_t mark = isPng ? 20 : isJpeg ? 4 : 1;
  for (size_t size = 0; size + mark < bytes.size(); ++size) {
    Result<Image> image =
        decodeImage(std::span(bytes).first(size), GetParam().name);
    ASSERT_FALSE(image.ok()) << size << " bytes of " << bytes.size();
    EXPECT_THAT(image.status().message(), HasSubstr(GetParam().name));
  }
}

// A changed byte may change pixels or be an error, and nothing else.
TEST_P(ImageFormatTest, ChangedBytesDoNoHarm) {
  std::vector<uint8_t> bytes = bytesOf(mediaFile(GetParam().name));
  for (size_t i = 0; i < bytes.size(); ++i)
    for (uint8_t change : {0x01, 0x80, 0xff}) {
      std::vector<uint8_t> changed = bytes;
      changed[i] ^= change;
      Result<Image> image = decodeImage(changed, "changed", 1 << 16);
      if (image.ok())
        EXPECT_EQ(image->rgb.size(),
                  size_t(image->width) * size_t(image->height) * 3);
      else
        EXPECT_FALSE(image.status().message().empty());
    }
}

INSTANTIATE_TEST_SUITE_P(
    Files, ImageFormatTest,
    testing::Values(
        Format{"rgb.png", 13, 9, 0}, Format{"gray.png", 13, 9, 0},
        Format{"gray1.png", 13, 9, 0}, Format{"gray4.png", 13, 9, 0},
        Format{"palette.png", 13, 9, 0}, Format{"gray16.png", 13, 9, 0},
        Format{"rgb16.png", 13, 9, 0}, Format{"alpha.png", 13, 9, 0},
        Format{"gray-alpha.png", 13, 9, 0}, Format{"interlaced.png", 13, 9, 0},
        Format{"baseline.jpg", 50, 40, 2}, Format{"full-chroma.jpg", 13, 9, 2},
        Format{"progressive.jpg", 50, 40, 2}, Format{"gray.jpg", 13, 9, 2},
        Format{"cmyk.jpg", 13, 9, 2}, Format{"rotated.jpg", 24, 16, 2},
        Format{"lossy.webp", 50, 40, 2}, Format{"lossless.webp", 13, 9, 0},
        Format{"alpha.webp", 13, 9, 0}, Format{"animated.webp", 13, 9, 0}),
    [](const testing::TestParamInfo<Format> &info) {
      std::string name = info.param.name;
      std::erase_if(name, [](char letter) { return !std::isalnum(letter); });
      return name;
    });

/// The error of decoding `bytes`; empty if there is none.
std::string errorOf(const std::vector<uint8_t> &bytes) {
  return decodeImage(bytes, "given").status().message();
}

std::vector<uint8_t> textBytes(std::string_view text) {
  return {text.begin(), text.end()};
}

std::vector<uint8_t> pngOfSize(uint32_t width, uint32_t height) {
  std::vector<uint8_t> bytes = bytesOf(mediaFile("rgb.png"));
  for (int i = 0; i < 4; ++i) {
    bytes[16 + size_t(i)] = uint8_t(width >> (24 - 8 * i));
    bytes[20 + size_t(i)] = uint8_t(height >> (24 - 8 * i));
  }
  // The header's check sum, so that the size is what is wrong.
  uint32_t crc = 0xffffffff;
  for (size_t i = 12; i < 29; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  crc = ~crc;
  for (int i = 0; i < 4; ++i)
    bytes[29 + size_t(i)] = uint8_t(crc >> (24 - 8 * i));
  return bytes;
}

std::vector<uint8_t> jpegOfSize(const char *name, uint16_t width,
                                uint16_t height) {
  std::vector<uint8_t> bytes = bytesOf(mediaFile(name));
  for (size_t i = 2; i + 9 < bytes.size();
       i += 2 + size_t(bytes[i + 2]) * 256 + bytes[i + 3])
    if (bytes[i + 1] == 0xc0 || bytes[i + 1] == 0xc2) {
      bytes[i + 5] = uint8_t(height >> 8), bytes[i + 6] = uint8_t(height);
      bytes[i + 7] = uint8_t(width >> 8), bytes[i + 8] = uint8_t(width);
      break;
    }
  return bytes;
}

TEST(ImageTest, EmptyAndForeignDataAreNamed) {
  EXPECT_THAT(errorOf({}), HasSubstr("there are no bytes"));
  EXPECT_THAT(errorOf(textBytes("hello, this is a text\n")),
              HasSubstr("expected PNG, JPEG or WebP, found text"));
  EXPECT_THAT(errorOf(textBytes("GIF89a......")), HasSubstr("a GIF"));
  EXPECT_THAT(errorOf(textBytes("%PDF-1.7 ...")), HasSubstr("a PDF"));
  EXPECT_THAT(errorOf({1, 2, 3, 4, 5}), HasSubstr("another kind of data"));
}

TEST(ImageTest, EmptyPicturesAreRefused) {
  EXPECT_THAT(errorOf(pngOfSize(0, 0)), HasSubstr("found a size of 0x0"));
  EXPECT_THAT(errorOf(pngOfSize(13, 0)), HasSubstr("found a size of 13x0"));
  EXPECT_NE(errorOf(jpegOfSize("baseline.jpg", 0, 0)), "");
}

TEST(ImageTest, HugeSizesAreRefusedBeforeMemoryIsSpent) {
  EXPECT_THAT(errorOf(pngOfSize(100'000, 100'000)),
              HasSubstr("100000x100000 is over the limit of 67108864 pixels "
                        "(64 Mpixel)"));
  EXPECT_THAT(errorOf(pngOfSize(0x7fffffff, 1)), HasSubstr("over the limit"));
  EXPECT_THAT(errorOf(pngOfSize(0xffffffff, 0xffffffff)),
              HasSubstr("over the limit"));
  EXPECT_THAT(errorOf(jpegOfSize("baseline.jpg", 65500, 65500)),
              HasSubstr("65500x65500 is over the limit"));
  // Within the limit, and yet nothing that so few bytes could hold.
  EXPECT_THAT(errorOf(pngOfSize(8192, 8192)), HasSubstr("truncated"));
  EXPECT_THAT(errorOf(jpegOfSize("baseline.jpg", 8192, 8192)),
              HasSubstr("truncated"));
  EXPECT_THAT(errorOf(jpegOfSize("progressive.jpg", 8192, 8192)),
              HasSubstr("truncated"));
  EXPECT_THAT(errorOf(pngOfSize(500, 500)), HasSubstr("given"));
}

TEST(ImageTest, TheCallersLimitHolds) {
  std::vector<uint8_t> bytes = bytesOf(mediaFile("rgb.png"));
  EXPECT_TRUE(decodeImage(bytes, "rgb", 13 * 9).ok());
  EXPECT_THAT(decodeImage(bytes, "rgb", 13 * 9 - 1).status().message(),
              HasSubstr("13x9 is over the limit of 116 pixels"));
}

TEST(ImageTest, AProgressiveFileOfManyScansIsRefused) {
  std::vector<uint8_t> bytes = bytesOf(mediaFile("progressive.jpg"));
  bytes.resize(bytes.size() - 2);
  // The last scan again and again, each one a pass over the picture.
  size_t start = bytes.size();
  while (!(bytes[start] == 0xff && bytes[start + 1] == 0xda))
    --start;
  std::vector<uint8_t> scan(bytes.begin() + std::ptrdiff_t(start), bytes.end());
  for (int i = 0; i < 200; ++i)
    bytes.insert(bytes.end(), scan.begin(), scan.end());
  bytes.push_back(0xff), bytes.push_back(0xd9);
  EXPECT_THAT(errorOf(bytes), HasSubstr("more than 100 scans"));
}

TEST(ImageTest, FilesThatCannotBeReadAreNamed) {
  TemporaryFolder folder;
  Result<Image> missing = readImage(folder.path("none.png"));
  EXPECT_EQ(missing.status().getCode(), StatusCode::NotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("none.png"));
  writeBytes(folder.path("empty.png"), {});
  EXPECT_THAT(readImage(folder.path("empty.png")).status().message(),
              HasSubstr("the file is empty"));
  EXPECT_THAT(readImage(folder.path()).status().message(),
              HasSubstr("expected a file, found a folder"));
  EXPECT_THAT(readImage("/dev/zero").status().message(),
              HasSubstr("expected a file, found a pipe or device"));
  EXPECT_FALSE(readImage(std::string("a\0b", 3)).ok());
}

} // namespace
