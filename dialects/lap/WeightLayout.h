// How stored weights are arranged, byte for byte: what the packer writes and
// the kernels read.
//
// `plain` is the row-major tensor as the checkpoint has it.
//
// `rows16` cuts a matrix of M x K into tiles of 16 rows (the last one padded
// with zeros), tile after tile, so that one vector load brings the same columns
// of 16 rows and no sum runs across lanes. A tile holds its scheme's fields one
// after another, each as one or several bit planes, and a plane begins at a
// multiple of 64 bytes.
//
// Codes (a value a column) come in words of 4 bytes a row, 16 rows side by
// side:
//
//   plane[word][row in tile] : u32
//
// A code of 32 or 16 bits: 1 or 2 to a word, the first column in the low bits.
// Narrower codes are split into planes of 8, 4, 2 or 1 bits (5 bits: 4 + 1, low
// bits first). A word of a plane of `b` bits has 32 / b columns: column 4 k + j
// is at bit 8 j + b k, so that a shift by b k and a mask leave 4 consecutive
// columns, one a byte: the operand of the x86 dot product instructions
// (VPDPBUSD; for 16 bits VDPBF16PS) and of AMX tiles.
//
// Outer fields (a value for N columns or for the row) have their 16 rows'
// values packed one after another, low bits first, for each group of N columns:
//
//   plane[group] : 16 values of b bits, b in {32, 16, 8, 4, 2, 1}
#pragma once

#include "dialects/lap/LapDialect.h"

namespace mlir::lap {

/// Some bits of one field, in a tile.
struct FieldPlane {
  /// 32, 16, 8, 4, 2 or 1.
  int64_t bits = 0;
  /// Place of these bits in the field's value.
  int64_t shift = 0;
  /// From the tile's start, in bytes.
  int64_t offset = 0;
};

/// A field of a scheme, in a tile.
struct FieldLayout {
  lapidary::SchemeField field;
  llvm::SmallVector<FieldPlane, 3> planes;
  /// Values a row that the tile has room for: columns (padded) for a code,
  /// groups for an outer field.
  int64_t count = 0;
};

/// The numbers of the `rows16` layout of one matrix. A plain tensor has one
/// field, its code.
struct RowTileLayout {
  static constexpr int64_t tileRows = 16;
  static constexpr int64_t wordBytes = 4;

  int64_t rows = 0;
  int64_t columns = 0;
  llvm::SmallVector<FieldLayout, 5> fields;
  /// Index of the code in `fields`.
  size_t code = 0;
  /// The smallest N of an outer field; 0 when none is smaller than a row.
  int64_t groupColumns = 0;
  int64_t tiles = 0;
  int64_t tileBytes = 0;

  const FieldLayout &getCode() const { return fields[code]; }
  /// Columns that the words of all planes of the code have in common: a decoder
  /// works on that many at least.
  int64_t getUnitColumns() const;
  int64_t getBytes() const { return tiles * tileBytes; }
};

/// The layout of a matrix in a scheme.
RowTileLayout getRowTileLayout(const lapidary::Scheme &scheme, int64_t rows,
                               int64_t columns);

/// The scheme of a 2-D tensor of f32, f16 or bf16: its value is its code.
lapidary::Scheme getFloatScheme(Type element);

/// The scheme that a matrix type (a 2-D tensor, or a `!lap.quantized` whose
/// scheme is found from `from`) is stored in.
FailureOr<lapidary::Scheme> getScheme(Type matrix, Operation *from);
/// The op of a quantized matrix's scheme; null for a tensor.
FailureOr<SchemeOp> getSchemeOp(Type matrix, Operation *from);

/// The `rows16` numbers of a matrix type.
FailureOr<RowTileLayout> getRowTileLayout(Type matrix, Operation *from);

/// Bytes that a weight's value takes in a layout.
FailureOr<int64_t> getStoredBytes(Type value, Layout layout, Operation *from);

/// The memref that a bufferized program sees a weight's value as: the tensor's
/// own shape in the plain layout, bytes in any other.
FailureOr<MemRefType> getStoredType(Type value, Layout layout, Operation *from);

} // namespace mlir::lap
