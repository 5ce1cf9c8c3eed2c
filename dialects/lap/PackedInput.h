// Where a packed input has what: the rows that `lap.pack_input` writes and
// linear kernels read, a row of 32-bit words a token. The parts of a row come
// one after another in the order of the members below, each at a multiple of 16
// words and filled up with zeros to such: `values` and `codes` can be written
// by whole vectors.
//
// All variants of a target read the same rows. An instruction for several
// tokens reads them with the row's size as stride, which is an odd multiple of
// 64 bytes, so that the same columns of several tokens do not meet in a set of
// the cache.
#pragma once

#include "dialects/lap/LapDialect.h"

namespace mlir::lap {

struct PackedInputLayout {
  /// Columns that share a scale with `int8`.
  static constexpr int64_t blockColumns = 32;

  explicit PackedInputLayout(PackedAttr packing);

  /// A part begins at a word, or is not there.
  static constexpr int64_t none = -1;
  /// f32, a word a column.
  int64_t valuesAt = none;
  /// bf16, two columns a word, the first in the low bits.
  int64_t halvesAt = none;
  /// Signed bytes, four columns a word.
  int64_t codesAt = none;
  /// f32, a word each `scaleColumns` columns.
  int64_t scalesAt = none, scaleColumns = 0;
  /// Sums of values, f32.
  struct Sums {
    int64_t period, at;
  };
  llvm::SmallVector<Sums, 2> sums;
  /// Sums of codes times minus `excess`, i32.
  struct CodeSums {
    int64_t period, excess, at;
  };
  llvm::SmallVector<CodeSums, 2> codeSums;
  /// Of a row.
  int64_t words = 0;

  /// Where the sums of a period are, or `none`.
  int64_t findSums(int64_t period) const;
  int64_t findCodeSums(int64_t period, int64_t excess) const;
};

} // namespace mlir::lap
