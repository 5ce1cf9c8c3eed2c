// How kernels address a KV cache: `!lap.kv_cache` says how keys and values lie
// in memory; this reads them as vectors of f32 and writes heads of f32 numbers
// in the cache's format.
#pragma once

#include "targets/cpu/KernelEmitter.h"

namespace mlir::lap::cpu {

class KvCacheAccess {
public:
  KvCacheAccess(KernelEmitter &e, TypedValue<KvCacheType> cache);

  KvCacheType getType() const { return type; }
  /// Numbers of a query that scores are made with: one for each stored element
  /// of a key, then, where keys follow from values, one for each of a value.
  int64_t getQueryDim() const { return keys.elements + (shared ? headDim : 0); }

  /// Where the head's part of a block of positions is, for the calls below.
  Value getPlace(Value block, Value head);

  /// Calls `body` for each number of the query with the 16 positions' elements
  /// that it is multiplied with. `slot` goes around 0 to `slots` - 1, so that
  /// sums can run in as many chains; sums carry from call to call.
  using KeyBody = function_ref<void(Value number, Value vector, int64_t slot,
                                    SmallVectorImpl<Value> &sums)>;
  SmallVector<Value> forKeys(Value place, int64_t slots, ValueRange sums,
                             KeyBody body);
  /// `size` elements of the value at one position (0 to 15) of a block.
  Value loadValue(Value place, Value position, Value element, int64_t size);

  /// Writes the stored elements of a key, or a value, from f32 memory.
  void storeKey(Value place, Value position, Buffer source);
  void storeValue(Value place, Value position, Buffer source);

private:
  /// Keys or values: how many elements of a head, and where they are.
  struct Part {
    int64_t elements = 0;
    Buffer data;
    /// Of q8_0 alone.
    Buffer scales;
  };

  Part makePart(Value pointer, int64_t elements);
  /// The index of a block's first element, and of its first scale.
  Value getData(const Part &part, Value place);
  Value getScales(const Part &part, Value place);
  /// Fetches `count` elements of the head's next block of values, from `first`
  /// on in the order of memory.
  void prefetchValues(Value place, Value first, int64_t count);
  SmallVector<Value> forStoredKeys(Value place, int64_t slots, ValueRange sums,
                                   KeyBody body);
  SmallVector<Value> forSharedKeys(Value place, int64_t slots, ValueRange sums,
                                   KeyBody body);
  using WriteVector = function_ref<void(Value vector, Value at, int64_t size)>;
  void quantize(Buffer source, int64_t elements, WriteVector write,
                function_ref<void(Value scale, Value group)> writeScale);

  KernelEmitter &e;
  KvCacheType type;
  int64_t heads, headDim;
  bool shared, scaled;
  Part keys, values;
};

} // namespace mlir::lap::cpu
