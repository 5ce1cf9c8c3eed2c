// One function a type of blocks. The order of a block's parts and of the
// elements in them is ggml's (ggml-common.h and ggml-quants.c of llama.cpp say
// what it is): made for its kernels' loads, so no two are alike.
#include "frontends/formats/GgufBlocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string>

namespace lapidary {

namespace {

using Fields = uint8_t *const *;

/// 16-bit values are copied as they are.
void copyHalf(const uint8_t *from, uint8_t *field, int64_t index) {
  std::memcpy(field + 2 * index, from, 2);
}

/// The low halves of `count` bytes, then their high halves.
void splitNibbles(const uint8_t *bytes, int64_t count, uint8_t *codes) {
  for (int64_t i = 0; i < count; ++i) {
    codes[i] = bytes[i] & 15;
    codes[i + count] = bytes[i] >> 4;
  }
}

void unpackQ8(const uint8_t *block, int64_t index, Fields fields) {
  copyHalf(block, fields[1], index);
  std::memcpy(fields[0] + 32 * index, block + 2, 32);
}

/// Q4_0 and IQ4_NL.
void unpackQ4(const uint8_t *block, int64_t index, Fields fields) {
  copyHalf(block, fields[1], index);
  splitNibbles(block + 2, 16, fields[0] + 32 * index);
}

void unpackQ4WithMin(const uint8_t *block, int64_t index, Fields fields) {
  copyHalf(block, fields[1], index);
  copyHalf(block + 2, fields[2], index);
  splitNibbles(block + 4, 16, fields[0] + 32 * index);
}

void addFifthBits(const uint8_t *bits, uint8_t *codes) {
  for (int i = 0; i < 32; ++i)
    codes[i] |= uint8_t((bits[i / 8] >> (i % 8) & 1) << 4);
}

void unpackQ5(const uint8_t *block, int64_t index, Fields fields) {
  copyHalf(block, fields[1], index);
  splitNibbles(block + 6, 16, fields[0] + 32 * index);
  addFifthBits(block + 2, fields[0] + 32 * index);
}

void unpackQ5WithMin(const uint8_t *block, int64_t index, Fields fields) {
  copyHalf(block, fields[1], index);
  copyHalf(block + 2, fields[2], index);
  splitNibbles(block + 8, 16, fields[0] + 32 * index);
  addFifthBits(block + 4, fields[0] + 32 * index);
}

/// Each half of the block has 32 bytes; byte i has the elements i, i + 32, i +
/// 64 and i + 96 of the half, the first in the lowest bits.
void splitPairs(const uint8_t *bytes, uint8_t *codes) {
  for (int i = 0; i < 256; ++i)
    codes[i] = bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

void unpackQ2K(const uint8_t *block, int64_t index, Fields fields) {
  for (int i = 0; i < 16; ++i) {
    fields[1][16 * index + i] = block[i] & 15;
    fields[2][16 * index + i] = block[i] >> 4;
  }
  splitPairs(block + 16, fields[0] + 256 * index);
  copyHalf(block + 80, fields[3], index);
  copyHalf(block + 82, fields[4], index);
}

void unpackQ3K(const uint8_t *block, int64_t index, Fields fields) {
  const uint8_t *high = block, *scales = block + 96;
  uint8_t *codes = fields[0] + 256 * index;
  splitPairs(block + 32, codes);
  for (int i = 0; i < 256; ++i)
    codes[i] |= uint8_t((high[i % 32] >> (i / 32) & 1) << 2);
  // Four bits of scale i in byte i % 8, two in a byte of the last four.
  for (int i = 0; i < 16; ++i)
    fields[1][16 * index + i] =
        uint8_t((scales[i % 8] >> (i / 8 * 4) & 15) |
                (scales[8 + i % 4] >> (i / 4 * 2) & 3) << 4);
  copyHalf(block + 108, fields[2], index);
}

/// Eight scales and eight minimums of six bits in twelve bytes: the first four
/// of each are the low bits of a byte, the others are halves of the last four
/// bytes and what the first eight have above.
void splitScales(const uint8_t *bytes, uint8_t *scales, uint8_t *mins) {
  for (int i = 0; i < 4; ++i) {
    scales[i] = bytes[i] & 63;
    mins[i] = bytes[i + 4] & 63;
    scales[i + 4] = uint8_t((bytes[i + 8] & 15) | bytes[i] >> 6 << 4);
    mins[i + 4] = uint8_t(bytes[i + 8] >> 4 | bytes[i + 4] >> 6 << 4);
  }
}

/// What Q4_K and Q5_K begin with, and their four times 64 codes.
void unpackK(const uint8_t *block, const uint8_t *nibbles, int64_t index,
             Fields fields) {
  copyHalf(block, fields[3], index);
  copyHalf(block + 2, fields[4], index);
  splitScales(block + 4, fields[1] + 8 * index, fields[2] + 8 * index);
  for (int i = 0; i < 4; ++i)
    splitNibbles(nibbles + 32 * i, 32, fields[0] + 256 * index + 64 * i);
}

void unpackQ4K(const uint8_t *block, int64_t index, Fields fields) {
  unpackK(block, block + 16, index, fields);
}

void unpackQ5K(const uint8_t *block, int64_t index, Fields fields) {
  unpackK(block, block + 48, index, fields);
  uint8_t *codes = fields[0] + 256 * index;
  for (int i = 0; i < 256; ++i)
    codes[i] |= uint8_t((block[16 + i % 32] >> (i / 32) & 1) << 4);
}

void unpackQ6K(const uint8_t *block, int64_t index, Fields fields) {
  const uint8_t *low = block, *high = block + 128;
  uint8_t *codes = fields[0] + 256 * index;
  splitPairs(high, codes);
  // Byte i of a half has element i and, above, element i + 64.
  for (int i = 0; i < 256; ++i)
    codes[i] = uint8_t(codes[i] << 4 |
                       (low[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15));
  std::memcpy(fields[1] + 16 * index, block + 192, 16);
  copyHalf(block + 208, fields[2], index);
}

void unpackMxFp4(const uint8_t *block, int64_t index, Fields fields) {
  fields[1][index] = block[0];
  splitNibbles(block + 1, 16, fields[0] + 32 * index);
}

void unpackNvFp4(const uint8_t *block, int64_t index, Fields fields) {
  for (int i = 0; i < 4; ++i) {
    // The scales have no sign, and what would be NaN stands for nothing.
    uint8_t scale = block[i] & 0x7f;
    fields[1][4 * index + i] = scale == 0x7f ? 0 : scale;
    splitNibbles(block + 4 + 8 * i, 8, fields[0] + 64 * index + 16 * i);
  }
}

/// The digit of place `place` of a byte that holds five base 3 digits as a
/// fraction of 256, the highest first.
uint8_t ternaryDigit(uint8_t byte, int place) {
  constexpr std::array<int, 5> powers = {1, 3, 9, 27, 81};
  return uint8_t(uint8_t(byte * powers[size_t(place)]) * 3 >> 8);
}

void unpackTq1(const uint8_t *block, int64_t index, Fields fields) {
  uint8_t *codes = fields[0] + 256 * index;
  for (int i = 0; i < 160; ++i)
    codes[i] = ternaryDigit(block[i % 32], i / 32);
  for (int i = 0; i < 80; ++i)
    codes[160 + i] = ternaryDigit(block[32 + i % 16], i / 16);
  for (int i = 0; i < 16; ++i)
    codes[240 + i] = ternaryDigit(block[48 + i % 4], i / 4);
  copyHalf(block + 52, fields[1], index);
}

void unpackTq2(const uint8_t *block, int64_t index, Fields fields) {
  splitPairs(block, fields[0] + 256 * index);
  copyHalf(block + 64, fields[1], index);
}

using enum FieldKind;

constexpr GgmlField half(int64_t columns) { return {F16, 16, columns}; }
constexpr GgmlField code(unsigned bits) { return {Unsigned, bits, 1}; }

constexpr GgmlField q8Fields[] = {{Signed, 8, 1}, half(32)};
constexpr GgmlField q4Fields[] = {code(4), half(32)};
constexpr GgmlField q4MinFields[] = {code(4), half(32), half(32)};
constexpr GgmlField q5Fields[] = {code(5), half(32)};
constexpr GgmlField q5MinFields[] = {code(5), half(32), half(32)};
constexpr GgmlField q2kFields[] = {
    code(2), {Unsigned, 4, 16}, {Unsigned, 4, 16}, half(256), half(256)};
constexpr GgmlField q3kFields[] = {code(3), {Unsigned, 6, 16}, half(256)};
constexpr GgmlField q4kFields[] = {
    code(4), {Unsigned, 6, 32}, {Unsigned, 6, 32}, half(256), half(256)};
constexpr GgmlField q5kFields[] = {
    code(5), {Unsigned, 6, 32}, {Unsigned, 6, 32}, half(256), half(256)};
constexpr GgmlField q6kFields[] = {code(6), {Signed, 8, 16}, half(256)};
constexpr GgmlField mxFp4Fields[] = {{F4E2M1, 4, 1}, {F8E8M0, 8, 32}};
constexpr GgmlField nvFp4Fields[] = {
    {F4E2M1, 4, 1}, {F8E4M3, 8, 16}, {F32, 32, SchemeField::perRow}};
constexpr GgmlField ternaryFields[] = {code(2), half(256)};

/// More fields than any scheme above has.
constexpr size_t maxFields = 5;

constexpr std::array<GgmlType, 23> types = {{
    {0, "F32", 1, 4, ElementType::F32},
    {1, "F16", 1, 2, ElementType::F16},
    {30, "BF16", 1, 2, ElementType::BF16},
    {24, "I8", 1, 1, ElementType::I8},
    {25, "I16", 1, 2, ElementType::I16},
    {26, "I32", 1, 4, ElementType::I32},
    {27, "I64", 1, 8, ElementType::I64},
    {28, "F64", 1, 8, ElementType::F64},
    {2, "Q4_0", 32, 18, {}, "q4_0", q4Fields, unpackQ4},
    {3, "Q4_1", 32, 20, {}, "q4_1", q4MinFields, unpackQ4WithMin},
    {6, "Q5_0", 32, 22, {}, "q5_0", q5Fields, unpackQ5},
    {7, "Q5_1", 32, 24, {}, "q5_1", q5MinFields, unpackQ5WithMin},
    {8, "Q8_0", 32, 34, {}, "q8_0", q8Fields, unpackQ8},
    {10, "Q2_K", 256, 84, {}, "q2_k", q2kFields, unpackQ2K},
    {11, "Q3_K", 256, 110, {}, "q3_k", q3kFields, unpackQ3K},
    {12, "Q4_K", 256, 144, {}, "q4_k", q4kFields, unpackQ4K},
    {13, "Q5_K", 256, 176, {}, "q5_k", q5kFields, unpackQ5K},
    {14, "Q6_K", 256, 210, {}, "q6_k", q6kFields, unpackQ6K},
    {20, "IQ4_NL", 32, 18, {}, "iq4_nl", q4Fields, unpackQ4},
    {34, "TQ1_0", 256, 54, {}, "ternary", ternaryFields, unpackTq1},
    {35, "TQ2_0", 256, 66, {}, "ternary", ternaryFields, unpackTq2},
    {39, "MXFP4", 32, 17, {}, "mxfp4", mxFp4Fields, unpackMxFp4},
    {40, "NVFP4", 64, 36, {}, "nvfp4", nvFp4Fields, unpackNvFp4},
}};

std::string describeFields(const auto &fields) {
  std::string text;
  for (const auto &field : fields)
    text += (text.empty() ? "" : ", ") + std::to_string(field.bits) +
            (field.columns == SchemeField::perRow
                 ? " bits a row"
                 : " bits per " + std::to_string(field.columns));
  return text;
}

} // namespace

const GgmlType *findGgmlType(uint32_t id) {
  auto found = std::find_if(types.begin(), types.end(),
                            [&](const auto &type) { return type.id == id; });
  return found == types.end() ? nullptr : &*found;
}

const GgmlType *findGgmlType(std::string_view name) {
  auto found = std::find_if(types.begin(), types.end(), [&](const auto &type) {
    return type.name == name;
  });
  return found == types.end() ? nullptr : &*found;
}

Status checkGgmlScheme(const GgmlType &type, const Scheme &scheme) {
  bool same =
      type.scheme &&
      std::equal(scheme.fields.begin(), scheme.fields.end(),
                 type.fields.begin(), type.fields.end(),
                 [](const SchemeField &field, const GgmlField &expected) {
                   return field.kind == expected.kind &&
                          field.bits == expected.bits &&
                          field.columns == expected.columns;
                 });
  if (!same)
    return invalidData("scheme " + scheme.name + ": expected the fields of " +
                       type.name + " blocks (" + describeFields(type.fields) +
                       "), found " + describeFields(scheme.fields));
  return {};
}

Status unpackGgmlRow(const GgmlType &type, std::span<const uint8_t> blocks,
                     float factor, EncodedRow &row) {
  auto wrong = [&](const std::string &what) {
    return invalidArgument(std::string(type.name) + " row of " +
                           std::to_string(row.getColumns()) +
                           " columns: " + what);
  };
  if (!type.scheme)
    return wrong("expected a type of blocks");
  uint64_t count = blocks.size() / type.bytes;
  if (row.getColumns() % type.columns ||
      count != uint64_t(row.getColumns() / type.columns) ||
      blocks.size() != count * type.bytes)
    return wrong("expected whole blocks of " + std::to_string(type.bytes) +
                 " bytes for " + std::to_string(type.columns) +
                 " columns, found " + std::to_string(blocks.size()) + " bytes");
  bool factored = false;
  std::array<uint8_t *, maxFields> fields = {};
  for (size_t i = 0; i < type.fields.size(); ++i) {
    const GgmlField &field = type.fields[i];
    bool perRow = field.columns == SchemeField::perRow;
    std::span<uint8_t> bytes = row.getBytes(i);
    uint64_t element = field.bits <= 8 ? 1 : field.bits / 8;
    uint64_t values = perRow ? 1 : uint64_t(row.getColumns() / field.columns);
    if (bytes.size() != values * element)
      return wrong("expected " + std::to_string(values) + " values of field " +
                   std::to_string(i) + ", found " +
                   std::to_string(bytes.size() / element));
    if (perRow) {
      row.set(i, 0, std::bit_cast<uint32_t>(factor));
      factored = true;
    }
    fields[i] = bytes.data();
  }
  if (factor != 1 && !factored)
    return wrong("expected no factor, found " + std::to_string(factor));
  for (uint64_t i = 0; i < count; ++i)
    type.unpack(blocks.data() + i * type.bytes, int64_t(i), fields.data());
  return {};
}

} // namespace lapidary
