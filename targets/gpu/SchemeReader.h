// Weights of any scheme for one invocation: the row of a tile that it has,
// decoded by the scheme's own region (dialects/lap/SchemeDecode.h). Neighbours
// have neighbouring rows, so that the words that they read lie side by side
// (dialects/lap/WeightLayout.h).
#pragma once

#include "dialects/lap/SchemeDecode.h"
#include "targets/gpu/KernelEmitter.h"

namespace mlir::lap::simt {

class SchemeReader {
public:
  /// What holds for a group of columns of a row.
  struct Group {
    IRMapping outer;
    /// weight = slope * value + offset in the linear form; null stands for 1
    /// and 0.
    Value slope, offset;
  };
  /// A row of a matrix: where its tile begins, in words, and which of the 16 it
  /// is (indices).
  struct Row {
    Buffer words;
    Value tileAt, row;
  };

  /// Tables that the scheme looks up are put into the workgroup's memory: all
  /// of it must come here.
  static FailureOr<SchemeReader> create(KernelEmitter &e, Type matrix,
                                        Operation *from);

  const RowTileLayout &getLayout() const { return layout; }
  /// Columns in which no field but the code changes; 0: the row.
  int64_t getGroupColumns() const { return groupColumns; }

  /// For products of integers: from now on slopes and offsets are for the bytes
  /// that `getBytes` gives (less their excess, see LinearForm).
  void useIntegers();
  /// Whether bytes stay below 128.
  bool hasSmallBytes() const;

  /// The fields of the group that a column is in.
  Group getGroup(const Row &row, Value column);
  /// The bytes of `count` columns from `column` on, both multiples of 4, four
  /// to a word. `column` is a multiple of `aligned`.
  SmallVector<Value> getBytes(const Row &row, Value column, int64_t count,
                              int64_t aligned);
  /// The weights of at least `count` columns from `column` on, a multiple of
  /// `aligned` (at least 4), which are of the group. Columns beyond the matrix
  /// have any finite weight.
  SmallVector<Value> getWeights(const Row &row, const Group &group,
                                Value column, int64_t count, int64_t aligned);

private:
  SchemeReader(KernelEmitter &e, RowTileLayout layout, SchemeOp scheme)
      : e(&e), layout(std::move(layout)), scheme(scheme) {}

  LogicalResult prepare(Operation *from);
  Value loadField(const Row &row, const FieldLayout &field, Value number);
  /// Codes of at most 8 bits by fours, one a byte.
  SmallVector<Value> loadQuads(const Row &row, Value column, int64_t count,
                               int64_t aligned);
  Value toBytes(Value quad);
  /// Codes, in the low bits.
  SmallVector<Value> loadCodes(const Row &row, Value column, int64_t count,
                               int64_t aligned);
  /// A field's value from its bits, zeros above: i32 or f32.
  Value widen(const lapidary::SchemeField &field, Value bits);
  Value widenSmall(Value bits, int64_t exponentBits, int64_t mantissaBits);
  Value lookUp(LookupOp op, Value index);
  DecodeCloner getCloner();

  KernelEmitter *e;
  RowTileLayout layout;
  /// Null for a plain tensor.
  SchemeOp scheme;
  std::function<Value(LookupOp, Value)> lookup;
  /// Of the region's lookups, and where they are.
  DenseMap<Operation *, std::pair<Buffer, int64_t>> tables;
  int64_t groupColumns = 0;
  /// The value that is multiplied as an integer; null where weights are
  /// decoded.
  Value integer;
  std::optional<IntegerLevels> levels;
};

} // namespace mlir::lap::simt
