// From logits to the next token. Choices are made in integers from a
// counter-based random sequence, so that a seed gives the same text on every
// platform and with any number of threads.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <span>
#include <vector>

namespace lapidary {

struct SamplerOptions {
  /// 0: greedy.
  float temperature = 0;
  /// Only the k likeliest tokens; 0: off.
  int32_t topK = 0;
  /// Only the likeliest tokens that together have this probability; 1: off.
  float topP = 1;
  uint64_t seed = 0;
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

/// Owns its random state and buffers; used by one thread at a time.
class Sampler {
public:
  /// `suppress`: tokens that are never chosen.
  static Result<Sampler> create(const SamplerOptions &options,
                                int32_t vocabulary,
                                std::span<const int32_t> suppress);

  /// Chooses a token. NaN or infinite logits are an error. Equal logits go to
  /// the lower id.
  Result<int32_t> sample(std::span<const float> logits);

private:
  Sampler() = default;
  int32_t greedy(std::span<const float> logits) const;
  int32_t draw(std::span<const float> logits);
  uint64_t random();

  SamplerOptions options;
  uint64_t counter = 0;
  std::vector<uint8_t> suppressed;
  std::vector<int32_t> order;
  std::vector<uint64_t> weights;
};

/// The `count` likeliest tokens of the raw logits, best first, with their
/// log-softmax over the whole vocabulary.
Result<std::vector<TokenLogprob>> topLogprobs(std::span<const float> logits,
                                              int32_t count);
/// The log-softmax of one token.
Result<double> tokenLogprob(std::span<const float> logits, int32_t token);

} // namespace lapidary
