// The bytes that weights become: the rows16 layout, the encoding of blocks,
// values that are not finite, and rope tables.
#include "compiler/WeightPacking.h"
#include "compiler/WeightWriter.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/Parser/Parser.h"
#include "gtest/gtest.h"

#include <cmath>
#include <limits>
#include <random>

using namespace mlir;
using namespace mlir::lap;

namespace {

class Packing : public testing::Test {
protected:
  Packing() {
    context.loadDialect<LapDialect>();
    schemes = parseSourceString<ModuleOp>(
        "lap.scheme @half {block = 32, codes = i8, scale = f16}\n"
        "lap.scheme @single {block = 8, codes = i8, scale = f32}",
        ParserConfig(&context));
  }
  RowTileLayout getLayout(const std::string &type) {
    return *getRowTileLayout(parseType(type, &context),
                             &schemes->getBody()->front());
  }
  static std::string shape(int64_t rows, int64_t columns) {
    return std::to_string(rows) + "x" + std::to_string(columns);
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> schemes;
};

struct Size {
  int64_t rows, columns;
};
constexpr Size sizes[] = {{1, 1},  {3, 5},  {15, 2}, {16, 4},
                          {17, 3}, {35, 7}, {16, 33}};

// codes[column / group][row][column % group], tile by tile; everything else 0.
TEST_F(Packing, PlainTilesByteForByte) {
  struct Format {
    const char *name;
    SourceFormat format;
    int64_t bytes;
  };
  for (Format format : {Format{"f32", SourceFormat::F32, 4},
                        Format{"f16", SourceFormat::F16, 2},
                        Format{"bf16", SourceFormat::BF16, 2}})
    for (Size size : sizes) {
      std::string type =
          "tensor<" + shape(size.rows, size.columns) + "x" + format.name + ">";
      SCOPED_TRACE(type);
      RowTileLayout layout = getLayout(type);
      int64_t group = 4 / format.bytes;
      int64_t groups = (size.columns + group - 1) / group;
      int64_t tiles = (size.rows + 15) / 16;
      EXPECT_EQ(layout.tileBytes, groups * 16 * 4);
      ASSERT_EQ(layout.getBytes(), tiles * groups * 16 * 4);

      std::vector<uint8_t> source(size.rows * size.columns * format.bytes);
      for (size_t i = 0; i < source.size(); ++i)
        source[i] = i * 7 + 1;
      std::vector<uint8_t> want(layout.getBytes(), 0);
      for (int64_t row = 0; row < size.rows; ++row)
        for (int64_t column = 0; column < size.columns; ++column)
          for (int64_t byte = 0; byte < format.bytes; ++byte)
            want[((row / 16 * groups + column / group) * 16 + row % 16) * 4 +
                 column % group * format.bytes + byte] =
                source[(row * size.columns + column) * format.bytes + byte];
      std::vector<uint8_t> got(layout.getBytes(), 0xcc);
      packTiles(layout, format.format, source.data(), size.rows, layout.tiles,
                got.data());
      EXPECT_EQ(got, want);
    }
}

// A quantized tile: codes of four columns side by side, then the scales of 16
// rows for each block. Rows and columns of the padding have codes of 0.
TEST_F(Packing, QuantizedTilesByteForByte) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 1);
  for (bool half : {true, false})
    for (Size size : sizes) {
      std::string type = "!lap.quantized<" + shape(size.rows, size.columns) +
                         (half ? ", @half>" : ", @single>");
      SCOPED_TRACE(type);
      RowTileLayout layout = getLayout(type);
      int64_t block = half ? 32 : 8, scaleBytes = half ? 2 : 4;
      int64_t blocks = (size.columns + block - 1) / block;
      int64_t columns = blocks * block, tiles = (size.rows + 15) / 16;
      int64_t scaleOffset = columns * 16;
      int64_t tileBytes =
          scaleOffset + (blocks * 16 * scaleBytes + 63) / 64 * 64;
      ASSERT_EQ(layout.getBytes(), tiles * tileBytes);

      std::vector<float> values(size.rows * size.columns);
      for (float &value : values)
        value = normal(random);
      std::vector<uint8_t> want(tiles * tileBytes, 0);
      for (int64_t row = 0; row < size.rows; ++row)
        for (int64_t b = 0; b < blocks; ++b) {
          std::vector<float> padded(block, 0);
          int64_t count = std::min(block, size.columns - b * block);
          std::copy_n(values.begin() + row * size.columns + b * block, count,
                      padded.begin());
          std::vector<int8_t> codes(block);
          float scale = encodeBlock(padded.data(), block, half, codes.data());
          uint8_t *tile = want.data() + row / 16 * tileBytes;
          for (int64_t i = 0; i < block; ++i) {
            int64_t column = b * block + i;
            tile[(column / 4 * 16 + row % 16) * 4 + column % 4] = codes[i];
          }
          uint16_t bits = floatToHalf(scale);
          const void *stored = half ? static_cast<void *>(&bits) : &scale;
          std::memcpy(tile + scaleOffset + (b * 16 + row % 16) * scaleBytes,
                      stored, scaleBytes);
        }
      std::vector<uint8_t> got(layout.getBytes(), 0xcc);
      packTiles(layout, SourceFormat::F32,
                reinterpret_cast<const uint8_t *>(values.data()), size.rows,
                layout.tiles, got.data());
      EXPECT_EQ(got, want);
    }
}

/// Encodes a block and checks that every value lies within half a step, or
/// beyond the largest code.
void checkBlock(const std::vector<float> &values, bool half) {
  std::vector<int8_t> codes(values.size(), 55);
  float scale = encodeBlock(values.data(), values.size(), half, codes.data());
  ASSERT_TRUE(std::isfinite(scale));
  ASSERT_GE(scale, 0);
  if (half) {
    ASSERT_EQ(scale, halfToFloat(floatToHalf(scale))) << "not what is stored";
  }
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_GE(codes[i], -127);
    if (std::fabs(values[i]) > 127.5 * 65504 && half) {
      ASSERT_EQ(codes[i], values[i] > 0 ? 127 : -127);
      continue;
    }
    // Values below the least normal f32 are zeros: nothing divides by them.
    double bound = std::max(0.5 * scale * (1 + 0x1p-15), 127 * 0x1p-126);
    ASSERT_NEAR(double(scale) * codes[i], values[i], bound)
        << "value " << i << " scale " << scale << " code " << int(codes[i]);
  }
}

TEST(EncodeBlock, WithinHalfAStepAtEveryMagnitude) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 1);
  // From f32's least to its largest: scales that f16 holds, that are subnormal
  // in it or 0, and that it does not reach.
  for (int exponent = -149; exponent < 125; ++exponent)
    for (bool half : {true, false})
      for (size_t count : {1, 4, 32, 256}) {
        SCOPED_TRACE("2^" + std::to_string(exponent) +
                     (half ? " f16 " : " f32 ") + std::to_string(count));
        std::vector<float> values(count);
        for (float &value : values)
          value = std::ldexp(normal(random), exponent);
        values[count / 2] = 0;
        values[0] = std::ldexp(1.0f + 0.01f * (random() % 100), exponent);
        checkBlock(values, half);
        if (testing::Test::HasFatalFailure())
          return;
      }
}

TEST(EncodeBlock, Edges) {
  std::vector<int8_t> codes(32, 55);
  std::vector<float> zeros(32, 0.0f);
  zeros[3] = -0.0f;
  EXPECT_EQ(encodeBlock(zeros.data(), 32, true, codes.data()), 0);
  EXPECT_EQ(codes, std::vector<int8_t>(32, 0));

  // Values that are codes are exact.
  std::vector<float> exact(255);
  std::vector<int8_t> exactCodes(255);
  for (int i = 0; i < 255; ++i)
    exact[i] = (i - 127) * 0.25f;
  EXPECT_EQ(encodeBlock(exact.data(), 255, true, exactCodes.data()), 0.25f);
  for (int i = 0; i < 255; ++i)
    EXPECT_EQ(exactCodes[i], i - 127);

  // What no f16 scale reaches is clamped, with its sign.
  float huge[] = {3e38f, -3e38f, 65504.0f * 127, 0};
  EXPECT_EQ(encodeBlock(huge, 4, true, codes.data()), 65504);
  EXPECT_EQ(codes[0], 127);
  EXPECT_EQ(codes[1], -127);
  EXPECT_EQ(codes[2], 127);
  EXPECT_EQ(codes[3], 0);
}

TEST(FindNonFinite, TellsTheFirst) {
  auto check = [](SourceFormat format, auto largest, auto infinity, auto sign) {
    using Bits = decltype(largest);
    constexpr int64_t count = 67;
    // One byte further than aligned: a checkpoint's tensors lie anywhere.
    std::vector<uint8_t> memory(count * sizeof(Bits) + 1);
    auto set = [&](int64_t at, Bits bits) {
      std::memcpy(memory.data() + 1 + at * sizeof(Bits), &bits, sizeof(Bits));
    };
    auto find = [&](int64_t size) {
      return findNonFinite(format, memory.data() + 1, size);
    };
    for (int64_t i = 0; i < count; ++i) // Largest ones, zeros, subnormals.
      set(i, i % 3 == 0 ? largest : i % 3 == 1 ? sign : Bits(1));
    EXPECT_EQ(find(count), -1);
    EXPECT_EQ(find(0), -1);
    for (Bits bad : {infinity, Bits(infinity | sign), Bits(infinity + 1),
                     Bits(~Bits(0))}) // Infinities and NaNs.
      for (int64_t at : {int64_t(0), int64_t(1), int64_t(31), count - 1}) {
        set(at, bad);
        EXPECT_EQ(find(count), at);
        EXPECT_EQ(find(at), -1) << "looked past the end";
        set(count - 1, bad); // A second one behind it.
        EXPECT_EQ(find(count), at);
        set(count - 1, largest);
        set(at, largest);
      }
  };
  check(SourceFormat::F32, 0x7f7fffffu, 0x7f800000u, 0x80000000u);
  check(SourceFormat::F16, uint16_t(0x7bff), uint16_t(0x7c00),
        uint16_t(0x8000));
  check(SourceFormat::BF16, uint16_t(0x7f7f), uint16_t(0x7f80),
        uint16_t(0x8000));
}

TEST(ConvertToFloat, EveryHalf) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    uint16_t half = bits;
    const auto *source = reinterpret_cast<const uint8_t *>(&half);
    int exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    double want = exponent ? std::ldexp(1024 + mantissa, exponent - 25)
                           : std::ldexp(mantissa, -24);
    want = half >> 15 ? -want : want;
    float got = 0;
    convertToFloat(SourceFormat::F16, source, 1, &got);
    if (exponent < 31) {
      ASSERT_EQ(got, want) << bits;
      ASSERT_EQ(floatToHalf(got), half);
    } else {
      ASSERT_FALSE(std::isfinite(got)) << bits;
    }
    convertToFloat(SourceFormat::BF16, source, 1, &got);
    ASSERT_EQ(__builtin_bit_cast(uint32_t, got), bits << 16);
  }
}

// Rows for the low part of a position, then for the high part; cosines, then
// sines.
TEST(RopeTable, AnglesAddUpAtEveryPosition) {
  struct Table {
    int64_t headDim, rotated, positions;
    double theta;
  };
  for (Table t : {Table{256, 128, 262144, 1e4}, Table{512, 64, 262144, 1e6},
                  Table{6, 1, 513, 1e4}, Table{32, 16, 512, 1e4},
                  Table{2, 1, 1, 10}, Table{32, 0, 512, 1e4}}) {
    std::vector<float> table =
        computeRopeTable(t.headDim, t.rotated, t.theta, t.positions);
    int64_t row = 2 * t.rotated;
    ASSERT_EQ(int64_t(table.size()), (512 + (t.positions + 511) / 512) * row);
    for (int64_t position :
         {int64_t(0), int64_t(1), int64_t(511), int64_t(512), int64_t(513),
          int64_t(4095), t.positions / 2, t.positions - 1}) {
      if (position >= t.positions)
        continue;
      const float *low = table.data() + position % 512 * row;
      const float *high = table.data() + (512 + position / 512) * row;
      for (int64_t i = 0; i < t.rotated; ++i) {
        double angle = position * std::pow(t.theta, -2.0 * i / t.headDim);
        double cosLow = low[i], sinLow = low[t.rotated + i];
        double cosHigh = high[i], sinHigh = high[t.rotated + i];
        // Each of the four is rounded to f32 once: half an ulp of 1.
        double bound = 4 * 0x1p-24 * (1 + 0x1p-20);
        ASSERT_NEAR(cosLow * cosHigh - sinLow * sinHigh, std::cos(angle), bound)
            << position << " pair " << i;
        ASSERT_NEAR(sinLow * cosHigh + cosLow * sinHigh, std::sin(angle), bound)
            << position << " pair " << i;
      }
    }
  }
}

} // namespace
