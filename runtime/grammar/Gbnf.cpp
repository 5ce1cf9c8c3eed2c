// A recursive descent parser that writes states as it reads. What a quantifier
// repeats becomes a rule of its own.
#include "runtime/grammar/Gbnf.h"

#include "runtime/core/Text.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace lapidary {
namespace {

constexpr int deepestGroup = 100;
constexpr size_t longestGrammar = size_t(1) << 20;

class Parser {
public:
  using State = GrammarBuilder::State;
  using Rule = GrammarBuilder::Rule;

  Parser(GrammarBuilder &builder, std::string_view text)
      : builder(builder), text(text) {}

  Result<Rule> parse() {
    if (text.size() > longestGrammar)
      return invalidArgument(concat("the grammar has ", text.size(),
                                    " bytes, at most ", longestGrammar));
    if (!isValidUtf8(text))
      return invalidArgument("the grammar is not valid UTF-8");
    for (skipSpace(true); at < text.size(); skipSpace(true))
      LAPIDARY_TRY(parseRule());
    auto root = rules.find("root");
    if (root == rules.end() || !builder.isDefined(root->second))
      return invalidArgument("the grammar has no rule 'root'");
    return root->second;
  }

private:
  Status fail(std::string_view what) const {
    size_t end = std::min(at, text.size());
    auto line = std::count(text.begin(), text.begin() + end, '\n') + 1;
    size_t begin = text.rfind('\n', end == 0 ? 0 : end - 1);
    size_t column =
        end - (begin == std::string_view::npos || begin >= end ? 0 : begin + 1);
    return invalidArgument(concat("the grammar, line ", line, ", column ",
                                  column + 1, ": ", what));
  }
  char peek() const { return at < text.size() ? text[at] : '\0'; }
  bool take(char c) {
    if (peek() != c || at >= text.size())
      return false;
    ++at;
    return true;
  }
  void skipSpace(bool lines) {
    while (at < text.size()) {
      char c = text[at];
      if (c == '#')
        at = std::min(text.find('\n', at), text.size());
      else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r')))
        ++at;
      else
        return;
    }
  }

  std::string_view takeName() {
    size_t first = at;
    const auto isName = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
             (c >= '0' && c <= '9') || c == '-' || c == '_';
    };
    while (isName(peek()))
      ++at;
    return text.substr(first, at - first);
  }
  Rule ruleOf(std::string_view name) {
    auto [found, isNew] = rules.try_emplace(std::string(name), 0);
    if (isNew)
      found->second = builder.newRule(std::string(name));
    return found->second;
  }

  Status parseRule() {
    std::string_view name = takeName();
    if (name.empty())
      return fail("expected the name of a rule");
    skipSpace(false);
    if (text.substr(at, 3) != "::=")
      return fail("expected '::='");
    at += 3;
    Rule rule = ruleOf(name);
    if (builder.isDefined(rule))
      return fail(concat("the rule '", name, "' is defined twice"));
    skipSpace(true);
    State start = builder.newState(), end = builder.newState();
    LAPIDARY_TRY(parseChoice(start, end, 0));
    builder.define(rule, start, end);
    skipSpace(false);
    if (at < text.size() && peek() != '\n' && peek() != '\r')
      return fail("expected the end of the rule");
    return {};
  }

  /// Within brackets a line's end means nothing.
  Status parseChoice(State from, State to, int depth) {
    if (depth > deepestGroup)
      return fail("groups are nested too deeply");
    while (true) {
      State state = builder.newState();
      builder.addSkip(from, state);
      builder.addSkip(LAPIDARY_TRY(parseSequence(state, depth)), to);
      if (!take('|'))
        return {};
      skipSpace(true);
    }
  }

  Result<State> parseSequence(State state, int depth) {
    while (true) {
      if (builder.full())
        return fail("the grammar is too large");
      State start = builder.newState(), end = builder.newState();
      char c = peek();
      if (c == '"') {
        builder.addSkip(LAPIDARY_TRY(parseText(start)), end);
      } else if (c == '[') {
        builder.addCharacters(start, LAPIDARY_TRY(parseClass()), end);
      } else if (c == '.') {
        ++at;
        builder.addCharacters(start, CharSet::any(), end);
      } else if (c == '(') {
        ++at;
        skipSpace(true);
        LAPIDARY_TRY(parseChoice(start, end, depth + 1));
        if (!take(')'))
          return fail("expected ')'");
      } else if (c == '<' || c == '!') {
        return fail("tokens in a grammar are not supported");
      } else if (std::string_view name = takeName(); !name.empty()) {
        builder.addCall(start, ruleOf(name), end);
      } else {
        return state;
      }
      skipSpace(depth > 0);
      state = LAPIDARY_TRY(parseQuantifier(state, start, end));
      skipSpace(depth > 0);
    }
  }

  /// Joins what lies between `start` and `end` to `state`, as often as what
  /// follows says.
  Result<State> parseQuantifier(State state, State start, State end) {
    int64_t least = 1, most = 1;
    if (take('*')) {
      least = 0, most = -1;
    } else if (take('+')) {
      most = -1;
    } else if (take('?')) {
      least = 0;
    } else if (take('{')) {
      least = LAPIDARY_TRY(parseCount());
      most = least;
      skipSpace(false);
      if (take(',')) {
        skipSpace(false);
        most = peek() == '}' ? -1 : LAPIDARY_TRY(parseCount());
        skipSpace(false);
      }
      if (!take('}'))
        return fail("expected '}' after the counts");
      if (most >= 0 && most < least)
        return fail("the counts are the wrong way round");
    } else {
      builder.addSkip(state, start);
      return end;
    }
    Rule part = builder.newRule("a repeated part");
    builder.define(part, start, end);
    for (int64_t count = 0; count < least && !builder.full(); ++count)
      state = builder.addCall(state, part);
    State last = builder.newState();
    if (most < 0) {
      State loop = builder.newState();
      builder.addSkip(state, loop);
      builder.addCall(loop, part, loop);
      builder.addSkip(loop, last);
      return last;
    }
    for (int64_t count = least; count < most && !builder.full(); ++count) {
      builder.addSkip(state, last);
      state = builder.addCall(state, part);
    }
    builder.addSkip(state, last);
    return last;
  }

  Result<int64_t> parseCount() {
    skipSpace(false);
    size_t first = at;
    int64_t value = 0;
    while (peek() >= '0' && peek() <= '9')
      value = std::min<int64_t>(value * 10 + (text[at++] - '0'),
                                GrammarBuilder::maxStates + 1);
    if (at == first)
      return fail("expected a count");
    return value;
  }

  Result<State> parseText(State state) {
    ++at;
    while (!take('"')) {
      if (at >= text.size() || peek() == '\n')
        return fail("the text has no end");
      std::string character;
      appendUtf8(character, LAPIDARY_TRY(parseCharacter()));
      state = builder.addText(state, character);
    }
    return state;
  }

  Result<CharSet> parseClass() {
    ++at;
    bool negated = take('^');
    std::vector<CharRange> ranges;
    while (!take(']')) {
      if (at >= text.size() || peek() == '\n')
        return fail("the class has no end");
      uint32_t first = LAPIDARY_TRY(parseCharacter()), last = first;
      if (peek() == '-' && at + 1 < text.size() && text[at + 1] != ']') {
        ++at;
        last = LAPIDARY_TRY(parseCharacter());
        if (last < first)
          return fail("the range is the wrong way round");
      }
      ranges.push_back({first, last});
    }
    CharSet set(std::move(ranges));
    return negated ? set.complement() : set;
  }

  Result<uint32_t> parseCharacter() {
    if (!take('\\')) {
      if (at >= text.size())
        return fail("a character is missing");
      Utf8Character c = readUtf8(text.substr(at));
      at += c.size;
      return c.value;
    }
    char c = peek();
    int length = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (length > 0) {
      ++at;
      uint32_t value = 0;
      for (int i = 0; i < length; ++i, ++at) {
        char d = peek();
        int digit = d >= '0' && d <= '9'                 ? d - '0'
                    : (d | 32) >= 'a' && (d | 32) <= 'f' ? (d | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0)
          return fail(concat("expected ", length, " hexadecimal digits"));
        value = value << 4 | static_cast<uint32_t>(digit);
      }
      if (!CharSet::any().contains(value))
        return fail("there is no such character");
      return value;
    }
    constexpr const char *names = "nrt\"\\[]^-.";
    constexpr const char *values = "\n\r\t\"\\[]^-.";
    const char *found = c ? std::strchr(names, c) : nullptr;
    if (!found)
      return fail("unknown escape");
    ++at;
    return static_cast<uint32_t>(values[found - names]);
  }

  GrammarBuilder &builder;
  std::string_view text;
  size_t at = 0;
  std::unordered_map<std::string, Rule> rules;
};

} // namespace

Result<GrammarBuilder::Rule> addGbnf(GrammarBuilder &builder,
                                     std::string_view text) {
  return Parser(builder, text).parse();
}

} // namespace lapidary
