// A KV cache as `!lap.kv_cache` and the bundle's schema describe it, written
// without the kernels: what their reads and writes are compared with.
#pragma once

#include "test/targets/cpu/KernelTest.h"

namespace mlir::lap::cpu {

struct KvCache {
  int64_t heads, headDim, window;
  /// Capacity in positions.
  int64_t rows;
  GuardedVector<uint16_t> keys, values;

  /// Memory for `positions` positions, or for a ring and steps of `chunk`. What
  /// nothing wrote is large, and finite as the type asks.
  KvCache(int64_t heads, int64_t headDim, int64_t window, int64_t chunk,
          int64_t positions)
      : heads(heads), headDim(headDim), window(window),
        rows(window ? alignTo16(window) + chunk : alignTo16(positions)),
        keys(rows * heads * headDim), values(rows * heads * headDim) {
    for (size_t i = 0; i < keys.size(); ++i) {
      keys[i] = i % 3 ? 0x7bff : 0xfbff; // The largest of f16.
      values[i] = i % 5 ? 0xfbff : 0x7bff;
    }
  }

  /// Keys: block, head, element, position.
  uint16_t &key(int64_t position, int64_t head, int64_t element) {
    int64_t row = getRow(position);
    return keys[((row / 16 * heads + head) * headDim + element) * 16 +
                row % 16];
  }
  /// Values: position, head, element.
  uint16_t &value(int64_t position, int64_t head, int64_t element) {
    return values[(getRow(position) * heads + head) * headDim + element];
  }

  std::string getType() const {
    return "!lap.kv_cache<heads = " + std::to_string(heads) +
           ", head_dim = " + std::to_string(headDim) +
           ", window = " + std::to_string(window) + ">";
  }

private:
  static int64_t alignTo16(int64_t size) { return (size + 15) / 16 * 16; }
  int64_t getRow(int64_t position) const { return position % rows; }
};

} // namespace mlir::lap::cpu
