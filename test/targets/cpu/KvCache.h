// A KV cache as `!lap.kv_cache` and the bundle's schema describe it, written
// without the kernels: what their reads and writes are compared with.
#pragma once

#include "test/targets/cpu/KernelTest.h"

namespace mlir::lap::cpu {

/// What `!lap.kv_cache` says.
struct KvShape {
  int64_t heads, headDim, window = 0;
  std::string format = "f16";
  int64_t rotated = 0;

  int64_t keyDim() const { return rotated ? 2 * rotated : headDim; }
  std::string getType() const {
    return "!lap.kv_cache<heads = " + std::to_string(heads) +
           ", head_dim = " + std::to_string(headDim) +
           ", window = " + std::to_string(window) +
           (format == "f16" ? "" : ", format = " + format) +
           (rotated ? ", rotated = " + std::to_string(rotated) : "") + ">";
  }
};

/// Keys or values of a cache.
class KvPart {
public:
  GuardedVector<uint8_t> bytes;

  KvPart(const KvShape &shape, bool isKey, int64_t rows)
      : bytes(rows * shape.heads * storedBytes(shape, isKey)), isKey(isKey),
        heads(shape.heads), elements(isKey ? shape.keyDim() : shape.headDim),
        rows(rows), quantized(shape.format == "q8_0"),
        size(quantized               ? 1
             : shape.format == "f32" ? 4
                                     : 2),
        element(shape.format) {
    // What nothing wrote is large, and finite as the type asks.
    for (int64_t position = 0; position < rows; ++position)
      for (int64_t head = 0; head < heads; ++head) {
        for (int64_t i = 0; i < elements; ++i)
          write(getAt(position, head, i), size,
                quantized           ? (i % 3 ? 127 : 0x81)
                : element == "f16"  ? (i % 3 ? 0x7bff : 0xfbff)
                : element == "bf16" ? (i % 3 ? 0x7f00 : 0xff00)
                                    : (i % 3 ? 0x7f000000 : 0xff000000));
        for (int64_t g = 0; quantized && g < groups(); ++g)
          write(scaleAt(position, head, g), 2, 0x7bff);
      }
  }

  /// Stores a head's elements at a position; gives them as they are stored.
  std::vector<float> store(int64_t position, int64_t head,
                           const std::vector<float> &values) {
    for (int64_t g = 0; quantized && g < groups(); ++g) {
      float largest = 0;
      for (int64_t i = 32 * g; i < std::min(elements, 32 * (g + 1)); ++i)
        largest = std::max(largest, std::fabs(values[i]));
      write(scaleAt(position, head, g), 2, floatToHalf(largest / 127));
    }
    for (int64_t i = 0; i < elements; ++i) {
      uint32_t bits;
      if (quantized) {
        float scale = halfToFloat(read(scaleAt(position, head, i / 32), 2));
        float level = scale > 0 ? std::nearbyint(values[i] / scale) : 0;
        bits = static_cast<uint8_t>(
            static_cast<int8_t>(std::clamp(level, -127.0f, 127.0f)));
      } else {
        bits = lapidary::narrowField(field(), values[i]);
      }
      write(getAt(position, head, i), size, bits);
    }
    return load(position, head);
  }

  std::vector<float> load(int64_t position, int64_t head) const {
    std::vector<float> values;
    for (int64_t i = 0; i < elements; ++i) {
      uint32_t bits = read(getAt(position, head, i), size);
      values.push_back(
          quantized
              ? static_cast<int8_t>(bits) *
                    halfToFloat(read(scaleAt(position, head, i / 32), 2))
              : __builtin_bit_cast(float, lapidary::widenField(field(), bits)));
    }
    return values;
  }

  /// Half of the distance between neighbours around `value`, which is one of
  /// a run of at most `largest`.
  double halfStep(double value, double largest) const {
    if (quantized) // The scale's own rounding moves the ends.
      return largest / 127 * (0.5 + 127 * 0x1p-11);
    double bits = element == "f32"   ? 0x1p-24
                  : element == "f16" ? 0x1p-11
                                     : 0x1p-8;
    return std::max(std::fabs(value) * bits, 0x1p-25);
  }
  /// Elements that share a scale with element `i`; itself where there are none.
  std::pair<int64_t, int64_t> getRun(int64_t i) const {
    if (!quantized)
      return {i, i + 1};
    return {i / 32 * 32, std::min(elements, i / 32 * 32 + 32)};
  }

  /// Puts back what a position's head held in `before`.
  void restore(int64_t position, int64_t head,
               const std::vector<uint8_t> &before) {
    auto copy = [&](int64_t at, int64_t count) {
      std::copy_n(before.begin() + at, count, bytes.begin() + at);
    };
    for (int64_t i = 0; i < elements; ++i)
      copy(getAt(position, head, i), size);
    for (int64_t g = 0; quantized && g < groups(); ++g)
      copy(scaleAt(position, head, g), 2);
  }

private:
  static int64_t storedBytes(const KvShape &shape, bool isKey) {
    int64_t elements = isKey ? shape.keyDim() : shape.headDim;
    if (shape.format == "q8_0")
      return elements + (elements + 31) / 32 * 2;
    return elements * (shape.format == "f32" ? 4 : 2);
  }
  int64_t groups() const { return (elements + 31) / 32; }
  lapidary::SchemeField field() const {
    lapidary::SchemeField field;
    field.kind = element == "f32"   ? lapidary::FieldKind::F32
                 : element == "f16" ? lapidary::FieldKind::F16
                                    : lapidary::FieldKind::BF16;
    return field;
  }
  int64_t blockAt(int64_t position, int64_t head) const {
    int64_t block = position % rows / 16;
    int64_t stored = quantized ? elements + 2 * groups() : elements * size;
    return (block * heads + head) * 16 * stored;
  }
  int64_t getAt(int64_t position, int64_t head, int64_t i) const {
    int64_t lane = position % rows % 16;
    return blockAt(position, head) +
           (isKey ? i * 16 + lane : lane * elements + i) * size;
  }
  int64_t scaleAt(int64_t position, int64_t head, int64_t group) const {
    int64_t lane = position % rows % 16;
    return blockAt(position, head) + 16 * elements +
           2 * (isKey ? group * 16 + lane : lane * groups() + group);
  }
  uint32_t read(int64_t at, int64_t count) const {
    uint32_t bits = 0;
    std::memcpy(&bits, bytes.data() + at, count);
    return bits;
  }
  void write(int64_t at, int64_t count, uint32_t bits) {
    std::memcpy(bytes.data() + at, &bits, count);
  }

  bool isKey;
  int64_t heads, elements, rows;
  bool quantized;
  int64_t size;
  std::string element;
};

struct KvCache {
  /// Capacity in positions.
  int64_t rows;
  KvPart keys, values;

  /// Memory for `positions` positions, or for a ring and steps of `chunk`.
  KvCache(const KvShape &shape, int64_t chunk, int64_t positions)
      : rows(shape.window ? alignTo16(shape.window) + chunk
                          : alignTo16(positions)),
        keys(shape, true, rows), values(shape, false, rows) {}

private:
  static int64_t alignTo16(int64_t size) { return (size + 15) / 16 * 16; }
};

} // namespace mlir::lap::cpu
