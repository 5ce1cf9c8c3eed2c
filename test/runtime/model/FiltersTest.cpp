// Each filter and each penalty against a plain one in double precision: which
// tokens are left, and how often each is chosen.
#include "runtime/model/Sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <random>

namespace lapidary {
namespace {

using Distribution = std::map<int32_t, double>;

/// softmax(logits / temperature) of some tokens.
Distribution soften(const std::vector<double> &logits,
                    const std::vector<int32_t> &tokens,
                    double temperature = 1) {
  double largest = -INFINITY, sum = 0;
  for (int32_t id : tokens)
    largest = std::max(largest, logits[id]);
  Distribution result;
  for (int32_t id : tokens)
    sum += result[id] = std::exp((logits[id] - largest) / temperature);
  for (auto &[id, p] : result)
    p /= sum;
  return result;
}

/// The tokens in the order of `key`, lower first, up to the one with which
/// their probability reaches `wanted`.
std::vector<int32_t> reach(const Distribution &from, double wanted,
                           const std::function<double(double)> &key) {
  std::vector<int32_t> order;
  for (auto [id, p] : from)
    order.push_back(id);
  std::ranges::sort(
      order, {}, [&](int32_t id) { return std::pair(key(from.at(id)), id); });
  double sum = 0;
  size_t count = 0;
  while (count < order.size() && (count == 0 || sum < wanted))
    sum += from.at(order[count++]);
  order.resize(count);
  return order;
}

Distribution expectedOf(std::vector<double> logits, const SamplerOptions &how,
                        const std::vector<int32_t> &past) {
  for (const TokenBias &bias : how.logitBias)
    logits[bias.id] += bias.bias;
  const PenaltyOptions &penalties = how.penalties;
  const size_t window =
      penalties.lastTokens < 0
          ? past.size()
          : std::min<size_t>(past.size(), penalties.lastTokens);
  std::map<int32_t, int> counts;
  for (size_t index = past.size() - window; index < past.size(); ++index)
    ++counts[past[index]];
  for (auto [id, count] : counts) {
    logits[id] = logits[id] > 0 ? logits[id] / penalties.repeat
                                : logits[id] * penalties.repeat;
    logits[id] -= penalties.presence + count * penalties.frequency;
  }
  std::vector<int32_t> tokens;
  for (int32_t id = 0; id < int32_t(logits.size()); ++id)
    if (logits[id] > -INFINITY)
      tokens.push_back(id);
  if (how.topK > 0) {
    std::ranges::sort(tokens, {},
                      [&](int32_t id) { return std::pair(-logits[id], id); });
    tokens.resize(std::min<size_t>(tokens.size(), how.topK));
  }
  if (how.typicalP < 1) {
    Distribution all = soften(logits, tokens);
    double entropy = 0;
    for (auto [id, p] : all)
      entropy -= p > 0 ? p * std::log(p) : 0;
    tokens = reach(all, how.typicalP,
                   [&](double p) { return std::abs(-std::log(p) - entropy); });
  }
  if (how.topP < 1)
    tokens =
        reach(soften(logits, tokens), how.topP, [](double p) { return -p; });
  if (how.minP > 0) {
    Distribution all = soften(logits, tokens);
    double most = 0;
    for (auto [id, p] : all)
      most = std::max(most, p);
    std::erase_if(tokens,
                  [&](int32_t id) { return all[id] < how.minP * most; });
  }
  return soften(logits, tokens, how.temperature);
}

/// Draws many times and compares with the expectation: nothing outside of it,
/// and Pearson's chi-square within five standard deviations.
void compare(SamplerOptions how, size_t vocabulary,
             const std::vector<int32_t> &past = {}) {
  std::mt19937 random(static_cast<unsigned>(vocabulary));
  std::vector<float> logits(vocabulary);
  for (float &logit : logits)
    logit = std::normal_distribution<float>(0, 3)(random);
  how.seed = 11;
  Result<Sampler> sampler = Sampler::create(how, int32_t(vocabulary), {});
  ASSERT_TRUE(sampler.ok()) << sampler.status().message();
  for (int32_t token : past)
    sampler->see(token);
  Distribution expected = expectedOf({logits.begin(), logits.end()}, how, past);
  const int draws = vocabulary > 1000 ? 2000 : 20000;
  std::map<int32_t, int> counts;
  for (int draw = 0; draw < draws; ++draw) {
    Result<int32_t> token = sampler->sample(logits);
    ASSERT_TRUE(token.ok()) << token.status().message();
    ++counts[*token];
  }
  for (auto [id, count] : counts)
    ASSERT_TRUE(expected.count(id)) << "token " << id << " of " << vocabulary;
  // Rare tokens together, so that each term is near a normal distribution.
  double chi = 0, restExpected = 0, restCounted = 0;
  int terms = 0;
  auto add = [&](double wanted, double found) {
    chi += (found - wanted) * (found - wanted) / wanted;
    ++terms;
  };
  for (auto [id, p] : expected)
    if (p * draws >= 10) {
      add(p * draws, counts[id]);
    } else {
      restExpected += p * draws;
      restCounted += counts[id];
    }
  if (restExpected >= 10)
    add(restExpected, restCounted);
  EXPECT_LE(chi, terms + 5 * std::sqrt(2.0 * terms)) << vocabulary;
}

constexpr size_t vocabularies[] = {1, 2, 31, 32, 33, 257, 5000};

TEST(Filters, Temperature) {
  for (size_t vocabulary : vocabularies)
    for (float temperature : {0.3f, 1.0f, 1.7f})
      compare({.temperature = temperature}, vocabulary);
}

TEST(Filters, TopK) {
  for (size_t vocabulary : vocabularies)
    for (int32_t k : {2, 7, 64})
      compare({.temperature = 1.3f, .topK = k}, vocabulary);
}

TEST(Filters, TopP) {
  for (size_t vocabulary : vocabularies)
    for (float p : {0.1f, 0.6f, 0.95f})
      compare({.temperature = 0.7f, .topP = p}, vocabulary);
}

TEST(Filters, MinP) {
  for (size_t vocabulary : vocabularies)
    for (float p : {0.01f, 0.3f, 1.0f})
      compare({.temperature = 1.5f, .minP = p}, vocabulary);
}

TEST(Filters, Typical) {
  for (size_t vocabulary : vocabularies)
    for (float p : {0.1f, 0.5f, 0.95f})
      compare({.temperature = 1, .typicalP = p}, vocabulary);
}

TEST(Filters, AllOfThemInOrder) {
  for (size_t vocabulary : vocabularies)
    compare({.temperature = 1.4f,
             .topK = 40,
             .topP = 0.9f,
             .minP = 0.05f,
             .typicalP = 0.9f},
            vocabulary);
}

TEST(Filters, LogitBias) {
  compare({.temperature = 1, .logitBias = {{0, 3}, {5, -2}, {6, -INFINITY}}},
          33);
  compare({.temperature = 1, .topK = 3, .logitBias = {{7, 100}}}, 257);
}

TEST(Filters, Penalties) {
  const std::vector<int32_t> past = {3, 3, 1, 7, 30, 3, 9, 9, 12, 0, 31, 7};
  for (int32_t last : {0, 1, 5, 12, 64, -1}) {
    compare(
        {.temperature = 1, .penalties = {.repeat = 1.8f, .lastTokens = last}},
        32, past);
    compare(
        {.temperature = 1, .penalties = {.lastTokens = last, .presence = 2.5f}},
        32, past);
    compare({.temperature = 1,
             .penalties = {.lastTokens = last, .frequency = -0.9f}},
            32, past);
  }
  compare({.temperature = 0.8f,
           .topK = 20,
           .penalties = {.repeat = 0.7f, .presence = 1, .frequency = 0.5f}},
          257, past);
}

TEST(Filters, PenaltiesAndBiasesMoveGreedyChoices) {
  std::vector<float> logits = {1, 4, 3, -1};
  Result<Sampler> sampler =
      Sampler::create({.penalties = {.lastTokens = 2, .presence = 2}}, 4, {});
  ASSERT_TRUE(sampler.ok());
  EXPECT_EQ(*sampler->sample(logits), 1);
  sampler->see(1);
  EXPECT_EQ(*sampler->sample(logits), 2);
  sampler->see(2);
  sampler->see(2); // 1 is forgotten
  EXPECT_EQ(*sampler->sample(logits), 1);
  Result<Sampler> biased =
      Sampler::create({.logitBias = {{3, 10}, {1, -INFINITY}}}, 4, {});
  EXPECT_EQ(*biased->sample(logits), 3);
}

TEST(Filters, MasksBindEveryWayOfChoosing) {
  std::vector<float> logits(100);
  std::iota(logits.begin(), logits.end(), 0.0f);
  for (const SamplerOptions &how :
       {SamplerOptions{}, SamplerOptions{.temperature = 5},
        SamplerOptions{.temperature = 5, .topK = 3, .topP = 0.9f},
        SamplerOptions{.temperature = 5, .minP = 0.2f, .typicalP = 0.8f}}) {
    Result<Sampler> sampler =
        Sampler::create(how, 100, std::vector<int32_t>{64});
    ASSERT_TRUE(sampler.ok());
    ASSERT_EQ(sampler->maskWords(), 4u);
    std::vector<uint32_t> mask = {1u << 7, 0, 1u << 0 | 1u << 1, ~0xFu};
    for (int draw = 0; draw < 200; ++draw) {
      Result<int32_t> token = sampler->sample(logits, mask);
      ASSERT_TRUE(token.ok()) << token.status().message();
      ASSERT_TRUE(*token == 7 || *token == 65) << *token;
    }
    mask = {0, 0, 1, 0}; // suppressed
    EXPECT_FALSE(sampler->sample(logits, mask).ok());
    mask.pop_back();
    EXPECT_FALSE(sampler->sample(logits, mask).ok());
  }
}

TEST(Filters, SelectBestIsThePlainSelection) {
  std::mt19937 random(9);
  for (size_t size : {1, 5, 64, 1000, 30000})
    for (size_t count : {0, 1, 2, 63, 64, 999, 40000}) {
      std::vector<float> logits(size);
      for (float &logit : logits)
        logit = float(int(random() % 500)) / 10; // with ties
      std::vector<Candidate> best;
      selectBest(logits, {}, count, best);
      std::vector<int32_t> order(size);
      std::iota(order.begin(), order.end(), 0);
      std::ranges::sort(order, {},
                        [&](int32_t id) { return std::pair(-logits[id], id); });
      if (count > 0)
        order.resize(std::min(size, count));
      std::ranges::sort(order);
      std::ranges::sort(best, {}, &Candidate::id);
      ASSERT_EQ(best.size(), order.size());
      for (size_t index = 0; index < order.size(); ++index)
        ASSERT_EQ(best[index].id, order[index]);
    }
}

} // namespace
} // namespace lapidary
