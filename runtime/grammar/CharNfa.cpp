// Products of automata, made only of pairs of states that can be reached.
#include "runtime/grammar/CharNfa.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <unordered_map>

namespace lapidary {
namespace {
/// Edges of all states together, and the ranges of their characters.
constexpr size_t maxEdges = 1 << 20;
constexpr size_t maxRanges = size_t(1) << 23;

Status tooLarge() {
  return unsupported(concat("the pattern and the lengths together need more "
                            "than ",
                            CharNfa::maxStates,
                            " states; make the repetition counts smaller"));
}
} // namespace

Status CharNfa::removeSkips() {
  std::vector<uint32_t> seen(states.size(), UINT32_MAX), work;
  std::vector<State> flat(states.size());
  size_t edges = 0, ranges = 0;
  for (uint32_t state = 0; state < states.size(); ++state) {
    work.assign(1, state);
    seen[state] = state;
    while (!work.empty()) {
      const State &from = states[work.back()];
      work.pop_back();
      flat[state].accepts |= from.accepts;
      flat[state].edges.insert(flat[state].edges.end(), from.edges.begin(),
                               from.edges.end());
      edges += from.edges.size() + from.skips.size();
      for (const Edge &edge : from.edges)
        ranges += edge.characters.ranges().size();
      if (edges > maxEdges || ranges > maxRanges)
        return tooLarge();
      for (uint32_t next : from.skips) {
        if (seen[next] != state)
          work.push_back(next);
        seen[next] = state;
      }
    }
  }
  states = std::move(flat);
  return {};
}

Result<CharNfa> lengthNfa(int64_t least, int64_t most) {
  int64_t count = most < 0 ? least : most;
  if (count >= static_cast<int64_t>(CharNfa::maxStates))
    return tooLarge();
  CharNfa nfa;
  uint32_t state = nfa.addState();
  for (int64_t length = 0; length < count; ++length) {
    nfa.states[state].accepts = length >= least;
    uint32_t next = nfa.addState();
    nfa.states[state].edges.push_back({CharSet::any(), next});
    state = next;
  }
  nfa.states[state].accepts = true;
  if (most < 0)
    nfa.states[state].edges.push_back({CharSet::any(), state});
  return nfa;
}

Result<CharNfa> intersect(CharNfa left, CharNfa right) {
  LAPIDARY_TRY(left.removeSkips());
  LAPIDARY_TRY(right.removeSkips());
  CharNfa both;
  std::unordered_map<uint64_t, uint32_t> known;
  std::vector<uint64_t> pairs;
  size_t edges = 0, ranges = 0;
  const auto stateOf = [&](uint32_t a, uint32_t b) {
    uint64_t key = uint64_t(a) << 32 | b;
    auto [at, isNew] = known.try_emplace(key, both.states.size());
    if (isNew) {
      both.addState();
      pairs.push_back(key);
    }
    return at->second;
  };
  stateOf(0, 0);
  for (uint32_t state = 0; state < pairs.size(); ++state) {
    const CharNfa::State &a = left.states[pairs[state] >> 32],
                         &b = right.states[static_cast<uint32_t>(pairs[state])];
    both.states[state].accepts = a.accepts && b.accepts;
    for (const CharNfa::Edge &first : a.edges) {
      for (const CharNfa::Edge &second : b.edges) {
        ranges += std::max(first.characters.ranges().size(),
                           second.characters.ranges().size());
        CharSet common = first.characters.intersect(second.characters);
        if (!common.empty()) {
          uint32_t to = stateOf(first.to, second.to);
          both.states[state].edges.push_back({std::move(common), to});
        }
        if (++edges > maxEdges || ranges > maxRanges ||
            both.states.size() > CharNfa::maxStates)
          return tooLarge();
      }
    }
  }
  return both;
}

} // namespace lapidary
