// A grammar as it is followed: sets of (state, stack) become numbered states of
// a deterministic automaton, which is made as it is walked, so that a step
// costs a look into a table.
#pragma once

#include "runtime/grammar/Grammar.h"

#include <unordered_map>

namespace lapidary {

/// Used by one thread at a time. States are numbers that stay valid until
/// `compact`.
class Automaton {
public:
  using State = uint32_t;
  /// Where no continuation satisfies the grammar.
  static constexpr State dead = 0;

  explicit Automaton(std::shared_ptr<const Grammar> grammar);

  State start() const { return first; }
  State step(State state, uint16_t symbol) {
    State next = table[state * classCount + classOf[symbol]];
    return next != unknown ? next : explore(state, classOf[symbol]);
  }
  /// Whether the grammar can end here.
  bool accepts(State state) const { return entries[state].accepts; }

  /// Whether a state was given up because the grammar is too ambiguous there;
  /// it then reads as dead.
  bool overflowed() const { return overflow; }
  /// Whether that was for its work, not for one state's ambiguity.
  bool isSpent() const { return workLeft < 0; }
  /// Before each walk over a vocabulary: renews what it may cost, as far as the
  /// whole answer may still cost it. A walk that other answers wait for must
  /// not take long, nor all of them together.
  void allowWork();
  size_t size() const { return entries.size(); }
  /// Forgets all but one state; returns its new number. The start is forgotten.
  State compact(State keep);

private:
  static constexpr State unknown = UINT32_MAX;
  /// A state of the grammar and what follows its rule's end.
  struct Item {
    uint32_t state, stack;
    auto operator<=>(const Item &) const = default;
  };
  /// Stacks are shared: a list of states to return to, made once each.
  struct Frame {
    uint32_t state, below, depth;
  };
  struct Entry {
    uint32_t itemBegin = 0, itemEnd = 0;
    bool accepts = false;
    State sameHash = dead;
  };

  State explore(State from, uint16_t symbolClass);
  void add(uint32_t state, uint32_t stack);
  State intern();
  uint32_t push(uint32_t state, uint32_t below);
  void clear();

  std::shared_ptr<const Grammar> grammar;
  std::vector<uint16_t> classOf;
  uint32_t classCount;
  State first = dead;
  bool overflow = false;
  /// Of this walk, what it was given, and of the answer without this walk.
  int64_t workLeft = 0, allowed = 0, answerLeft;

  std::vector<Entry> entries;
  std::vector<Item> items;
  std::vector<State> table;
  std::unordered_map<uint64_t, State> byHash;
  std::vector<Frame> frames;
  std::unordered_map<uint64_t, uint32_t> frameOf;

  /// Of the state that is being made.
  std::vector<Item> reached, work;
  bool reachedEnd = false;
};

} // namespace lapidary
