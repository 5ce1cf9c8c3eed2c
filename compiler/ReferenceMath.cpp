// Loops that are easy to check against their formulas. Sums run in 16 lanes of
// float, because one long chain of float additions would lose both digits and
// time.
#include "compiler/ReferenceMath.h"

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/enumerable_thread_specific.h>
#include <oneapi/tbb/parallel_for.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numbers>

// The compiler makes one function an instruction set and picks at load.
// Sanitizers run before the choice is made.
#if defined(__x86_64__) && defined(__clang__) &&                               \
    !__has_feature(address_sanitizer) && !__has_feature(memory_sanitizer) &&   \
    !__has_feature(thread_sanitizer) &&                                        \
    !__has_feature(undefined_behavior_sanitizer)
#define LAPIDARY_VECTOR_CLONES                                                 \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LAPIDARY_VECTOR_CLONES
#endif

namespace lapidary {

namespace {

constexpr int64_t lanes = 16;
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));

/// Four tokens a pass: a row of the matrix is then loaded once for four
/// products, which the load ports allow.
constexpr int64_t tokensAtOnce = 4;

/// Bytes of f32 rows that one task multiplies: within a core's second-level
/// cache beside its inputs.
constexpr int64_t blockBytes = 256 << 10;

template <int64_t Tokens>
[[gnu::always_inline]] inline void dotRow(const float *row, const float *input,
                                          int64_t columns, float *out,
                                          int64_t outStride) {
  Lanes sums[Tokens] = {};
  int64_t k = 0;
  for (; k + lanes <= columns; k += lanes) {
    Lanes a;
    std::memcpy(&a, row + k, sizeof(a));
    for (int64_t t = 0; t < Tokens; ++t) {
      Lanes b;
      std::memcpy(&b, input + t * columns + k, sizeof(b));
      sums[t] += a * b;
    }
  }
  for (int64_t t = 0; t < Tokens; ++t) {
    double sum = 0;
    for (int64_t i = 0; i < lanes; ++i)
      sum += double(sums[t][i]);
    for (int64_t rest = k; rest < columns; ++rest)
      sum += double(row[rest]) * double(input[t * columns + rest]);
    out[t * outStride] = float(sum);
  }
}

LAPIDARY_VECTOR_CLONES void dotBlock(const float *rows, int64_t count,
                                     const float *input, int64_t tokens,
                                     int64_t columns, float *out,
                                     int64_t outStride) {
  int64_t t = 0;
  for (; t + tokensAtOnce <= tokens; t += tokensAtOnce)
    for (int64_t row = 0; row < count; ++row)
      dotRow<tokensAtOnce>(rows + row * columns, input + t * columns, columns,
                           out + t * outStride + row, outStride);
  for (; t < tokens; ++t)
    for (int64_t row = 0; row < count; ++row)
      dotRow<1>(rows + row * columns, input + t * columns, columns,
                out + t * outStride + row, outStride);
}

LAPIDARY_VECTOR_CLONES void addScaled(float *out, const float *values,
                                      float factor, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    out[i] += factor * values[i];
}

} // namespace

Status multiplyStreamed(int64_t rows, int64_t columns, const ReadRows &read,
                        std::span<const float> input, int64_t tokens,
                        std::span<const float> bias, std::span<float> out) {
  // Whole row tiles, which packed weights are read by.
  constexpr int64_t tileRows = 16;
  int64_t blockRows = std::max<int64_t>(1, blockBytes / int64_t(sizeof(float)) /
                                               columns / tileRows) *
                      tileRows;
  tbb::enumerable_thread_specific<std::vector<float>> buffers;
  std::mutex mutex;
  Status status;
  tbb::parallel_for(int64_t(0), (rows + blockRows - 1) / blockRows,
                    [&](int64_t block) {
                      std::vector<float> &values = buffers.local();
                      int64_t first = block * blockRows,
                              count = std::min(blockRows, rows - first);
                      values.resize(size_t(count * columns));
                      Status own = read(first, values);
                      if (!own.ok()) {
                        std::lock_guard lock(mutex);
                        status = std::move(own);
                        return;
                      }
                      dotBlock(values.data(), count, input.data(), tokens,
                               columns, out.data() + first, rows);
                      if (!bias.empty())
                        for (int64_t t = 0; t < tokens; ++t)
                          for (int64_t row = first; row < first + count; ++row)
                            out[size_t(t * rows + row)] += bias[size_t(row)];
                    });
  return status;
}

void roundToBf16(std::span<float> values) {
  for (float &value : values) {
    auto bits = std::bit_cast<uint32_t>(value);
    bits += 0x7fff + (bits >> 16 & 1);
    value = std::bit_cast<float>(bits & 0xffff0000);
  }
}

void roundToInt8(std::span<float> values, int64_t columns, int64_t block) {
  auto count = int64_t(values.size());
  for (int64_t row = 0; row < count; row += columns)
    for (int64_t begin = 0; begin < columns; begin += block) {
      std::span<float> run = values.subspan(
          size_t(row + begin), size_t(std::min(block, columns - begin)));
      float largest = 0;
      for (float value : run)
        largest = std::max(largest, std::fabs(value));
      // Below this a block counts as zeros: its inverse must be finite.
      constexpr float smallest = 0x1p-100f;
      float scale = largest >= smallest ? largest / 127 : 0;
      float inverse = scale > 0 ? 127 / largest : 0;
      for (float &value : run)
        value = std::nearbyint(value * inverse) * scale;
    }
}

void rmsNorm(std::span<float> values, int64_t group,
             std::span<const float> weight, float eps) {
  for (size_t begin = 0; begin < values.size(); begin += size_t(group)) {
    std::span<float> run = values.subspan(begin, size_t(group));
    double squares = 0;
    for (float value : run)
      squares += double(value) * double(value);
    auto factor = float(1 / std::sqrt(squares / double(group) + double(eps)));
    for (size_t i = 0; i < run.size(); ++i)
      run[i] = run[i] * factor * (weight.empty() ? 1.0f : weight[i]);
  }
}

void layerNorm(std::span<float> values, std::span<const float> weight,
               std::span<const float> bias, float eps) {
  size_t width = weight.size();
  for (size_t begin = 0; begin < values.size(); begin += width) {
    std::span<float> row = values.subspan(begin, width);
    double sum = 0, squares = 0;
    for (float value : row)
      sum += double(value);
    double mean = sum / double(width);
    for (float value : row)
      squares += (double(value) - mean) * (double(value) - mean);
    double factor = 1 / std::sqrt(squares / double(width) + double(eps));
    for (size_t i = 0; i < width; ++i)
      row[i] = float((double(row[i]) - mean) * factor) * weight[i] + bias[i];
  }
}

void gelu(std::span<float> values) {
  constexpr auto slope =
      float(std::numbers::sqrt2 * std::numbers::inv_sqrtpi); // sqrt(2 / pi)
  for (float &x : values)
    x = 0.5f * x * (1 + std::tanh(slope * (x + 0.044715f * x * x * x)));
}

void softcap(std::span<float> values, float cap) {
  for (float &x : values)
    x = cap * std::tanh(x / cap);
}

void rotate(std::span<float> values, int64_t tokens, int64_t headDim,
            int64_t rotated, double theta, int64_t past) {
  int64_t width = int64_t(values.size()) / tokens, half = headDim / 2;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < rotated; ++i) {
      double angle = double(past + t) *
                     std::pow(theta, -2.0 * double(i) / double(headDim));
      auto cosine = float(std::cos(angle)), sine = float(std::sin(angle));
      for (int64_t head = 0; head < width; head += headDim) {
        float &first = values[size_t(t * width + head + i)],
              &second = values[size_t(t * width + head + half + i)];
        float turned = first * cosine - second * sine;
        second = second * cosine + first * sine;
        first = turned;
      }
    }
  }
}

void attend(const AttentionShape &shape, std::span<const float> query,
            std::span<const float> keys, std::span<const float> values,
            int64_t past, std::span<const int32_t> ends, std::span<float> out) {
  int64_t dim = shape.headDim, width = shape.heads * dim,
          row = shape.keyValueHeads * dim;
  int64_t shared = shape.heads / shape.keyValueHeads;
  std::fill(out.begin(), out.end(), 0.0f);
  tbb::parallel_for(int64_t(0), int64_t(ends.size()), [&](int64_t t) {
    int64_t begin =
        shape.window ? std::max<int64_t>(0, past + t - shape.window + 1) : 0;
    int64_t end = ends[size_t(t)];
    std::vector<float> scores(size_t(std::max<int64_t>(0, end - begin)));
    for (int64_t head = 0; head < shape.heads && end > begin; ++head) {
      const float *q = query.data() + t * width + head * dim;
      int64_t from = head / shared * dim;
      for (int64_t k = begin; k < end; ++k)
        dotBlock(keys.data() + k * row + from, 1, q, 1, dim,
                 &scores[size_t(k - begin)], 1);
      float most = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (float &score : scores)
        sum += double(score = std::exp(score - most));
      float *result = out.data() + t * width + head * dim;
      for (int64_t k = begin; k < end; ++k)
        addScaled(result, values.data() + k * row + from,
                  float(double(scores[size_t(k - begin)]) / sum), dim);
    }
  });
}

} // namespace lapidary
