// Jinja's filters, as far as chat templates use them.
#include "runtime/chat/TemplateInterpreter.h"
#include "runtime/chat/TemplateNames.h"
#include "runtime/chat/TemplateText.h"
#include "runtime/chat/UpperCase.h"
#include "runtime/core/Text.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace lapidary::chat {

namespace {

Status wrong(std::string_view filter, const char *wanted, const Value &found) {
  return invalidArgument(concat("the filter '", filter, "' expects ", wanted,
                                ", found ", typeName(found)));
}

/// Those that the filter takes by name; an error where there are others.
Status check(const Arguments &arguments, size_t most, std::string_view filter) {
  for (const auto &[name, value] : arguments.named)
    if (!takesArgument(filter, name))
      return unsupported(concat("the argument '", name, "' is not supported"));
  return arguments.checkCount(most);
}

Result<bool> flag(const Arguments &arguments, size_t place,
                  std::string_view name) {
  const Value *value = arguments.get(place, name);
  return value && value->isTrue();
}

Result<Value> sortDict(Interpreter &interpreter, const Value &input,
                       const Arguments &arguments) {
  LAPIDARY_TRY(check(arguments, 3, "dictsort"));
  const DictValue *dict = input.dict();
  if (!dict)
    return wrong("dictsort", "a mapping", input);
  const bool isSensitive = LAPIDARY_TRY(flag(arguments, 0, "case_sensitive"));
  const bool isReversed = LAPIDARY_TRY(flag(arguments, 2, "reverse"));
  if (const Value *by = arguments.get(1, "by");
      by && !(by->text() && *by->text() == "key"))
    return unsupported("dictsort by another thing than the key");
  LAPIDARY_TRY(interpreter.charge(sizeOf(input) * 4));
  std::vector<std::pair<std::string, const std::pair<std::string, Value> *>>
      keyed;
  for (const auto &item : dict->items) {
    std::string key = plainText(item.first);
    keyed.emplace_back(isSensitive ? std::move(key) : lowerCase(key), &item);
  }
  // Those with equal keys stay in their order.
  std::ranges::sort(keyed, [&](const auto &a, const auto &b) {
    if (a.first == b.first)
      return a.second < b.second;
    return (a.first < b.first) != isReversed;
  });
  std::vector<Value> pairs;
  for (const auto &entry : keyed)
    pairs.push_back(LAPIDARY_TRY(Value::list(
        {Value::text(entry.second->first), entry.second->second}, true)));
  return Value::list(std::move(pairs));
}

class JsonWriter {
public:
  explicit JsonWriter(int64_t indent) : indent(indent) {}

  Status write(const Value &value, int64_t level) {
    if (value.is<None>())
      text += "null";
    else if (const bool *is = value.get<bool>())
      text += *is ? "true" : "false";
    else if (value.isNumber())
      writeNumber(value);
    else if (value.text())
      text += quoteJson(*value.text());
    else if (const ListValue *list = value.list())
      return writeItems('[', ']', list->items, level, [&](const Value &item) {
        return write(item, level + 1);
      });
    else if (const DictValue *dict = value.dict())
      return writeItems('{', '}', dict->items, level, [&](const auto &item) {
        text += quoteJson(item.first) + ": ";
        return write(item.second, level + 1);
      });
    else
      return wrong("tojson", "what JSON can hold", value);
    return {};
  }

  std::string text;

private:
  void writeNumber(const Value &value) {
    const double *real = value.get<double>();
    if (real && !std::isfinite(*real))
      text += std::isnan(*real) ? "NaN" : *real > 0 ? "Infinity" : "-Infinity";
    else
      appendText(text, value);
  }
  void breakLine(int64_t level) {
    if (indent >= 0)
      text.append(1, '\n').append(static_cast<size_t>(indent * level), ' ');
  }
  template <typename Items, typename Write>
  Status writeItems(char begin, char end, const Items &items, int64_t level,
                    Write writeItem) {
    text += begin;
    for (size_t i = 0; i < items.size(); ++i) {
      text += !i ? "" : indent >= 0 ? "," : ", ";
      breakLine(level + 1);
      LAPIDARY_TRY(writeItem(items[i]));
    }
    if (!items.empty())
      breakLine(level);
    text += end;
    return {};
  }

  int64_t indent;
};

Result<Value> toJson(Interpreter &interpreter, const Value &input,
                     const Arguments &arguments) {
  LAPIDARY_TRY(check(arguments, 0, "tojson"));
  int64_t storage = 0, indent = -1;
  if (const Value *given = arguments.get(0, "indent");
      given && !given->is<None>()) {
    const int64_t *whole = given->integer(storage);
    if (!whole || *whole < 0 || *whole > 16)
      return wrong("tojson", "an indent from 0 to 16", *given);
    indent = *whole;
  }
  if (LAPIDARY_TRY(flag(arguments, SIZE_MAX, "ensure_ascii")))
    return unsupported("tojson with ensure_ascii");
  LAPIDARY_TRY(interpreter.charge(sizeOf(input) * 4));
  JsonWriter writer(indent);
  LAPIDARY_TRY(writer.write(input, 0));
  return interpreter.makeText(std::move(writer.text));
}

Result<Value> toNumber(std::string_view name, const Value &input,
                       const Arguments &arguments) {
  LAPIDARY_TRY(check(arguments, 1, name));
  const bool isFloat = name == "float";
  const Value *given = arguments.get(0, "default");
  const Value otherwise = given     ? *given
                          : isFloat ? Value(0.0)
                                    : Value(int64_t(0));
  int64_t storage = 0;
  if (const int64_t *whole = input.integer(storage))
    return isFloat ? Value(static_cast<double>(*whole)) : Value(*whole);
  double real = input.number();
  if (const std::string *text = input.text()) {
    const std::string plain = plainText(trimText(*text, Sides::Both));
    const char *end = plain.data() + plain.size();
    const char *begin =
        plain.data() + (plain.size() > 1 && plain[0] == '+' && plain[1] != '-');
    int64_t whole = 0;
    const auto readWhole = std::from_chars(begin, end, whole);
    if (!isFloat && readWhole.ec == std::errc() && readWhole.ptr == end)
      return Value(whole);
    const auto read = std::from_chars(begin, end, real);
    if (read.ec != std::errc() || read.ptr != end)
      return otherwise;
  } else if (!input.isNumber()) {
    return otherwise;
  }
  if (isFloat)
    return Value(real);
  if (!(std::fabs(real) < 9e18))
    return otherwise;
  return Value(static_cast<int64_t>(real));
}

Result<Value> joinItems(Interpreter &interpreter, const Value &input,
                        const Arguments &arguments) {
  LAPIDARY_TRY(check(arguments, 1, "join"));
  const Value *given = arguments.get(0, "d");
  const std::string between =
      given ? LAPIDARY_TRY(interpreter.asText(*given)) : std::string();
  const ListPointer items = LAPIDARY_TRY(interpreter.iterate(input));
  std::string text;
  for (size_t i = 0; i < items->items.size(); ++i) {
    text += i ? between : "";
    text += LAPIDARY_TRY(interpreter.asText(items->items[i]));
    LAPIDARY_TRY(interpreter.charge(between.size()));
  }
  return interpreter.makeText(std::move(text));
}

/// An attribute by its dotted path, as `map(attribute='a.b')` has it.
Result<Value> attributeOf(Interpreter &interpreter, const Value &object,
                          const Value &path) {
  if (!path.text())
    return interpreter.item(object, path);
  Value value = object;
  for (std::string_view part : splitText(*path.text(), ".", SIZE_MAX)) {
    const std::string name = plainText(part);
    int64_t number = 0;
    const auto read =
        std::from_chars(name.data(), name.data() + name.size(), number);
    const bool isNumber = read.ec == std::errc() &&
                          read.ptr == name.data() + name.size() && number >= 0;
    value = LAPIDARY_TRY(
        interpreter.item(value, isNumber ? Value(number) : Value::text(name)));
  }
  return value;
}

Result<Value> mapItems(Interpreter &interpreter, const Value &input,
                       const Arguments &arguments) {
  const ListPointer items = LAPIDARY_TRY(interpreter.iterate(input));
  LAPIDARY_TRY(interpreter.charge(items->items.size() * 64));
  std::vector<Value> mapped;
  if (const Value *path = arguments.get(SIZE_MAX, "attribute")) {
    LAPIDARY_TRY(check(arguments, 0, "map"));
    const Value *otherwise = arguments.get(SIZE_MAX, "default");
    for (const Value &item : items->items) {
      Value value = LAPIDARY_TRY(attributeOf(interpreter, item, *path));
      mapped.push_back(value.is<Undefined>() && otherwise ? *otherwise
                                                          : std::move(value));
    }
    return Value::list(std::move(mapped));
  }
  const Value *filter = arguments.get(0, "");
  if (!filter || !filter->text() || !hasName(filterNames, *filter->text()) ||
      *filter->text() == "map")
    return unsupported("map expects an attribute or the name of a filter");
  Arguments rest = arguments;
  rest.values.erase(rest.values.begin());
  for (const Value &item : items->items)
    mapped.push_back(
        LAPIDARY_TRY(applyFilter(interpreter, *filter->text(), item, rest)));
  return Value::list(std::move(mapped));
}

/// select, reject, selectattr and rejectattr.
Result<Value> selectItems(Interpreter &interpreter, std::string_view name,
                          const Value &input, const Arguments &arguments) {
  const bool wanted = name.starts_with("select");
  const bool byAttribute = name.ends_with("attr");
  LAPIDARY_TRY(arguments.check(4, {}));
  const size_t testAt = byAttribute ? 1 : 0;
  if (byAttribute && arguments.values.empty())
    return invalidArgument(
        concat("the filter '", name, "' expects an attribute's name"));
  const Value *test = arguments.get(testAt, "");
  if (test && (!test->text() || !hasName(testNames, *test->text())))
    return unsupported(
        concat("the filter '", name, "' expects the name of a test"));
  const std::vector<Value> rest(
      arguments.values.begin() +
          static_cast<ptrdiff_t>(std::min(arguments.values.size(), testAt + 1)),
      arguments.values.end());
  const ListPointer items = LAPIDARY_TRY(interpreter.iterate(input));
  LAPIDARY_TRY(interpreter.charge(items->items.size() * 64));
  std::vector<Value> chosen;
  for (const Value &item : items->items) {
    const Value subject =
        byAttribute
            ? LAPIDARY_TRY(attributeOf(interpreter, item, arguments.values[0]))
            : item;
    const bool passes =
        test
            ? LAPIDARY_TRY(applyTest(interpreter, *test->text(), subject, rest))
            : subject.isTrue();
    if (passes == wanted)
      chosen.push_back(item);
  }
  return Value::list(std::move(chosen));
}

Result<Value> lengthOf(Interpreter &interpreter, std::string_view name,
                       const Value &input) {
  if (input.text())
    LAPIDARY_TRY(interpreter.charge(input.text()->size()));
  const size_t length = input.text()   ? textLength(*input.text())
                        : input.list() ? input.list()->items.size()
                        : input.dict() ? input.dict()->items.size()
                                       : 0;
  if (!length && !input.text() && !input.list() && !input.dict() &&
      !input.is<Undefined>())
    return wrong(name, "a string, a list or a mapping", input);
  return Value(static_cast<int64_t>(length));
}

Result<Value> reverse(Interpreter &interpreter, const Value &input) {
  const ListPointer items = LAPIDARY_TRY(interpreter.iterate(input));
  std::vector<Value> reversed(items->items.rbegin(), items->items.rend());
  LAPIDARY_TRY(interpreter.charge(reversed.size() * 64));
  if (!input.text())
    return Value::list(std::move(reversed));
  std::string text;
  for (const Value &item : reversed)
    text += *item.text();
  return Value::text(std::move(text));
}

Result<Value> changeText(Interpreter &interpreter, std::string_view name,
                         const Value &input, const Arguments &arguments) {
  const std::string text = LAPIDARY_TRY(interpreter.asText(input));
  if (name == "trim") {
    LAPIDARY_TRY(check(arguments, 1, name));
    const Value *given = arguments.get(0, "chars");
    std::optional<std::string> set;
    if (given && !given->is<None>())
      set = plainText(LAPIDARY_TRY(interpreter.asText(*given)));
    return interpreter.makeText(std::string(trimText(text, Sides::Both, set)));
  }
  if (name == "replace") {
    LAPIDARY_TRY(check(arguments, 3, name));
    const Value *from = arguments.get(0, "old"), *to = arguments.get(1, "new"),
                *most = arguments.get(2, "count");
    if (!from || !to)
      return invalidArgument("the filter 'replace' expects two strings");
    int64_t storage = 0;
    const int64_t *count = most ? most->integer(storage) : nullptr;
    return replaceIn(
        interpreter, text, plainText(LAPIDARY_TRY(interpreter.asText(*from))),
        LAPIDARY_TRY(interpreter.asText(*to)),
        count && *count >= 0 ? static_cast<size_t>(*count) : SIZE_MAX);
  }
  LAPIDARY_TRY(arguments.check(0, {}));
  return interpreter.makeText(name == "upper"   ? upperCase(text)
                              : name == "lower" ? lowerCase(text)
                                                : text);
}

} // namespace

Result<Value> applyFilter(Interpreter &interpreter, std::string_view name,
                          const Value &input, const Arguments &arguments) {
  if (name == "trim" || name == "upper" || name == "lower" ||
      name == "replace" || name == "string")
    return changeText(interpreter, name, input, arguments);
  if (name == "dictsort")
    return sortDict(interpreter, input, arguments);
  if (name == "default" || name == "d") {
    LAPIDARY_TRY(check(arguments, 2, name));
    const Value *otherwise = arguments.get(0, "default_value");
    const bool isDefault =
        input.is<Undefined>() ||
        (LAPIDARY_TRY(flag(arguments, 1, "boolean")) && !input.isTrue());
    return !isDefault  ? input
           : otherwise ? *otherwise
                       : Value::text(std::string());
  }
  if (name == "tojson")
    return toJson(interpreter, input, arguments);
  if (name == "int" || name == "float")
    return toNumber(name, input, arguments);
  if (name == "join")
    return joinItems(interpreter, input, arguments);
  if (name == "map")
    return mapItems(interpreter, input, arguments);
  if (name == "select" || name == "reject" || name == "selectattr" ||
      name == "rejectattr")
    return selectItems(interpreter, name, input, arguments);
  LAPIDARY_TRY(arguments.check(0, {}));
  if (name == "length" || name == "count")
    return lengthOf(interpreter, name, input);
  if (name == "items") {
    if (input.is<Undefined>())
      return Value::list({});
    return callMethod(interpreter, input, "items", arguments);
  }
  if (name == "list") {
    const ListPointer items = LAPIDARY_TRY(interpreter.iterate(input));
    LAPIDARY_TRY(interpreter.charge(items->items.size() * 64));
    return Value::list(items->items);
  }
  if (name == "reverse")
    return reverse(interpreter, input);
  if (name == "first" || name == "last") {
    const ListPointer items = LAPIDARY_TRY(interpreter.iterate(input));
    return items->items.empty() ? Value()
           : name == "first"    ? items->items.front()
                                : items->items.back();
  }
  if (name == "abs") {
    if (!input.isNumber())
      return wrong(name, "a number", input);
    int64_t storage = 0;
    const int64_t *whole = input.integer(storage);
    if (whole && *whole == INT64_MIN)
      return unsupported("a number of more than 64 bits");
    return input.is<uint64_t>() ? input
           : whole              ? Value(*whole < 0 ? -*whole : *whole)
                                : Value(std::fabs(input.number()));
  }
  return unsupported(concat("the filter '", name, "' is not supported"));
}

} // namespace lapidary::chat
