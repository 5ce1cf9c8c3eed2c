// Bicubic resizing with antialiasing of 8-bit pictures. The arithmetic is that
// of the reference's integer kernels; a floating-point or wider-weight version
// is off by one in about 0.1 % of the pixels.
#include "runtime/media/Resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace lapidary;

namespace {

/// How one side is resampled: output i is the sum of `count(i)` inputs from
/// `first[i]` on, times weights, shifted right by `shift`.
struct Filter {
  std::vector<int32_t> first;
  /// Where the weights of output i start; one entry more than outputs.
  std::vector<size_t> offset;
  std::vector<int16_t> weights;
  int shift = 0;

  int32_t count(size_t i) const {
    return static_cast<int32_t>(offset[i + 1] - offset[i]);
  }
};

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1)
    return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2)
    return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

Filter makeFilter(int32_t from, int32_t to) {
  Filter filter;
  double scale = double(from) / to;
  double support = scale >= 1 ? 2 * scale : 2;
  double inverse = scale >= 1 ? 1 / scale : 1;
  std::vector<double> weights;
  double largest = 0;
  filter.offset.push_back(0);
  for (int32_t i = 0; i < to; ++i) {
    double center = scale * (i + 0.5);
    int32_t first =
        std::max(static_cast<int32_t>(center - support + 0.5), int32_t(0));
    int32_t last = std::min(static_cast<int32_t>(center + support + 0.5), from);
    size_t start = weights.size();
    double total = 0;
    for (int32_t j = first; j < last; ++j) {
      double weight = cubic((j - center + 0.5) * inverse);
      total += weight;
      weights.push_back(weight);
    }
    for (size_t k = start; k < weights.size(); ++k) {
      weights[k] /= total;
      largest = std::max(largest, weights[k]);
    }
    filter.first.push_back(first);
    filter.offset.push_back(weights.size());
  }
  // As many bits as the largest weight leaves room for in 16 bits, at most 22:
  // then 255 * (sum of weights) stays within 32 bits.
  while (filter.shift < 22 &&
         static_cast<int32_t>(0.5 + largest * (2 << filter.shift)) < (1 << 15))
    ++filter.shift;
  filter.weights.reserve(weights.size());
  for (double weight : weights)
    filter.weights.push_back(static_cast<int16_t>(weight * (1 << filter.shift) +
                                                  (weight >= 0 ? 0.5 : -0.5)));
  return filter;
}

uint8_t toPixel(int32_t sum, int shift) {
  return static_cast<uint8_t>(
      std::clamp((sum + (1 << (shift - 1))) >> shift, 0, 255));
}

/// One row of `filter.first.size()` pixels from one input row.
void resizeRow(const Filter &filter, const uint8_t *row, uint8_t *out) {
  for (size_t x = 0; x < filter.first.size(); ++x, out += 3) {
    const uint8_t *pixel = row + size_t(filter.first[x]) * 3;
    int32_t red = 0, green = 0, blue = 0;
    for (size_t k = filter.offset[x]; k < filter.offset[x + 1];
         ++k, pixel += 3) {
      int32_t weight = filter.weights[k];
      red += weight * pixel[0];
      green += weight * pixel[1];
      blue += weight * pixel[2];
    }
    out[0] = toPixel(red, filter.shift);
    out[1] = toPixel(green, filter.shift);
    out[2] = toPixel(blue, filter.shift);
  }
}

} // namespace

Image lapidary::resizeBicubic(const Image &image, int32_t width,
                              int32_t height) {
  bool changesRows = width != image.width,
       changesColumns = height != image.height;
  Image result{width, height, {}};
  size_t inputBytes = size_t(image.width) * 3, rowBytes = size_t(width) * 3;
  result.rgb.resize(rowBytes * size_t(height));
  Filter rows, columns;
  if (changesRows)
    rows = makeFilter(image.width, width);
  if (!changesColumns) {
    for (size_t y = 0; y < size_t(height); ++y) {
      const uint8_t *from = image.rgb.data() + y * inputBytes;
      uint8_t *to = result.rgb.data() + y * rowBytes;
      if (changesRows)
        resizeRow(rows, from, to);
      else
        std::memcpy(to, from, rowBytes);
    }
    return result;
  }
  columns = makeFilter(image.height, height);
  // Input rows come one at a time and are added to every output row that they
  // reach: a picture of any height needs no memory beyond the result's sums.
  std::vector<int32_t> sums(rowBytes * size_t(height));
  std::vector<uint8_t> resized(changesRows ? rowBytes : 0);
  size_t done = 0;
  for (int32_t y = 0; y < image.height; ++y) {
    const uint8_t *row = image.rgb.data() + size_t(y) * inputBytes;
    if (changesRows) {
      resizeRow(rows, row, resized.data());
      row = resized.data();
    }
    // Both ends of the outputs' ranges only ever grow.
    while (done < size_t(height) &&
           columns.first[done] + columns.count(done) <= y)
      ++done;
    for (size_t i = done; i < size_t(height) && columns.first[i] <= y; ++i) {
      int32_t weight =
          columns.weights[columns.offset[i] + size_t(y - columns.first[i])];
      int32_t *sum = sums.data() + i * rowBytes;
      for (size_t k = 0; k < rowBytes; ++k)
        sum[k] += weight * row[k];
    }
  }
  for (size_t k = 0; k < sums.size(); ++k)
    result.rgb[k] = toPixel(sums[k], columns.shift);
  return result;
}
