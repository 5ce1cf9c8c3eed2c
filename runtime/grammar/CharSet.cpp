// Set algebra on sorted ranges.
#include "runtime/grammar/CharSet.h"

#include <algorithm>

namespace lapidary {
namespace {
constexpr uint32_t lastCharacter = 0x10FFFF;
constexpr uint32_t firstSurrogate = 0xD800, lastSurrogate = 0xDFFF;
} // namespace

CharSet::CharSet(std::vector<CharRange> ranges) {
  std::vector<CharRange> valid;
  for (CharRange range : ranges) {
    range.last = std::min(range.last, lastCharacter);
    if (range.first < firstSurrogate && range.last >= firstSurrogate)
      valid.push_back({range.first, firstSurrogate - 1});
    if (range.first >= firstSurrogate && range.first <= lastSurrogate)
      range.first = lastSurrogate + 1;
    if (range.last >= firstSurrogate && range.last <= lastSurrogate)
      range.last = firstSurrogate - 1;
    if (range.first < firstSurrogate && range.last > lastSurrogate)
      range.first = lastSurrogate + 1;
    if (range.first <= range.last)
      valid.push_back(range);
  }
  std::sort(valid.begin(), valid.end());
  for (const CharRange &range : valid) {
    if (!parts.empty() && range.first <= parts.back().last + 1)
      parts.back().last = std::max(parts.back().last, range.last);
    else
      parts.push_back(range);
  }
}

const CharSet &CharSet::any() {
  static const CharSet all({{0, lastCharacter}});
  return all;
}

CharSet CharSet::complement() const {
  std::vector<CharRange> gaps;
  uint32_t next = 0;
  for (const CharRange &range : parts) {
    if (range.first > next)
      gaps.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= lastCharacter)
    gaps.push_back({next, lastCharacter});
  return CharSet(std::move(gaps));
}

CharSet CharSet::intersect(const CharSet &other) const {
  std::vector<CharRange> common;
  size_t left = 0, right = 0;
  while (left < parts.size() && right < other.parts.size()) {
    const CharRange &a = parts[left], &b = other.parts[right];
    CharRange both{std::max(a.first, b.first), std::min(a.last, b.last)};
    if (both.first <= both.last)
      common.push_back(both);
    a.last < b.last ? ++left : ++right;
  }
  return CharSet(std::move(common));
}

bool CharSet::contains(uint32_t character) const {
  auto next = std::upper_bound(parts.begin(), parts.end(), character,
                               [](uint32_t value, const CharRange &range) {
                                 return value < range.first;
                               });
  return next != parts.begin() && character <= std::prev(next)->last;
}

} // namespace lapidary
