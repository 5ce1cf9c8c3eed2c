// Pictures to patches: the golden cases' counts and pixels, the sizes at the
// edges, and the resize against a plain one in double.
#include "runtime/media/ImagePreprocess.h"
#include "MediaTestFiles.h"
#include "runtime/media/Resize.h"

#include <gmock/gmock.h>

#include <cmath>

using namespace lapidary;
using namespace lapidary::test;
using testing::HasSubstr;

namespace {

constexpr int imageId = 2042;

class GoldenImageTest : public testing::TestWithParam<const char *> {};

TEST_P(GoldenImageTest, HasTheReferencesTokensAndPixels) {
  nlohmann::json testCase = goldenCase(GetParam());
  int64_t tokens = 0;
  std::vector<float> pixels; // of the first image
  for (const nlohmann::json &name : testCase.at("media")) {
    auto file = name.get<std::string>();
    if (!file.starts_with("image"))
      continue;
    Result<Image> image = readImage(goldenFile(GetParam(), file));
    ASSERT_TRUE(image.ok()) << image.status().message();
    Result<ImagePatches> patches = preprocessImage(*image, 48, 70);
    ASSERT_TRUE(patches.ok()) << patches.status().message();
    tokens += patches->count();
    ASSERT_EQ(patches->pixels.size(), size_t(patches->count()) * 6912);
    if (pixels.empty())
      pixels = patches->pixels;
  }
  EXPECT_EQ(tokens, countIds(testCase, imageId));
  // Two patches of the first image, 8-bit. Every one of them is equal.
  std::vector<uint8_t> expected = goldenTensor(GetParam(), "pixel_values");
  ASSERT_EQ(expected.size(), 2u * 6912);
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_EQ(std::lround(pixels[i] * 255), expected[i]) << "value " << i;
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenImageTest,
                         testing::Values("image_digits", "image_photo",
                                         "image_shape", "image_tall",
                                         "image_two", "mixed"),
                         [](const auto &info) { return info.param; });

/// A picture with slopes, edges and detail at the pixel.
Image makeImage(int32_t width, int32_t height) {
  Image image{width, height, {}};
  for (int32_t y = 0; y < height; ++y)
    for (int32_t x = 0; x < width; ++x) {
      image.rgb.push_back(uint8_t(x * 255 / width));
      image.rgb.push_back((x / 5 + y / 3) % 2 ? 255 : 0);
      image.rgb.push_back(uint8_t(x * 37 + y * 101 + x * y));
    }
  return image;
}

std::string sizeOf(int32_t width, int32_t height, int32_t budget) {
  Result<PatchGrid> grid = choosePatchGrid(width, height, 48, budget);
  return grid.ok()
             ? std::to_string(grid->columns) + "x" + std::to_string(grid->rows)
             : grid.status().message();
}

// The expected sizes are the reference's for these pictures and budgets.
TEST(PatchGridTest, FollowsTheReference) {
  EXPECT_EQ(sizeOf(192, 48, 70), "16x4");
  EXPECT_EQ(sizeOf(317, 203, 70), "10x6");
  EXPECT_EQ(sizeOf(31, 977, 70), "1x46");
  EXPECT_EQ(sizeOf(1920, 1080, 280), "22x12");
  EXPECT_EQ(sizeOf(1920, 1080, 1120), "44x25");
  EXPECT_EQ(sizeOf(1, 1, 70), "8x8");
}

TEST(PatchGridTest, AStripIsAsLongAsTheBudget) {
  EXPECT_EQ(sizeOf(1, 5000, 70), "1x70");
  EXPECT_EQ(sizeOf(5000, 1, 70), "70x1");
  EXPECT_EQ(sizeOf(5000, 1, 1120), "1120x1");
  EXPECT_EQ(sizeOf(100, 1, 70), "70x1");
  EXPECT_EQ(sizeOf(1'000'000, 1, 1120), "1120x1");
}

TEST(PatchGridTest, NeverExceedsTheBudget) {
  for (int32_t budget : {1, 2, 3, 7, 70, 140, 280, 560, 1120})
    for (int32_t width = 1; width < 3000; width = width * 5 / 4 + 1)
      for (int32_t height = 1; height < 3000; height = height * 4 / 3 + 1) {
        Result<PatchGrid> grid = choosePatchGrid(width, height, 48, budget);
        if (!grid.ok())
          continue;
        EXPECT_GE(grid->columns, 1);
        EXPECT_GE(grid->rows, 1);
        EXPECT_LE(grid->columns * grid->rows, budget) << width << "x" << height;
      }
}

// One token's area can come out a hair below one patch on both sides, as for
// this square in double arithmetic.
TEST(PatchGridTest, BothSidesRoundingToNothingIsAnError) {
  EXPECT_THAT(sizeOf(17, 17, 1), HasSubstr("no whole patch of 48 pixels"));
  EXPECT_EQ(sizeOf(16, 16, 1), "1x1");
}

TEST(PatchGridTest, ArgumentsAreChecked) {
  EXPECT_THAT(sizeOf(4, 4, 0), HasSubstr("expected 1 to 1120, found 0"));
  EXPECT_THAT(sizeOf(4, 4, 1121), HasSubstr("found 1121"));
  EXPECT_THAT(sizeOf(0, 5, 70), HasSubstr("found a size of 0x5"));
  EXPECT_THAT(choosePatchGrid(4, 4, 0, 70).status().message(),
              HasSubstr("patch size"));
}

TEST(ImagePreprocessTest, PatchesAreInRasterOrderWithTheirPlaces) {
  // 2x1 patches of 4 pixels: no scaling, so that values can be told.
  Image image = makeImage(8, 4);
  Result<ImagePatches> patches = preprocessImage(image, 4, 2);
  ASSERT_TRUE(patches.ok()) << patches.status().message();
  EXPECT_EQ(patches->columns, 2);
  EXPECT_EQ(patches->rows, 1);
  EXPECT_EQ(patches->positions, (std::vector<int32_t>{0, 0, 1, 0}));
  for (size_t y = 0; y < 4; ++y)
    for (size_t x = 0; x < 8; ++x)
      for (size_t c = 0; c < 3; ++c)
        EXPECT_FLOAT_EQ(patches->pixels[x / 4 * 48 + y * 12 + x % 4 * 3 + c],
                        float(image.rgb[(y * 8 + x) * 3 + c]) / 255.0f);
}

TEST(ImagePreprocessTest, LongStripsWork) {
  for (auto [width, height] : {std::pair(1, 5000), std::pair(5000, 1)}) {
    Result<ImagePatches> patches =
        preprocessImage(makeImage(width, height), 48, 1120);
    ASSERT_TRUE(patches.ok()) << patches.status().message();
    EXPECT_EQ(patches->count(), 1120);
    EXPECT_EQ(patches->positions[1119 * 2] + patches->positions[1119 * 2 + 1],
              1119);
    for (float value : patches->pixels)
      ASSERT_TRUE(value >= 0 && value <= 1);
  }
}

TEST(ImagePreprocessTest, PicturesThatLieAreRefused) {
  EXPECT_FALSE(preprocessImage(Image{}, 48, 70).ok());
  EXPECT_THAT(preprocessImage(Image{10, 10, std::vector<uint8_t>(299)}, 48, 70)
                  .status()
                  .message(),
              HasSubstr("expected 300 bytes of pixels, found 299"));
  EXPECT_THAT(
      preprocessImage(Image{100'000, 100'000, {}}, 48, 70).status().message(),
      HasSubstr("over the limit"));
  EXPECT_FALSE(preprocessImage(Image{-5, 10, {}}, 48, 70).ok());
}

double keys(double x) {
  x = std::abs(x);
  if (x < 1)
    return 1.5 * x * x * x - 2.5 * x * x + 1;
  return x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
}

/// One line in double, rounded and clamped to 8 bits.
std::vector<double> plainLine(const std::vector<double> &line, int32_t to) {
  double scale = double(line.size()) / to, width = std::max(scale, 1.0);
  std::vector<double> result;
  for (int32_t i = 0; i < to; ++i) {
    double sum = 0, total = 0;
    for (size_t j = 0; j < line.size(); ++j) {
      double weight = keys((double(j) + 0.5 - (i + 0.5) * scale) / width);
      sum += weight * line[j], total += weight;
    }
    result.push_back(std::clamp(std::floor(sum / total + 0.5), 0.0, 255.0));
  }
  return result;
}

Image plainResize(const Image &image, int32_t width, int32_t height) {
  Image result{width, height,
               std::vector<uint8_t>(size_t(width) * size_t(height) * 3)};
  for (size_t channel = 0; channel < 3; ++channel) {
    std::vector<std::vector<double>> rows;
    for (int32_t y = 0; y < image.height; ++y) {
      std::vector<double> line;
      for (int32_t x = 0; x < image.width; ++x)
        line.push_back(
            image.rgb[(size_t(y) * size_t(image.width) + size_t(x)) * 3 +
                      channel]);
      rows.push_back(width == image.width ? line : plainLine(line, width));
    }
    for (size_t x = 0; x < size_t(width); ++x) {
      std::vector<double> line;
      for (const std::vector<double> &row : rows)
        line.push_back(row[x]);
      if (height != image.height)
        line = plainLine(line, height);
      for (size_t y = 0; y < size_t(height); ++y)
        result.rgb[(y * size_t(width) + x) * 3 + channel] = uint8_t(line[y]);
    }
  }
  return result;
}

// The golden pictures are all enlarged; this one is shrunk, and the file is
// what torchvision makes of it.
TEST(ResizeReferenceTest, ShrinksAsTheReferenceDoes) {
  Image resized = resizeBicubic(makeImage(301, 203), 48, 33);
  EXPECT_EQ(resized.rgb, bytesOf(mediaFile("resized-301x203-to-48x33.rgb")));
}

struct Shape {
  int32_t width, height, toWidth, toHeight;
};

class ResizeTest : public testing::TestWithParam<Shape> {};

// Weights of 16 bits are each off by half a unit of 2^-shift, and a value may
// cross a rounding edge in either pass: by 1 a pass, and in the second one the
// weights' absolute sum (below 1.5) carries the first one's over. With 25
// weights of 2^-17 on a line, as in the largest shape here, that is one value
// in 20 a pass.
TEST_P(ResizeTest, IsThePlainOneButForRounding) {
  auto [width, height, toWidth, toHeight] = GetParam();
  Image image = makeImage(width, height);
  Image resized = resizeBicubic(image, toWidth, toHeight);
  Image plain = plainResize(image, toWidth, toHeight);
  ASSERT_EQ(resized.rgb.size(), plain.rgb.size());
  size_t different = 0;
  for (size_t i = 0; i < plain.rgb.size(); ++i) {
    ASSERT_NEAR(resized.rgb[i], plain.rgb[i], 2) << "byte " << i;
    different += resized.rgb[i] != plain.rgb[i];
  }
  EXPECT_LE(double(different), 0.10 * double(plain.rgb.size()));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ResizeTest,
    testing::Values(Shape{1, 1, 7, 5}, Shape{7, 5, 1, 1}, Shape{2, 3, 96, 48},
                    Shape{31, 97, 48, 96}, Shape{97, 31, 48, 48},
                    Shape{301, 203, 48, 33}, Shape{64, 64, 64, 64},
                    Shape{64, 50, 64, 48}, Shape{50, 64, 48, 64},
                    Shape{640, 3, 48, 48}, Shape{3, 640, 48, 48}),
    [](const testing::TestParamInfo<Shape> &info) {
      const Shape &shape = info.param;
      return std::to_string(shape.width) + "x" + std::to_string(shape.height) +
             "to" + std::to_string(shape.toWidth) + "x" +
             std::to_string(shape.toHeight);
    });

} // namespace
