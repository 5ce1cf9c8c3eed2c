// Whether an automaton accepts a text: the tests' own walk.
#pragma once

#include "runtime/grammar/CharNfa.h"
#include "runtime/model/Unicode.h"

#include <set>

namespace lapidary::test {

/// `nfa` has no skips.
inline bool accepts(const CharNfa &nfa, std::string_view text) {
  std::set<uint32_t> states = {0};
  while (!text.empty() && !states.empty()) {
    Utf8Character c = readUtf8(text);
    text.remove_prefix(c.size);
    std::set<uint32_t> next;
    for (uint32_t state : states)
      for (const CharNfa::Edge &edge : nfa.states[state].edges)
        if (edge.characters.contains(c.value))
          next.insert(edge.to);
    states = std::move(next);
  }
  for (uint32_t state : states)
    if (nfa.states[state].accepts)
      return true;
  return false;
}

} // namespace lapidary::test
