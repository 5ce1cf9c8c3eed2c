// How kernels address a KV cache: `!lap.kv_cache` says how keys and values lie
// in memory; this reads elements of them as f32, whole words at a time, and
// writes heads of f32 numbers in the cache's format.
#pragma once

#include "targets/gpu/KernelEmitter.h"

namespace mlir::lap::simt {

class KvCacheAccess {
public:
  KvCacheAccess(KernelEmitter &e, TypedValue<KvCacheType> cache);
  /// Fails, with an error, for caches that kernels cannot have.
  static LogicalResult check(Operation *op, KvCacheType type);

  KvCacheType getType() const { return type; }
  /// Positions that a word of keys holds: 1, 2 or 4.
  int64_t getWordPositions() const { return 4 / size; }

  /// Where the head's part of a block of positions is, for the calls below.
  Value getPlace(Value block, Value head);

  /// Keys at the positions of word `word` of a block's rows. The column is for
  /// the call below.
  Value getKeyColumn(Value place, Value word);
  /// Some elements of the key at these positions, first those of element
  /// `first`; of q8_0 they share a scale.
  SmallVector<Value> loadKeys(Value column, Value first, int64_t count);
  /// `count` elements (1, 2 or 4, of which `first` is a multiple) of the value
  /// at a position (0 to 15) of a block.
  SmallVector<Value> loadValues(Value place, Value position, Value first,
                                int64_t count);

  /// Writes the stored elements of a key, or a value, from shared memory, by
  /// the whole workgroup.
  void storeKey(Value place, Value position, Buffer source);
  void storeValue(Value place, Value position, Buffer source);

private:
  /// Keys or values: how many elements of a head, and where they are.
  struct Part {
    int64_t elements = 0;
    Buffer words;
    /// Of q8_0 alone: the same memory.
    Buffer scales;
  };

  Part makePart(Value memref, int64_t elements);
  /// The index of a block's first word, and of its first scale.
  Value getWords(const Part &part, Value place);
  Value getScales(const Part &part, Value place);
  /// The elements in a word.
  SmallVector<Value> widen(Value word);
  /// The code of an element, and of its 32 the scale, as f16.
  std::pair<Value, Value> quantize(Buffer source, int64_t elements,
                                   Value element);
  /// An element as it is stored, in the low bits.
  Value narrow(Value number);

  KernelEmitter &e;
  KvCacheType type;
  int64_t heads, headDim;
  /// Bytes of an element.
  int64_t size;
  bool scaled;
  Part keys, values;
};

} // namespace mlir::lap::simt
