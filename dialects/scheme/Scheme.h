// What a quantization scheme says, free of MLIR: the fields of a block, what a
// stored value means, and one row of a matrix in the scheme. Frontends unpack
// other formats into these rows, the encoder makes them of floats, a target's
// packer arranges them, and `decodeRow` is the meaning that all are tested
// against. `lap.scheme` is the text form (dialects/lap).
#pragma once

#include "dialects/scheme/DecodeProgram.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lapidary {

/// How the raw bits of a field are read.
enum class FieldKind : uint8_t {
  Unsigned,
  Signed,
  F32,
  F16,
  BF16,
  F8E4M3,
  F8E5M2,
  F8E8M0,
  F4E2M1,
};

struct SchemeField {
  static constexpr int64_t perRow = 0;

  std::string name;
  FieldKind kind = FieldKind::Unsigned;
  /// 1 to 8 for integers, else the float's size.
  unsigned bits = 8;
  /// Columns that one value of the field covers: 1 (a code), a multiple of 4,
  /// or `perRow`.
  int64_t columns = 1;
  /// Encoders write no value outside [minimum, maximum] into an integer field.
  int32_t minimum = 0;
  int32_t maximum = 255;

  bool isFloat() const {
    return kind != FieldKind::Unsigned && kind != FieldKind::Signed;
  }
  bool isCode() const { return columns == 1; }
  /// Bytes of an element in an EncodedRow: 1, 2 or 4.
  int64_t elementBytes() const { return bits <= 8 ? 1 : bits <= 16 ? 2 : 4; }
};

/// How an encoder finds the fields.
enum class EncodeStrategy : uint8_t {
  /// Codes nearest to the values, with the outer fields that fit the block's
  /// range.
  Nearest,
  /// As `Nearest`, with the largest magnitude exactly at the codes' end.
  Absmax,
  /// The fields of least squared error.
  Search,
  /// As `Search`, errors weighted by the importance of their column where one
  /// is known.
  Weighted,
};

/// A scheme. Blocks run along columns; a row's last block may be partly unused.
struct Scheme {
  std::string name;
  std::vector<SchemeField> fields;
  EncodeStrategy strategy = EncodeStrategy::Weighted;
  DecodeProgram decode;

  /// The columns of a whole block: the largest period of a field, at least 1.
  int64_t getBlockColumns() const;
  /// Columns after padding to whole blocks.
  int64_t getPaddedColumns(int64_t columns) const;
  /// Values of a field in a row of `columns`.
  int64_t getCount(const SchemeField &field, int64_t columns) const;
  /// The index of the one field with a value for each column.
  size_t getCode() const;
  /// Bits that a weight takes in rows of `columns`: a field has as many values
  /// a row as its groups need, a partly unused one included.
  double getBitsPerWeight(int64_t columns) const;
};

/// One row of a matrix: the raw bits of each field's values, in order.
class EncodedRow {
public:
  EncodedRow(const Scheme &scheme, int64_t columns);

  uint32_t get(size_t field, int64_t index) const;
  void set(size_t field, int64_t index, uint32_t raw);
  int64_t getCount(size_t field) const { return counts[field]; }
  /// The field's elements, `elementBytes` each, little endian.
  std::span<uint8_t> getBytes(size_t field) { return arrays[field]; }
  std::span<const uint8_t> getBytes(size_t field) const {
    return arrays[field];
  }
  int64_t getColumns() const { return columns; }

private:
  int64_t columns;
  std::vector<int64_t> counts;
  std::vector<uint8_t> elementBytes;
  std::vector<std::vector<uint8_t>> arrays;
};

/// What raw bits arrive as in the decode program: an i32 for integers, else the
/// bits of the f32.
uint32_t widenField(const SchemeField &field, uint32_t raw);
/// The raw bits of the nearest value that the field can hold (ties to even,
/// clamped to its finite range; NaN becomes 0).
uint32_t narrowField(const SchemeField &field, float value);

/// The values of the row's first `out.size()` columns.
void decodeRow(const Scheme &scheme, const EncodedRow &row,
               std::span<float> out);

} // namespace lapidary
