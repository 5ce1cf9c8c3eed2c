// States and edges of a grammar as its makers write them.
#include "runtime/grammar/Grammar.h"

#include "runtime/model/Unicode.h"

#include <algorithm>

namespace lapidary {

GrammarBuilder::State GrammarBuilder::newState() {
  if (states.size() >= maxStates) {
    overflow = true;
    return static_cast<State>(states.size() - 1);
  }
  states.emplace_back();
  accepting.push_back(false);
  return static_cast<State>(states.size() - 1);
}

void GrammarBuilder::addEdge(State from, const Edge &edge) {
  if (edgeCount >= maxEdges) {
    overflow = true;
    return;
  }
  ++edgeCount;
  states[from].push_back(edge);
}

void GrammarBuilder::addSymbols(State from, uint16_t first, uint16_t last,
                                State to) {
  addEdge(from, {first, last, noRule, to});
}

void GrammarBuilder::addSkip(State from, State to) {
  addEdge(from, {1, 0, noRule, to});
}

void GrammarBuilder::addCall(State from, Rule rule, State to) {
  addEdge(from, {1, 0, rule, to});
}

GrammarBuilder::State GrammarBuilder::addCall(State from, Rule rule) {
  State to = newState();
  addCall(from, rule, to);
  return to;
}

GrammarBuilder::State GrammarBuilder::addText(State from,
                                              std::string_view text) {
  for (char c : text) {
    State to = newState();
    auto byte = static_cast<uint8_t>(c);
    addSymbols(from, byte, byte, to);
    from = to;
  }
  return from;
}

GrammarBuilder::State GrammarBuilder::addMark(State from, uint16_t mark) {
  State to = newState();
  addSymbols(from, mark, mark, to);
  return to;
}

void GrammarBuilder::addCharacters(State from, const CharSet &set, State to) {
  std::vector<CharRange> rest;
  for (CharRange range : set.ranges()) {
    if (range.first < 0x80) {
      addSymbols(from, static_cast<uint16_t>(range.first),
                 static_cast<uint16_t>(std::min<uint32_t>(range.last, 0x7F)),
                 to);
      range.first = 0x80;
    }
    if (range.first <= range.last)
      rest.push_back(range);
  }
  if (rest.empty())
    return;
  auto [at, isNew] = characterRules.try_emplace(CharSet(rest), 0);
  if (isNew) {
    at->second = newRule("a character");
    State start = newState(), end = newState();
    for (const CharRange &range : rest) {
      // Ranges of one length in UTF-8.
      constexpr uint32_t lastOf[] = {0x7FF, 0xFFFF, 0x10FFFF};
      for (uint32_t first = range.first; first <= range.last;) {
        uint32_t last = std::min(
            range.last, *std::find_if(std::begin(lastOf), std::end(lastOf),
                                      [&](uint32_t l) { return first <= l; }));
        std::string low, high;
        appendUtf8(low, first);
        appendUtf8(high, last);
        addUtf8(start, reinterpret_cast<const uint8_t *>(low.data()),
                reinterpret_cast<const uint8_t *>(high.data()), low.size(),
                end);
        first = last + 1;
      }
    }
    define(at->second, start, end);
  }
  addCall(from, at->second, to);
}

/// The byte sequences from `first` to `last`, both of `size` bytes.
void GrammarBuilder::addUtf8(State from, const uint8_t *first,
                             const uint8_t *last, size_t size, State to) {
  if (size == 1)
    return addSymbols(from, *first, *last, to);
  if (*first == *last) {
    State next = newState();
    addSymbols(from, *first, *first, next);
    return addUtf8(next, first + 1, last + 1, size - 1, to);
  }
  constexpr uint8_t lowest[] = {0x80, 0x80, 0x80},
                    highest[] = {0xBF, 0xBF, 0xBF};
  uint8_t begin = *first, end = *last;
  if (!std::equal(first + 1, first + size, lowest)) {
    State next = newState();
    addSymbols(from, begin, begin, next);
    addUtf8(next, first + 1, highest, size - 1, to);
    ++begin;
  }
  if (!std::equal(last + 1, last + size, highest)) {
    State next = newState();
    addSymbols(from, end, end, next);
    addUtf8(next, lowest, last + 1, size - 1, to);
    --end;
  }
  if (begin > end)
    return;
  State next = newState();
  addSymbols(from, begin, end, next);
  addUtf8(next, lowest, highest, size - 1, to);
}

GrammarBuilder::Rule GrammarBuilder::newRule(std::string name) {
  // Rules come with states, so that the limit of those is enough; the first
  // one stands for all beyond it.
  if (rules.size() >= maxStates) {
    overflow = true;
    return 0;
  }
  rules.push_back({std::move(name), 0, false});
  return static_cast<Rule>(rules.size() - 1);
}

void GrammarBuilder::define(Rule rule, State start, State end) {
  rules[rule].start = start;
  rules[rule].defined = true;
  accepting[end] = true;
}

} // namespace lapidary
