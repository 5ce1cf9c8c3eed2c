// The arithmetic of the reference interpreter: plain loops on f32, and a matrix
// product whose matrix is streamed. Slow is allowed, wrong
// is not; but a linear op must not take much longer than reading its weights.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace lapidary {

/// Fills `out` with whole rows of a matrix, from row `first` on; is called from
/// several threads.
using ReadRows = std::function<Status(int64_t first, std::span<float> out)>;

/// out[t, m] = sum_k input[t, k] * matrix[m, k] + bias[m] for `tokens` rows of
/// input and a matrix of `rows` x `columns`; no bias where it is empty. Reads
/// the matrix in blocks of rows, so that memory does not grow with it.
Status multiplyStreamed(int64_t rows, int64_t columns, const ReadRows &read,
                        std::span<const float> input, int64_t tokens,
                        std::span<const float> bias, std::span<float> out);

/// Rounds to the nearest bf16, ties to even.
void roundToBf16(std::span<float> values);
/// Rounds each run of `block` columns of each row to -127..127 times a scale,
/// the largest magnitude / 127; ties to even.
void roundToInt8(std::span<float> values, int64_t columns, int64_t block);
/// Columns that share a scale in 8-bit activations.
inline constexpr int64_t int8BlockColumns = 32;

/// Each run of `group` values times (mean of squares + eps)^-0.5, times the
/// weight where there is one.
void rmsNorm(std::span<float> values, int64_t group,
             std::span<const float> weight, float eps);
void layerNorm(std::span<float> values, std::span<const float> weight,
               std::span<const float> bias, float eps);
/// The tanh form.
void gelu(std::span<float> values);
void softcap(std::span<float> values, float cap);

/// Turns pair (i, i + headDim / 2) of each head by (past + t) * theta^(-2i /
/// headDim) for i < rotated.
void rotate(std::span<float> values, int64_t tokens, int64_t headDim,
            int64_t rotated, double theta, int64_t past);

struct AttentionShape {
  int64_t heads;
  int64_t keyValueHeads;
  int64_t headDim;
  /// 0: none.
  int64_t window;
};
/// Keys and values lie position by position. Token t is at position past + t
/// and sees positions below ends[t], from the window's begin on; the caller has
/// checked that they exist.
void attend(const AttentionShape &shape, std::span<const float> query,
            std::span<const float> keys, std::span<const float> values,
            int64_t past, std::span<const int32_t> ends, std::span<float> out);

} // namespace lapidary
