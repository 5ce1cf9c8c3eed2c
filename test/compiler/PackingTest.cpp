// The bytes that weights become: the rows16 layout, values that are not finite,
// and rope tables.
#include "compiler/SourceFormat.h"
#include "compiler/WeightPacking.h"
#include "compiler/WeightWriter.h"
#include "dialects/lap/SchemeLibrary.h"

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
    empty = ModuleOp::create(UnknownLoc::get(&context));
  }
  RowTileLayout getLayout(const std::string &tensor) {
    return *getRowTileLayout(parseType(tensor, &context), *empty);
  }
  static std::string shape(int64_t rows, int64_t columns) {
    return std::to_string(rows) + "x" + std::to_string(columns);
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> empty;
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
    int64_t bytes;
  };
  for (Format format : {Format{"f32", 4}, Format{"f16", 2}, Format{"bf16", 2}})
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
      packFloatTiles(layout, source.data(), size.rows, layout.tiles,
                     got.data());
      EXPECT_EQ(got, want);
    }
}

/// Adds `bits` bits of a value at a bit of a tile.
void addBits(std::vector<uint8_t> &tile, int64_t bit, int64_t bits,
             uint32_t value) {
  for (int64_t i = 0; i < bits; ++i)
    tile[(bit + i) / 8] |= uint8_t((value >> i & 1) << (bit + i) % 8);
}

/// What WeightLayout.h says of a field, bit by bit, from byte `at` of the tile;
/// gives the byte behind it. `values[row][index]` are raw.
int64_t addField(std::vector<uint8_t> &tile, int64_t at,
                 const lapidary::SchemeField &field, int64_t count,
                 const std::vector<std::vector<uint32_t>> &values) {
  int64_t shift = 0;
  for (int64_t bits : {32, 16, 8, 4, 2, 1}) {
    if (!(field.bits & bits))
      continue;
    for (size_t row = 0; row < values.size(); ++row)
      for (size_t i = 0; i < values[row].size(); ++i) {
        uint32_t part = uint32_t(values[row][i] >> shift);
        int64_t bit = (int64_t(i) * 16 + int64_t(row)) * bits;
        if (field.isCode()) {
          int64_t columns = 32 / bits, within = int64_t(i) % columns;
          int64_t word = int64_t(i) / columns * 16 + int64_t(row);
          bit = word * 32 + (bits >= 8 ? within * bits
                                       : within % 4 * 8 + within / 4 * bits);
        }
        addBits(tile, at * 8 + bit, bits, part);
      }
    at += (count * 16 * bits / 8 + 63) / 64 * 64;
    shift += bits;
  }
  return at;
}

/// What a row pads to whole blocks is not stored.
int64_t getStoredCount(const lapidary::SchemeField &field, int64_t columns) {
  int64_t period =
      field.columns == lapidary::SchemeField::perRow ? columns : field.columns;
  return (columns + period - 1) / period;
}

// A quantized tile: fields in order, cut into planes of a power of two of bits.
// Rows and columns of the padding are zeros. Reading gives what was written.
TEST_F(Packing, SchemesByteForByte) {
  struct Case {
    const char *fields;
    /// Columns that a unit of code words has.
    int64_t unit;
  };
  constexpr Case cases[] = {
      {"%code : ui8, %scale : f16 per 32", 4},
      {"%code : f32, %scale : ui1 per 4", 1},
      {"%code : bf16, %scale : si6 per 8", 2},
      {"%code : ui1, %scale : f32 per row", 32},
      {"%s : ui3 per 16, %code : si5, %t : f8E4M3FN per 4", 32},
      {"%a : ui7 per 4, %b : ui5 per row, %code : ui6, %c : f16 per 20", 16},
      {"%code : f4E2M1FN, %scale : f8E8M0FNU per 32, %g : f32 per 256", 8}};
  std::mt19937 random(7);
  for (const Case &entry : cases)
    for (Size size :
         {Size{1, 1}, Size{3, 5}, Size{17, 33}, Size{16, 256}, Size{35, 300}}) {
      SCOPED_TRACE(std::string(entry.fields) + " " +
                   shape(size.rows, size.columns));
      std::string text = "lap.scheme @s(" + std::string(entry.fields) +
                         ") {\n  %w = arith.constant 0.0 : f32\n"
                         "  lap.yield %w : f32\n}\n";
      auto module = parseScheme(&context, text, "test");
      ASSERT_TRUE(succeeded(module));
      lapidary::Scheme scheme = getScheme(**module).getModel();
      RowTileLayout layout = getRowTileLayout(scheme, size.rows, size.columns);
      ASSERT_EQ(layout.getUnitColumns(), entry.unit);
      ASSERT_EQ(layout.tiles, (size.rows + 15) / 16);
      for (int64_t tile = 0; tile < layout.tiles; ++tile) {
        int64_t rows = std::min<int64_t>(16, size.rows - tile * 16);
        std::vector<lapidary::EncodedRow> encoded(
            rows, lapidary::EncodedRow(scheme, size.columns));
        std::vector<uint8_t> want(layout.tileBytes, 0);
        int64_t at = 0;
        for (size_t f = 0; f < scheme.fields.size(); ++f) {
          const lapidary::SchemeField &field = scheme.fields[f];
          std::vector<std::vector<uint32_t>> values(rows);
          int64_t count = getStoredCount(field, size.columns);
          for (int64_t row = 0; row < rows; ++row)
            for (int64_t i = 0; i < count; ++i) {
              uint32_t mask = field.bits == 32 ? ~0u : (1u << field.bits) - 1;
              values[row].push_back(uint32_t(random()) & mask);
              encoded[row].set(f, i, values[row].back());
            }
          if (field.isCode())
            count = (count + entry.unit - 1) / entry.unit * entry.unit;
          at = addField(want, at, field, count, values);
        }
        ASSERT_EQ(at, layout.tileBytes);
        std::vector<const lapidary::EncodedRow *> pointers;
        for (const lapidary::EncodedRow &row : encoded)
          pointers.push_back(&row);
        std::vector<uint8_t> got(layout.tileBytes, 0xcc);
        packTile(layout, pointers, got.data());
        ASSERT_EQ(got, want);
        lapidary::EncodedRow read(scheme, size.columns);
        for (int64_t row = 0; row < rows; ++row) {
          unpackRow(layout, got.data(), row, read);
          for (size_t f = 0; f < scheme.fields.size(); ++f)
            for (int64_t i = 0,
                         n = getStoredCount(scheme.fields[f], size.columns);
                 i < n; ++i)
              ASSERT_EQ(read.get(f, i), encoded[row].get(f, i))
                  << "field " << f << " value " << i << " row " << row;
        }
      }
    }
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
