// Strings, numbers and listed values.
#include "runtime/core/Text.h"
#include "runtime/grammar/NumberNfa.h"
#include "runtime/grammar/Regex.h"
#include "runtime/grammar/SchemaGrammar.h"
#include "runtime/grammar/StringFormats.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lapidary {
namespace {

constexpr int64_t largestCount = int64_t(1) << 40;

/// How a control character is written in JSON.
std::string escapeControl(uint32_t character) {
  switch (character) {
  case '\b':
    return "\\b";
  case '\t':
    return "\\t";
  case '\n':
    return "\\n";
  case '\f':
    return "\\f";
  case '\r':
    return "\\r";
  default:
    constexpr const char *digits = "0123456789abcdef";
    return std::string("\\u00") + digits[character >> 4] +
           digits[character & 15];
  }
}

} // namespace

/// A keyword that counts something.
Result<int64_t> SchemaGrammar::readCount(const SchemaJson &schema,
                                         const char *key, int64_t otherwise,
                                         const std::string &at) {
  auto found = schema.find(key);
  if (found == schema.end())
    return otherwise;
  double value = found->is_number() ? found->get<double>() : -1;
  if (!(value >= 0 && value <= double(largestCount)) ||
      value != std::floor(value))
    return invalidArgument(concat("the schema at '", at, "/", key,
                                  "': expected a whole number from 0"));
  return static_cast<int64_t>(value);
}

GrammarBuilder::State SchemaGrammar::addQuote(State from) {
  return notation.isGemma() ? builder.addMark(from, notation.quote)
                            : builder.addText(from, "\"");
}

GrammarBuilder::State SchemaGrammar::addStringText(State from,
                                                   const std::string &text) {
  if (notation.isGemma())
    return builder.addText(from, text);
  for (char c : text) {
    auto byte = static_cast<uint8_t>(c);
    from = builder.addText(from, byte < ' '              ? escapeControl(byte)
                                 : c == '"' || c == '\\' ? std::string("\\") + c
                                                         : std::string(1, c));
  }
  return from;
}

/// Any character in any escaped form; surrogates come in pairs.
GrammarBuilder::Rule SchemaGrammar::escapeRule() {
  if (escapes)
    return *escapes;
  escapes = builder.newRule("an escaped character");
  State start = builder.newState(), end = builder.newState();
  State escaped = builder.addText(start, "\\");
  for (char c : {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'})
    builder.addSkip(builder.addText(escaped, std::string(1, c)), end);
  const auto digit = [&](State from, std::string_view digits) {
    State to = builder.newState();
    for (char c : digits)
      builder.addSymbols(from, uint8_t(c), uint8_t(c), to);
    return to;
  };
  constexpr std::string_view any = "0123456789abcdefABCDEF";
  State code = builder.addText(escaped, "u");
  State plain = digit(digit(code, "0123456789abcefABCEF"), any);
  State afterD = digit(code, "dD");
  State low = digit(afterD, "01234567");
  for (State second : {plain, low})
    builder.addSkip(digit(digit(second, any), any), end);
  State pair = digit(digit(digit(afterD, "89abAB"), any), any);
  State second = digit(builder.addText(pair, "\\u"), "dD");
  builder.addSkip(digit(digit(digit(second, "cdefCDEF"), any), any), end);
  builder.define(*escapes, start, end);
  return *escapes;
}

/// One character of a string.
void SchemaGrammar::addCharacters(const CharSet &set, State from, State to) {
  if (notation.isGemma())
    return builder.addCharacters(from, set, to);
  static const CharSet raw =
      CharSet({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}).complement();
  builder.addCharacters(from, set.intersect(raw), to);
  if (set == CharSet::any())
    return builder.addCall(from, escapeRule(), to);
  // Where only some characters may come, each has one form, so that it is
  // clear which one it is.
  for (uint32_t character = 0; character <= '\\'; ++character)
    if (set.contains(character) && !raw.contains(character))
      builder.addSkip(
          addStringText(from, std::string(1, static_cast<char>(character))),
          to);
}

Status SchemaGrammar::addNfa(CharNfa nfa, bool inString, State from, State to) {
  LAPIDARY_TRY(nfa.removeSkips());
  std::vector<State> states{from};
  // The start may be come back to, which `from` must not.
  State start = builder.newState();
  builder.addSkip(from, start);
  states[0] = start;
  while (states.size() < nfa.states.size() && !builder.full())
    states.push_back(builder.newState());
  for (size_t index = 0; index < states.size() && !builder.full(); ++index) {
    if (nfa.states[index].accepts)
      builder.addSkip(states[index], to);
    for (const CharNfa::Edge &edge : nfa.states[index].edges) {
      if (inString)
        addCharacters(edge.characters, states[index], states[edge.to]);
      else
        builder.addCharacters(states[index], edge.characters, states[edge.to]);
    }
  }
  return {};
}

Status SchemaGrammar::addString(const SchemaJson &schema, const std::string &at,
                                State from, State to) {
  std::optional<CharNfa> nfa;
  const auto demand = [&](const char *key, Result<CharNfa> other) -> Status {
    Result<CharNfa> both = nfa && other.ok()
                               ? intersect(*std::move(nfa), *std::move(other))
                               : std::move(other);
    if (!both.ok())
      return {both.status().getCode(), concat("the schema at '", at, "/", key,
                                              "': ", both.status().message())};
    nfa = *std::move(both);
    return {};
  };
  const auto textOf = [&](const char *key) -> Result<std::string> {
    if (!schema[key].is_string())
      return invalidArgument(
          concat("the schema at '", at, "/", key, "': expected text"));
    return schema[key].get<std::string>();
  };
  if (schema.contains("pattern")) {
    std::string pattern = LAPIDARY_TRY(textOf("pattern"));
    LAPIDARY_TRY(demand("pattern", parseRegex(pattern)));
  }
  if (schema.contains("format")) {
    std::string format = LAPIDARY_TRY(textOf("format"));
    std::optional<std::string_view> pattern = formatPattern(format);
    if (!pattern)
      return unsupported(concat("the schema at '", at, "/format': the format '",
                                format, "' is not supported"));
    if (!pattern->empty())
      LAPIDARY_TRY(demand("format", parseRegex(*pattern)));
  }
  int64_t least = LAPIDARY_TRY(readCount(schema, "minLength", 0, at)),
          most = LAPIDARY_TRY(readCount(schema, "maxLength", -1, at));
  if (most >= 0 && most < least)
    return {};
  if (least > 0 || most >= 0)
    LAPIDARY_TRY(
        demand(most >= 0 ? "maxLength" : "minLength", lengthNfa(least, most)));
  State open = addQuote(from), end = builder.newState();
  if (!nfa) {
    // Called, so that all strings share the states and masks of one rule.
    std::string name = "text";
    auto [at, isNew] = known.try_emplace(name, 0);
    if (isNew) {
      Rule rule = at->second = builder.newRule(name);
      State start = builder.newState();
      addCharacters(CharSet::any(), start, start);
      builder.define(rule, start, start);
    }
    builder.addCall(open, known[name], end);
  } else {
    LAPIDARY_TRY(addNfa(*std::move(nfa), true, open, end));
  }
  builder.addSkip(addQuote(end), to);
  return {};
}

Status SchemaGrammar::addNumber(const SchemaJson &schema, bool integer,
                                const std::string &at, State from, State to) {
  NumberBounds bounds;
  const auto fail = [&](const char *key) {
    return unsupported(concat("the schema at '", at, "/", key,
                              "': expected a number of at most ", mostFraction,
                              " digits after the point"));
  };
  const auto read = [&](const char *key, const char *exclusiveKey, bool least,
                        std::optional<Decimal> &bound,
                        bool &excluded) -> Status {
    const SchemaJson *chosen = nullptr;
    if (schema.contains(key))
      chosen = &schema[key];
    if (schema.contains(exclusiveKey)) {
      const SchemaJson &other = schema[exclusiveKey];
      if (other.is_boolean()) { // Draft 4.
        excluded = other.get<bool>();
      } else if (!other.is_number()) {
        return fail(exclusiveKey);
      } else if (!chosen || (least ? other >= *chosen : other <= *chosen)) {
        chosen = &other;
        excluded = true;
      }
    }
    if (!chosen)
      return {};
    bound = parseDecimal(*chosen);
    return bound ? Status() : fail(key);
  };
  LAPIDARY_TRY(read("minimum", "exclusiveMinimum", true, bounds.least,
                    bounds.leastExcluded));
  LAPIDARY_TRY(read("maximum", "exclusiveMaximum", false, bounds.most,
                    bounds.mostExcluded));
  if (schema.contains("format")) {
    // OpenAPI's names for the sizes of numbers.
    constexpr std::array<std::string_view, 4> sizes = {"int32", "int64",
                                                       "float", "double"};
    const SchemaJson &format = schema["format"];
    if (!format.is_string() ||
        std::find(sizes.begin(), sizes.end(), format.get<std::string>()) ==
            sizes.end())
      return unsupported(concat("the schema at '", at,
                                "/format': for numbers, only int32, int64, "
                                "float and double are supported"));
    const auto within = [](std::optional<Decimal> &bound, bool &excluded,
                           const char *digits, bool negative) {
      if (!bound) {
        bound = Decimal{negative, digits, ""};
        excluded = false;
      }
    };
    if (format == "int32") {
      within(bounds.least, bounds.leastExcluded, "2147483648", true);
      within(bounds.most, bounds.mostExcluded, "2147483647", false);
    }
  }
  State minus = builder.addText(from, "-");
  LAPIDARY_TRY(
      addNfa(LAPIDARY_TRY(numberNfa(bounds, integer, false)), false, from, to));
  LAPIDARY_TRY(
      addNfa(LAPIDARY_TRY(numberNfa(bounds, integer, true)), false, minus, to));
  if (integer || bounds.least || bounds.most)
    return {};
  // An exponent of two digits, so that the value is finite.
  State digits = builder.newState(), exponent = builder.newState(),
        sign = builder.newState(), last = builder.newState();
  CharNfa any = LAPIDARY_TRY(numberNfa(bounds, false, false));
  LAPIDARY_TRY(addNfa(any, false, from, digits));
  LAPIDARY_TRY(addNfa(std::move(any), false, minus, digits));
  builder.addSymbols(digits, 'e', 'e', exponent);
  builder.addSymbols(digits, 'E', 'E', exponent);
  builder.addSkip(exponent, sign);
  builder.addSymbols(exponent, '+', '+', sign);
  builder.addSymbols(exponent, '-', '-', sign);
  builder.addSymbols(sign, '0', '9', last);
  builder.addSkip(last, to);
  State second = builder.newState();
  builder.addSymbols(last, '0', '9', second);
  builder.addSkip(second, to);
  return {};
}

/// One of many values: those that begin alike share their beginnings, so that
/// few of them are open at once.
GrammarBuilder::State SchemaGrammar::addListed(State from,
                                               const SchemaJson &value,
                                               Beginnings &known) {
  if (value.is_structured())
    return addLiteral(from, value);
  const bool isText = value.is_string();
  if (isText) {
    if (!known.quote)
      known.quote = addQuote(from);
    from = *known.quote;
  }
  const std::string text = isText ? value.get<std::string>() : value.dump();
  for (char c : text) {
    auto [at, isNew] = known.next.try_emplace({from, c}, 0);
    if (isNew)
      at->second = isText ? addStringText(from, std::string(1, c))
                          : builder.addText(from, std::string(1, c));
    from = at->second;
  }
  return isText ? addQuote(from) : from;
}

GrammarBuilder::State SchemaGrammar::addLiteral(State from,
                                                const SchemaJson &value) {
  if (value.is_string())
    return addQuote(addStringText(addQuote(from), value.get<std::string>()));
  if (!value.is_structured())
    return builder.addText(from, value.dump());
  State state = builder.addText(from, value.is_object() ? "{" : "[");
  state = addSpace(state);
  bool first = true;
  for (const auto &[key, part] : value.items()) {
    if (!first)
      state = addComma(state);
    first = false;
    if (value.is_object())
      state = addName(state, key);
    state = addLiteral(state, part);
  }
  return builder.addText(addSpace(state), value.is_object() ? "}" : "]");
}

} // namespace lapidary
