// Probabilities become 40-bit integers before anything is summed: sums of
// integers do not depend on order, so neither threads nor a library's own way
// of adding can move a choice.
#include "runtime/model/Sampler.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lapidary {
namespace {

/// The likeliest token's weight. With at most 2^23 tokens of this weight a sum
/// stays below 2^63.
constexpr double topWeight = double(uint64_t(1) << 40);
/// Where top-p starts to look for its tokens, before it looks further.
constexpr size_t firstNucleus = 64;

Status checkFinite(std::span<const float> logits) {
  if (logits.empty())
    return invalidArgument("there are no logits to choose from");
  // A sum keeps any NaN or infinity and lets the common case run without
  // branches.
  float zero = 0;
  for (float logit : logits)
    zero += logit * 0.0f;
  if (zero == 0)
    return {};
  for (size_t id = 0; id < logits.size(); ++id)
    if (!std::isfinite(logits[id]))
      return invalidData(concat(
          "the logits are not finite: token ", id, " has ",
          std::isnan(logits[id]) ? "NaN" : "infinity",
          "; the weights, or the kernels for this processor, are wrong"));
  return {};
}

/// Better logits first, lower ids first among equals: a total order, so that
/// every selection is unique.
struct Better {
  std::span<const float> logits;
  bool operator()(int32_t left, int32_t right) const {
    return logits[left] > logits[right] ||
           (logits[left] == logits[right] && left < right);
  }
};

/// log(sum(exp(logits))).
double logSum(std::span<const float> logits) {
  double largest = *std::max_element(logits.begin(), logits.end()), sum = 0;
  for (float logit : logits)
    sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

} // namespace

Result<Sampler> Sampler::create(const SamplerOptions &options,
                                int32_t vocabulary,
                                std::span<const int32_t> suppress) {
  // Each is written so that NaN fails.
  if (!(options.temperature >= 0 && options.temperature <= 1e6f))
    return invalidArgument(concat("the temperature is ", options.temperature,
                                  ", expected 0 (greedy) to 1000000"));
  if (!(options.topP > 0 && options.topP <= 1))
    return invalidArgument(
        concat("top-p is ", options.topP, ", expected above 0, up to 1 (off)"));
  if (options.topK < 0)
    return invalidArgument(
        concat("top-k is ", options.topK, ", expected 0 (off) or more"));
  if (vocabulary < 1)
    return invalidArgument(
        concat("the vocabulary has ", vocabulary, " tokens"));
  Sampler sampler;
  sampler.options = options;
  sampler.suppressed.assign(static_cast<size_t>(vocabulary), 0);
  for (int32_t token : suppress) {
    if (token < 0 || token >= vocabulary)
      return invalidArgument(concat("the suppressed token ", token,
                                    " is outside the vocabulary of ",
                                    vocabulary));
    sampler.suppressed[token] = 1;
  }
  if (std::find(sampler.suppressed.begin(), sampler.suppressed.end(), 0) ==
      sampler.suppressed.end())
    return invalidArgument("every token of the vocabulary is suppressed");
  return sampler;
}

Result<int32_t> Sampler::sample(std::span<const float> logits) {
  if (logits.size() != suppressed.size())
    return invalidArgument(concat("there are ", logits.size(),
                                  " logits for a vocabulary of ",
                                  suppressed.size()));
  LAPIDARY_TRY(checkFinite(logits));
  return options.temperature == 0 || options.topK == 1 ? greedy(logits)
                                                       : draw(logits);
}

int32_t Sampler::greedy(std::span<const float> logits) const {
  int32_t best = -1;
  for (int32_t id = 0; id < static_cast<int32_t>(logits.size()); ++id)
    if (!suppressed[id] && (best < 0 || logits[id] > logits[best]))
      best = id;
  return best;
}

int32_t Sampler::draw(std::span<const float> logits) {
  order.clear();
  for (int32_t id = 0; id < static_cast<int32_t>(logits.size()); ++id)
    if (!suppressed[id])
      order.push_back(id);
  Better better{logits};
  size_t kept = order.size(), sorted = 0;
  // Makes the first `wanted` of the kept tokens the best, in order.
  auto sortFirst = [&](size_t wanted) {
    wanted = std::min(wanted, kept);
    if (wanted <= sorted)
      return;
    if (wanted < kept)
      std::nth_element(order.begin() + sorted, order.begin() + wanted,
                       order.begin() + kept, better);
    std::sort(order.begin() + sorted, order.begin() + wanted, better);
    sorted = wanted;
  };
  if (options.topK > 0 && static_cast<size_t>(options.topK) < kept) {
    sortFirst(static_cast<size_t>(options.topK));
    kept = sorted;
  }

  float largest =
      logits[*std::min_element(order.begin(), order.begin() + kept, better)];
  uint64_t total = 0;
  weights.resize(logits.size());
  for (size_t index = 0; index < kept; ++index) {
    double scaled = (double(logits[order[index]]) - double(largest)) /
                    double(options.temperature);
    uint64_t weight = static_cast<uint64_t>(std::exp(scaled) * topWeight + 0.5);
    weights[order[index]] = weight;
    total += weight;
  }
  if (options.topP < 1) {
    // The fewest tokens whose sum reaches top-p; looks at more and more of
    // them, since it is mostly a few.
    uint64_t wanted =
                 static_cast<uint64_t>(double(options.topP) * double(total)),
             sum = 0;
    size_t count = 0;
    for (size_t look = firstNucleus;
         count < kept && (count == 0 || sum < wanted); look *= 4)
      for (sortFirst(look); count < sorted && (count == 0 || sum < wanted);
           ++count)
        sum += weights[order[count]];
    kept = count;
    total = sum;
  }

  uint64_t point = static_cast<uint64_t>(
      (static_cast<unsigned __int128>(random()) * total) >> 64);
  // In the order of ids, which is the same whatever a selection left the tokens
  // in.
  if (sorted > 0)
    std::sort(order.begin(), order.begin() + kept);
  for (size_t index = 0; index < kept; ++index) {
    if (point < weights[order[index]])
      return order[index];
    point -= weights[order[index]];
  }
  return order[kept - 1];
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014): the n-th number follows from the seed and n alone.
uint64_t Sampler::random() {
  uint64_t value = options.seed + ++counter * 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

Result<std::vector<TokenLogprob>> topLogprobs(std::span<const float> logits,
                                              int32_t count) {
  LAPIDARY_TRY(checkFinite(logits));
  if (count < 1)
    return invalidArgument(
        concat(count, " logprobs were asked for, expected 1 or more"));
  size_t wanted = std::min<size_t>(static_cast<size_t>(count), logits.size());
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + wanted, order.end(),
                    Better{logits});
  double normalizer = logSum(logits);
  std::vector<TokenLogprob> best;
  for (size_t index = 0; index < wanted; ++index)
    best.push_back(
        {order[index], static_cast<float>(logits[order[index]] - normalizer)});
  return best;
}

Result<double> tokenLogprob(std::span<const float> logits, int32_t token) {
  LAPIDARY_TRY(checkFinite(logits));
  if (token < 0 || static_cast<size_t>(token) >= logits.size())
    return invalidArgument(concat("there are ", logits.size(),
                                  " logits, none for the token ", token));
  return logits[token] - logSum(logits);
}

} // namespace lapidary
