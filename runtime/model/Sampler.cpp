// Probabilities become 40-bit integers before anything is summed: sums of
// integers do not depend on order, so neither threads nor a library's own way
// of adding can move a choice.
#include "runtime/model/Sampler.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace lapidary {
namespace {

/// The likeliest token's weight. With at most 2^23 tokens of this weight a sum
/// stays below 2^63.
constexpr double topWeight = double(uint64_t(1) << 40);
/// Where top-p starts to look for its tokens, before it looks further.
constexpr size_t firstNucleus = 64;
/// Far beyond any logit; keeps a biased one finite.
constexpr float mostBias = 1e6f;

Status checkOptions(const SamplerOptions &options) {
  // Each is written so that NaN fails.
  if (!(options.temperature >= 0 && options.temperature <= 1e6f))
    return invalidArgument(concat("the temperature is ", options.temperature,
                                  ", expected 0 (greedy) to 1000000"));
  if (options.topK < 0)
    return invalidArgument(
        concat("top-k is ", options.topK, ", expected 0 (off) or more"));
  if (!(options.topP > 0 && options.topP <= 1))
    return invalidArgument(
        concat("top-p is ", options.topP, ", expected above 0, up to 1 (off)"));
  if (!(options.minP >= 0 && options.minP <= 1))
    return invalidArgument(
        concat("min-p is ", options.minP, ", expected 0 (off) to 1"));
  if (!(options.typicalP > 0 && options.typicalP <= 1))
    return invalidArgument(concat("typical-p is ", options.typicalP,
                                  ", expected above 0, up to 1 (off)"));
  return {};
}

int32_t greedy(std::span<const float> logits, std::span<const uint32_t> bits) {
  int32_t best = -1;
  float bar = -std::numeric_limits<float>::infinity();
  forEachAbove(logits, bits, bar, [&](int32_t id) {
    best = id;
    return logits[id];
  });
  return best;
}

} // namespace

Result<Sampler> Sampler::create(const SamplerOptions &options,
                                int32_t vocabulary,
                                std::span<const int32_t> suppress) {
  LAPIDARY_TRY(checkOptions(options));
  if (vocabulary < 1)
    return invalidArgument(
        concat("the vocabulary has ", vocabulary, " tokens"));
  Sampler sampler(LAPIDARY_TRY(Penalties::create(options.penalties)));
  sampler.options = options;
  sampler.options.logitBias.clear();
  sampler.vocabulary = static_cast<size_t>(vocabulary);
  sampler.allowed.assign((sampler.vocabulary + 31) / 32, ~uint32_t(0));
  if (vocabulary % 32 != 0)
    sampler.allowed.back() = (uint32_t(1) << (vocabulary % 32)) - 1;
  auto forbid = [&](int32_t token) {
    sampler.allowed[token / 32] &= ~(uint32_t(1) << (token % 32));
  };
  for (int32_t token : suppress) {
    if (token < 0 || token >= vocabulary)
      return invalidArgument(concat("the suppressed token ", token,
                                    " is outside the vocabulary of ",
                                    vocabulary));
    forbid(token);
  }
  for (const TokenBias &bias : options.logitBias) {
    if (bias.id < 0 || bias.id >= vocabulary)
      return invalidArgument(concat("the token ", bias.id,
                                    " of a logit bias is outside the "
                                    "vocabulary of ",
                                    vocabulary));
    if (bias.bias == -std::numeric_limits<float>::infinity())
      forbid(bias.id);
    else if (!(bias.bias >= -mostBias && bias.bias <= mostBias))
      return invalidArgument(
          concat("the logit bias of token ", bias.id, " is ", bias.bias,
                 ", expected -1000000 to 1000000, or minus infinity"));
    else
      sampler.options.logitBias.push_back(bias);
  }
  if (std::ranges::all_of(sampler.allowed,
                          [](uint32_t word) { return word == 0; }))
    return invalidArgument("every token of the vocabulary is suppressed");
  return sampler;
}

/// What neither the model nor the mask forbids.
Result<std::span<const uint32_t>>
Sampler::combine(std::span<const uint32_t> mask) {
  if (mask.empty())
    return std::span<const uint32_t>(allowed);
  if (mask.size() != allowed.size())
    return invalidArgument(concat("the mask has ", mask.size(),
                                  " words for a vocabulary of ", vocabulary));
  both.resize(allowed.size());
  uint32_t any = 0;
  for (size_t word = 0; word < both.size(); ++word)
    any |= both[word] = allowed[word] & mask[word];
  if (any == 0)
    return invalidArgument("no token of the vocabulary is allowed to come "
                           "next: the constraint contradicts itself");
  return std::span<const uint32_t>(both);
}

/// The logits with bias and penalties; themselves where there are none.
std::span<const float> Sampler::adjust(std::span<const float> logits) {
  if (options.logitBias.empty() && !penalties.active())
    return logits;
  adjusted.assign(logits.begin(), logits.end());
  for (const TokenBias &bias : options.logitBias)
    adjusted[bias.id] += bias.bias;
  penalties.apply(adjusted);
  constexpr float most = std::numeric_limits<float>::max();
  for (float &logit : adjusted)
    logit = std::clamp(logit, -most, most);
  return adjusted;
}

Result<int32_t> Sampler::sample(std::span<const float> logits,
                                std::span<const uint32_t> mask) {
  if (logits.size() != vocabulary)
    return invalidArgument(concat("there are ", logits.size(),
                                  " logits for a vocabulary of ", vocabulary));
  LAPIDARY_TRY(checkFinite(logits));
  std::span<const uint32_t> bits = LAPIDARY_TRY(combine(mask));
  logits = adjust(logits);
  if (isGreedy())
    return greedy(logits, bits);
  selectBest(logits, bits, static_cast<size_t>(options.topK), candidates);
  return draw();
}

int64_t Sampler::reach() const {
  // Top-k comes before all other filters.
  if (!options.logitBias.empty() || penalties.active() ||
      (!isGreedy() && options.topK == 0))
    return 0;
  auto forbidden = static_cast<int64_t>(vocabulary);
  for (uint32_t word : allowed)
    forbidden -= std::popcount(word);
  return std::min((isGreedy() ? 1 : int64_t(options.topK)) + forbidden,
                  static_cast<int64_t>(vocabulary));
}

Result<int32_t> Sampler::sample(const TokenScores &scores) {
  if (scores.tokens.empty())
    return sample(scores.logits);
  const size_t count = scores.tokens.size();
  const auto wanted = static_cast<uint64_t>(reach());
  if (scores.logits.size() != count || wanted == 0 || count < wanted)
    return internalError(concat("there are ", scores.logits.size(),
                                " logits of ", count,
                                " tokens for a choice that needs ", wanted));
  for (size_t index = 0; index < count; ++index) {
    const int32_t id = scores.tokens[index];
    if (id < 0 || static_cast<size_t>(id) >= vocabulary)
      return invalidData(concat("the device gives the token ", id,
                                ", which is not in the vocabulary of ",
                                vocabulary));
    LAPIDARY_TRY(checkFinite(scores.logits[index], id));
  }
  const size_t most = isGreedy() ? 1 : static_cast<size_t>(options.topK);
  candidates.clear();
  for (size_t index = 0; index < count && candidates.size() < most; ++index)
    if (const int32_t id = scores.tokens[index];
        allowed[id / 32] >> id % 32 & 1)
      candidates.push_back({scores.logits[index], id, 0});
  if (candidates.empty()) // of so many different ones some are allowed
    return invalidData("the device gives only tokens that are suppressed");
  return isGreedy() ? candidates.front().id : draw();
}

/// Gives the candidates weights; their sum.
uint64_t Sampler::weigh(float temperature) {
  const double largest =
      std::ranges::max_element(candidates, {}, &Candidate::logit)->logit;
  uint64_t total = 0;
  for (Candidate &token : candidates) {
    double scaled = (double(token.logit) - largest) / double(temperature);
    token.weight = static_cast<uint64_t>(std::exp(scaled) * topWeight + 0.5);
    total += token.weight;
  }
  return total;
}

/// Keeps the first candidates, by `compare`, whose sum reaches `wanted`, and
/// one at least; looks at more and more of them, since it is mostly a few.
template <typename Compare>
void Sampler::keepFirst(const Compare &compare, uint64_t wanted) {
  size_t count = 0, sorted = 0;
  uint64_t sum = 0;
  auto enough = [&] { return count > 0 && sum >= wanted; };
  for (size_t look = firstNucleus; count < candidates.size() && !enough();
       look *= 4) {
    const auto first = candidates.begin();
    const size_t end = std::min(look, candidates.size());
    if (end < candidates.size())
      std::nth_element(first + sorted, first + end, candidates.end(), compare);
    std::sort(first + sorted, first + end, compare);
    for (sorted = end; count < sorted && !enough(); ++count)
      sum += candidates[count].weight;
  }
  candidates.resize(count);
}

void Sampler::keepTypical() {
  // The entropy is a sum of floating-point numbers: always in the same order.
  std::ranges::sort(candidates, {}, &Candidate::id);
  const uint64_t total = weigh(1);
  // A token's surprise is a constant minus its logit, and the constant drops
  // out of the difference to the expected one.
  double expected = 0;
  for (const Candidate &token : candidates)
    expected += double(token.weight) / double(total) * double(token.logit);
  auto nearer = [&](const Candidate &left, const Candidate &right) {
    const double one = std::abs(double(left.logit) - expected),
                 two = std::abs(double(right.logit) - expected);
    return one < two || (one == two && isBetter(left, right));
  };
  // More than this probability, not just as much: as llama.cpp has it.
  keepFirst(nearer,
            static_cast<uint64_t>(double(options.typicalP) * double(total)) +
                1);
}

/// One of the candidates.
int32_t Sampler::draw() {
  if (options.typicalP < 1)
    keepTypical();
  if (options.topP < 1) {
    const uint64_t total = weigh(1);
    keepFirst(isBetter,
              static_cast<uint64_t>(double(options.topP) * double(total)));
  }
  if (options.minP > 0) {
    weigh(1);
    const double least = double(options.minP) * topWeight;
    std::erase_if(candidates, [&](const Candidate &token) {
      return double(token.weight) < least;
    });
  }
  const uint64_t total = weigh(options.temperature);
  uint64_t point = static_cast<uint64_t>(
      (static_cast<unsigned __int128>(random()) * total) >> 64);
  // In the order of ids, which is the same whatever a selection left the tokens
  // in.
  if (!std::ranges::is_sorted(candidates, {}, &Candidate::id))
    std::ranges::sort(candidates, {}, &Candidate::id);
  for (const Candidate &token : candidates) {
    if (point < token.weight)
      return token.id;
    point -= token.weight;
  }
  return candidates.back().id;
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014): the n-th number follows from the seed and n alone.
uint64_t Sampler::random() {
  uint64_t value = options.seed + ++counter * 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

} // namespace lapidary
