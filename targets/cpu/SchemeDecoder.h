// Weights of any scheme from a row tile into registers: outer fields by
// columns' groups, codes by columns, 16 rows in the lanes of a vector.
#pragma once

#include "dialects/lap/SchemeDecode.h"
#include "targets/cpu/KernelEmitter.h"
#include "targets/cpu/VectorWords.h"

namespace mlir::lap::cpu {

/// A weight matrix at a row tile.
struct Stream {
  Buffer bytes;
  /// Byte offset of the tile.
  Value tileAt;
};

class SchemeDecoder {
public:
  /// What holds for a group of columns.
  struct Group {
    IRMapping outer;
    /// weight = slope * value + offset; null stands for 1 and 0.
    Value slope, offset;
  };
  static FailureOr<SchemeDecoder> create(KernelEmitter &e, Type matrix,
                                         Operation *from);

  const RowTileLayout &getLayout() const { return layout; }
  /// Columns in which no field but the code changes; 0 stands for the row.
  int64_t getGroupColumns() const { return groupColumns; }
  /// How many columns codes are best loaded at a time, a power of two between
  /// bounds that are such; less where groups are smaller.
  int64_t getSpanColumns(int64_t least, int64_t most) const;

  /// Whether a weight is slope * value + offset.
  bool isLinear() const { return linear; }

  /// Walks columns by groups: `body` gets each stream's group, its first
  /// column, and how many columns it has. Values are carried along. All
  /// columns, or `count` from `first` on, a multiple of `getBlockColumns`.
  using GroupBody = function_ref<SmallVector<Value>(
      ArrayRef<Group> groups, Value first, int64_t count, ValueRange)>;
  SmallVector<Value> walkGroups(ArrayRef<Stream> streams,
                                SmallVector<Value> values, GroupBody body);
  SmallVector<Value> walkGroups(ArrayRef<Stream> streams, Value first,
                                int64_t count, SmallVector<Value> values,
                                GroupBody body);
  /// Columns after which all fields but those of a row change; 0 stands for
  /// none.
  int64_t getBlockColumns() const { return blockColumns; }

  /// What the codes of `count` columns from `column` on give by themselves, to
  /// be handed to `getWeight`; in the linear form it is `value`, as f32. The
  /// first column is a multiple of `span`, `count` at most that.
  SmallVector<Value> getValues(const Stream &stream, Value column,
                               int64_t count, int64_t span);
  /// The weights of a column.
  Value getWeight(const Group &group, Value value);

  /// From now on, what is loaded is asked for so many columns before, in order:
  /// the processor's own prefetching is too late for the memory's full speed.
  void setPrefetch(int64_t columnsAhead) { prefetchColumns = columnsAhead; }
  /// Columns whose codes are about so many bytes in a tile.
  int64_t getColumnsOfBytes(int64_t bytes) const;

  /// For a scheme that is affine in its code: from now on slopes and offsets
  /// are for the code itself.
  void useIntegers();
  bool isInteger() const { return integer; }
  /// How its codes are multiplied with bytes.
  DotKind getDotKind() const;
  /// The bytes of columns, 4 to a word, where `isInteger`.
  SmallVector<Value> getBytes(const Stream &stream, Value column, int64_t count,
                              int64_t span);

  /// The words of columns, 2 to a word, of codes of 16 bits.
  SmallVector<Value> getPairs(const Stream &stream, Value column, int64_t count,
                              int64_t span) {
    return loadWords(stream, column, count, span)[0];
  }

private:
  SchemeDecoder(KernelEmitter &e, RowTileLayout layout, SchemeOp scheme);

  /// How often a field changes.
  enum class Level : uint8_t { Row, Block, Group };

  /// Loads the fields of a level, at the level's first column.
  void load(Group &group, const Stream &stream, Level level, Value column);
  /// Computes what the group's fields give, when all levels are loaded.
  void finish(Group &group);

  /// A code at a bit of each word, with other bits around it.
  struct Placed {
    Value words;
    int64_t bit = 0;
  };
  /// The words of each plane that the columns lie in; of a word that is wider
  /// than a span, its part from the first column on.
  SmallVector<SmallVector<Value>> loadWords(const Stream &stream, Value column,
                                            int64_t count, int64_t span);
  /// Codes of up to 8 bits by fours, one a byte; `bit` is the first one's.
  SmallVector<Placed> loadQuads(const Stream &stream, Value column,
                                int64_t count, int64_t span);
  SmallVector<Placed> loadCodes(const Stream &stream, Value column,
                                int64_t count, int64_t span);
  Value widenCode(Placed code);
  bool prefersTables(const lapidary::SchemeField &code);
  std::vector<uint32_t> getTable(Value codeValue);
  Value loadField(const Stream &stream, const FieldLayout &field, Value index);
  DecodeCloner getCloner();
  /// `bytesAhead` of a load at `at`.
  void prefetch(const Stream &stream, Value at, int64_t bytesAhead);

  KernelEmitter *e;
  RowTileLayout layout;
  /// Null for a plain tensor.
  SchemeOp scheme;
  std::function<Value(LookupOp, Value)> lookup;
  int64_t groupColumns = 0, prefetchColumns = 0;
  /// The columns after which the slowest field below a row changes; a multiple
  /// of the group.
  int64_t blockColumns = 0;
  bool linear = false, offset = false, integer = false;
  /// Where the region leaves the code, and tables of these values when codes
  /// are few enough for tables in registers to be the best way.
  SmallVector<Value> codeValues;
  /// Where integers are not the code, but what a table makes of it.
  std::optional<IntegerLevels> levels;
  SmallVector<std::vector<uint32_t>> tables;
};

} // namespace mlir::lap::cpu
