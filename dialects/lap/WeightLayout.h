// How stored weights are arranged, byte for byte: what the packer writes and
// the kernels read.
//
// `plain` is the row-major tensor as the checkpoint has it.
//
// `rows16` cuts a matrix of M x K into tiles of 16 rows (the last one padded
// with zeros), tile after tile. Inside a tile the codes come in groups of
// consecutive columns, and a group has its 16 rows side by side, so that one
// vector load brings the same columns of 16 rows and no sum runs across lanes:
//
//   codes[column / group][row in tile][column % group]
//
// A group fills 4 bytes a row: 1 f32, 2 f16 or bf16, 4 int8; columns are padded
// with zeros to a whole group, quantized ones to a whole block. These are also
// the operand layouts of the x86 dot product instructions (VDPBF16PS,
// VPDPBUSD) and of AMX tiles. A quantized tile goes on with its scales,
// scales[column / block][row in tile], padded to 64 bytes.
#pragma once

#include "dialects/lap/LapDialect.h"

namespace mlir::lap {

/// The numbers of the `rows16` layout of one matrix.
struct RowTileLayout {
  static constexpr int64_t tileRows = 16;
  static constexpr int64_t groupBytes = 4;

  int64_t rows = 0;
  int64_t columns = 0;
  /// The element type of codes: f32, f16, bf16 or i8.
  Type codeType;
  /// Null where codes are the values.
  Type scaleType;
  /// Columns that share a scale; 0 without scales.
  int64_t blockColumns = 0;
  /// Columns of a group: 4 bytes / size of a code.
  int64_t groupColumns = 0;
  /// Columns after padding.
  int64_t paddedColumns = 0;
  int64_t tiles = 0;
  /// Where a tile's scales begin, in bytes.
  int64_t scaleOffset = 0;
  int64_t tileBytes = 0;

  int64_t getBytes() const { return tiles * tileBytes; }
};

/// The `rows16` numbers of a matrix type (a 2-D tensor of f32, f16, bf16, or a
/// `!lap.quantized` whose scheme is found from `from`).
FailureOr<RowTileLayout> getRowTileLayout(Type matrix, Operation *from);

/// Bytes that a weight's value takes in a layout.
FailureOr<int64_t> getStoredBytes(Type value, Layout layout, Operation *from);

/// The memref that a bufferized program sees a weight's value as: the tensor's
/// own shape in the plain layout, bytes in any other.
FailureOr<MemRefType> getStoredType(Type value, Layout layout, Operation *from);

} // namespace mlir::lap
