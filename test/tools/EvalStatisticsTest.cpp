// Rows of logits made by hand, whose likelihoods and divergences are known or
// follow from their definition.
#include "tools/lapidary/EvalStatistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace lapidary::cli {
namespace {

std::vector<float> logitsOf(const std::vector<double> &shares, double shift) {
  std::vector<float> logits;
  for (double share : shares)
    logits.push_back(static_cast<float>(std::log(share) + shift));
  return logits;
}

/// By the definition, in long double.
double divergenceOf(const std::vector<float> &reference,
                    const std::vector<float> &row) {
  auto logSum = [](const std::vector<float> &values) {
    long double top = *std::max_element(values.begin(), values.end()), sum = 0;
    for (float value : values)
      sum += std::exp(value - top);
    return top + std::log(sum);
  };
  long double p = logSum(reference), q = logSum(row), sum = 0;
  for (size_t i = 0; i < row.size(); ++i)
    sum += std::exp(reference[i] - p) * ((reference[i] - p) - (row[i] - q));
  return static_cast<double>(sum);
}

TEST(EvalStatistics, LikelihoodDoesNotDependOnAShift) {
  // Rounding of the f32 logits, of at most 1000, is what is left.
  for (double shift : {0.0, -1000.0, 1000.0}) {
    std::vector<float> row = logitsOf({0.5, 0.25, 0.125, 0.125}, shift);
    EXPECT_NEAR(scoreRow(row, 0).nll, std::log(2.0), 1e-4);
    EXPECT_NEAR(scoreRow(row, 3).nll, std::log(8.0), 1e-4);
  }
  std::vector<float> wide(262144, 0);
  EXPECT_NEAR(scoreRow(wide, 5).nll, std::log(262144.0), 1e-10);
}

TEST(EvalStatistics, DivergenceOfKnownDistributions) {
  // 0.5 ln(0.5 / 0.25) + 0.5 ln(0.5 / 0.75)
  std::vector<float> even = logitsOf({0.5, 0.5}, 3),
                     skew = logitsOf({0.25, 0.75}, -2);
  RowScore score = scoreRow(skew, 1, even);
  EXPECT_NEAR(score.divergence, 0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3),
              1e-6);
  EXPECT_NEAR(score.nll, -std::log(0.75), 1e-6);
  // The other way around it is another number.
  EXPECT_NEAR(scoreRow(even, 1, skew).divergence,
              0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-6);
}

TEST(EvalStatistics, DivergenceOfRandomRows) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 4);
  for (size_t size : {1, 2, 17, 2048, 5000}) {
    std::vector<float> reference(size), row(size);
    for (size_t i = 0; i < size; ++i) {
      reference[i] = normal(random);
      row[i] = reference[i] + normal(random) / 40;
    }
    RowScore score = scoreRow(row, 0, reference);
    EXPECT_NEAR(score.divergence, divergenceOf(reference, row), 1e-12);
    EXPECT_GE(score.divergence, 0);
    EXPECT_EQ(score.nll, scoreRow(row, 0).nll);
    // Of itself, and of itself moved by a constant, nothing at all.
    EXPECT_EQ(scoreRow(row, 0, row).divergence, 0);
    EXPECT_TRUE(scoreRow(row, 0, row).sameTop);
  }
}

TEST(EvalStatistics, TopIsTheFirstOfEquals) {
  EXPECT_TRUE(
      scoreRow(std::vector<float>{1, 3, 3}, 0, std::vector<float>{0, 9, 1})
          .sameTop);
  EXPECT_FALSE(
      scoreRow(std::vector<float>{1, 3, 3}, 0, std::vector<float>{0, 1, 9})
          .sameTop);
}

TEST(EvalStatistics, WhatIsNotFiniteShows) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              inf = std::numeric_limits<float>::infinity();
  std::vector<float> good{0, 1, 2};
  for (float bad : {nan, inf})
    for (size_t place : {0, 1, 2}) {
      std::vector<float> row = good;
      row[place] = bad;
      EXPECT_FALSE(std::isfinite(scoreRow(row, 0).nll));
      EXPECT_FALSE(std::isfinite(scoreRow(row, 0, good).nll));
      EXPECT_FALSE(std::isfinite(scoreRow(good, 0, row).divergence));
    }
}

TEST(EvalStatistics, PerplexityAndItsError) {
  // A fair choice among four each time: certain.
  Perplexity even = perplexityOf(std::vector<double>(9, std::log(4.0)));
  EXPECT_NEAR(even.value, 4, 1e-12);
  EXPECT_NEAR(even.error, 0, 1e-12);
  // Mean 2, variance 2, two values: exp(2) * sqrt(2 / 2).
  Perplexity two = perplexityOf(std::vector<double>{1, 3});
  EXPECT_NEAR(two.value, std::exp(2.0), 1e-12);
  EXPECT_NEAR(two.error, std::exp(2.0), 1e-12);
  EXPECT_TRUE(std::isnan(perplexityOf(std::vector<double>{1}).error));
}

TEST(EvalStatistics, PercentileIsInterpolated) {
  std::vector<double> values;
  for (int i = 1000; i >= 0; --i)
    values.push_back(i);
  EXPECT_NEAR(percentileOf(values, 0.999), 999, 1e-9);
  EXPECT_NEAR(percentileOf({0, 10}, 0.25), 2.5, 1e-12);
  EXPECT_EQ(percentileOf({3, 1, 2}, 0), 1);
  EXPECT_EQ(percentileOf({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(percentileOf({3, 1, 2}, 1), 3);
  EXPECT_EQ(percentileOf({7}, 0.999), 7);
}

} // namespace
} // namespace lapidary::cli
