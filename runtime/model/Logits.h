// What is read from a row of logits without choosing: whether the numbers are
// sound, the best tokens, their log-probabilities.
#pragma once

#include "runtime/core/Status.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace lapidary {

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

/// A token of an answer, with what the model thought of it before anything
/// was forbidden, penalized or cut.
struct TokenChoice {
  int32_t id = 0;
  /// 0 where none was asked for.
  float logprob = 0;
  /// The likeliest tokens, best first; as many as were asked for.
  std::vector<TokenLogprob> top;
};

/// What a step says of the token that comes next.
struct TokenScores {
  std::span<const float> logits;
  /// Which tokens the logits are of: the likeliest, the likeliest first, of
  /// equal logits the lower id first. Empty: all, by id.
  std::span<const int32_t> tokens = {};
};

/// NaN and infinity are an error that names the token.
Status checkFinite(std::span<const float> logits);
Status checkFinite(float logit, int32_t token);

struct Candidate {
  float logit = 0;
  int32_t id = 0;
  uint64_t weight = 0;
};

/// Better logits first, lower ids first among equals: a total order, so that
/// every selection is unique.
inline bool isBetter(const Candidate &left, const Candidate &right) {
  return left.logit > right.logit ||
         (left.logit == right.logit && left.id < right.id);
}

/// Calls `take` for the tokens above a bar in the order of their ids; it gives
/// the new bar, which only rises. Few pass it, so that 32 tokens are looked at
/// at once. Without bits every token counts.
template <typename Take>
void forEachAbove(std::span<const float> logits, std::span<const uint32_t> bits,
                  float bar, const Take &take) {
  for (size_t first = 0; first < logits.size(); first += 32) {
    const size_t count = std::min<size_t>(32, logits.size() - first);
    uint32_t any = 0;
    if (count == 32)
      for (size_t lane = 0; lane < 32; ++lane)
        any |= static_cast<uint32_t>(logits[first + lane] > bar);
    else
      any = 1;
    if (any == 0)
      continue;
    const uint32_t word = bits.empty() ? ~uint32_t(0) : bits[first / 32];
    for (size_t lane = 0; lane < count; ++lane)
      if (logits[first + lane] > bar && (word >> lane & 1))
        bar = take(static_cast<int32_t>(first + lane));
  }
}

/// The best `count` of the tokens whose bit is set, in no order; 0 and where
/// there are fewer: all of them, by id. Without bits every token counts.
void selectBest(std::span<const float> logits, std::span<const uint32_t> bits,
                size_t count, std::vector<Candidate> &best);

/// The `count` likeliest tokens of the raw logits, best first, with their
/// log-softmax over the whole vocabulary.
Result<std::vector<TokenLogprob>> topLogprobs(std::span<const float> logits,
                                              int32_t count);
/// The log-softmax of one token.
Result<double> tokenLogprob(std::span<const float> logits, int32_t token);
/// Both for the token that was chosen; `count` may be 0.
Result<TokenChoice> describeChoice(std::span<const float> logits, int32_t token,
                                   int32_t count);

} // namespace lapidary
