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

void TokenGrammar::walk(State state, std::vector<uint32_t> &bits) {
  const std::span<const TokenTable::Node> nodes = table.nodes();
  const std::span<const int32_t> tokens = table.tokens();
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
  automaton.allowWork();
  walk(state, bits);
  for (size_t mark = 0; mark < marks.size(); ++mark)
    if (automaton.step(state, static_cast<uint16_t>(firstMark + mark)) !=
        Automaton::dead)
      for (int32_t token : marks[mark])
        if (token >= 0 && token < table.vocabularySize())
          bits[token / 32] |= 1u << token % 32;
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
