// One form for everything that an answer may be held to: rules that are small
// automata over symbols and that call each other. JSON schemas, GBNF and the
// model's tool notation are written into it; Automaton.h runs it.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/grammar/CharSet.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

/// Symbols below this are bytes of text; what follows are marks, each of which
/// stands for some control tokens.
constexpr uint16_t firstMark = 256;

/// Immutable, shared by all answers that follow it. Without empty moves, states
/// that lead nowhere, and left recursion.
class Grammar {
public:
  struct Edge {
    uint16_t first, last;
    uint32_t to;
  };
  struct Call {
    uint32_t start;
    uint32_t to;
    /// The least of frames that the called rule needs below its own.
    uint32_t height;
    /// Nothing follows the call within its rule: no frame is needed.
    bool tail;
  };
  struct State {
    uint32_t edgeBegin = 0, edgeEnd = 0;
    uint32_t callBegin = 0, callEnd = 0;
    /// The least of frames needed to come to the rule's end.
    uint32_t height = 0;
    bool accepts = false;
  };
  /// Deepest nesting of calls: bounds what an answer nests, far above what
  /// anyone reads. A grammar never leads to where more would be needed.
  static constexpr uint32_t deepest = 100;

  uint32_t start() const { return first; }
  const State &state(uint32_t index) const { return states[index]; }
  std::span<const Edge> edges(const State &state) const {
    return std::span(allEdges).subspan(state.edgeBegin,
                                       state.edgeEnd - state.edgeBegin);
  }
  std::span<const Call> calls(const State &state) const {
    return std::span(allCalls).subspan(state.callBegin,
                                       state.callEnd - state.callBegin);
  }
  /// Symbols that no edge tells apart have one class.
  std::span<const uint16_t> classes() const { return classOf; }
  /// A symbol of each class.
  std::span<const uint16_t> classSymbols() const { return representative; }

private:
  friend class GrammarBuilder;
  friend class GrammarAnalysis;
  std::vector<State> states;
  std::vector<Edge> allEdges;
  std::vector<Call> allCalls;
  std::vector<uint16_t> classOf, representative;
  uint32_t first = 0;
};

/// Grows a grammar state by state. Growth beyond the limits is ignored and
/// reported by `finish`, so that makers need to look at `full` only in loops.
class GrammarBuilder {
public:
  using State = uint32_t;
  using Rule = uint32_t;
  static constexpr size_t maxStates = 1 << 18;
  static constexpr size_t maxEdges = 1 << 20;

  /// `marks`: how many symbols there are beyond bytes.
  explicit GrammarBuilder(uint16_t marks) : marks(marks) {}

  State newState();
  void addSymbols(State from, uint16_t first, uint16_t last, State to);
  void addSkip(State from, State to);
  void addCall(State from, Rule rule, State to);
  /// The state behind a text or a mark.
  State addText(State from, std::string_view text);
  State addMark(State from, uint16_t mark);
  State addCall(State from, Rule rule);
  /// One character of the set, in UTF-8.
  void addCharacters(State from, const CharSet &set, State to);

  /// `name` stands in messages.
  Rule newRule(std::string name);
  void define(Rule rule, State start, State end);
  bool isDefined(Rule rule) const { return rules[rule].defined; }

  bool full() const { return overflow; }
  Result<std::shared_ptr<const Grammar>> finish(Rule root);

private:
  friend class GrammarAnalysis;
  static constexpr uint32_t noRule = UINT32_MAX;
  struct Edge {
    /// first > last: no symbol is read.
    uint16_t first = 1, last = 0;
    Rule rule = noRule;
    State to = 0;
  };
  struct RuleInfo {
    std::string name;
    State start = 0;
    bool defined = false;
  };
  void addEdge(State from, const Edge &edge);
  void addUtf8(State from, const uint8_t *first, const uint8_t *last,
               size_t size, State to);

  uint16_t marks;
  std::vector<std::vector<Edge>> states;
  std::vector<bool> accepting;
  std::vector<RuleInfo> rules;
  /// Rules for characters beyond ASCII, which take many states.
  std::map<CharSet, Rule> characterRules;
  size_t edgeCount = 0;
  bool overflow = false;
};

} // namespace lapidary
