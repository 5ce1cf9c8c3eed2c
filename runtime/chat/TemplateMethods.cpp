// Methods of strings and mappings, and Jinja's tests.
#include "runtime/chat/TemplateInterpreter.h"
#include "runtime/chat/TemplateNames.h"
#include "runtime/chat/TemplateText.h"
#include "runtime/chat/UpperCase.h"
#include "runtime/core/Text.h"
#include "runtime/model/Unicode.h"

namespace lapidary::chat {

namespace {

constexpr size_t largestText = size_t(1) << 28;

Status wrong(std::string_view what, const std::string &wanted,
             const Value &found) {
  return invalidArgument(
      concat("'", what, "' expects ", wanted, ", found ", typeName(found)));
}

/// A string argument without marks; nothing where it is absent or none.
Result<std::optional<std::string>> textOf(std::string_view method,
                                          const Value *value) {
  if (!value || value->is<None>())
    return std::optional<std::string>();
  if (!value->text())
    return wrong(method, "a string", *value);
  return std::optional(plainText(*value->text()));
}

/// A number of times at most; below 0 is any.
size_t limitOf(const Value *value) {
  int64_t storage = 0;
  const int64_t *whole = value ? value->integer(storage) : nullptr;
  return whole && *whole >= 0 ? static_cast<size_t>(*whole) : SIZE_MAX;
}

Result<Value> split(Interpreter &interpreter, const std::string &text,
                    const Arguments &arguments) {
  LAPIDARY_TRY(arguments.check(2, {"sep", "maxsplit"}));
  const auto separator = LAPIDARY_TRY(textOf("split", arguments.get(0, "sep")));
  if (separator && separator->empty())
    return invalidArgument("'split' expects a separator that is not empty");
  LAPIDARY_TRY(interpreter.charge(text.size() * 4));
  std::vector<Value> parts;
  for (std::string_view part : splitText(text, separator.value_or(""),
                                         limitOf(arguments.get(1, "maxsplit"))))
    parts.push_back(Value::text(part));
  LAPIDARY_TRY(interpreter.charge(parts.size() * 64));
  return Value::list(std::move(parts));
}

/// startswith and endswith: a string or a tuple of them.
Result<Value> hasEnd(const std::string &text, std::string_view name,
                     const Arguments &arguments) {
  LAPIDARY_TRY(arguments.check(1, {}));
  if (arguments.values.empty())
    return invalidArgument(concat("'", name, "' expects a string"));
  const Value &given = arguments.values[0];
  const std::vector<Value> single = {given};
  const std::vector<Value> &options =
      given.list() && given.list()->isTuple ? given.list()->items : single;
  bool found = false;
  for (const Value &option : options) {
    if (!option.text())
      return wrong(name, "a string", option);
    const std::string plain = plainText(*option.text());
    found = found || (name == "startswith" ? beginsWith(text, plain)
                                           : endsWith(text, plain));
  }
  return Value(found);
}

Result<Value> callTextMethod(Interpreter &interpreter, const std::string &text,
                             std::string_view name,
                             const Arguments &arguments) {
  LAPIDARY_TRY(interpreter.charge(text.size()));
  if (name == "split")
    return split(interpreter, text, arguments);
  if (name == "startswith" || name == "endswith")
    return hasEnd(text, name, arguments);
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    LAPIDARY_TRY(arguments.check(1, {}));
    const Sides sides = name == "strip"    ? Sides::Both
                        : name == "lstrip" ? Sides::Left
                                           : Sides::Right;
    const auto set = LAPIDARY_TRY(textOf(name, arguments.get(0, "")));
    return interpreter.makeText(std::string(trimText(text, sides, set)));
  }
  if (name == "upper" || name == "lower") {
    LAPIDARY_TRY(arguments.check(0, {}));
    return interpreter.makeText(name == "upper" ? upperCase(text)
                                                : lowerCase(text));
  }
  if (name == "replace" || name == "find") {
    LAPIDARY_TRY(arguments.check(name == "find" ? 1 : 3, {"count"}));
    const auto from = LAPIDARY_TRY(textOf(name, arguments.get(0, "")));
    if (!from)
      return invalidArgument(concat("'", name, "' expects a string"));
    if (name == "find") {
      const auto found = findText(text, *from);
      return Value(found ? static_cast<int64_t>(textLength(
                               std::string_view(text).substr(0, found->at)))
                         : int64_t(-1));
    }
    const Value *to = arguments.get(1, "");
    if (!to || !to->text())
      return invalidArgument("'replace' expects two strings");
    return replaceIn(interpreter, text, *from, *to->text(),
                     limitOf(arguments.get(2, "count")));
  }
  if (name == "join") {
    LAPIDARY_TRY(arguments.check(1, {}));
    if (arguments.values.empty())
      return invalidArgument("'join' expects a list of strings");
    const ListPointer items =
        LAPIDARY_TRY(interpreter.iterate(arguments.values[0]));
    std::string made;
    for (size_t i = 0; i < items->items.size(); ++i) {
      if (!items->items[i].text())
        return wrong(name, "strings", items->items[i]);
      made += (i ? text : std::string()) + *items->items[i].text();
      LAPIDARY_TRY(
          interpreter.charge(text.size() + items->items[i].text()->size()));
    }
    return Value::text(std::move(made));
  }
  return invalidArgument(concat("a string has no method '", name, "'"));
}

Result<Value> callDictMethod(Interpreter &interpreter, const DictValue &dict,
                             std::string_view name,
                             const Arguments &arguments) {
  LAPIDARY_TRY(interpreter.charge(dict.items.size() * 8));
  if (name == "get") {
    LAPIDARY_TRY(arguments.check(2, {}));
    const Value *key = arguments.get(0, ""), *otherwise = arguments.get(1, "");
    if (!key)
      return invalidArgument("'get' expects a key");
    const Value *found =
        key->text() ? dict.find(plainText(*key->text())) : nullptr;
    return found ? *found : otherwise ? *otherwise : Value(None());
  }
  LAPIDARY_TRY(arguments.check(0, {}));
  LAPIDARY_TRY(interpreter.charge(dict.items.size() * 64));
  std::vector<Value> items;
  for (const auto &[key, value] : dict.items)
    items.push_back(name == "keys"     ? Value::text(key)
                    : name == "values" ? value
                                       : LAPIDARY_TRY(Value::list(
                                             {Value::text(key), value}, true)));
  if (name != "keys" && name != "values" && name != "items")
    return invalidArgument(concat("a mapping has no method '", name, "'"));
  return Value::list(std::move(items));
}

} // namespace

Result<Value> replaceIn(Interpreter &interpreter, const std::string &text,
                        const std::string &from, const std::string &to,
                        size_t most) {
  const size_t places =
      std::min(most, text.size() / std::max<size_t>(1, from.size()) + 1);
  if (to.size() > 0 && places > largestText / to.size())
    return unsupported(
        concat("a string that may have more than ", largestText, " bytes"));
  LAPIDARY_TRY(interpreter.charge(text.size()));
  return interpreter.makeText(replaceText(text, from, to, most));
}

Result<Value> callMethod(Interpreter &interpreter, const Value &object,
                         std::string_view name, const Arguments &arguments) {
  if (const std::string *text = object.text())
    return callTextMethod(interpreter, *text, name, arguments);
  if (const DictValue *dict = object.dict())
    return callDictMethod(interpreter, *dict, name, arguments);
  return invalidArgument(
      concat(typeName(object), " has no method '", name, "'"));
}

Result<bool> applyTest(Interpreter &interpreter, std::string_view name,
                       const Value &input,
                       const std::vector<Value> &arguments) {
  // A compiled template may have been altered.
  if (!hasName(testNames, name))
    return unsupported(concat("the test '", name, "' is not supported"));
  const auto is = [&](auto... names) { return ((name == names) || ...); };
  const bool takesOne =
      is("==", "eq", "equalto", "!=", "ne", "<", "lt", "lessthan", "<=", "le",
         ">", "gt", "greaterthan", ">=", "ge", "in", "divisibleby");
  if (arguments.size() != (takesOne ? 1 : 0))
    return invalidArgument(concat("the test '", name, "' takes ",
                                  takesOne ? "one value" : "no values"));
  if (is("defined", "undefined"))
    return input.is<Undefined>() == (name == "undefined");
  if (is("none"))
    return input.is<None>();
  if (is("string"))
    return input.text() != nullptr;
  if (is("mapping"))
    return input.dict() != nullptr;
  if (is("boolean"))
    return input.is<bool>();
  if (is("true", "false"))
    return input.is<bool>() && input.isTrue() == (name == "true");
  if (is("integer"))
    return input.is<int64_t>() || input.is<uint64_t>();
  if (is("float"))
    return input.is<double>();
  if (is("number"))
    return input.isNumber();
  if (is("callable"))
    return input.is<Macro>() || input.is<Function>() || input.is<Method>();
  // Jinja's undefined value has the methods of an empty list.
  if (is("sequence", "iterable"))
    return input.text() || input.list() || input.dict() ||
           input.is<Undefined>();
  if (is("odd", "even", "divisibleby")) {
    int64_t storage = 0, second = 2;
    const int64_t *whole = input.integer(storage);
    const int64_t *divisor = takesOne ? arguments[0].integer(second) : &second;
    if (!whole || !divisor || *divisor == 0 || *divisor == -1)
      return invalidArgument(concat("the test '", name, "' takes integers"));
    return (*whole % *divisor == 0) != (name == "odd");
  }
  const Value &other = arguments[0];
  if (is("==", "eq", "equalto", "!=", "ne"))
    return LAPIDARY_TRY(interpreter.isEqual(input, other)) != is("!=", "ne");
  if (is("in"))
    return interpreter.contains(other, input);
  if (is("<", "lt", "lessthan"))
    return interpreter.isLess(input, other);
  if (is(">", "gt", "greaterthan"))
    return interpreter.isLess(other, input);
  if (LAPIDARY_TRY(interpreter.isEqual(input, other)))
    return true;
  return is("<=", "le") ? interpreter.isLess(input, other)
                        : interpreter.isLess(other, input);
}

} // namespace lapidary::chat
