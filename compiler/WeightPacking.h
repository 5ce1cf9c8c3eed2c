// From the rows of a matrix in a scheme to the bytes a target stores, and back.
// See dialects/lap/WeightLayout.h for the layout.
#pragma once

#include "dialects/lap/WeightLayout.h"

#include <cstdint>

namespace mlir::lap {

/// Writes one row tile (layout.tileBytes bytes) of up to 16 rows; missing rows
/// become zeros.
void packTile(const RowTileLayout &layout,
              ArrayRef<const lapidary::EncodedRow *> rows, uint8_t *out);

/// Reads row `row` of a tile, as `packTile` wrote it.
void unpackRow(const RowTileLayout &layout, const uint8_t *tile, int64_t row,
               lapidary::EncodedRow &out);

/// Writes `tiles` row tiles of a float scheme (its code is its value) from
/// `rowCount` row-major rows of the same format; rows past that become zeros.
void packFloatTiles(const RowTileLayout &layout, const uint8_t *source,
                    int64_t rowCount, int64_t tiles, uint8_t *out);

} // namespace mlir::lap
