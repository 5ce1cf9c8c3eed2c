// Numbers between bounds as automata over their digits.
#pragma once

#include "runtime/grammar/CharNfa.h"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>

namespace lapidary {

/// Exact: what a bound in a schema says, not the nearest double.
struct Decimal {
  bool negative = false;
  /// Without zeros in front, but "0"; without zeros at the end.
  std::string whole = "0", fraction;
  bool isZero() const { return whole == "0" && fraction.empty(); }
};
/// Nothing where it is no number or has too many digits.
std::optional<Decimal> parseDecimal(const nlohmann::ordered_json &number);

struct NumberBounds {
  std::optional<Decimal> least, most;
  bool leastExcluded = false, mostExcluded = false;
};

/// Digits before the point, so that integers fit into 64 bits.
constexpr size_t mostDigits = 18;
/// Digits after it: as many as a double may need.
constexpr size_t mostFraction = 17;

/// The digits of numbers without sign and within the bounds: `negative` chooses
/// those below zero. Without exponents.
Result<CharNfa> numberNfa(const NumberBounds &bounds, bool integer,
                          bool negative);

} // namespace lapidary
