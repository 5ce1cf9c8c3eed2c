// Equality, truth and text of values as Python has them.
#include "runtime/chat/TemplateValue.h"

#include "runtime/chat/TemplateText.h"
#include "runtime/model/Tokenizer.h"

#include <algorithm>

namespace lapidary::chat {

namespace {

Status checkDepth(int depth) {
  if (depth <= deepestValue)
    return {};
  return invalidArgument("lists and mappings in each other: expected at most " +
                         std::to_string(deepestValue) + " levels, found more");
}

Status checkItem(const Value &item, int &depth) {
  if (item.is<NamespacePointer>())
    return unsupported("a namespace in a list, a mapping or another namespace "
                       "is not supported");
  depth = std::max(depth, item.depth() + 1);
  return checkDepth(depth);
}

bool equalLists(const ListValue &a, const ListValue &b) {
  return a.isTuple == b.isTuple && a.items.size() == b.items.size() &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(), equals);
}

/// In any order, without looking through one for each item of the other.
bool equalDicts(const DictValue &a, const DictValue &b) {
  if (a.items.size() != b.items.size())
    return false;
  using Item = std::pair<std::string, Value>;
  const auto sorted = [](const DictValue &dict) {
    std::vector<const Item *> items;
    for (const Item &item : dict.items)
      items.push_back(&item);
    std::ranges::sort(items, [](const Item *x, const Item *y) {
      return compareText(x->first, y->first) < 0;
    });
    return items;
  };
  const std::vector<const Item *> left = sorted(a), right = sorted(b);
  return std::equal(left.begin(), left.end(), right.begin(),
                    [](const Item *x, const Item *y) {
                      return compareText(x->first, y->first) == 0 &&
                             equals(x->second, y->second);
                    });
}

/// What an item of a list or a mapping costs, beside its strings.
constexpr size_t itemSize = 16;

size_t addSizes(size_t a, size_t b) { return std::min(a + b, largestSize); }

} // namespace

const Value *DictValue::find(std::string_view key) const {
  for (const auto &item : items)
    if (compareText(item.first, key) == 0)
      return &item.second;
  return nullptr;
}

Result<Value> Value::list(std::vector<Value> items, bool isTuple) {
  auto result = std::make_shared<ListValue>();
  for (const Value &item : items) {
    LAPIDARY_TRY(checkItem(item, result->depth));
    result->size = addSizes(result->size, itemSize + sizeOf(item));
  }
  result->items = std::move(items);
  result->isTuple = isTuple;
  return Value(ListPointer(std::move(result)));
}

Result<Value> Value::dict(std::vector<std::pair<std::string, Value>> items) {
  auto result = std::make_shared<DictValue>();
  for (const auto &item : items) {
    LAPIDARY_TRY(checkItem(item.second, result->depth));
    result->size = addSizes(result->size,
                            itemSize + item.first.size() + sizeOf(item.second));
  }
  result->items = std::move(items);
  return Value(DictPointer(std::move(result)));
}

double Value::number() const {
  if (const bool *flag = get<bool>())
    return *flag ? 1 : 0;
  if (const int64_t *whole = get<int64_t>())
    return static_cast<double>(*whole);
  if (const uint64_t *large = get<uint64_t>())
    return static_cast<double>(*large);
  const double *real = get<double>();
  return real ? *real : 0;
}

const int64_t *Value::integer(int64_t &storage) const {
  if (const bool *flag = get<bool>()) {
    storage = *flag;
    return &storage;
  }
  return get<int64_t>();
}

int Value::depth() const {
  return list() ? list()->depth : dict() ? dict()->depth : 0;
}

bool Value::isTrue() const {
  if (is<Undefined>() || is<None>())
    return false;
  if (isNumber())
    return number() != 0;
  if (text())
    return !isEmptyText(*text());
  if (list())
    return !list()->items.empty();
  return !dict() || !dict()->items.empty();
}

const char *typeName(const Value &value) {
  constexpr const char *names[] = {
      "nothing",  "none",       "a boolean", "an integer", "an integer",
      "a number", "a string",   "a list",    "a mapping",  "a namespace",
      "a macro",  "a function", "a method"};
  return names[value.content.index()];
}

bool equals(const Value &a, const Value &b) {
  if (a.isNumber() && b.isNumber()) {
    int64_t left, right;
    const int64_t *x = a.integer(left), *y = b.integer(right);
    if (x && y)
      return *x == *y;
    if (a.is<uint64_t>() && b.is<uint64_t>())
      return *a.get<uint64_t>() == *b.get<uint64_t>();
    return a.number() == b.number();
  }
  if (a.content.index() != b.content.index())
    return false;
  if (a.text())
    return compareText(*a.text(), *b.text()) == 0;
  if (a.list())
    return equalLists(*a.list(), *b.list());
  if (a.dict())
    return equalDicts(*a.dict(), *b.dict());
  if (const NamespacePointer *own = a.get<NamespacePointer>())
    return *own == *b.get<NamespacePointer>();
  if (const Macro *macro = a.get<Macro>())
    return macro->node == b.get<Macro>()->node;
  return true;
}

void appendRepr(std::string &text, const Value &value) {
  if (value.text()) {
    text += quoteText(*value.text());
    return;
  }
  if (const ListValue *list = value.list()) {
    text += list->isTuple ? '(' : '[';
    for (size_t i = 0; i < list->items.size(); ++i) {
      text += i ? ", " : "";
      appendRepr(text, list->items[i]);
    }
    text += list->isTuple && list->items.size() == 1 ? "," : "";
    text += list->isTuple ? ')' : ']';
    return;
  }
  if (const DictValue *dict = value.dict()) {
    text += '{';
    for (size_t i = 0; i < dict->items.size(); ++i) {
      text += (i ? ", " : "") + quoteText(dict->items[i].first) + ": ";
      appendRepr(text, dict->items[i].second);
    }
    text += '}';
    return;
  }
  if (value.is<Undefined>())
    text += "Undefined";
  else
    appendText(text, value);
}

void appendText(std::string &text, const Value &value) {
  if (value.text())
    text += *value.text();
  else if (value.list() || value.dict())
    appendRepr(text, value);
  else if (value.is<None>())
    text += "None";
  else if (const bool *flag = value.get<bool>())
    text += *flag ? "True" : "False";
  else if (const int64_t *whole = value.get<int64_t>())
    text += std::to_string(*whole);
  else if (const uint64_t *large = value.get<uint64_t>())
    text += std::to_string(*large);
  else if (const double *real = value.get<double>())
    text += printFloat(*real);
}

size_t sizeOf(const Value &value) {
  if (value.text())
    return value.text()->size();
  return itemSize + (value.list()   ? value.list()->size
                     : value.dict() ? value.dict()->size
                                    : 0);
}

Result<Value> fromJson(const nlohmann::ordered_json &json,
                       const Tokenizer &tokenizer, int depth) {
  using Type = nlohmann::ordered_json::value_t;
  LAPIDARY_TRY(checkDepth(depth));
  switch (json.type()) {
  case Type::null:
    return Value(None());
  case Type::boolean:
    return Value(json.get<bool>());
  case Type::number_integer:
    return Value(json.get<int64_t>());
  case Type::number_unsigned:
    if (const auto number = json.get<uint64_t>(); number > INT64_MAX)
      return Value(number);
    return Value(json.get<int64_t>());
  case Type::number_float:
    return Value(json.get<double>());
  case Type::string:
    return Value::text(tokenizer.protect(json.get_ref<const std::string &>()));
  case Type::array: {
    std::vector<Value> items;
    items.reserve(json.size());
    for (const auto &item : json)
      items.push_back(LAPIDARY_TRY(fromJson(item, tokenizer, depth + 1)));
    return Value::list(std::move(items));
  }
  case Type::object: {
    std::vector<std::pair<std::string, Value>> items;
    for (const auto &item : json.items())
      items.emplace_back(
          tokenizer.protect(item.key()),
          LAPIDARY_TRY(fromJson(item.value(), tokenizer, depth + 1)));
    return Value::dict(std::move(items));
  }
  case Type::binary:
  case Type::discarded:
    break;
  }
  return invalidArgument("expected a JSON value");
}

} // namespace lapidary::chat
