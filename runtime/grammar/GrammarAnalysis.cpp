// From what was written to what can be run: empty moves are taken out, left
// recursion is refused, and each state learns how deeply calls must nest at
// least before its rule can end, so that the limit of nesting is never a dead
// end.
#include "runtime/core/Text.h"
#include "runtime/grammar/Grammar.h"

#include <algorithm>
#include <queue>

namespace lapidary {
namespace {
constexpr uint32_t never = UINT32_MAX;
} // namespace

class GrammarAnalysis {
public:
  explicit GrammarAnalysis(const GrammarBuilder &builder)
      : builder(builder), states(builder.states.size()) {}

  Result<std::shared_ptr<const Grammar>> run(GrammarBuilder::Rule root) {
    for (const GrammarBuilder::RuleInfo &rule : builder.rules)
      if (!rule.defined)
        return invalidArgument(concat("the grammar uses the rule '", rule.name,
                                      "', which is not defined"));
    LAPIDARY_TRY(removeSkips());
    std::vector<uint32_t> nullable = heights(false);
    LAPIDARY_TRY(refuseLeftRecursion(nullable));
    height = heights(true);
    uint32_t start = builder.rules[root].start;
    if (height[start] == never)
      return invalidArgument("no text satisfies the grammar or schema: a part "
                             "that is required can never end");
    if (height[start] > Grammar::deepest)
      return unsupported(concat("the grammar or schema nests at least ",
                                height[start], " levels, at most ",
                                Grammar::deepest));
    return write(start);
  }

private:
  struct State {
    std::vector<GrammarBuilder::Edge> edges;
    bool accepts = false;
  };

  /// Gives each state the edges of all that it can skip to.
  Status removeSkips() {
    std::vector<uint32_t> seen(states.size(), never), work;
    size_t count = 0;
    for (uint32_t index = 0; index < states.size(); ++index) {
      State &state = states[index];
      work.assign(1, index);
      seen[index] = index;
      while (!work.empty()) {
        uint32_t from = work.back();
        work.pop_back();
        state.accepts = state.accepts || builder.accepting[from];
        for (const GrammarBuilder::Edge &edge : builder.states[from]) {
          if (++count > 2 * GrammarBuilder::maxEdges)
            return unsupported("the grammar or schema has too many "
                               "alternatives in one place");
          if (edge.rule != GrammarBuilder::noRule || edge.first <= edge.last) {
            state.edges.push_back(edge);
          } else if (seen[edge.to] != index) {
            seen[edge.to] = index;
            work.push_back(edge.to);
          }
        }
      }
    }
    return {};
  }

  /// The least depth of calls from each state to its rule's end; `never` where
  /// it cannot be reached. Without reading symbols, it says what is nullable.
  /// Dijkstra's algorithm, as Knuth extended it to grammars.
  std::vector<uint32_t> heights(bool reading) const {
    struct Use {
      uint32_t state, edge;
    };
    // Edges by where they lead, and by the start of the rule that they call.
    std::vector<std::vector<Use>> into(states.size()), calling(states.size());
    std::vector<uint32_t> result(states.size(), never);
    using Entry = std::pair<uint32_t, uint32_t>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
    for (uint32_t index = 0; index < states.size(); ++index) {
      for (uint32_t at = 0; at < states[index].edges.size(); ++at) {
        const GrammarBuilder::Edge &edge = states[index].edges[at];
        if (edge.rule != GrammarBuilder::noRule)
          calling[builder.rules[edge.rule].start].push_back({index, at});
        else if (!reading)
          continue;
        into[edge.to].push_back({index, at});
      }
      if (states[index].accepts)
        queue.push({0, index});
    }
    const auto relax = [&](const Use &use) {
      const GrammarBuilder::Edge &edge = states[use.state].edges[use.edge];
      uint32_t rest = result[edge.to];
      if (edge.rule != GrammarBuilder::noRule) {
        uint32_t inner = result[builder.rules[edge.rule].start];
        if (inner == never || rest == never)
          return;
        rest = std::max(rest, inner + 1);
      }
      if (result[use.state] == never)
        queue.push({rest, use.state});
    };
    while (!queue.empty()) {
      auto [value, index] = queue.top();
      queue.pop();
      if (result[index] != never)
        continue;
      result[index] = value;
      for (const Use &use : into[index])
        relax(use);
      for (const Use &use : calling[index])
        relax(use);
    }
    return result;
  }

  /// A rule that can call itself before anything was read would never be left.
  Status refuseLeftRecursion(const std::vector<uint32_t> &nullable) const {
    size_t count = builder.rules.size();
    std::vector<std::vector<uint32_t>> first(count);
    std::vector<uint32_t> seen(states.size(), never), work;
    for (uint32_t rule = 0; rule < count; ++rule) {
      work.assign(1, builder.rules[rule].start);
      seen[work[0]] = rule;
      while (!work.empty()) {
        const State &state = states[work.back()];
        work.pop_back();
        for (const GrammarBuilder::Edge &edge : state.edges) {
          if (edge.rule == GrammarBuilder::noRule)
            continue;
          first[rule].push_back(edge.rule);
          if (nullable[builder.rules[edge.rule].start] != never &&
              seen[edge.to] != rule) {
            seen[edge.to] = rule;
            work.push_back(edge.to);
          }
        }
      }
    }
    enum : uint8_t { New, Open, Done };
    std::vector<uint8_t> visit(count, New);
    std::vector<std::pair<uint32_t, size_t>> path;
    for (uint32_t rule = 0; rule < count; ++rule) {
      if (visit[rule] != New)
        continue;
      path.assign(1, {rule, 0});
      visit[rule] = Open;
      while (!path.empty()) {
        auto &[at, next] = path.back();
        if (next == first[at].size()) {
          visit[at] = Done;
          path.pop_back();
          continue;
        }
        uint32_t called = first[at][next++];
        if (visit[called] == Open)
          return unsupported(
              concat("the rule '", builder.rules[called].name,
                     "' begins with itself (left recursion); write it so that "
                     "something comes before"));
        if (visit[called] == New) {
          visit[called] = Open;
          path.push_back({called, 0});
        }
      }
    }
    return {};
  }

  /// Classes of symbols: borders lie where any edge begins or ends.
  void writeClasses(Grammar &grammar) const {
    size_t symbols = firstMark + builder.marks;
    std::vector<bool> border(symbols + 1, false);
    border[0] = true;
    for (const Grammar::Edge &edge : grammar.allEdges)
      border[edge.first] = border[edge.last + 1] = true;
    for (size_t symbol = 0; symbol < symbols; ++symbol) {
      if (border[symbol])
        grammar.representative.push_back(static_cast<uint16_t>(symbol));
      grammar.classOf.push_back(
          static_cast<uint16_t>(grammar.representative.size() - 1));
    }
  }

  std::shared_ptr<const Grammar> write(uint32_t start) const {
    auto grammar = std::make_shared<Grammar>();
    grammar->first = start;
    grammar->states.resize(states.size());
    const auto ends = [&](uint32_t index) {
      return states[index].accepts && states[index].edges.empty();
    };
    for (uint32_t index = 0; index < states.size(); ++index) {
      Grammar::State &state = grammar->states[index];
      state.accepts = states[index].accepts;
      state.height = height[index];
      state.edgeBegin = static_cast<uint32_t>(grammar->allEdges.size());
      state.callBegin = static_cast<uint32_t>(grammar->allCalls.size());
      for (const GrammarBuilder::Edge &edge : states[index].edges) {
        if (height[edge.to] == never)
          continue;
        if (edge.rule == GrammarBuilder::noRule) {
          grammar->allEdges.push_back({edge.first, edge.last, edge.to});
          continue;
        }
        uint32_t called = builder.rules[edge.rule].start;
        if (height[called] != never)
          grammar->allCalls.push_back(
              {called, edge.to, height[called], ends(edge.to)});
      }
      state.edgeEnd = static_cast<uint32_t>(grammar->allEdges.size());
      state.callEnd = static_cast<uint32_t>(grammar->allCalls.size());
    }
    writeClasses(*grammar);
    return grammar;
  }

  const GrammarBuilder &builder;
  std::vector<State> states;
  std::vector<uint32_t> height;
};

Result<std::shared_ptr<const Grammar>> GrammarBuilder::finish(Rule root) {
  if (overflow)
    return unsupported(concat("the grammar or schema is too large: more than ",
                              maxStates, " states or ", maxEdges,
                              " edges; make lengths, counts or lists smaller"));
  return GrammarAnalysis(*this).run(root);
}

} // namespace lapidary
