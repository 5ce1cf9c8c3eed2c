// The formula is that of Keskar et al. ("CTRL", 2019) for repetition, which
// divides or multiplies by sign, and OpenAI's for presence and frequency.
#include "runtime/model/Penalties.h"

#include "runtime/core/Text.h"

namespace lapidary {
namespace {

/// Far beyond any use; keeps a count times a penalty finite.
constexpr float mostPenalty = 1e6f;

} // namespace

Result<Penalties> Penalties::create(const PenaltyOptions &options) {
  // Each is written so that NaN fails.
  if (!(options.repeat > 0 && options.repeat <= mostPenalty))
    return invalidArgument(concat("the repeat penalty is ", options.repeat,
                                  ", expected above 0, up to 1000000; 1 is "
                                  "off"));
  if (options.lastTokens < -1)
    return invalidArgument(
        concat("penalties count the last ", options.lastTokens,
               " tokens, expected 0 (off) or more, or -1 (all)"));
  for (auto [penalty, name] : {std::pair(options.presence, "presence"),
                               std::pair(options.frequency, "frequency")})
    if (!(penalty >= -mostPenalty && penalty <= mostPenalty))
      return invalidArgument(concat("the ", name, " penalty is ", penalty,
                                    ", expected -1000000 to 1000000; 0 is "
                                    "off"));
  Penalties penalties;
  penalties.options = options;
  return penalties;
}

void Penalties::see(int32_t token) {
  if (!active())
    return;
  past.push_back(token);
  ++counts[token];
  const auto most = static_cast<size_t>(options.lastTokens);
  if (options.lastTokens < 0 || past.size() <= most)
    return;
  auto leaving = counts.find(past[past.size() - 1 - most]);
  if (--leaving->second == 0)
    counts.erase(leaving);
}

void Penalties::apply(std::span<float> logits) const {
  for (auto [token, count] : counts) {
    if (token < 0 || static_cast<size_t>(token) >= logits.size())
      continue;
    float &logit = logits[token];
    logit = logit > 0 ? logit / options.repeat : logit * options.repeat;
    logit -= options.presence + static_cast<float>(count) * options.frequency;
  }
}

} // namespace lapidary
