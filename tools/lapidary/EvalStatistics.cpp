// Plain loops: beside the step that makes a row of logits, one pass over it
// with two exponentials an entry is nothing.
#include "tools/lapidary/EvalStatistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lapidary::cli {

namespace {

struct Top {
  size_t index = 0;
  double value = 0;
};

Top findTop(std::span<const float> row) {
  const auto top = std::max_element(row.begin(), row.end());
  return {static_cast<size_t>(top - row.begin()), *top};
}

} // namespace

RowScore scoreRow(std::span<const float> logits, int32_t token) {
  const double top = findTop(logits).value;
  double sum = 0;
  for (const float logit : logits)
    sum += std::exp(logit - top);
  RowScore score;
  score.nll = top + std::log(sum) - logits[static_cast<size_t>(token)];
  return score;
}

RowScore scoreRow(std::span<const float> logits, int32_t token,
                  std::span<const float> reference) {
  const Top top = findTop(logits), referenceTop = findTop(reference);
  double sum = 0, referenceSum = 0, weighted = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double logit = logits[i], other = reference[i];
    const double weight = std::exp(other - referenceTop.value);
    sum += std::exp(logit - top.value);
    referenceSum += weight;
    weighted += weight * (other - logit);
  }
  const double logSum = top.value + std::log(sum);
  RowScore score;
  score.nll = logSum - logits[static_cast<size_t>(token)];
  // Sum of p (log p - log q), with log p - log q = (other - logit) + (logSum -
  // the reference's). Rounding may leave a little less than 0; NaN stays.
  const double divergence = weighted / referenceSum + logSum -
                            (referenceTop.value + std::log(referenceSum));
  score.divergence = divergence < 0 ? 0 : divergence;
  score.sameTop = top.index == referenceTop.index;
  return score;
}

double meanOf(std::span<const double> values) {
  double sum = 0;
  for (const double value : values)
    sum += value;
  return sum / static_cast<double>(values.size());
}

Perplexity perplexityOf(std::span<const double> nll) {
  const double mean = meanOf(nll), value = std::exp(mean);
  if (nll.size() < 2)
    return {value, std::numeric_limits<double>::quiet_NaN()};
  double squares = 0;
  for (const double each : nll)
    squares += (each - mean) * (each - mean);
  const auto count = static_cast<double>(nll.size());
  // The slope of exp at the mean carries the mean's error over.
  return {value, value * std::sqrt(squares / (count - 1) / count)};
}

double percentileOf(std::vector<double> values, double share) {
  std::ranges::sort(values);
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] +
         (place - static_cast<double>(below)) * (values[above] - values[below]);
}

} // namespace lapidary::cli
