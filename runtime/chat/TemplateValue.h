// What a template computes with: Python's values, as far as JSON and Jinja
// have them. Values do not change once they are made, namespaces excepted,
// which therefore are in no container: nothing can hold itself.
#pragma once

#include "runtime/core/Status.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lapidary {
class Tokenizer;
}

namespace lapidary::chat {

class Value;

struct ListValue {
  std::vector<Value> items;
  bool isTuple = false;
  int depth = 1;
  /// sizeOf, known without a walk: values share parts, so that what a walk
  /// sees can be far more than what was made.
  size_t size = 0;
};

struct DictValue {
  /// In the order in which they came.
  std::vector<std::pair<std::string, Value>> items;
  int depth = 1;
  size_t size = 0;

  const Value *find(std::string_view key) const;
};

struct NamespaceValue {
  std::vector<std::pair<uint32_t, Value>> items;
};

struct Undefined {};
struct None {};
/// A method that is not called, such as `{}.items`.
struct Method {};
struct Function {
  std::string_view name;
};
struct Macro {
  uint32_t node;
};

using TextPointer = std::shared_ptr<const std::string>;
using ListPointer = std::shared_ptr<const ListValue>;
using DictPointer = std::shared_ptr<const DictValue>;
using NamespacePointer = std::shared_ptr<NamespaceValue>;

/// Levels of lists and mappings in each other.
constexpr int deepestValue = 200;

template <typename T, typename... Others>
concept IsOneOf = (std::is_same_v<T, Others> || ...);

class Value {
public:
  using Content = std::variant<Undefined, None, bool, int64_t, uint64_t, double,
                               TextPointer, ListPointer, DictPointer,
                               NamespacePointer, Macro, Function, Method>;

  Value() = default;
  template <typename T>
    requires IsOneOf<T, Undefined, None, bool, int64_t, uint64_t, double,
                     TextPointer, ListPointer, DictPointer, NamespacePointer,
                     Macro, Function, Method>
  Value(T content) : content(std::in_place_type<T>, std::move(content)) {}
  static Value text(std::string text) {
    return TextPointer(std::make_shared<const std::string>(std::move(text)));
  }
  static Value text(std::string_view view) { return text(std::string(view)); }
  /// An error where it becomes too deep or an item is a namespace.
  static Result<Value> list(std::vector<Value> items, bool isTuple = false);
  static Result<Value> dict(std::vector<std::pair<std::string, Value>> items);

  template <typename T> bool is() const {
    return std::holds_alternative<T>(content);
  }
  template <typename T> const T *get() const {
    return std::get_if<T>(&content);
  }
  /// Null where it is something else.
  const std::string *text() const {
    const TextPointer *pointer = get<TextPointer>();
    return pointer ? pointer->get() : nullptr;
  }
  const ListValue *list() const {
    const ListPointer *pointer = get<ListPointer>();
    return pointer ? pointer->get() : nullptr;
  }
  const DictValue *dict() const {
    const DictPointer *pointer = get<DictPointer>();
    return pointer ? pointer->get() : nullptr;
  }
  bool isNumber() const {
    return is<bool>() || is<int64_t>() || is<uint64_t>() || is<double>();
  }
  /// Of a number; else 0.
  double number() const;
  /// Of a bool or an integer of 64 bits with a sign.
  const int64_t *integer(int64_t &storage) const;
  int depth() const;
  /// Python's bool().
  bool isTrue() const;

  Content content;
};

/// "a string", for messages.
const char *typeName(const Value &value);
/// Python's ==. Its work is bounded by either's size.
bool equals(const Value &a, const Value &b);
/// Appends Python's str(), or repr(), which quotes strings.
void appendText(std::string &text, const Value &value);
void appendRepr(std::string &text, const Value &value);
/// The bytes of the strings in it, and some for every item; no more than
/// `largestSize`.
constexpr size_t largestSize = size_t(1) << 40;
size_t sizeOf(const Value &value);

/// JSON as a template sees it; `tokenizer` protects its strings.
Result<Value> fromJson(const nlohmann::ordered_json &json,
                       const Tokenizer &tokenizer, int depth = 0);

} // namespace lapidary::chat
