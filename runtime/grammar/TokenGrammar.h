// A grammar over bytes and marks, followed token by token: which tokens may
// come next, and where each leads.
#pragma once

#include "runtime/grammar/Automaton.h"
#include "runtime/grammar/TokenTable.h"

namespace lapidary {

/// For one answer, used by one thread at a time. Masks are made when a state is
/// first seen and kept for the next time.
class TokenGrammar {
public:
  using State = Automaton::State;

  /// `marks`: the control tokens that each mark stands for. The table must live
  /// as long.
  TokenGrammar(std::shared_ptr<const Grammar> grammar, const TokenTable &table,
               std::vector<std::vector<int32_t>> marks);

  State start() const { return automaton.start(); }
  /// The state after a token, or Automaton::dead.
  State step(State state, int32_t token);
  bool canEnd(State state) const { return automaton.accepts(state); }
  /// Whether it ends here, because nothing can follow.
  bool isEnd(State state);
  /// One bit a token that may come next, in words of 32. An error where there
  /// is none, unless the grammar can end. Valid until the next call.
  Result<std::span<const uint32_t>> mask(State state);
  /// To be called between tokens: bounds what has been made so far. Returns
  /// the state's number from now on.
  State tidy(State state);

private:
  void walk(State state, const TokenTable::Tree &tree,
            std::vector<uint32_t> &bits);
  bool takesPlainText(State state);
  bool addNextCharacters(State state, std::vector<State> &next);

  Automaton automaton;
  const TokenTable &table;
  std::vector<std::vector<int32_t>> marks;
  std::unordered_map<State, std::vector<uint32_t>> masks;
  std::vector<State> path;
};

} // namespace lapidary
