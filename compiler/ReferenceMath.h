// The arithmetic of the reference interpreter: plain loops on f32, and a matrix
// product whose matrix is streamed from the checkpoint. Slow is allowed, wrong
// is not; but a linear op must not take much longer than reading its weights.
#pragma once

#include "frontends/formats/Safetensors.h"

#include <cstdint>
#include <span>
#include <vector>

namespace lapidary {

/// `out` gets the values of the tensor's elements from `first` on, as f32. F32,
/// F16 and BF16 alone.
Status readValues(const Checkpoint &checkpoint, const TensorInfo &tensor,
                  uint64_t first, std::span<float> out);

/// out[t, m] = sum_k input[t, k] * matrix[m, k] + bias[m] for `tokens` rows of
/// input; no bias where it is empty. Reads the matrix in blocks of rows, so
/// that memory does not grow with it.
Status multiplyStreamed(const Checkpoint &checkpoint, const TensorInfo &matrix,
                        std::span<const float> input, int64_t tokens,
                        std::span<const float> bias, std::span<float> out);

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
