// Penalties on what came before: the logits of tokens among the last ones of
// prompt and answer are lowered, so that a text does not go in circles.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace lapidary {

struct PenaltyOptions {
  /// Divides a positive logit and multiplies a negative one; 1: off.
  float repeat = 1;
  /// How many of the last tokens count; 0: none, -1: all.
  int32_t lastTokens = 64;
  /// Subtracted once from a token that came before; 0: off.
  float presence = 0;
  /// Subtracted for each time that it came; 0: off.
  float frequency = 0;
};

class Penalties {
public:
  static Result<Penalties> create(const PenaltyOptions &options);

  bool active() const {
    return options.lastTokens != 0 &&
           (options.repeat != 1 || options.presence != 0 ||
            options.frequency != 0);
  }
  /// A token of the prompt or of the answer, in order.
  void see(int32_t token);
  /// Tokens beyond the logits are passed over.
  void apply(std::span<float> logits) const;

private:
  Penalties() = default;

  PenaltyOptions options;
  /// The tokens that count and those before them.
  std::vector<int32_t> past;
  std::unordered_map<int32_t, int32_t> counts;
};

} // namespace lapidary
