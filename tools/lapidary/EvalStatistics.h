// The arithmetic of `lapidary eval`: from rows of logits to negative log
// likelihoods, divergences and their summaries. Nothing here knows of bundles.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lapidary::cli {

/// What one row of logits says of the token that really came.
struct RowScore {
  /// -log P(token), in nats.
  double nll = 0;
  /// KL(reference || row), in nats; 0 or more.
  double divergence = 0;
  /// Whether the reference's likeliest token is the row's, the first of equals.
  bool sameTop = false;
};

/// The sums are double; a logit that is not finite makes the result not finite.
RowScore scoreRow(std::span<const float> logits, int32_t token);
/// The same, with what the other row of the same length is in comparison.
RowScore scoreRow(std::span<const float> logits, int32_t token,
                  std::span<const float> reference);

struct Perplexity {
  double value = 0;
  /// One standard error, tokens taken as independent; NaN for a single one.
  double error = 0;
};

/// exp of the mean of negative log likelihoods; there must be one.
Perplexity perplexityOf(std::span<const double> nll);

double meanOf(std::span<const double> values);

/// The value below which `share` (0 to 1) of the values lie, interpolated
/// linearly between the two nearest. There must be a value.
double percentileOf(std::vector<double> values, double share);

} // namespace lapidary::cli
