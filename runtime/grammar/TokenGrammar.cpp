// The walk over the vocabulary's tree: a table look-up a node, and none below
// a byte that cannot come.
#include "runtime/grammar/TokenGrammar.h"

#include "runtime/core/Text.h"

#include <algorithm>

namespace lapidary {
namespace {
/// Masks of 262,144 tokens have 32 KB each.
constexpr size_t maxMaskBytes = size_t(16) << 20;
/// Beyond it the automaton starts anew between two tokens.
constexpr size_t manyStates = 20000;
} // namespace

TokenGrammar::TokenGrammar(std::shared_ptr<const Grammar> grammar,
                           const TokenTable &table,
                           std::vector<std::vector<int32_t>> marks)
    : automaton(std::move(grammar)), table(table), marks(std::move(marks)),
      path(size_t(table.longest()) + 1) {}

TokenGrammar::State TokenGrammar::step(State state, int32_t token) {
  for (char byte : table.bytes(token)) {
    state = automaton.step(state, static_cast<uint8_t>(byte));
    if (state == Automaton::dead)
      return state;
  }
  if (!table.bytes(token).empty())
    return state;
  for (size_t mark = 0; mark < marks.size(); ++mark) {
    if (std::find(marks[mark].begin(), marks[mark].end(), token) ==
        marks[mark].end())
      continue;
    State next = automaton.step(state, static_cast<uint16_t>(firstMark + mark));
    if (next != Automaton::dead)
      return next;
  }
  return Automaton::dead;
}

bool TokenGrammar::isEnd(State state) {
  if (state == Automaton::dead || !automaton.accepts(state))
    return false;
  for (uint32_t symbol = 0; symbol < firstMark + marks.size(); ++symbol)
    if (automaton.step(state, static_cast<uint16_t>(symbol)) != Automaton::dead)
      return false;
  return true;
}

/// The states after one plain character of any kind, put to those in `next`.
/// False where some character cannot come.
bool TokenGrammar::addNextCharacters(State state, std::vector<State> &next) {
  const auto add = [](std::vector<State> &states, State to) {
    if (to == Automaton::dead)
      return false;
    if (std::find(states.begin(), states.end(), to) == states.end())
      states.push_back(to);
    return true;
  };
  for (uint16_t byte = 0; byte < 0x80; ++byte)
    if (TokenTable::isPlain(static_cast<uint8_t>(byte)) &&
        !add(next, automaton.step(state, byte)))
      return false;
  // UTF-8 by how the lead byte bounds the byte after it (RFC 3629).
  struct Lead {
    uint8_t first, last, nextFirst, nextLast;
    int more;
  };
  constexpr Lead leads[] = {
      {0xC2, 0xDF, 0x80, 0xBF, 0}, {0xE0, 0xE0, 0xA0, 0xBF, 1},
      {0xE1, 0xEC, 0x80, 0xBF, 1}, {0xED, 0xED, 0x80, 0x9F, 1},
      {0xEE, 0xEF, 0x80, 0xBF, 1}, {0xF0, 0xF0, 0x90, 0xBF, 2},
      {0xF1, 0xF3, 0x80, 0xBF, 2}, {0xF4, 0xF4, 0x80, 0x8F, 2}};
  std::vector<State> states, after;
  const auto stepAll = [&](uint16_t first, uint16_t last) {
    after.clear();
    for (State from : states)
      for (uint16_t byte = first; byte <= last; ++byte)
        if (!add(after, automaton.step(from, byte)))
          return false;
    states.swap(after);
    return true;
  };
  for (const Lead &lead : leads) {
    states.assign(1, state);
    if (!stepAll(lead.first, lead.last) ||
        !stepAll(lead.nextFirst, lead.nextLast))
      return false;
    for (int i = 0; i < lead.more; ++i)
      if (!stepAll(0x80, 0xBF))
        return false;
    for (State to : states)
      add(next, to);
  }
  return true;
}

/// Whether all plain tokens may come. Only where few states are concerned, as
/// within strings; a walk gives the same mask elsewhere.
bool TokenGrammar::takesPlainText(State state) {
  constexpr size_t fewStates = 4;
  std::vector<State> known{state}, level{state}, next;
  for (size_t length = 0; length < TokenTable::plainLength; ++length) {
    next.clear();
    for (State from : level)
      if (!addNextCharacters(from, next) || next.size() > fewStates)
        return false;
    level.clear();
    for (State to : next) {
      if (std::find(known.begin(), known.end(), to) == known.end()) {
        known.push_back(to);
        level.push_back(to);
      }
    }
    if (level.empty())
      return true;
  }
  return true;
}

void TokenGrammar::walk(State state, const TokenTable::Tree &tree,
                        std::vector<uint32_t> &bits) {
  const std::vector<TokenTable::Node> &nodes = tree.nodes;
  const std::vector<int32_t> &tokens = tree.tokens;
  path[0] = state;
  for (size_t at = 0; at < nodes.size();) {
    const TokenTable::Node &node = nodes[at];
    State next = automaton.step(path[node.depth], node.byte);
    if (next == Automaton::dead) {
      at = node.skip;
      continue;
    }
    path[node.depth + 1] = next;
    ++at;
    size_t end = at < nodes.size() ? nodes[at].tokens : tokens.size();
    for (size_t index = node.tokens; index < end; ++index)
      bits[tokens[index] / 32] |= 1u << tokens[index] % 32;
  }
}

Result<std::span<const uint32_t>> TokenGrammar::mask(State state) {
  if (auto known = masks.find(state); known != masks.end())
    return std::span<const uint32_t>(known->second);
  size_t words = (static_cast<size_t>(table.vocabularySize()) + 31) / 32;
  if ((masks.size() + 1) * words * sizeof(uint32_t) > maxMaskBytes)
    masks.clear();
  std::vector<uint32_t> bits(words);
  if (!automaton.overflowed())
    automaton.allowWork();
  if (takesPlainText(state)) {
    std::copy(table.plainTokens().begin(), table.plainTokens().end(),
              bits.begin());
    walk(state, table.others(), bits);
  } else {
    walk(state, table.all(), bits);
  }
  for (size_t mark = 0; mark < marks.size(); ++mark)
    if (automaton.step(state, static_cast<uint16_t>(firstMark + mark)) !=
        Automaton::dead)
      for (int32_t token : marks[mark])
        if (token >= 0 && token < table.vocabularySize())
          bits[token / 32] |= 1u << token % 32;
  if (automaton.overflowed() && automaton.isSpent())
    return unsupported("the grammar or schema takes too much work to be "
                       "followed: make its patterns or counts simpler");
  if (automaton.overflowed())
    return unsupported("the grammar or schema is too ambiguous to be followed: "
                       "the same text has too many readings");
  if (!automaton.accepts(state) &&
      std::all_of(bits.begin(), bits.end(), [](uint32_t w) { return w == 0; }))
    return unsupported("no token of the vocabulary can continue the answer as "
                       "the grammar or schema demands");
  return std::span<const uint32_t>(
      masks.insert_or_assign(state, std::move(bits)).first->second);
}

TokenGrammar::State TokenGrammar::tidy(State state) {
  if (automaton.size() < manyStates)
    return state;
  masks.clear();
  return automaton.compact(state);
}

} // namespace lapidary
