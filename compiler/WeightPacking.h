// From the rows of a matrix in a scheme to the bytes a target stores, and back.
// See dialects/lap/WeightLayout.h for the layout.
#pragma once

#include "dialects/lap/WeightLayout.h"
#include "runtime/core/Status.h"

#include <cstdint>
#include <span>

namespace mlir::lap {

/// Writes one row tile (layout.tileBytes bytes) of up to 16 rows; missing rows
/// become zeros.
void packTile(const RowTileLayout &layout,
              ArrayRef<const lapidary::EncodedRow *> rows, uint8_t *out);

/// Reads row `row` of a tile, as `packTile` wrote it.
void unpackRow(const RowTileLayout &layout, const uint8_t *tile, int64_t row,
               lapidary::EncodedRow &out);

/// The f32 values of whole rows from the matrix's element `first` on. `getTile`
/// says where the bytes of a row tile are; it is called once for each, in
/// order.
lapidary::Status decodeRows(
    const lapidary::Scheme &scheme, const RowTileLayout &layout, int64_t first,
    std::span<float> out,
    llvm::function_ref<lapidary::Status(int64_t tile, const uint8_t *&bytes)>
        getTile);

/// Writes `tiles` row tiles of a float scheme (its code is its value) from
/// `rowCount` row-major rows of the same format; rows past that become zeros.
void packFloatTiles(const RowTileLayout &layout, const uint8_t *source,
                    int64_t rowCount, int64_t tiles, uint8_t *out);

} // namespace mlir::lap
