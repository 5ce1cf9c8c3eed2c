// From a checkpoint's rows to the bytes a target stores: arranges and, for
// quantized types, encodes. See dialects/lap/WeightLayout.h for the layout.
#pragma once

#include "dialects/lap/WeightLayout.h"

#include <cstdint>

namespace mlir::lap {

/// Floating point formats of a checkpoint.
enum class SourceFormat : uint8_t { F32, F16, BF16 };

/// The format of an f32, f16 or bf16 element type.
SourceFormat getSourceFormat(Type element);

/// Writes `tiles` row tiles to `out` (tiles * layout.tileBytes bytes) from
/// `rowCount` row-major rows at `source`; rows past rowCount become zeros.
/// Without scales the source has the format of the layout's codes.
void packTiles(const RowTileLayout &layout, SourceFormat format,
               const uint8_t *source, int64_t rowCount, int64_t tiles,
               uint8_t *out);

/// The index of the first NaN or infinity among `count` values, or -1.
int64_t findNonFinite(SourceFormat format, const uint8_t *source,
                      int64_t count);

/// Encodes one block of `count` values (at most 256) symmetrically to int8:
/// scale = largest magnitude / 127, rounded to f16 when `halfScale`; codes are
/// rounded with the stored scale, so that its rounding adds no error. Gives the
/// scale.
float encodeBlock(const float *values, int64_t count, bool halfScale,
                  int8_t *codes);

/// f32 values of `count` source elements.
void convertToFloat(SourceFormat format, const uint8_t *source, int64_t count,
                    float *out);

uint16_t floatToHalf(float value);
float halfToFloat(uint16_t bits);

} // namespace mlir::lap
