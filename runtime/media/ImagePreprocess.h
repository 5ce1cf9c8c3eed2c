// From a picture to what the vision embedder reads: patches of pixels and
// their places, one patch a soft token.
#pragma once

#include "runtime/media/Image.h"

namespace lapidary {

/// The largest soft-token budget; the model has no positions beyond it.
inline constexpr int32_t maxSoftTokenBudget = 1120;

struct ImagePatches {
  int32_t columns = 0;
  int32_t rows = 0;
  /// count() rows of patch * patch * 3 values in 0..1, patches in raster order,
  /// within a patch (row, column, channel).
  std::vector<float> pixels;
  /// count() pairs x, y.
  std::vector<int32_t> positions;

  int32_t count() const { return columns * rows; }
};

/// The size in patches that a picture is scaled to: the aspect ratio is kept
/// as far as whole patches allow, within `maxSoftTokens` patches.
struct PatchGrid {
  int32_t columns = 0;
  int32_t rows = 0;
};
Result<PatchGrid> choosePatchGrid(int32_t width, int32_t height,
                                  int32_t patchSize, int32_t maxSoftTokens);

/// Scales and cuts a picture. `patchSize` is a patch's side in pixels (the
/// checkpoint's patch_size * pooling_kernel_size, 48), `maxSoftTokens` in
/// 1..maxSoftTokenBudget.
Result<ImagePatches> preprocessImage(const Image &image, int32_t patchSize,
                                     int32_t maxSoftTokens);

} // namespace lapidary
