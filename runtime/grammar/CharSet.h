// Sets of Unicode scalar values, as character classes of regular expressions
// and grammars mean them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lapidary {

struct CharRange {
  uint32_t first = 0;
  uint32_t last = 0;
  auto operator<=>(const CharRange &) const = default;
};

/// Immutable; ranges are sorted and neither overlap nor touch. Surrogates are
/// in no set.
class CharSet {
public:
  CharSet() = default;
  /// Ranges in any order; the reversed ones are empty.
  explicit CharSet(std::vector<CharRange> ranges);
  static CharSet of(uint32_t character) {
    return CharSet({{character, character}});
  }
  /// All scalar values.
  static const CharSet &any();

  CharSet complement() const;
  CharSet intersect(const CharSet &other) const;

  bool empty() const { return parts.empty(); }
  bool contains(uint32_t character) const;
  std::span<const CharRange> ranges() const { return parts; }
  auto operator<=>(const CharSet &) const = default;

private:
  std::vector<CharRange> parts;
};

} // namespace lapidary
