// From logits to the next token. Choices are made in integers from a
// counter-based random sequence, so that a seed gives the same text on every
// platform and with any number of threads.
//
// The order is llama-server's: constraint and logit bias, penalties, top-k,
// typical, top-p, min-p, and the temperature last, so that it shapes the
// choice among what the filters left and never what they leave.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/model/Logits.h"
#include "runtime/model/Penalties.h"

#include <cstdint>
#include <span>
#include <vector>

namespace lapidary {

/// Added to a token's logit; minus infinity forbids it.
struct TokenBias {
  int32_t id = 0;
  float bias = 0;
};

struct SamplerOptions {
  /// 0: greedy, whatever the filters say.
  float temperature = 0;
  /// Only the k likeliest tokens; 0: off.
  int32_t topK = 0;
  /// Only the likeliest tokens that together have this probability; 1: off.
  float topP = 1;
  uint64_t seed = 0;
  /// Only tokens that are at least this part as likely as the likeliest; 0:
  /// off.
  float minP = 0;
  /// Only the tokens whose surprise is nearest to the expected one, which
  /// together have this probability (Meister et al., "Locally typical
  /// sampling", 2022); 1: off.
  float typicalP = 1;
  PenaltyOptions penalties = {};
  /// Each token once at most.
  std::vector<TokenBias> logitBias = {};
};

/// Owns its random state and buffers; used by one thread at a time.
class Sampler {
public:
  /// `suppress`: tokens that are never chosen.
  static Result<Sampler> create(const SamplerOptions &options,
                                int32_t vocabulary,
                                std::span<const int32_t> suppress);

  /// A token of the prompt or of the answer, in order: what penalties count.
  void see(int32_t token) { penalties.see(token); }
  /// Chooses a token. NaN or infinite logits are an error. Equal logits go to
  /// the lower id. `mask`, unless empty, has a bit for each token that may come
  /// (bit t % 32 of word t / 32).
  Result<int32_t> sample(std::span<const float> logits,
                         std::span<const uint32_t> mask = {});
  /// Of how many of the likeliest tokens' scores a choice without a mask needs
  /// to know, to be the same as from all; 0: of all.
  int64_t reach() const;
  /// The same choice from the scores of so many tokens or more.
  Result<int32_t> sample(const TokenScores &scores);
  /// Words of a mask.
  size_t maskWords() const { return allowed.size(); }

private:
  explicit Sampler(Penalties penalties) : penalties(std::move(penalties)) {}
  Result<std::span<const uint32_t>> combine(std::span<const uint32_t> mask);
  std::span<const float> adjust(std::span<const float> logits);
  int32_t draw();
  bool isGreedy() const {
    return options.temperature == 0 || options.topK == 1;
  }
  uint64_t weigh(float temperature);
  template <typename Compare>
  void keepFirst(const Compare &compare, uint64_t wanted);
  void keepTypical();
  uint64_t random();

  SamplerOptions options;
  Penalties penalties;
  uint64_t counter = 0;
  size_t vocabulary = 0;
  /// A bit for each token that is not suppressed, and with a mask.
  std::vector<uint32_t> allowed, both;
  std::vector<float> adjusted;
  std::vector<Candidate> candidates;
};

} // namespace lapidary
