// Numbers without zeros in front are compared by their lengths and then digit
// by digit, which an automaton can do; two bounds are an intersection.
#include "runtime/grammar/NumberNfa.h"

#include <algorithm>
#include <charconv>

namespace lapidary {
namespace {

class Builder {
public:
  explicit Builder(bool integer) : integer(integer) {
    nfa.addState();
    accept = nfa.addState();
    nfa.states[accept].accepts = true;
    end = addFraction();
  }

  CharNfa any() {
    addWhole(0, 1, mostDigits);
    return std::move(nfa);
  }

  CharNfa atLeast(const Decimal &bound, bool excluded) {
    const std::string &whole = bound.whole;
    addWhole(0, whole.size() + 1, mostDigits);
    if (whole.size() > mostDigits)
      return std::move(nfa);
    uint32_t state = 0;
    for (size_t at = 0; at < whole.size(); ++at) {
      if (whole[at] < '9')
        addDigits(step(state, whole[at] + 1, '9'), whole.size() - at - 1);
      state = step(state, whole[at], whole[at]);
    }
    if (integer) {
      if (bound.fraction.empty() && !excluded)
        skip(state, accept);
      return std::move(nfa);
    }
    if (bound.fraction.empty() && !excluded) {
      skip(state, end);
      return std::move(nfa);
    }
    state = step(state, '.', '.');
    for (char digit : bound.fraction) {
      if (digit < '9')
        skip(step(state, digit + 1, '9'), moreFraction());
      state = step(state, digit, digit);
    }
    if (!excluded) {
      skip(state, moreFraction());
      return std::move(nfa);
    }
    for (size_t zeros = bound.fraction.size(); zeros < mostFraction; ++zeros) {
      skip(step(state, '1', '9'), moreFraction());
      state = step(state, '0', '0');
    }
    return std::move(nfa);
  }

  CharNfa atMost(const Decimal &bound, bool excluded) {
    const std::string &whole = bound.whole;
    addWhole(0, 1, std::min(whole.size() - 1, mostDigits));
    if (whole.size() > mostDigits)
      return std::move(nfa);
    uint32_t state = 0;
    for (size_t at = 0; at < whole.size(); ++at) {
      char lowest = at == 0 && whole.size() > 1 ? '1' : '0';
      if (whole[at] > lowest)
        addDigits(step(state, lowest, whole[at] - 1), whole.size() - at - 1);
      state = step(state, whole[at], whole[at]);
    }
    if (!bound.fraction.empty() || !excluded)
      skip(state, accept);
    if (integer || (bound.fraction.empty() && excluded))
      return std::move(nfa);
    state = step(state, '.', '.');
    for (size_t at = 0; at < bound.fraction.size(); ++at) {
      if (at > 0)
        skip(state, accept);
      if (bound.fraction[at] > '0')
        skip(step(state, '0', bound.fraction[at] - 1), moreFraction());
      state = step(state, bound.fraction[at], bound.fraction[at]);
    }
    if (excluded)
      return std::move(nfa);
    if (!bound.fraction.empty())
      skip(state, accept);
    for (size_t zeros = bound.fraction.size(); zeros < mostFraction; ++zeros) {
      state = step(state, '0', '0');
      skip(state, accept);
    }
    return std::move(nfa);
  }

private:
  uint32_t step(uint32_t from, int first, int last) {
    uint32_t to = nfa.addState();
    nfa.states[from].edges.push_back(
        {CharSet({{uint32_t(first), uint32_t(last)}}), to});
    return to;
  }
  void skip(uint32_t from, uint32_t to) {
    nfa.states[from].skips.push_back(to);
  }

  /// `count` digits and then whatever may follow them.
  void addDigits(uint32_t state, size_t count) {
    while (count-- > 0)
      state = step(state, '0', '9');
    skip(state, end);
  }
  /// Whole parts of `least` to `most` digits.
  void addWhole(uint32_t from, size_t least, size_t most) {
    if (least > most)
      return;
    if (least == 1)
      skip(step(from, '0', '0'), end);
    uint32_t state = step(from, '1', '9');
    for (size_t length = 1; length <= most; ++length) {
      if (length >= least)
        skip(state, end);
      if (length < most)
        state = step(state, '0', '9');
    }
  }
  /// Behind the whole part: the end, or a point and digits.
  uint32_t addFraction() {
    uint32_t state = nfa.addState();
    skip(state, accept);
    if (!integer)
      skip(step(step(state, '.', '.'), '0', '9'), moreFraction());
    return state;
  }
  /// Behind a digit of the fraction: more of them, or the end.
  uint32_t moreFraction() {
    if (more == 0) {
      uint32_t state = more = nfa.addState();
      skip(state, accept);
      for (size_t count = 1; count < mostFraction; ++count) {
        state = step(state, '0', '9');
        skip(state, accept);
      }
    }
    return more;
  }

  CharNfa nfa;
  bool integer;
  uint32_t accept, end, more = 0;
};

/// What nothing satisfies.
CharNfa none() {
  CharNfa nfa;
  nfa.addState();
  return nfa;
}

} // namespace

std::optional<Decimal> parseDecimal(const nlohmann::ordered_json &number) {
  if (!number.is_number())
    return std::nullopt;
  std::string text = number.dump();
  Decimal decimal;
  if (text.starts_with('-')) {
    decimal.negative = true;
    text.erase(0, 1);
  }
  int exponent = 0;
  if (size_t at = text.find_first_of("eE"); at != std::string::npos) {
    size_t first = at + 1 + (text[at + 1] == '+');
    std::from_chars(text.data() + first, text.data() + text.size(), exponent);
    text.resize(at);
  }
  size_t point = std::min(text.find('.'), text.size());
  std::string digits = text.substr(0, point);
  if (point < text.size())
    digits += text.substr(point + 1);
  // The point's place after the exponent; doubles have |exponent| < 400.
  int64_t place = static_cast<int64_t>(point) + exponent;
  if (place < 0)
    digits.insert(0, static_cast<size_t>(-place), '0'), place = 0;
  if (place > static_cast<int64_t>(digits.size()))
    digits.resize(static_cast<size_t>(place), '0');
  decimal.whole = digits.substr(0, static_cast<size_t>(place));
  decimal.fraction = digits.substr(static_cast<size_t>(place));
  decimal.whole.erase(
      0, std::min(decimal.whole.find_first_not_of('0'), decimal.whole.size()));
  if (decimal.whole.empty())
    decimal.whole = "0";
  decimal.fraction.resize(decimal.fraction.find_last_not_of('0') + 1);
  if (decimal.fraction.size() > mostFraction)
    return std::nullopt;
  if (decimal.isZero())
    decimal.negative = false;
  return decimal;
}

Result<CharNfa> numberNfa(const NumberBounds &bounds, bool integer,
                          bool negative) {
  // Of what has a minus, the lower bound limits the size from above.
  const auto &lower = negative ? bounds.most : bounds.least,
             &upper = negative ? bounds.least : bounds.most;
  bool lowerExcluded = negative ? bounds.mostExcluded : bounds.leastExcluded,
       upperExcluded = negative ? bounds.leastExcluded : bounds.mostExcluded;
  if (upper && (upper->negative != negative && !upper->isZero()))
    return none();
  std::optional<CharNfa> nfa;
  if (lower && (lower->negative == negative || lower->isZero()))
    nfa = Builder(integer).atLeast(
        *lower, lowerExcluded || (negative && integer && lower->isZero()));
  else if (negative && integer)
    nfa = Builder(integer).atLeast(Decimal(), true); // There is no -0.
  if (!upper)
    return nfa ? *std::move(nfa) : Builder(integer).any();
  CharNfa most = Builder(integer).atMost(*upper, upperExcluded);
  if (!nfa)
    return most;
  return intersect(*std::move(nfa), std::move(most));
}

} // namespace lapidary
