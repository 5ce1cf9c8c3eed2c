// The subset construction, one transition at a time, over stacks that share
// their lower parts.
#include "runtime/grammar/Automaton.h"

#include <algorithm>
#include <xxhash.h>

namespace lapidary {
namespace {
/// Items of one state: every alternative that may begin is one, and a list of
/// a thousand tools or rules is not too much. Beyond it a grammar is ambiguous
/// without need; what they cost is bounded by `workLeft`.
constexpr size_t maxItems = 4096;
/// For one mask: about half a second where a grammar is made to be costly.
constexpr int64_t maskWork = int64_t(1) << 28;
/// For an answer: a few of those, and for every mask what masks take anyway.
constexpr int64_t answerWork = int64_t(1) << 30;
constexpr int64_t commonWork = int64_t(1) << 18;
/// Tables of all states together; a walk over a vocabulary that needs more
/// gives up.
constexpr size_t maxTable = size_t(1) << 24;
constexpr size_t maxAllItems = size_t(1) << 23;
} // namespace

Automaton::Automaton(std::shared_ptr<const Grammar> grammarToRun)
    : grammar(std::move(grammarToRun)),
      classOf(grammar->classes().begin(), grammar->classes().end()),
      classCount(static_cast<uint32_t>(grammar->classSymbols().size())),
      answerLeft(answerWork) {
  clear();
  allowWork();
  add(grammar->start(), 0);
  first = intern();
}

void Automaton::allowWork() {
  answerLeft -= allowed - std::max<int64_t>(workLeft, 0);
  answerLeft = std::min(answerLeft + commonWork, answerWork);
  allowed = workLeft = std::clamp<int64_t>(answerLeft, 0, maskWork);
}

void Automaton::clear() {
  entries.assign(1, Entry());
  items.clear();
  table.assign(classCount, dead);
  byHash.clear();
  frames.assign(1, {0, 0, 0});
  frameOf.clear();
}

uint32_t Automaton::push(uint32_t state, uint32_t below) {
  auto [at, isNew] = frameOf.try_emplace(uint64_t(state) << 32 | below,
                                         uint32_t(frames.size()));
  if (isNew)
    frames.push_back({state, below, frames[below].depth + 1});
  return at->second;
}

/// Puts an item and all that follows from it without reading into `reached`.
void Automaton::add(uint32_t startState, uint32_t startStack) {
  work.push_back({startState, startStack});
  while (!work.empty()) {
    Item item = work.back();
    work.pop_back();
    if (std::find(reached.begin(), reached.end(), item) != reached.end())
      continue;
    workLeft -= static_cast<int64_t>(reached.size()) + 1;
    if (reached.size() >= maxItems || workLeft < 0) {
      overflow = true;
      work.clear();
      return;
    }
    reached.push_back(item);
    const Grammar::State &state = grammar->state(item.state);
    uint32_t depth = frames[item.stack].depth;
    if (state.accepts) {
      if (item.stack == 0)
        reachedEnd = true;
      else
        work.push_back({frames[item.stack].state, frames[item.stack].below});
    }
    for (const Grammar::Call &call : grammar->calls(state)) {
      if (depth + 1 + call.height > Grammar::deepest ||
          depth + grammar->state(call.to).height > Grammar::deepest)
        continue;
      work.push_back(
          {call.start, call.tail ? item.stack : push(call.to, item.stack)});
    }
  }
}

/// The number of the state that `reached` is.
Automaton::State Automaton::intern() {
  std::erase_if(reached, [&](const Item &item) {
    const Grammar::State &state = grammar->state(item.state);
    return state.edgeBegin == state.edgeEnd;
  });
  std::sort(reached.begin(), reached.end());
  State result = dead;
  if (!overflow && (reachedEnd || !reached.empty())) {
    uint64_t hash = XXH3_64bits_withSeed(
        reached.data(), reached.size() * sizeof(Item), reachedEnd);
    auto [at, isNew] = byHash.try_emplace(hash, dead);
    for (result = at->second; result != dead;
         result = entries[result].sameHash) {
      const Entry &entry = entries[result];
      if (entry.accepts == reachedEnd &&
          std::equal(reached.begin(), reached.end(),
                     items.begin() + entry.itemBegin,
                     items.begin() + entry.itemEnd))
        break;
    }
    if (result == dead) {
      if (table.size() >= maxTable || items.size() >= maxAllItems) {
        overflow = true;
      } else {
        result = static_cast<State>(entries.size());
        auto begin = static_cast<uint32_t>(items.size());
        items.insert(items.end(), reached.begin(), reached.end());
        entries.push_back({begin, static_cast<uint32_t>(items.size()),
                           reachedEnd, at->second});
        at->second = result;
        table.resize(table.size() + classCount, unknown);
      }
    }
  }
  reached.clear();
  reachedEnd = false;
  return result;
}

Automaton::State Automaton::explore(State from, uint16_t symbolClass) {
  uint16_t symbol = grammar->classSymbols()[symbolClass];
  // By index: `items` does not grow here, `add` changes only `reached`.
  for (uint32_t at = entries[from].itemBegin; at < entries[from].itemEnd;
       ++at) {
    Item item = items[at];
    for (const Grammar::Edge &edge : grammar->edges(grammar->state(item.state)))
      if (edge.first <= symbol && symbol <= edge.last &&
          frames[item.stack].depth + grammar->state(edge.to).height <=
              Grammar::deepest)
        add(edge.to, item.stack);
  }
  State next = intern();
  table[from * classCount + symbolClass] = next;
  return next;
}

Automaton::State Automaton::compact(State keep) {
  std::vector<Item> kept(items.begin() + entries[keep].itemBegin,
                         items.begin() + entries[keep].itemEnd);
  bool atEnd = entries[keep].accepts;
  // Frames below the kept ones have lower numbers, so that in ascending order
  // each finds the one below it renumbered.
  std::vector<uint32_t> needed;
  for (const Item &item : kept)
    for (uint32_t frame = item.stack; frame != 0; frame = frames[frame].below)
      needed.push_back(frame);
  std::sort(needed.begin(), needed.end());
  needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
  std::vector<Frame> old = std::move(frames);
  overflow = false;
  clear();
  std::unordered_map<uint32_t, uint32_t> renamed{{0, 0}};
  for (uint32_t frame : needed)
    renamed[frame] = push(old[frame].state, renamed[old[frame].below]);
  for (Item &item : kept)
    reached.push_back({item.state, renamed[item.stack]});
  reachedEnd = atEnd;
  first = dead;
  return intern();
}

} // namespace lapidary
