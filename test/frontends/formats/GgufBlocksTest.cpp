// Blocks of every type, taken apart and put together again by their formulas:
// the same values as ggml's own, bit for bit.
#include "frontends/formats/GgufBlocks.h"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

using namespace lapidary;
using testing::HasSubstr;

namespace {

/// A scheme of the type's fields; what they mean is in `valueOf`.
Scheme schemeOf(const GgmlType &type) {
  Scheme scheme;
  scheme.name = type.scheme;
  for (const GgmlField &field : type.fields) {
    SchemeField own;
    own.kind = field.kind;
    own.bits = field.bits;
    own.columns = field.columns;
    scheme.fields.push_back(own);
  }
  return scheme;
}

/// The formulas of the built-in schemes, one rounding an operation.
class Decoder {
public:
  Decoder(const Scheme &scheme, const EncodedRow &row)
      : scheme(scheme), row(row) {}

  float valueOf(int64_t column) const {
    const std::string &name = scheme.name;
    float code = field(0, column), scale = field(1, column);
    if (name == "q4_0" || name == "q5_0")
      return (code - (name == "q4_0" ? 8 : 16)) * scale;
    if (name == "q4_1" || name == "q5_1")
      return add(code * scale, field(2, column));
    if (name == "q2_k" || name == "q4_k" || name == "q5_k")
      return add(field(3, column) * scale * code,
                 -(field(4, column) * field(2, column)));
    if (name == "q3_k")
      return field(2, column) * (scale - 32) * (code - 4);
    if (name == "q6_k")
      return field(2, column) * scale * (code - 32);
    if (name == "iq4_nl") {
      constexpr float table[] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
      return scale * table[int(code)];
    }
    if (name == "nvfp4")
      return code * (scale * field(2, column));
    if (name == "ternary")
      return (code - 1) * scale;
    return code * scale;
  }

private:
  /// Kept from becoming a fused multiply-add.
  static float add(float a, float b) {
    volatile float first = a, second = b;
    return first + second;
  }

  float field(size_t index, int64_t column) const {
    const SchemeField &own = scheme.fields[index];
    uint32_t raw = row.get(
        index, own.columns == SchemeField::perRow ? 0 : column / own.columns);
    uint32_t word = widenField(own, raw);
    if (own.isFloat())
      return std::bit_cast<float>(word);
    return float(int32_t(word));
  }

  const Scheme &scheme;
  const EncodedRow &row;
};

std::vector<float> decode(const GgmlType &type,
                          const std::vector<uint8_t> &bytes, float factor = 1) {
  Scheme scheme = schemeOf(type);
  EXPECT_TRUE(checkGgmlScheme(type, scheme).ok());
  auto columns = int64_t(bytes.size() / type.bytes) * type.columns;
  EncodedRow row(scheme, columns);
  Status status = unpackGgmlRow(type, bytes, factor, row);
  EXPECT_TRUE(status.ok()) << status.message();
  Decoder decoder(scheme, row);
  std::vector<float> values;
  for (int64_t i = 0; i < columns; ++i)
    values.push_back(decoder.valueOf(i));
  return values;
}

/// Where a type's scales of 16 bits, or its one scale of 8 bits, begin.
const std::map<std::string, std::vector<size_t>> scalePlaces = {
    {"Q4_0", {0}},    {"Q4_1", {0, 2}},   {"Q5_0", {0}},   {"Q5_1", {0, 2}},
    {"Q8_0", {0}},    {"Q2_K", {80, 82}}, {"Q3_K", {108}}, {"Q4_K", {0, 2}},
    {"Q5_K", {0, 2}}, {"Q6_K", {208}},    {"IQ4_NL", {0}}, {"TQ1_0", {52}},
    {"TQ2_0", {64}},  {"MXFP4", {}},      {"NVFP4", {}}};

/// Pseudo-random blocks with scales that are finite.
std::vector<uint8_t> someBlocks(const GgmlType &type, size_t count) {
  uint32_t seed = type.id + 1;
  auto next = [&] {
    seed = seed * 1664525 + 1013904223;
    return uint8_t(seed >> 24);
  };
  std::vector<uint8_t> bytes(count * type.bytes);
  for (uint8_t &byte : bytes)
    byte = next();
  for (size_t i = 0; i < count; ++i) {
    uint8_t *block = bytes.data() + i * type.bytes;
    for (size_t place : scalePlaces.at(type.name)) {
      // Any sign, an exponent from 1 to 29.
      uint16_t half = uint16_t((next() & 0x80) << 8 | (1 + next() % 29) << 10 |
                               next() << 2);
      std::memcpy(block + place, &half, 2);
    }
    if (type.id == 39)
      block[0] = uint8_t(next() % 255);
    for (size_t j = 0; type.id == 40 && j < 4; ++j)
      block[j] &= 0x7f;
  }
  return bytes;
}

uint64_t hashOf(const std::vector<float> &values) {
  uint64_t hash = 0xcbf29ce484222325;
  for (float value : values) {
    // Both zeros alike: ggml's table of 4-bit floats has no negative one.
    hash ^= std::bit_cast<uint32_t>(value == 0 ? 0.0f : value);
    hash *= 0x100000001b3;
  }
  return hash;
}

struct Expected {
  const char *type;
  /// Of the values that ggml's dequantize_row gives for `someBlocks`.
  uint64_t hash;
  float first, last;
};

class GgufBlocksTest : public testing::TestWithParam<Expected> {};

TEST_P(GgufBlocksTest, AreTheValuesOfGgml) {
  const GgmlType *type = findGgmlType(GetParam().type);
  ASSERT_NE(type, nullptr);
  std::vector<float> values = decode(*type, someBlocks(*type, 16));
  EXPECT_EQ(values.front(), GetParam().first);
  EXPECT_EQ(values.back(), GetParam().last);
  EXPECT_EQ(hashOf(values), GetParam().hash);
}

INSTANTIATE_TEST_SUITE_P(
    All, GgufBlocksTest,
    testing::Values(
        Expected{"IQ4_NL", 0x9f441e7802b71925, 0x1.2ed2p+1f, 0x1.0fccp-2f},
        Expected{"MXFP4", 0x83482757f6054b25, 0x0p+0f, 0x1.8p-116f},
        Expected{"NVFP4", 0xfa8865d879307325, 0x1.8p+2f, -0x1.2p-1f},
        Expected{"Q2_K", 0xf0444fc65f06e988, -0x1.1acp-6f, -0x1.cacp+10f},
        Expected{"Q3_K", 0xe10cbe68c4828b25, -0x1.824p+12f, 0x1.bcp-10f},
        Expected{"Q4_0", 0xaafc5ea212384b25, 0x1.ffp+10f, 0x1.f8p+11f},
        Expected{"Q4_1", 0x3eac8df552901dd7, -0x1.b84p-7f, -0x1.28c8p-5f},
        Expected{"Q4_K", 0x194318fe883660bc, -0x1.9752p+0f, 0x1.bbd0dp+17f},
        Expected{"Q5_0", 0x1d24f3fe2f2a9325, -0x1.5fp+10f, -0x1.65p+0f},
        Expected{"Q5_1", 0xe2ff10580e9ee01d, -0x1.e68p-10f, 0x1.add8p-6f},
        Expected{"Q5_K", 0xabfbc2c3a6fcec68, 0x1.3601d4p+14f, -0x1.d2d0c8p+18f},
        Expected{"Q6_K", 0x43381cbb2ca2c53d, -0x1.226ccp+25f, -0x1.4cf7p-3f},
        Expected{"Q8_0", 0xfe48e24173366a25, 0x1.edcp+13f, 0x1.ad78p+10f},
        Expected{"TQ1_0", 0x417690521257e325, -0x1.26p-14f, 0x0p+0f},
        Expected{"TQ2_0", 0x557b7070e76be325, -0x1.dbp-14f, 0x1.41p-1f}),
    [](const auto &info) { return std::string(info.param.type); });

std::vector<uint8_t> block(std::initializer_list<uint8_t> begin, size_t size) {
  std::vector<uint8_t> bytes = begin;
  bytes.resize(size);
  return bytes;
}

TEST(GgufBlocksByHandTest, TwoHalvesOfABlockAreTwoHalvesOfItsBytes) {
  // Scale 2; the first byte has elements 0 and 16.
  std::vector<uint8_t> bytes = block({0x00, 0x40, 0xf1}, 18);
  std::vector<float> values = decode(*findGgmlType("Q4_0"), bytes);
  EXPECT_EQ(values[0], (1 - 8) * 2);
  EXPECT_EQ(values[16], (15 - 8) * 2);
  EXPECT_EQ(values[1], (0 - 8) * 2);
  bytes = block({0x00, 0x40, 0x01, 0x00, 0x01, 0x00, 0xf1}, 22);
  values = decode(*findGgmlType("Q5_0"), bytes);
  EXPECT_EQ(values[0], (17 - 16) * 2);
  EXPECT_EQ(values[16], (31 - 16) * 2);
  EXPECT_EQ(values[17], (0 - 16) * 2);
}

TEST(GgufBlocksByHandTest, SixBitScalesAreInThreePlaces) {
  std::vector<uint8_t> bytes(144);
  bytes[1] = 0x3c;      // d = 1
  bytes[3] = 0x3c;      // dmin = 1
  bytes[4] = 0x80 | 5;  // scale 0, above it two bits of scale 4
  bytes[8] = 0x40 | 3;  // min 0, above it two bits of min 4
  bytes[12] = 0x70 | 9; // four bits of scale 4, then of min 4
  bytes[16] = 1;        // element 0
  bytes[16 + 64] = 1;   // element 128
  std::vector<float> values = decode(*findGgmlType("Q4_K"), bytes);
  EXPECT_EQ(values[0], 5 - 3);
  EXPECT_EQ(values[1], -3);
  EXPECT_EQ(values[128], (32 + 9) - (16 + 7));
  EXPECT_EQ(values[129], -(16 + 7));
}

TEST(GgufBlocksByHandTest, TernaryDigitsAreFractions) {
  std::vector<uint8_t> bytes(54);
  bytes[53] = 0x3c; // d = 1
  // 2 1 0 2 1 as a fraction of 243 parts, rounded up: (2 * 81 + 27 + 6 + 1) *
  // 256 / 243.
  bytes[0] = 207;
  std::vector<float> values = decode(*findGgmlType("TQ1_0"), bytes);
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[32], 0);
  EXPECT_EQ(values[64], -1);
  EXPECT_EQ(values[96], 1);
  EXPECT_EQ(values[128], 0);
}

TEST(GgufBlocksByHandTest, AFactorIsForNvFp4Alone) {
  // Scale 1 for the first 16 elements, 1.5 for the next; the third would be
  // NaN.
  std::vector<uint8_t> bytes =
      block({0x38, 0x3c, 0x7f, 0x00, 0x72, 0, 0, 0, 0, 0, 0, 0, 0x0c}, 36);
  bytes[20] = 7;
  std::vector<float> values = decode(*findGgmlType("NVFP4"), bytes, 0.5f);
  EXPECT_EQ(values[0], 1 * 0.5f);
  EXPECT_EQ(values[8], 6 * 0.5f);
  EXPECT_EQ(values[16], -2 * 1.5f * 0.5f);
  EXPECT_EQ(values[32], 0);

  const GgmlType &type = *findGgmlType("Q4_0");
  Scheme scheme = schemeOf(type);
  EncodedRow row(scheme, 32);
  EXPECT_FALSE(unpackGgmlRow(type, std::vector<uint8_t>(18), 2, row).ok());
}

TEST(GgufBlocksByHandTest, RowsAndSchemesMustFit) {
  const GgmlType &type = *findGgmlType("Q4_K");
  Scheme scheme = schemeOf(type);
  EncodedRow row(scheme, 512);
  for (size_t bytes : {size_t(0), size_t(144), size_t(287), size_t(289)})
    EXPECT_FALSE(unpackGgmlRow(type, std::vector<uint8_t>(bytes), 1, row).ok());
  EXPECT_TRUE(unpackGgmlRow(type, std::vector<uint8_t>(288), 1, row).ok());
  EncodedRow half(scheme, 128);
  EXPECT_FALSE(unpackGgmlRow(type, {}, 1, half).ok());

  scheme.fields[1].bits = 5;
  scheme.name = "mine";
  Status status = checkGgmlScheme(type, scheme);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr("scheme mine: expected the fields of "
                                          "Q4_K blocks (4 bits per 1, 6 bits "
                                          "per 32"));
  scheme.fields.clear();
  EXPECT_FALSE(checkGgmlScheme(type, scheme).ok());
  EXPECT_FALSE(checkGgmlScheme(*findGgmlType("F32"), scheme).ok());
}

TEST(GgufBlocksByHandTest, UnknownTypesAreNull) {
  EXPECT_EQ(findGgmlType(4u), nullptr);
  EXPECT_EQ(findGgmlType(UINT32_MAX), nullptr);
  EXPECT_EQ(findGgmlType("type id 4"), nullptr);
}

} // namespace
