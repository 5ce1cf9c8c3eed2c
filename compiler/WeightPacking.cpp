// Packing and encoding of weights. The inner loops are plain, so that the
// compiler vectorizes them: packing keeps up with the disk.
#include "compiler/WeightPacking.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

using namespace mlir;
using namespace mlir::lap;

SourceFormat mlir::lap::getSourceFormat(Type element) {
  return element.isF32()   ? SourceFormat::F32
         : element.isF16() ? SourceFormat::F16
                           : SourceFormat::BF16;
}

static int64_t getSize(SourceFormat format) {
  return format == SourceFormat::F32 ? 4 : 2;
}

uint16_t mlir::lap::floatToHalf(float value) {
  return __builtin_bit_cast(uint16_t, static_cast<_Float16>(value));
}

float mlir::lap::halfToFloat(uint16_t bits) {
  return static_cast<float>(__builtin_bit_cast(_Float16, bits));
}

void mlir::lap::convertToFloat(SourceFormat format, const uint8_t *source,
                               int64_t count, float *out) {
  if (format == SourceFormat::F32) {
    std::memcpy(out, source, count * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, source + 2 * i, sizeof bits);
    out[i] = format == SourceFormat::F16
                 ? halfToFloat(bits)
                 : __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
  }
}

int64_t mlir::lap::findNonFinite(SourceFormat format, const uint8_t *source,
                                 int64_t count) {
  // A value is not finite when its exponent is all ones; looking for the
  // largest magnitude first keeps the common case a vector loop.
  auto find = [&]<typename T>(T magnitudeMask, T infinity) -> int64_t {
    T largest = 0;
    for (int64_t i = 0; i < count; ++i) {
      T bits;
      std::memcpy(&bits, source + sizeof(T) * i, sizeof(T));
      largest = std::max<T>(largest, bits & magnitudeMask);
    }
    if (largest < infinity)
      return -1;
    for (int64_t i = 0; i < count; ++i) {
      T bits;
      std::memcpy(&bits, source + sizeof(T) * i, sizeof(T));
      if ((bits & magnitudeMask) >= infinity)
        return i;
    }
    return -1;
  };
  switch (format) {
  case SourceFormat::F32:
    return find.operator()<uint32_t>(0x7fffffff, 0x7f800000);
  case SourceFormat::F16:
    return find.operator()<uint16_t>(0x7fff, 0x7c00);
  case SourceFormat::BF16:
    return find.operator()<uint16_t>(0x7fff, 0x7f80);
  }
  llvm_unreachable("unknown format");
}

float mlir::lap::encodeBlock(const float *values, int64_t count, bool halfScale,
                             int8_t *codes) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::fabs(values[i]));
  float scale = largest / 127;
  if (halfScale) {
    // Past f16's range a scale would become infinite. Below its normal range
    // rounding loses bits: down by more than half a code's step, it would clamp
    // the largest values; the next scale does not.
    uint16_t bits = floatToHalf(std::min(scale, 65504.0f));
    scale = halfToFloat(bits);
    if (scale * 127.5f < largest && scale < 0x1p-14f)
      scale = halfToFloat(bits + 1);
  }
  // Subnormal f32s have no finite inverse: they are zeros.
  float inverse = scale >= 0x1p-126f ? 1 / scale : 0;
  for (int64_t i = 0; i < count; ++i) {
    float code = std::clamp(values[i] * inverse, -127.0f, 127.0f);
    codes[i] = static_cast<int8_t>(std::lrint(code));
  }
  return scale;
}

/// Interleaves 16 rows in groups of 4 bytes: out[group][row] = in[row][group].
static void interleave(const RowTileLayout &layout, const uint8_t *const *rows,
                       int64_t rowBytes, uint8_t *out) {
  constexpr int64_t tileRows = RowTileLayout::tileRows;
  int64_t wholeGroups = rowBytes / 4;
  // A few cache lines of each row at a time: 16 streams in, one out.
  for (int64_t group = 0; group < wholeGroups; ++group) {
    uint32_t words[tileRows];
    for (int64_t row = 0; row < tileRows; ++row)
      std::memcpy(&words[row], rows[row] + 4 * group, 4);
    std::memcpy(out + group * sizeof words, words, sizeof words);
  }
  if (int64_t rest = rowBytes % 4) { // The last group is not whole: pad it.
    for (int64_t row = 0; row < tileRows; ++row) {
      uint32_t word = 0;
      std::memcpy(&word, rows[row] + 4 * wholeGroups, rest);
      std::memcpy(out + (wholeGroups * tileRows + row) * 4, &word, 4);
    }
  }
  int64_t written = llvm::alignTo(rowBytes, 4) * tileRows;
  std::memset(out + written, 0, layout.scaleOffset - written);
}

static void packPlainTile(const RowTileLayout &layout,
                          const uint8_t *const *rows, uint8_t *out) {
  int64_t codeBytes = layout.codeType.getIntOrFloatBitWidth() / 8;
  interleave(layout, rows, layout.columns * codeBytes, out);
}

static void packQuantizedTile(const RowTileLayout &layout, SourceFormat format,
                              const uint8_t *const *rows, uint8_t *out) {
  constexpr int64_t tileRows = RowTileLayout::tileRows;
  bool halfScale = layout.scaleType.isF16();
  int64_t blocks = layout.paddedColumns / layout.blockColumns;
  std::vector<float> values(layout.paddedColumns);
  std::vector<int8_t> codes(layout.paddedColumns * tileRows);
  std::memset(out + layout.scaleOffset, 0,
              layout.tileBytes - layout.scaleOffset);
  const uint8_t *codeRows[tileRows];
  for (int64_t row = 0; row < tileRows; ++row) {
    std::fill(values.begin() + layout.columns, values.end(), 0.0f);
    convertToFloat(format, rows[row], layout.columns, values.data());
    int8_t *rowCodes = codes.data() + row * layout.paddedColumns;
    codeRows[row] = reinterpret_cast<const uint8_t *>(rowCodes);
    for (int64_t block = 0; block < blocks; ++block) {
      int64_t first = block * layout.blockColumns;
      float scale = encodeBlock(values.data() + first, layout.blockColumns,
                                halfScale, rowCodes + first);
      uint8_t *at = out + layout.scaleOffset +
                    (block * tileRows + row) * (halfScale ? 2 : 4);
      uint16_t half = floatToHalf(scale);
      if (halfScale)
        std::memcpy(at, &half, sizeof half);
      else
        std::memcpy(at, &scale, sizeof scale);
    }
  }
  interleave(layout, codeRows, layout.paddedColumns, out);
}

void mlir::lap::packTiles(const RowTileLayout &layout, SourceFormat format,
                          const uint8_t *source, int64_t rowCount,
                          int64_t tiles, uint8_t *out) {
  constexpr int64_t tileRows = RowTileLayout::tileRows;
  int64_t rowBytes = layout.columns * getSize(format);
  std::vector<uint8_t> zeros(rowBytes);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const uint8_t *rows[tileRows];
    for (int64_t i = 0; i < tileRows; ++i) {
      int64_t row = tile * tileRows + i;
      rows[i] = row < rowCount ? source + row * rowBytes : zeros.data();
    }
    uint8_t *at = out + tile * layout.tileBytes;
    if (layout.blockColumns)
      packQuantizedTile(layout, format, rows, at);
    else
      packPlainTile(layout, rows, at);
  }
}
