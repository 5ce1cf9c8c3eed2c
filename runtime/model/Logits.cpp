// One pass over the vocabulary each: a row has 262,144 logits, and most of the
// time goes into reading them.
#include "runtime/model/Logits.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lapidary {
namespace {

/// log(sum(exp(logits))).
double logSum(std::span<const float> logits) {
  double largest = *std::max_element(logits.begin(), logits.end()), sum = 0;
  for (float logit : logits)
    sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

std::vector<TokenLogprob> likeliest(std::span<const float> logits, size_t count,
                                    double normalizer) {
  std::vector<Candidate> best;
  if (count > 0)
    selectBest(logits, {}, count, best);
  std::sort(best.begin(), best.end(), isBetter);
  std::vector<TokenLogprob> top;
  for (const Candidate &token : best)
    top.push_back({token.id, static_cast<float>(token.logit - normalizer)});
  return top;
}

Status checkToken(std::span<const float> logits, int32_t token) {
  if (token < 0 || static_cast<size_t>(token) >= logits.size())
    return invalidArgument(concat("there are ", logits.size(),
                                  " logits, none for the token ", token));
  return {};
}

} // namespace

Status checkFinite(std::span<const float> logits) {
  if (logits.empty())
    return invalidArgument("there are no logits to choose from");
  // A sum keeps any NaN or infinity and lets the common case run without
  // branches; several sums do not wait for each other.
  constexpr size_t lanes = 16;
  float sums[lanes] = {}, zero = 0;
  size_t whole = logits.size() / lanes * lanes;
  for (size_t first = 0; first < whole; first += lanes)
    for (size_t lane = 0; lane < lanes; ++lane)
      sums[lane] += logits[first + lane] * 0.0f;
  for (float logit : logits.subspan(whole))
    zero += logit * 0.0f;
  for (float sum : sums)
    zero += sum;
  if (zero == 0)
    return {};
  for (size_t id = 0; id < logits.size(); ++id)
    LAPIDARY_TRY(checkFinite(logits[id], static_cast<int32_t>(id)));
  return {};
}

Status checkFinite(float logit, int32_t token) {
  if (std::isfinite(logit))
    return {};
  return invalidData(
      concat("the logits are not finite: token ", token, " has ",
             std::isnan(logit) ? "NaN" : "infinity",
             "; the weights, or the kernels for this processor, are wrong"));
}

void selectBest(std::span<const float> logits, std::span<const uint32_t> bits,
                size_t count, std::vector<Candidate> &best) {
  best.clear();
  if (count == 0 || count > logits.size())
    count = logits.size();
  // Tokens gather until there are some times as many as wanted; the best of
  // them then raise the bar for the rest, which few pass. An equal logit comes
  // later by its id and does not pass either.
  const size_t most = 4 * count;
  float bar = -std::numeric_limits<float>::infinity();
  forEachAbove(logits, bits, bar, [&](int32_t id) {
    best.push_back({logits[id], id, 0});
    if (best.size() == most) {
      std::nth_element(best.begin(), best.begin() + (count - 1), best.end(),
                       isBetter);
      best.resize(count);
      bar = best.back().logit;
    }
    return bar;
  });
  if (best.size() > count) {
    std::nth_element(best.begin(), best.begin() + (count - 1), best.end(),
                     isBetter);
    best.resize(count);
  }
}

Result<std::vector<TokenLogprob>> topLogprobs(std::span<const float> logits,
                                              int32_t count) {
  LAPIDARY_TRY(checkFinite(logits));
  if (count < 1)
    return invalidArgument(
        concat(count, " logprobs were asked for, expected 1 or more"));
  return likeliest(logits, static_cast<size_t>(count), logSum(logits));
}

Result<double> tokenLogprob(std::span<const float> logits, int32_t token) {
  LAPIDARY_TRY(checkFinite(logits));
  LAPIDARY_TRY(checkToken(logits, token));
  return logits[token] - logSum(logits);
}

Result<TokenChoice> describeChoice(std::span<const float> logits, int32_t token,
                                   int32_t count) {
  LAPIDARY_TRY(checkFinite(logits));
  LAPIDARY_TRY(checkToken(logits, token));
  double normalizer = logSum(logits);
  return TokenChoice{
      token, static_cast<float>(logits[token] - normalizer),
      likeliest(logits, static_cast<size_t>(std::max(count, 0)), normalizer)};
}

} // namespace lapidary
