// Reads the floats of a checkpoint. The loops are plain, so that the compiler
// vectorizes them.
#include "compiler/SourceFormat.h"

#include "llvm/Support/ErrorHandling.h"

#include <algorithm>
#include <cstring>

using namespace mlir;
using namespace mlir::lap;

SourceFormat mlir::lap::getSourceFormat(Type element) {
  return element.isF32()   ? SourceFormat::F32
         : element.isF16() ? SourceFormat::F16
                           : SourceFormat::BF16;
}

int64_t mlir::lap::getSourceBytes(SourceFormat format) {
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
