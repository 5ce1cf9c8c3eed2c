// Reads rows of a matrix that a checkpoint keeps in several tensors.
#include "frontends/formats/CompressedTensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

using namespace lapidary;

namespace {

constexpr int64_t wordBits = 32, wordBytes = 4;

/// A range of rows, as they are read: the bytes of each part.
class RowReader {
public:
  RowReader(const Checkpoint &checkpoint, const TensorInfo &tensor,
            int64_t first, int64_t count)
      : checkpoint(checkpoint), matrix(*tensor.matrix),
        columns(tensor.shape[1]), first(first), count(count) {}

  Status read();
  Status unpack(int64_t row, EncodedRow &out) const;

private:
  Result<std::vector<uint8_t>> readRange(const TensorInfo &tensor,
                                         int64_t firstRow, int64_t rows,
                                         uint64_t rowBytes) const;
  Status unpackCodes(int64_t row, std::span<uint8_t> out) const;
  Status unpackScales(int64_t row, EncodedRow &out) const;
  Status unpackZeros(int64_t row, EncodedRow &out) const;
  uint32_t getPackedZero(int64_t row, int64_t column) const;
  /// Row and column of a scale or zero point, in that tensor.
  Status wrong(const TensorInfo &tensor, int64_t row, int64_t column,
               const std::string &expected, const std::string &found) const {
    return invalidData(
        checkpoint.pathOf(tensor) + ": tensor " + quoteName(tensor.name) +
        ": expected " + expected + ", found " + found + " for row " +
        std::to_string(first + row) + " in column " + std::to_string(column) +
        ": the checkpoint is damaged, fetch it again");
  }

  const Checkpoint &checkpoint;
  const CompressedMatrix &matrix;
  int64_t columns, first, count;
  uint64_t codeBytes = 0, scaleBytes = 0;
  std::vector<uint8_t> codes, scales, zeros;
};

/// What a scale of the file is as an f32.
float getScale(ElementType type, bool isPower, const uint8_t *bytes) {
  SchemeField field;
  field.kind = isPower ? FieldKind::F8E8M0 : FieldKind::F8E4M3;
  uint32_t raw = *bytes;
  if (type == ElementType::F32) {
    std::memcpy(&raw, bytes, sizeof raw);
    field.kind = FieldKind::F32;
  } else if (type == ElementType::F16 || type == ElementType::BF16) {
    raw |= uint32_t(bytes[1]) << 8;
    field.kind = type == ElementType::F16 ? FieldKind::F16 : FieldKind::BF16;
  }
  return std::bit_cast<float>(widenField(field, raw));
}

} // namespace

Result<std::vector<uint8_t>> RowReader::readRange(const TensorInfo &tensor,
                                                  int64_t firstRow,
                                                  int64_t rows,
                                                  uint64_t rowBytes) const {
  std::vector<uint8_t> bytes(uint64_t(rows) * rowBytes);
  LAPIDARY_TRY(checkpoint.read(tensor, uint64_t(firstRow) * rowBytes, bytes));
  return bytes;
}

Status RowReader::read() {
  codeBytes =
      uint64_t(matrix.codes.shape[1]) * elementTypeBytes(matrix.codes.type);
  codes = LAPIDARY_TRY(readRange(matrix.codes, first, count, codeBytes));
  int64_t rowsPerScale = matrix.rowsPerScale, firstScale = first / rowsPerScale,
          scaleRows = (first + count - 1) / rowsPerScale - firstScale + 1;
  scaleBytes =
      uint64_t(matrix.scaleColumns) * elementTypeBytes(matrix.scale.type);
  scales =
      LAPIDARY_TRY(readRange(matrix.scale, firstScale, scaleRows, scaleBytes));
  if (!matrix.zero)
    return {};
  if (!matrix.zeroPacked) {
    zeros = LAPIDARY_TRY(readRange(*matrix.zero, firstScale, scaleRows,
                                   uint64_t(matrix.scaleColumns)));
    return {};
  }
  int64_t bits = matrix.bits, firstWord = first * bits / wordBits,
          words = ((first + count) * bits - 1) / wordBits - firstWord + 1;
  zeros = LAPIDARY_TRY(readRange(*matrix.zero, firstWord, words,
                                 uint64_t(matrix.scaleColumns) * wordBytes));
  return {};
}

Status RowReader::unpackCodes(int64_t row, std::span<uint8_t> out) const {
  const uint8_t *bytes = codes.data() + uint64_t(row) * codeBytes;
  unsigned bits = matrix.bits;
  if (bits == 8) {
    for (int64_t i = 0; i < columns; ++i)
      out[i] = bytes[i] ^ matrix.flip;
  } else if (bits == 4) {
    for (int64_t i = 0; i < columns; ++i)
      out[i] = bytes[i / 2] >> (i % 2 * 4) & 15;
  } else {
    for (int64_t i = 0; i < columns; ++i) {
      uint64_t at = uint64_t(i) * bits, byte = at / 8;
      unsigned window = bytes[byte];
      if (byte + 1 < codeBytes)
        window |= unsigned(bytes[byte + 1]) << 8;
      out[i] = uint8_t(window >> at % 8 & ((1u << bits) - 1));
    }
  }
  if (matrix.fields[0].kind != FieldKind::F8E4M3)
    return {};
  for (int64_t i = 0; i < columns; ++i)
    if ((out[i] & 0x7f) == 0x7f)
      return wrong(matrix.codes, row, i, "finite values", "NaN");
  return {};
}

Status RowReader::unpackScales(int64_t row, EncodedRow &out) const {
  const SchemeField &field = matrix.fields[1];
  ElementType type = matrix.scale.type;
  uint64_t size = elementTypeBytes(type);
  int64_t scaleRow =
      (first + row) / matrix.rowsPerScale - first / matrix.rowsPerScale;
  const uint8_t *bytes = scales.data() + uint64_t(scaleRow) * scaleBytes;
  // Zero points double the magnitude that an integer can have.
  float largest = matrix.largestCode * matrix.global.value_or(1);
  for (int64_t i = 0; i < matrix.scaleColumns; ++i) {
    float scale =
        getScale(type, field.kind == FieldKind::F8E8M0, bytes + i * size);
    if (!std::isfinite(scale * largest))
      return wrong(matrix.scale, row, i,
                   "scales that are finite times the largest code",
                   std::to_string(scale));
    uint32_t raw = 0;
    if (field.columns == SchemeField::perRow)
      raw = std::bit_cast<uint32_t>(scale);
    else
      std::memcpy(&raw, bytes + i * size, size);
    out.set(1, i, raw);
  }
  if (matrix.global)
    out.set(2, 0, std::bit_cast<uint32_t>(*matrix.global));
  return {};
}

uint32_t RowReader::getPackedZero(int64_t row, int64_t column) const {
  int64_t bits = matrix.bits,
          at = (first + row) * bits - first * bits / wordBits * wordBits;
  auto getWord = [&](int64_t index) {
    uint32_t word;
    std::memcpy(&word,
                zeros.data() +
                    (index * matrix.scaleColumns + column) * wordBytes,
                sizeof word);
    return word;
  };
  uint64_t window = getWord(at / wordBits);
  if (at % wordBits + bits > wordBits)
    window |= uint64_t(getWord(at / wordBits + 1)) << wordBits;
  return uint32_t(window >> at % wordBits) & ((1u << bits) - 1);
}

Status RowReader::unpackZeros(int64_t row, EncodedRow &out) const {
  const SchemeField &field = matrix.fields[2];
  int64_t scaleRow =
      (first + row) / matrix.rowsPerScale - first / matrix.rowsPerScale;
  // The codes that are not signed have their zero in the middle.
  int middle = field.kind == FieldKind::Signed ? 0 : 1 << (field.bits - 1);
  int least = field.kind == FieldKind::Signed ? -128 : 0,
      most = least + (1 << field.bits) - 1;
  for (int64_t i = 0; i < matrix.scaleColumns; ++i) {
    if (matrix.zeroPacked) {
      out.set(2, i, getPackedZero(row, i) ^ matrix.flip);
      continue;
    }
    auto signedZero =
        int8_t(zeros[uint64_t(scaleRow * matrix.scaleColumns + i)]);
    int zero = signedZero + middle;
    if (zero < least || zero > most)
      return wrong(*matrix.zero, row, i,
                   "zero points in " + std::to_string(least - middle) + ".." +
                       std::to_string(most - middle),
                   std::to_string(signedZero));
    out.set(2, i, uint8_t(zero));
  }
  return {};
}

Status RowReader::unpack(int64_t row, EncodedRow &out) const {
  LAPIDARY_TRY(unpackCodes(row, out.getBytes(0).first(uint64_t(columns))));
  LAPIDARY_TRY(unpackScales(row, out));
  return matrix.zero ? unpackZeros(row, out) : Status();
}

Status lapidary::readCompressedRows(const Checkpoint &checkpoint,
                                    const TensorInfo &tensor,
                                    const Scheme &scheme, int64_t first,
                                    std::span<EncodedRow> rows) {
  bool same = std::equal(
      scheme.fields.begin(), scheme.fields.end(), tensor.matrix->fields.begin(),
      tensor.matrix->fields.end(),
      [](const SchemeField &a, const SchemeField &b) {
        return a.kind == b.kind && a.bits == b.bits && a.columns == b.columns;
      });
  if (!same)
    return invalidData("scheme " + scheme.name +
                       ": expected the fields of the checkpoint's " +
                       tensor.encoding + " for " + quoteName(tensor.name));
  int64_t count = int64_t(rows.size());
  if (first < 0 || first > tensor.shape[0] || count > tensor.shape[0] - first)
    return invalidArgument(
        "tensor " + quoteName(tensor.name) + ": expected rows within " +
        std::to_string(tensor.shape[0]) + ", found " + std::to_string(count) +
        " from " + std::to_string(first));
  if (!count)
    return {};
  RowReader reader(checkpoint, tensor, first, count);
  LAPIDARY_TRY(reader.read());
  for (int64_t row = 0; row < count; ++row) {
    if (rows[row].getColumns() != tensor.shape[1])
      return invalidArgument("tensor " + quoteName(tensor.name) +
                             ": expected rows of its columns");
    LAPIDARY_TRY(reader.unpack(row, rows[row]));
  }
  return {};
}
