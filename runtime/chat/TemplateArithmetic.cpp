// Python's arithmetic on numbers, strings and lists. Integers have 64 bits;
// what would be larger is an error.
#include "runtime/chat/TemplateInterpreter.h"
#include "runtime/core/Text.h"

#include <cmath>

namespace lapidary::chat {

namespace {

using Kind = schema::TemplateKind;

Status tooLarge() { return unsupported("a number of more than 64 bits"); }

Result<Value> power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0)
      return invalidArgument("0 to a negative power");
    return Value(
        std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  // Beyond 64 only 0, 1 and -1 have a power that is not too large.
  const int64_t turns = exponent > 64 ? 64 + (exponent & 1) : exponent;
  for (int64_t i = 0; i < turns; ++i)
    if (__builtin_mul_overflow(result, base, &result))
      return tooLarge();
  return Value(result);
}

Result<Value> computeIntegers(Kind kind, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflows = false;
  switch (kind) {
  case Kind::Add:
    overflows = __builtin_add_overflow(a, b, &result);
    break;
  case Kind::Subtract:
    overflows = __builtin_sub_overflow(a, b, &result);
    break;
  case Kind::Multiply:
    overflows = __builtin_mul_overflow(a, b, &result);
    break;
  case Kind::Power:
    return power(a, b);
  default:
    if (b == 0)
      return invalidArgument("a division by zero");
    if (kind == Kind::Divide)
      return Value(static_cast<double>(a) / static_cast<double>(b));
    if (b == -1 && a == INT64_MIN)
      return tooLarge();
    // The remainder has the divisor's sign.
    const int64_t rest = a % b, quotient = a / b;
    const bool isLower = rest != 0 && (rest < 0) != (b < 0);
    result = kind == Kind::Modulo ? (isLower ? rest + b : rest)
                                  : (isLower ? quotient - 1 : quotient);
  }
  if (overflows)
    return tooLarge();
  return Value(result);
}

Result<Value> computeReals(Kind kind, double a, double b) {
  switch (kind) {
  case Kind::Add:
    return Value(a + b);
  case Kind::Subtract:
    return Value(a - b);
  case Kind::Multiply:
    return Value(a * b);
  case Kind::Power:
    return Value(std::pow(a, b));
  default:
    if (b == 0)
      return invalidArgument("a division by zero");
    if (kind == Kind::Divide)
      return Value(a / b);
    double rest = std::fmod(a, b);
    if (rest != 0 && (rest < 0) != (b < 0))
      rest += b;
    if (kind == Kind::Modulo)
      return Value(rest == 0 ? std::copysign(0.0, b) : rest);
    return Value(std::floor((a - rest) / b + 0.5));
  }
}

Result<Value> repeat(Interpreter &interpreter, const std::string &text,
                     int64_t count) {
  std::string result;
  if (count > 0 && !text.empty()) {
    if (static_cast<uint64_t>(count) > (uint64_t(1) << 28) / text.size())
      return unsupported("a string of more than 2^28 bytes");
    LAPIDARY_TRY(interpreter.charge(text.size() * static_cast<size_t>(count)));
    for (int64_t i = 0; i < count; ++i)
      result += text;
  }
  return Value::text(std::move(result));
}

} // namespace

Result<Value> computeArithmetic(Interpreter &interpreter, Kind kind,
                                const Value &a, const Value &b) {
  int64_t left = 0, right = 0;
  const int64_t *x = a.integer(left), *y = b.integer(right);
  if (x && y)
    return computeIntegers(kind, *x, *y);
  if (a.isNumber() && b.isNumber()) {
    if (a.is<uint64_t>() || b.is<uint64_t>())
      return tooLarge();
    return computeReals(kind, a.number(), b.number());
  }
  if (kind == Kind::Add && a.text() && b.text())
    return interpreter.makeText(*a.text() + *b.text());
  if (kind == Kind::Add && a.list() && b.list() &&
      a.list()->isTuple == b.list()->isTuple) {
    std::vector<Value> items = a.list()->items;
    items.insert(items.end(), b.list()->items.begin(), b.list()->items.end());
    LAPIDARY_TRY(interpreter.charge(items.size() * 64));
    return Value::list(std::move(items), a.list()->isTuple);
  }
  if (kind == Kind::Multiply && a.text() && y)
    return repeat(interpreter, *a.text(), *y);
  if (kind == Kind::Multiply && x && b.text())
    return repeat(interpreter, *b.text(), *x);
  return invalidArgument(concat("this operator does not take ", typeName(a),
                                " and ", typeName(b)));
}

} // namespace lapidary::chat
