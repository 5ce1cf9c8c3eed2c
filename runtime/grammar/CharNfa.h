// Finite automata over characters: what patterns, formats and lengths of
// strings become, because all of them must hold at once and automata can be
// intersected.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/grammar/CharSet.h"

namespace lapidary {

/// Grown by its maker; state 0 is the start.
struct CharNfa {
  struct Edge {
    CharSet characters;
    uint32_t to;
  };
  struct State {
    std::vector<Edge> edges;
    std::vector<uint32_t> skips;
    bool accepts = false;
  };
  std::vector<State> states;

  /// More than any sensible string schema needs; bounds the work of patterns
  /// such as (a{1000}){1000}.
  static constexpr size_t maxStates = 1 << 16;

  uint32_t addState() {
    states.emplace_back();
    return static_cast<uint32_t>(states.size() - 1);
  }
  /// States that accept and those behind skips, for all states: afterwards no
  /// state has skips.
  Status removeSkips();
};

/// Any `least` to `most` characters; most < 0: no end.
Result<CharNfa> lengthNfa(int64_t least, int64_t most);

/// What both accept.
Result<CharNfa> intersect(CharNfa left, CharNfa right);

} // namespace lapidary
