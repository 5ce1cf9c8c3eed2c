// Floating point formats of a checkpoint, as bytes.
#pragma once

#include "compiler/encoder/Encoder.h"

#include "mlir/IR/Types.h"

#include <cstdint>

namespace mlir::lap {

using lapidary::SourceFormat;

/// The format of an f32, f16 or bf16 element type.
SourceFormat getSourceFormat(Type element);

/// Bytes of a value.
int64_t getSourceBytes(SourceFormat format);

/// The index of the first NaN or infinity among `count` values, or -1.
int64_t findNonFinite(SourceFormat format, const uint8_t *source,
                      int64_t count);

/// f32 values of `count` source elements.
void convertToFloat(SourceFormat format, const uint8_t *source, int64_t count,
                    float *out);

uint16_t floatToHalf(float value);
float halfToFloat(uint16_t bits);

} // namespace mlir::lap
