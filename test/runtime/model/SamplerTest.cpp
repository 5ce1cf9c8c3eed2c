// Sampling: the choices, their frequencies, and that a seed always tells the
// same story.
#include "runtime/model/Sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

namespace lapidary {
namespace {

using testing::HasSubstr;

Sampler makeSampler(const SamplerOptions &options, int32_t vocabulary,
                    std::vector<int32_t> suppress = {}) {
  auto sampler = Sampler::create(options, vocabulary, suppress);
  EXPECT_TRUE(sampler.ok()) << sampler.status().message();
  return *std::move(sampler);
}

std::map<int32_t, int>
frequencies(Sampler &sampler, const std::vector<float> &logits, int draws) {
  std::map<int32_t, int> counts;
  for (int draw = 0; draw < draws; ++draw) {
    auto token = sampler.sample(logits);
    EXPECT_TRUE(token.ok()) << token.status().message();
    ++counts[*token];
  }
  return counts;
}

TEST(Sampler, GreedyTakesTheBestAndTheLowerId) {
  Sampler sampler = makeSampler({}, 5);
  EXPECT_EQ(*sampler.sample(std::vector<float>{1, 3, 2, 3, -5}), 1);
  Sampler without = makeSampler({}, 5, {1, 3});
  EXPECT_EQ(*without.sample(std::vector<float>{1, 3, 2, 3, -5}), 2);
  Sampler one = makeSampler({.temperature = 1, .topK = 1}, 5);
  EXPECT_EQ(*one.sample(std::vector<float>{1, 3, 2, 3, -5}), 1);
}

TEST(Sampler, DrawsByProbability) {
  std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f),
                               std::log(0.05f)};
  constexpr int draws = 20000;
  // Five standard deviations of a binomial count.
  auto near = [](int count, double p) {
    return std::abs(count - draws * p) < 5 * std::sqrt(draws * p * (1 - p));
  };
  Sampler plain = makeSampler({.temperature = 1, .seed = 7}, 4);
  auto counts = frequencies(plain, logits, draws);
  EXPECT_TRUE(near(counts[0], 0.5) && near(counts[1], 0.3) &&
              near(counts[2], 0.15) && near(counts[3], 0.05));

  Sampler sharp = makeSampler({.temperature = 0.5f, .seed = 7},
                              4); // squares the probabilities
  counts = frequencies(sharp, logits, draws);
  EXPECT_TRUE(near(counts[0], 0.25 / 0.365) && near(counts[3], 0.0025 / 0.365));

  Sampler top2 = makeSampler({.temperature = 1, .topK = 2, .seed = 7}, 4);
  counts = frequencies(top2, logits, draws);
  EXPECT_TRUE(near(counts[0], 0.5 / 0.8));
  EXPECT_EQ(counts.count(2) + counts.count(3), 0u);

  Sampler nucleus = makeSampler({.temperature = 1, .topP = 0.9f, .seed = 7},
                                4); // 0.5 + 0.3 + 0.15 reach it
  counts = frequencies(nucleus, logits, draws);
  EXPECT_TRUE(near(counts[2], 0.15 / 0.95));
  EXPECT_EQ(counts.count(3), 0u);

  Sampler tiny = makeSampler({.temperature = 1, .topP = 1e-6f, .seed = 7}, 4);
  EXPECT_EQ(frequencies(tiny, logits, 100).size(), 1u);
  Sampler without = makeSampler({.temperature = 1, .seed = 7}, 4, {0, 2});
  counts = frequencies(without, logits, draws);
  EXPECT_TRUE(near(counts[1], 0.3 / 0.35));
  EXPECT_EQ(counts.count(0) + counts.count(2), 0u);
}

/// What a device gives.
struct Candidates {
  std::vector<float> logits;
  std::vector<int32_t> tokens;
  TokenScores scores() const { return {logits, tokens}; }
};

Candidates chooseCandidates(const std::vector<float> &logits, size_t count) {
  Candidates best;
  for (int32_t id = 0; id < int32_t(logits.size()); ++id)
    best.tokens.push_back(id);
  std::ranges::sort(best.tokens, {},
                    [&](int32_t id) { return std::pair(-logits[id], id); });
  best.tokens.resize(std::min(best.tokens.size(), count));
  for (int32_t id : best.tokens)
    best.logits.push_back(logits[id]);
  return best;
}

TEST(Sampler, ChoosesTheSameAmongCandidates) {
  constexpr size_t count = 40;
  const SamplerOptions all[] = {
      {},
      {.temperature = 0.7f, .topK = 1},
      {.temperature = 1, .topK = 37, .seed = 5},
      {.temperature = 1.5f, .topK = 37, .topP = 0.8f, .minP = 0.02f},
      {.temperature = 0.6f, .topK = 20, .topP = 0.95f, .seed = 8},
      {.temperature = 2, .topK = 30, .typicalP = 0.7f}};
  std::mt19937 random(17);
  for (int32_t vocabulary : {4, 39, 41, 300, 5000})
    for (const SamplerOptions &options : all) {
      const std::vector<int32_t> suppress = {0, 1, vocabulary - 1};
      Sampler whole = makeSampler(options, vocabulary, suppress),
              part = makeSampler(options, vocabulary, suppress);
      ASSERT_GT(part.reach(), 0);
      ASSERT_LE(part.reach(), int64_t(count));
      for (int draw = 0; draw < 40; ++draw) {
        std::vector<float> logits(static_cast<size_t>(vocabulary));
        // Few values, so that many are equal, both zeros too.
        for (float &logit : logits)
          logit = std::round(std::normal_distribution<float>(0, 2)(random));
        const Candidates best = chooseCandidates(logits, count);
        auto expected = whole.sample(logits),
             found = part.sample(best.scores());
        ASSERT_TRUE(found.ok()) << found.status().message();
        ASSERT_EQ(*found, *expected) << vocabulary << ", draw " << draw;
      }
    }
}

TEST(Sampler, KnowsHowFarItReaches) {
  constexpr int32_t vocabulary = 100;
  auto reach = [&](const SamplerOptions &options) {
    return makeSampler(options, vocabulary, {3, 99}).reach();
  };
  EXPECT_EQ(reach({}), 3);
  EXPECT_EQ(reach({.temperature = 1, .topK = 1}), 3);
  EXPECT_EQ(reach({.temperature = 1, .topK = 64}), 66);
  EXPECT_EQ(reach({.temperature = 1, .topK = 1000}), vocabulary);
  EXPECT_EQ(reach({.temperature = 1, .topP = 0.9f}), 0);
  EXPECT_EQ(reach({.logitBias = {{5, -INFINITY}}}), 4);
  EXPECT_EQ(reach({.logitBias = {{5, 1}}}), 0);
  EXPECT_EQ(reach({.penalties = {.repeat = 1.1f}}), 0);
}

TEST(Sampler, RefusesBadCandidates) {
  Sampler sampler = makeSampler({.temperature = 1, .topK = 2}, 10, {7});
  const std::vector<float> logits = {3, 2, 1};
  auto refuse = [&](const std::vector<float> &values,
                    const std::vector<int32_t> &tokens, const char *message) {
    auto token = sampler.sample(TokenScores{values, tokens});
    EXPECT_THAT(token.status().message(), HasSubstr(message));
  };
  refuse(logits, {1, 2, 10}, "the token 10, which is not in the vocabulary");
  refuse(logits, {-1, 2, 3}, "the token -1");
  refuse(logits, {1, 2}, "3 logits of 2 tokens");
  refuse({3, 2}, {1, 2}, "for a choice that needs 3");
  refuse({NAN, 2, 1}, {4, 2, 3}, "token 4 has NaN");
  refuse({INFINITY, 2, 1}, {4, 2, 3}, "token 4 has infinity");
  refuse(logits, {7, 7, 7}, "only tokens that are suppressed");
  EXPECT_TRUE(sampler.sample(TokenScores{logits, std::vector{4, 7, 3}}).ok());
}

TEST(Sampler, SeedDecidesTheChoices) {
  std::vector<float> logits(1000);
  std::mt19937 random(3);
  for (float &logit : logits)
    logit = float(random() % 1000) / 200;
  auto draw = [&](uint64_t seed) {
    Sampler sampler = makeSampler(
        {.temperature = 1, .topK = 64, .topP = 0.95f, .seed = seed}, 1000);
    std::vector<int32_t> tokens;
    for (int index = 0; index < 50; ++index)
      tokens.push_back(*sampler.sample(logits));
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
  // Pinned: the text of a seed must not change from version to version or
  // platform to platform.
  Sampler pinned = makeSampler({.temperature = 1, .seed = 42}, 8);
  std::vector<float> flat(8, 0);
  std::vector<int32_t> tokens;
  for (int index = 0; index < 8; ++index)
    tokens.push_back(*pinned.sample(flat));
  EXPECT_THAT(tokens, testing::ElementsAre(5, 1, 2, 2, 0, 6, 1, 6));
}

/// The same choice by full sorting: what the partial selections must equal.
int32_t drawSlowly(const std::vector<float> &logits,
                   const SamplerOptions &options, uint64_t random) {
  std::vector<int32_t> order(logits.size());
  for (size_t index = 0; index < order.size(); ++index)
    order[index] = int32_t(index);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  if (options.topK > 0)
    order.resize(std::min<size_t>(order.size(), options.topK));
  std::map<int32_t, uint64_t> weights;
  uint64_t total = 0, sum = 0;
  auto weigh = [&](float temperature) {
    weights.clear();
    total = 0;
    for (int32_t id : order)
      total += weights[id] =
          uint64_t(std::exp((double(logits[id]) - double(logits[order[0]])) /
                            temperature) *
                       double(uint64_t(1) << 40) +
                   0.5);
  };
  if (options.topP < 1) {
    weigh(1);
    size_t kept = 0;
    while (kept == 0 || sum < uint64_t(double(options.topP) * double(total)))
      sum += weights[order[kept++]];
    order.resize(kept);
  }
  weigh(options.temperature);
  uint64_t point =
      uint64_t((static_cast<unsigned __int128>(random) * total) >> 64);
  for (auto [id, weight] : weights) {
    if (point < weight)
      return id;
    point -= weight;
  }
  return -1;
}

uint64_t splitMix(uint64_t seed, uint64_t counter) {
  uint64_t value = seed + counter * 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

TEST(Sampler, PartialSelectionEqualsFullSort) {
  std::mt19937 random(5);
  for (int32_t vocabulary : {1, 2, 63, 64, 65, 1000, 20000})
    for (int32_t topK : {0, 2, 64, 5000})
      for (float topP : {1.0f, 0.95f, 0.3f, 0.999f}) {
        std::vector<float> logits(vocabulary);
        for (float &logit : logits)
          logit = float(int(random() % 200)) / 40; // with many ties
        SamplerOptions options{
            .temperature = 0.8f, .topK = topK, .topP = topP, .seed = random()};
        Sampler sampler = makeSampler(options, vocabulary);
        for (uint64_t draw = 1; draw <= 3; ++draw)
          ASSERT_EQ(*sampler.sample(logits),
                    drawSlowly(logits, options, splitMix(options.seed, draw)))
              << vocabulary << " " << topK << " " << topP;
      }
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  for (float bad : {NAN, INFINITY, -INFINITY})
    for (float temperature : {0.0f, 1.0f}) {
      std::vector<float> logits(100, 1);
      logits[57] = bad;
      Sampler sampler = makeSampler({.temperature = temperature}, 100);
      Status status = sampler.sample(logits).status();
      EXPECT_EQ(status.getCode(), StatusCode::InvalidData);
      EXPECT_THAT(status.message(), HasSubstr("token 57"));
      EXPECT_FALSE(topLogprobs(logits, 1).ok());
      EXPECT_FALSE(tokenLogprob(logits, 1).ok());
    }
  Sampler sampler = makeSampler({}, 10);
  EXPECT_FALSE(sampler.sample(std::vector<float>(9)).ok());
}

TEST(Sampler, RefusesImpossibleOptions) {
  auto message = [](const SamplerOptions &options,
                    std::vector<int32_t> suppress = {}) {
    return Sampler::create(options, 3, suppress).status().message();
  };
  EXPECT_THAT(message({.temperature = -1}), HasSubstr("temperature"));
  EXPECT_THAT(message({.temperature = NAN}), HasSubstr("temperature"));
  EXPECT_THAT(message({.topK = -1}), HasSubstr("top-k"));
  EXPECT_THAT(message({.topP = 0}), HasSubstr("top-p"));
  EXPECT_THAT(message({.topP = 1.1f}), HasSubstr("top-p"));
  EXPECT_THAT(message({.minP = -0.1f}), HasSubstr("min-p"));
  EXPECT_THAT(message({.minP = NAN}), HasSubstr("min-p"));
  EXPECT_THAT(message({.typicalP = 0}), HasSubstr("typical-p"));
  EXPECT_THAT(message({.penalties = {.repeat = 0}}), HasSubstr("repeat"));
  EXPECT_THAT(message({.penalties = {.lastTokens = -2}}), HasSubstr("last -2"));
  EXPECT_THAT(message({.penalties = {.presence = NAN}}), HasSubstr("presence"));
  EXPECT_THAT(message({.penalties = {.frequency = INFINITY}}),
              HasSubstr("frequency"));
  EXPECT_THAT(message({.logitBias = {{3, 1}}}), HasSubstr("token 3"));
  EXPECT_THAT(message({.logitBias = {{-1, 1}}}), HasSubstr("token -1"));
  EXPECT_THAT(message({.logitBias = {{0, NAN}}}), HasSubstr("logit bias"));
  EXPECT_THAT(message({.logitBias = {{0, INFINITY}}}), HasSubstr("logit bias"));
  EXPECT_THAT(message({.logitBias = {{0, -INFINITY}, {2, -INFINITY}}}, {1}),
              HasSubstr("every token"));
  EXPECT_THAT(message({}, {3}), HasSubstr("suppressed token 3"));
  EXPECT_THAT(message({}, {0, 1, 2}), HasSubstr("every token"));
}

TEST(Sampler, ExtremeLogitsStillGiveAChoice) {
  constexpr float most = std::numeric_limits<float>::max();
  std::vector<float> logits = {-most, most, -most};
  Sampler sampler = makeSampler({.temperature = 1e-6f}, 3);
  EXPECT_EQ(*sampler.sample(logits), 1);
  Sampler hot = makeSampler({.temperature = 1e6f, .topP = 0.5f}, 3);
  EXPECT_EQ(*hot.sample(logits), 1);
}

TEST(Logprobs, AreTheLogSoftmax) {
  std::vector<float> logits = {1, 2, 3, 2};
  double sum = std::exp(1.0) + 2 * std::exp(2.0) + std::exp(3.0);
  auto best = topLogprobs(logits, 3);
  ASSERT_TRUE(best.ok());
  ASSERT_EQ(best->size(), 3u);
  EXPECT_EQ((*best)[0].id, 2);
  EXPECT_EQ((*best)[1].id, 1);
  EXPECT_EQ((*best)[2].id, 3);
  EXPECT_NEAR((*best)[0].logprob, 3 - std::log(sum), 1e-6);
  EXPECT_NEAR(*tokenLogprob(logits, 0), 1 - std::log(sum), 1e-12);
  EXPECT_EQ(topLogprobs(logits, 99)->size(), 4u);
  EXPECT_FALSE(topLogprobs(logits, 0).ok());
  EXPECT_FALSE(tokenLogprob(logits, 4).ok());
  EXPECT_FALSE(tokenLogprob(logits, -1).ok());
  auto choice = describeChoice(logits, 0, 2);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->id, 0);
  EXPECT_NEAR(choice->logprob, 1 - std::log(sum), 1e-6);
  EXPECT_EQ(choice->top.size(), 2u);
  EXPECT_TRUE(describeChoice(logits, 3, 0)->top.empty());
  EXPECT_FALSE(describeChoice(logits, 4, 0).ok());
}

} // namespace
} // namespace lapidary
