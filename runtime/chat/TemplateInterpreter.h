// Executes a template's tree. A template is untrusted: steps, depth and the
// size of what it makes are limited.
#pragma once

#include "runtime/chat/TemplateTable.h"
#include "runtime/chat/TemplateValue.h"

#include <map>
#include <optional>
#include <string>
#include <utility>

namespace lapidary::chat {

/// Arguments of a call.
struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string_view, Value>> named;

  /// The argument at a place or with a name; null where it is not given.
  const Value *get(size_t place, std::string_view name) const;
  /// An error where there are more without a name.
  Status checkCount(size_t most) const;
  /// The same, or where there are other names.
  Status check(size_t most,
               std::initializer_list<std::string_view> names) const;
};

/// Restores what it was given at the end of a block.
template <typename T> class Restore {
public:
  Restore(T &variable, T value)
      : variable(variable), before(std::exchange(variable, value)) {}
  ~Restore() { variable = before; }

private:
  T &variable;
  T before;
};

/// Templates nest, and macros call each other: what a level takes of the stack
/// is kept small, by functions that are not inlined where they return.
class Interpreter {
public:
  /// `constants` are the table's strings as values.
  Interpreter(const TemplateTable &table, const std::vector<Value> &constants)
      : table(table), constants(constants) {}

  /// Defines a variable that the template sees.
  void define(std::string_view name, Value value);
  Result<std::string> run();

  /// For filters, tests and methods.
  Status charge(size_t bytes);
  Result<Value> makeText(std::string text);
  Result<std::string> asText(const Value &value);
  /// What a loop over it sees.
  Result<ListPointer> iterate(const Value &value);
  Result<bool> contains(const Value &container, const Value &item);
  Result<bool> isLess(const Value &a, const Value &b);
  Result<bool> isEqual(const Value &a, const Value &b);
  Result<Value> attribute(const Value &object, std::string_view name);
  Result<Value> item(const Value &object, const Value &index);

private:
  enum class Flow : uint8_t { Normal, Break, Continue };
  using Node = schema::TemplateNode;
  /// What `loop` says.
  struct Loop {
    const std::vector<Value> *items;
    size_t index;
  };
  struct Scope {
    Scope *outer;
    const Loop *loop = nullptr;
    std::vector<std::pair<uint32_t, Value>> variables = {};
  };

  Result<Flow> execute(uint32_t index);
  Result<Flow> executeNode(const Node &node, uint32_t index);
  Result<Flow> executeBlock(const Node &node);
  Result<Flow> executeOutput(const Node &node);
  Result<Flow> executeIf(const Node &node);
  Result<Flow> executeSet(const Node &node);
  Result<Flow> executeFor(const Node &node);
  Result<Flow> executeItems(const Node &node, const std::vector<Value> &items);
  Result<ListPointer> loopItems(const Node &node);
  Status assign(uint32_t target, const Value &value);
  void set(uint32_t name, Value value);
  Result<Value> captureText(uint32_t body);

  Result<Value> evaluate(uint32_t index);
  Result<Value> evaluateNode(const Node &node);
  Result<Value> evaluateList(const Node &node);
  Result<Value> evaluateAttribute(const Node &node);
  Result<Value> evaluateItem(const Node &node);
  Result<Value> evaluateFilter(const Node &node);
  Result<Value> evaluateCondition(const Node &node);
  Result<Value> evaluateConcat(const Node &node);
  Result<Value> evaluateArithmetic(const Node &node);
  Result<Value> evaluateComparison(const Node &node);
  Result<Value> evaluateSlice(const Node &node);
  Result<Value> slice(const Value &object,
                      std::span<const std::optional<int64_t>, 3> bounds);
  Result<Value> evaluateCall(const Node &node);
  Result<Value> call(const Node &callee, const Value &called,
                     const Arguments &arguments);
  Result<Value> evaluateTest(const Node &node);
  Result<std::vector<Value>> evaluateAll(std::span<const uint32_t> nodes);
  Result<Value> evaluateDict(const Node &node);
  Result<Value> attributeOf(const Node &node, const Value &object);
  Result<Value> lookUp(uint32_t name);
  Result<Value> loopAttribute(std::string_view name);
  Result<Arguments> evaluateArguments(std::span<const uint32_t> nodes);
  Status checkArguments(const Node &macro, const Arguments &arguments);
  Result<Value> callMacro(uint32_t index, const Arguments &arguments);
  Result<Value> callFunction(std::string_view name, const Arguments &arguments);
  Result<Value> makeNamespace(const Arguments &arguments);

  /// Takes one; false where there are too many of them, or too many levels.
  bool mayStep();
  Status tooMuch() const;
  Status step();
  /// With the line in front, once.
  Status at(const Node &node, const Status &status);
  std::string_view name(const Node &node) const {
    return table.string(node.text());
  }

  const TemplateTable &table;
  const std::vector<Value> &constants;
  Scope globals{nullptr};
  Scope *scope = &globals;
  std::string text;
  std::string *output = &text;
  std::map<std::string, Value, std::less<>> given;
  size_t steps = 0;
  int depth = 0;
  bool isPlaced = false;
};

/// Names are those of TemplateNames.h.
Result<Value> applyFilter(Interpreter &interpreter, std::string_view name,
                          const Value &input, const Arguments &arguments);
Result<bool> applyTest(Interpreter &interpreter, std::string_view name,
                       const Value &input, const std::vector<Value> &arguments);
Result<Value> callMethod(Interpreter &interpreter, const Value &object,
                         std::string_view name, const Arguments &arguments);
/// replaceText, where the result is bounded before it is made.
Result<Value> replaceIn(Interpreter &interpreter, const std::string &text,
                        const std::string &from, const std::string &to,
                        size_t most);
Result<Value> computeArithmetic(Interpreter &interpreter,
                                schema::TemplateKind kind, const Value &a,
                                const Value &b);

} // namespace lapidary::chat
