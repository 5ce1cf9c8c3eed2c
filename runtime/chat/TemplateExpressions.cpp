// Expressions: names, attributes, calls and operators.
#include "runtime/chat/TemplateInterpreter.h"
#include "runtime/chat/TemplateNames.h"
#include "runtime/chat/TemplateText.h"
#include "runtime/core/Text.h"

#include <algorithm>
#include <charconv>

namespace lapidary::chat {

namespace {

using Kind = schema::TemplateKind;

/// As Jinja's sandbox has it.
constexpr int64_t longestRange = 100000;

/// Attributes that a mapping has as methods, whatever its keys are.
bool isDictMethod(std::string_view name) {
  constexpr std::string_view names[] = {
      "clear", "copy",    "fromkeys",   "get",    "items", "keys",
      "pop",   "popitem", "setdefault", "update", "values"};
  return hasName(names, name);
}

Result<Value> readNumber(std::string_view text, bool isFloat) {
  int64_t whole = 0;
  double real = 0;
  const char *end = text.data() + text.size();
  const auto read = isFloat ? std::from_chars(text.data(), end, real)
                            : std::from_chars(text.data(), end, whole);
  if (read.ptr != end ||
      (read.ec != std::errc() &&
       !(isFloat && read.ec == std::errc::result_out_of_range)))
    return invalidData("expected a number");
  return isFloat ? Value(real) : Value(whole);
}

Result<std::optional<int64_t>> sliceBound(const Value &bound) {
  int64_t storage = 0;
  const int64_t *whole = bound.integer(storage);
  if (whole)
    return std::optional(
        std::clamp<int64_t>(*whole, -(int64_t(1) << 40), int64_t(1) << 40));
  if (bound.is<None>())
    return std::optional<int64_t>();
  return invalidArgument(
      concat("expected an integer in a slice, found ", typeName(bound)));
}

} // namespace

Result<Value> Interpreter::evaluate(uint32_t index) {
  const Node &node = table.node(index);
  const Restore deeper(depth, depth + 1);
  if (!mayStep())
    return at(node, tooMuch());
  Result<Value> value = evaluateNode(node);
  if (!value.ok())
    value = at(node, value.status());
  return value;
}

// Here are no values: their memory would be taken at every level.
Result<Value> Interpreter::evaluateNode(const Node &node) {
  switch (node.kind()) {
  case Kind::String:
    return constants[node.text()];
  case Kind::Integer:
  case Kind::Float:
    return readNumber(name(node), node.kind() == Kind::Float);
  case Kind::True:
  case Kind::False:
    return Value(node.kind() == Kind::True);
  case Kind::None:
    return Value(None());
  case Kind::Name:
    return lookUp(node.text());
  case Kind::Tuple:
  case Kind::List:
    return evaluateList(node);
  case Kind::Dict:
    return evaluateDict(node);
  case Kind::Attribute:
    return evaluateAttribute(node);
  case Kind::Item:
    return evaluateItem(node);
  case Kind::Slice:
    return evaluateSlice(node);
  case Kind::Call:
    return evaluateCall(node);
  case Kind::Filter:
    return evaluateFilter(node);
  case Kind::Test:
    return evaluateTest(node);
  case Kind::Not:
  case Kind::And:
  case Kind::Or:
  case Kind::Conditional:
    return evaluateCondition(node);
  case Kind::Concat:
    return evaluateConcat(node);
  case Kind::Equal:
  case Kind::NotEqual:
  case Kind::Less:
  case Kind::LessEqual:
  case Kind::Greater:
  case Kind::GreaterEqual:
  case Kind::In:
  case Kind::NotIn:
    return evaluateComparison(node);
  default:
    return evaluateArithmetic(node);
  }
}

Result<Value> Interpreter::evaluateList(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  LAPIDARY_TRY(charge(children.size() * 64));
  return Value::list(LAPIDARY_TRY(evaluateAll(children)),
                     node.kind() == Kind::Tuple);
}

Result<Value> Interpreter::evaluateAttribute(const Node &node) {
  const Node &object = table.node(table.children(node)[0]);
  if (object.kind() == Kind::Name && name(object) == "loop")
    return loopAttribute(name(node));
  const Value value = LAPIDARY_TRY(evaluate(table.children(node)[0]));
  return attributeOf(node, value);
}

Result<Value> Interpreter::attributeOf(const Node &node, const Value &value) {
  const Node &object = table.node(table.children(node)[0]);
  if (value.is<Undefined>())
    return invalidArgument(
        concat(object.kind() == Kind::Name || object.kind() == Kind::Attribute
                   ? concat("'", name(object), "'")
                   : "the value",
               " is undefined, so it has no '", name(node), "'"));
  if (const NamespacePointer *space = value.get<NamespacePointer>()) {
    for (const auto &item : (*space)->items)
      if (item.first == node.text())
        return item.second;
    return Value();
  }
  return attribute(value, name(node));
}

Result<Value> Interpreter::evaluateItem(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const Value object = LAPIDARY_TRY(evaluate(children[0]));
  return item(object, LAPIDARY_TRY(evaluate(children[1])));
}

Result<Value> Interpreter::evaluateFilter(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const Value input = LAPIDARY_TRY(evaluate(children[0]));
  return applyFilter(*this, name(node), input,
                     LAPIDARY_TRY(evaluateArguments(children.subspan(1))));
}

Result<Value> Interpreter::evaluateCondition(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const Kind kind = node.kind();
  Value value = LAPIDARY_TRY(evaluate(children[0]));
  const bool isTrue = value.isTrue();
  if (kind == Kind::Not)
    return Value(!isTrue);
  if (kind == Kind::Conditional) {
    const uint32_t chosen = children[isTrue ? 1 : 2];
    return chosen == absent ? Result<Value>(Value()) : evaluate(chosen);
  }
  if (isTrue == (kind == Kind::Or))
    return value;
  return evaluate(children[1]);
}

Result<Value> Interpreter::evaluateConcat(const Node &node) {
  std::string made;
  for (uint32_t child : table.children(node))
    made += LAPIDARY_TRY(asText(LAPIDARY_TRY(evaluate(child))));
  return makeText(std::move(made));
}

Result<std::vector<Value>>
Interpreter::evaluateAll(std::span<const uint32_t> nodes) {
  std::vector<Value> values;
  for (uint32_t each : nodes)
    values.push_back(LAPIDARY_TRY(evaluate(each)));
  return values;
}

Result<Value> Interpreter::evaluateDict(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  std::vector<std::pair<std::string, Value>> items;
  for (size_t i = 0; i + 1 < children.size(); i += 2) {
    const Value key = LAPIDARY_TRY(evaluate(children[i]));
    if (!key.text())
      return unsupported(concat("expected a string as a mapping's key, found ",
                                typeName(key)));
    Value value = LAPIDARY_TRY(evaluate(children[i + 1]));
    LAPIDARY_TRY(charge(64 + items.size()));
    const auto same = std::ranges::find_if(items, [&](const auto &item) {
      return compareText(item.first, *key.text()) == 0;
    });
    if (same != items.end())
      same->second = std::move(value);
    else
      items.emplace_back(*key.text(), std::move(value));
  }
  return Value::dict(std::move(items));
}

Result<Value> Interpreter::lookUp(uint32_t index) {
  for (const Scope *each = scope; each; each = each->outer)
    for (const auto &variable : each->variables)
      if (variable.first == index)
        return variable.second;
  const std::string_view wanted = table.string(index);
  if (const auto found = given.find(wanted); found != given.end())
    return found->second;
  if (hasName(functionNames, wanted))
    return Value(Function{wanted});
  return Value();
}

Result<Value> Interpreter::loopAttribute(std::string_view wanted) {
  const Scope *own = scope;
  while (own && !own->loop)
    own = own->outer;
  if (!own)
    return invalidArgument(
        concat("'loop' is undefined, so it has no '", wanted, "'"));
  const Loop &loop = *own->loop;
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(loop.items->size());
  if (wanted == "index")
    return Value(index + 1);
  if (wanted == "index0")
    return Value(index);
  if (wanted == "revindex")
    return Value(length - index);
  if (wanted == "revindex0")
    return Value(length - index - 1);
  if (wanted == "first")
    return Value(index == 0);
  if (wanted == "last")
    return Value(index + 1 == length);
  if (wanted == "length")
    return Value(length);
  if (wanted == "depth")
    return Value(int64_t(1));
  if (wanted == "depth0")
    return Value(int64_t(0));
  if (wanted == "previtem")
    return index > 0 ? (*loop.items)[loop.index - 1] : Value();
  if (wanted == "nextitem")
    return index + 1 < length ? (*loop.items)[loop.index + 1] : Value();
  return unsupported(concat("'loop.", wanted, "' is not supported"));
}

Result<Value> Interpreter::attribute(const Value &object,
                                     std::string_view wanted) {
  if (const DictValue *dict = object.dict()) {
    if (isDictMethod(wanted))
      return Value(Method());
    LAPIDARY_TRY(charge(dict->items.size()));
    const Value *found = dict->find(wanted);
    return found ? *found : Value();
  }
  if (object.text() && hasName(methodNames, wanted))
    return Value(Method());
  return Value();
}

Result<Value> Interpreter::item(const Value &object, const Value &index) {
  if (object.is<Undefined>())
    return invalidArgument("the value is undefined, so it has no items");
  if (const std::string *key = index.text()) {
    if (const DictValue *dict = object.dict()) {
      LAPIDARY_TRY(charge(dict->items.size()));
      if (const Value *found = dict->find(plainText(*key)))
        return *found;
    }
    return attribute(object, plainText(*key));
  }
  int64_t storage = 0;
  const int64_t *whole = index.integer(storage);
  if (!whole || (!object.list() && !object.text()))
    return Value();
  std::vector<std::string_view> pieces;
  if (object.text()) {
    LAPIDARY_TRY(charge(object.text()->size() * 16));
    pieces = characters(*object.text());
  }
  const auto size = static_cast<int64_t>(
      object.list() ? object.list()->items.size() : pieces.size());
  const int64_t place = *whole < 0 ? *whole + size : *whole;
  if (place < 0 || place >= size)
    return Value();
  if (object.list())
    return object.list()->items[static_cast<size_t>(place)];
  return Value::text(pieces[static_cast<size_t>(place)]);
}

Result<Value> Interpreter::evaluateSlice(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const Value object = LAPIDARY_TRY(evaluate(children[0]));
  std::optional<int64_t> bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (children[i + 1] == absent)
      continue;
    bounds[i] =
        LAPIDARY_TRY(sliceBound(LAPIDARY_TRY(evaluate(children[i + 1]))));
  }
  return slice(object, bounds);
}

Result<Value>
Interpreter::slice(const Value &object,
                   std::span<const std::optional<int64_t>, 3> bounds) {
  if (!object.list() && !object.text())
    return invalidArgument(concat(
        "expected a list or a string to slice, found ", typeName(object)));
  std::vector<std::string_view> pieces;
  if (object.text()) {
    LAPIDARY_TRY(charge(object.text()->size() * 16));
    pieces = characters(*object.text());
  }
  const auto size = static_cast<int64_t>(
      object.list() ? object.list()->items.size() : pieces.size());
  LAPIDARY_TRY(charge(static_cast<size_t>(size)));
  const int64_t stride = bounds[2].value_or(1);
  if (stride == 0)
    return invalidArgument("a slice with steps of 0");
  // As Python bounds them.
  const int64_t least = stride > 0 ? 0 : -1,
                most = stride > 0 ? size : size - 1;
  const auto bounded = [&](std::optional<int64_t> bound, int64_t otherwise) {
    if (!bound)
      return otherwise;
    return std::clamp(*bound < 0 ? *bound + size : *bound, least, most);
  };
  const int64_t begin = bounded(bounds[0], stride > 0 ? 0 : size - 1);
  const int64_t end = bounded(bounds[1], stride > 0 ? size : -1);
  std::vector<Value> items;
  std::string made;
  for (int64_t i = begin; stride > 0 ? i < end : i > end; i += stride) {
    if (object.list()) {
      LAPIDARY_TRY(charge(64));
      items.push_back(object.list()->items[static_cast<size_t>(i)]);
    } else {
      made += pieces[static_cast<size_t>(i)];
    }
  }
  return object.list() ? Value::list(std::move(items), object.list()->isTuple)
                       : makeText(std::move(made));
}

Result<Arguments>
Interpreter::evaluateArguments(std::span<const uint32_t> nodes) {
  Arguments arguments;
  for (uint32_t each : nodes) {
    const Node &node = table.node(each);
    if (node.kind() == Kind::Keyword)
      arguments.named.emplace_back(
          name(node), LAPIDARY_TRY(evaluate(table.children(node)[0])));
    else
      arguments.values.push_back(LAPIDARY_TRY(evaluate(each)));
  }
  return arguments;
}

Result<Value> Interpreter::evaluateCall(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const Node &callee = table.node(children[0]);
  const bool isMethod = callee.kind() == Kind::Attribute;
  const Value called = LAPIDARY_TRY(
      evaluate(isMethod ? table.children(callee)[0] : children[0]));
  const Arguments arguments =
      LAPIDARY_TRY(evaluateArguments(children.subspan(1)));
  return isMethod ? callMethod(*this, called, name(callee), arguments)
                  : call(callee, called, arguments);
}

Result<Value> Interpreter::call(const Node &callee, const Value &called,
                                const Arguments &arguments) {
  if (const Macro *macro = called.get<Macro>())
    return callMacro(macro->node, arguments);
  if (const Function *function = called.get<Function>())
    return callFunction(function->name, arguments);
  return invalidArgument(
      concat("expected what can be called, found ",
             called.is<Undefined>() && callee.kind() == Kind::Name
                 ? concat("'", name(callee), "', which is undefined")
                 : typeName(called)));
}

Result<Value> Interpreter::makeNamespace(const Arguments &arguments) {
  auto space = std::make_shared<NamespaceValue>();
  LAPIDARY_TRY(arguments.values.empty()
                   ? Status()
                   : unsupported("namespace takes arguments by name"));
  LAPIDARY_TRY(charge(256));
  for (const auto &[key, value] : arguments.named) {
    if (value.is<NamespacePointer>())
      return unsupported("a namespace in a namespace is not supported");
    // Names of arguments are strings of the table, each of them once.
    for (uint32_t i = 0; i < table.stringCount(); ++i)
      if (table.string(i) == key) {
        space->items.emplace_back(i, value);
        break;
      }
  }
  return Value(NamespacePointer(std::move(space)));
}

Result<Value> Interpreter::callFunction(std::string_view function,
                                        const Arguments &arguments) {
  if (function == "namespace")
    return makeNamespace(arguments);
  if (function == "dict") {
    std::vector<std::pair<std::string, Value>> items;
    if (!arguments.values.empty())
      return unsupported("dict takes arguments by name");
    for (const auto &[key, value] : arguments.named)
      items.emplace_back(key, value);
    return Value::dict(std::move(items));
  }
  if (function == "raise_exception") {
    const Value *message = arguments.get(0, "message");
    return invalidArgument(
        "the template refuses the conversation: " +
        (message ? plainText(LAPIDARY_TRY(asText(*message))) : std::string()));
  }
  int64_t bounds[3] = {0, 0, 1};
  const std::vector<Value> &values = arguments.values;
  if (values.empty() || values.size() > 3 || !arguments.named.empty())
    return invalidArgument("range takes 1 to 3 integers");
  for (size_t i = 0; i < values.size(); ++i) {
    int64_t storage = 0;
    const int64_t *whole = values[i].integer(storage);
    if (!whole || *whole > (int64_t(1) << 40) || *whole < -(int64_t(1) << 40))
      return invalidArgument(
          concat("range takes integers, found ", typeName(values[i])));
    bounds[values.size() == 1 ? 1 : i] = *whole;
  }
  if (bounds[2] == 0)
    return invalidArgument("a range with steps of 0");
  const int64_t distance =
      bounds[2] > 0 ? bounds[1] - bounds[0] : bounds[0] - bounds[1];
  const int64_t stride = bounds[2] > 0 ? bounds[2] : -bounds[2];
  const int64_t count = distance > 0 ? (distance + stride - 1) / stride : 0;
  if (count > longestRange)
    return invalidArgument(concat("a range of ", count,
                                  " numbers, expected at most ", longestRange));
  LAPIDARY_TRY(charge(static_cast<size_t>(count) * 64));
  std::vector<Value> items;
  for (int64_t i = 0; i < count; ++i)
    items.push_back(Value(bounds[0] + i * bounds[2]));
  return Value::list(std::move(items));
}

Result<Value> Interpreter::evaluateTest(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const Value input = LAPIDARY_TRY(evaluate(children[0]));
  const std::vector<Value> arguments =
      LAPIDARY_TRY(evaluateAll(children.subspan(1)));
  return Value(LAPIDARY_TRY(applyTest(*this, name(node), input, arguments)));
}

Result<bool> Interpreter::isLess(const Value &a, const Value &b) {
  LAPIDARY_TRY(charge(16));
  if (a.isNumber() && b.isNumber()) {
    int64_t left, right;
    const int64_t *x = a.integer(left), *y = b.integer(right);
    return x && y ? *x < *y : a.number() < b.number();
  }
  if (a.text() && b.text()) {
    LAPIDARY_TRY(charge(std::min(a.text()->size(), b.text()->size())));
    return compareText(*a.text(), *b.text()) < 0;
  }
  return invalidArgument(concat("expected two numbers or two strings to "
                                "compare, found ",
                                typeName(a), " and ", typeName(b)));
}

Result<bool> Interpreter::isEqual(const Value &a, const Value &b) {
  if (a.content.index() == b.content.index())
    LAPIDARY_TRY(charge(std::min(sizeOf(a), sizeOf(b))));
  return equals(a, b);
}

Result<bool> Interpreter::contains(const Value &container, const Value &item) {
  LAPIDARY_TRY(charge(sizeOf(container)));
  if (const std::string *text = container.text()) {
    if (!item.text())
      return invalidArgument(concat("expected a string to look for in a "
                                    "string, found ",
                                    typeName(item)));
    return findText(*text, plainText(*item.text())).has_value();
  }
  if (const DictValue *dict = container.dict())
    return item.text() && dict->find(plainText(*item.text()));
  const ListPointer items = LAPIDARY_TRY(iterate(container));
  return std::ranges::any_of(
      items->items, [&](const Value &each) { return equals(each, item); });
}

Result<Value> Interpreter::evaluateComparison(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const Value a = LAPIDARY_TRY(evaluate(children[0]));
  const Value b = LAPIDARY_TRY(evaluate(children[1]));
  const Kind kind = node.kind();
  if (kind == Kind::Equal || kind == Kind::NotEqual)
    return Value(LAPIDARY_TRY(isEqual(a, b)) == (kind == Kind::Equal));
  if (kind == Kind::In || kind == Kind::NotIn)
    return Value(LAPIDARY_TRY(contains(b, a)) == (kind == Kind::In));
  if (kind == Kind::Less)
    return Value(LAPIDARY_TRY(isLess(a, b)));
  if (kind == Kind::Greater)
    return Value(LAPIDARY_TRY(isLess(b, a)));
  // Also right where a number is NaN.
  const bool same = LAPIDARY_TRY(isEqual(a, b));
  return Value(same || LAPIDARY_TRY(kind == Kind::LessEqual ? isLess(a, b)
                                                            : isLess(b, a)));
}

Result<ListPointer> Interpreter::iterate(const Value &value) {
  if (const ListPointer *list = value.get<ListPointer>())
    return *list;
  std::vector<Value> items;
  if (const std::string *text = value.text()) {
    LAPIDARY_TRY(charge(text->size() * 64));
    for (std::string_view piece : characters(*text))
      items.push_back(Value::text(piece));
  } else if (const DictValue *dict = value.dict()) {
    LAPIDARY_TRY(charge(dict->items.size() * 64));
    for (const auto &item : dict->items)
      items.push_back(Value::text(item.first));
  } else if (!value.is<Undefined>()) {
    return invalidArgument(
        concat("expected a list, a mapping or a string to go over, found ",
               typeName(value)));
  }
  const Value list = LAPIDARY_TRY(Value::list(std::move(items)));
  return *list.get<ListPointer>();
}

Result<Value> Interpreter::evaluateArithmetic(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const bool isUnary =
      node.kind() == Kind::Negative || node.kind() == Kind::Positive;
  if (!isUnary && (node.kind() < Kind::Add || node.kind() > Kind::Power))
    return invalidData("expected an expression");
  const Value a = LAPIDARY_TRY(evaluate(children[0]));
  if (!isUnary)
    return computeArithmetic(*this, node.kind(), a,
                             LAPIDARY_TRY(evaluate(children[1])));
  // -0.0 differs from 0 - 0.0.
  if (const double *real = a.get<double>())
    return Value(node.kind() == Kind::Negative ? -*real : *real);
  return computeArithmetic(
      *this, node.kind() == Kind::Negative ? Kind::Subtract : Kind::Add,
      Value(int64_t(0)), a);
}

} // namespace lapidary::chat
