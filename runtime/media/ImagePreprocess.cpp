// From a picture to patches: the size within the budget, bicubic scaling, and
// the cut. Each step follows the reference's image processor, so that the
// number of tokens is always the same and the pixels are too.
#include "runtime/media/ImagePreprocess.h"

#include "runtime/core/Limits.h"
#include "runtime/media/Resize.h"

#include <algorithm>
#include <cmath>

using namespace lapidary;

namespace {

Status checkBudget(int32_t patchSize, int32_t maxSoftTokens) {
  if (patchSize < 1 || patchSize > maxPatchSize)
    return invalidArgument("image patch size: expected 1 to " +
                           std::to_string(maxPatchSize) + ", found " +
                           std::to_string(patchSize));
  if (maxSoftTokens < 1 || maxSoftTokens > maxSoftTokenBudget)
    return invalidArgument("image token budget: expected 1 to " +
                           std::to_string(maxSoftTokenBudget) + ", found " +
                           std::to_string(maxSoftTokens));
  return {};
}

} // namespace

Result<PatchGrid> lapidary::choosePatchGrid(int32_t width, int32_t height,
                                            int32_t patchSize,
                                            int32_t maxSoftTokens) {
  LAPIDARY_TRY(checkBudget(patchSize, maxSoftTokens));
  if (width < 1 || height < 1)
    return invalidArgument("image: expected at least one pixel, found a size "
                           "of " +
                           std::to_string(width) + "x" +
                           std::to_string(height));
  // In double and in the reference's order of operations: another rounding
  // could give another number of tokens.
  double budget = double(maxSoftTokens) * patchSize * patchSize;
  double factor = std::sqrt(budget / (double(width) * height));
  PatchGrid grid;
  grid.columns = static_cast<int32_t>(factor * width / patchSize);
  grid.rows = static_cast<int32_t>(factor * height / patchSize);
  if (grid.columns == 0 && grid.rows == 0)
    return invalidArgument(
        "image of " + std::to_string(width) + "x" + std::to_string(height) +
        " pixels: a budget of " + std::to_string(maxSoftTokens) +
        " tokens leaves no whole patch of " + std::to_string(patchSize) +
        " pixels on either side; use a larger budget");
  // A strip: one patch high (or wide), and as long as it may be.
  if (grid.rows == 0)
    grid = {std::min(width / height, maxSoftTokens), 1};
  else if (grid.columns == 0)
    grid = {1, std::min(height / width, maxSoftTokens)};
  return grid;
}

Result<ImagePatches> lapidary::preprocessImage(const Image &image,
                                               int32_t patchSize,
                                               int32_t maxSoftTokens) {
  PatchGrid grid = LAPIDARY_TRY(
      choosePatchGrid(image.width, image.height, patchSize, maxSoftTokens));
  if (image.width > maxImageSide || image.height > maxImageSide ||
      int64_t(image.width) * image.height > maxImagePixels)
    return invalidArgument("image: a size of " + std::to_string(image.width) +
                           "x" + std::to_string(image.height) +
                           " is over the limit of " +
                           std::to_string(maxImagePixels >> 20) + " Mpixel");
  size_t expected = size_t(image.width) * size_t(image.height) * 3;
  if (image.rgb.size() != expected)
    return invalidArgument("image: expected " + std::to_string(expected) +
                           " bytes of pixels, found " +
                           std::to_string(image.rgb.size()));
  Image scaled =
      resizeBicubic(image, grid.columns * patchSize, grid.rows * patchSize);
  ImagePatches patches;
  patches.columns = grid.columns;
  patches.rows = grid.rows;
  size_t patchRow = size_t(patchSize) * 3;
  patches.pixels.reserve(scaled.rgb.size());
  patches.positions.reserve(size_t(patches.count()) * 2);
  // A product and no division: the reference multiplies by 1 / 255.
  float values[256];
  for (int value = 0; value < 256; ++value)
    values[value] = static_cast<float>(value) * static_cast<float>(1.0 / 255);
  for (int32_t y = 0; y < grid.rows; ++y)
    for (int32_t x = 0; x < grid.columns; ++x) {
      patches.positions.push_back(x);
      patches.positions.push_back(y);
      for (int32_t row = 0; row < patchSize; ++row) {
        const uint8_t *pixel = scaled.rgb.data() +
                               (size_t(y) * size_t(patchSize) + size_t(row)) *
                                   size_t(scaled.width) * 3 +
                               size_t(x) * patchRow;
        for (size_t k = 0; k < patchRow; ++k)
          patches.pixels.push_back(values[pixel[k]]);
      }
    }
  return patches;
}
