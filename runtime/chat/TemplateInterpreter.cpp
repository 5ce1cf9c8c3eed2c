// Statements, scopes and limits; TemplateExpressions.cpp has expressions.
#include "runtime/chat/TemplateInterpreter.h"

#include "runtime/chat/TemplateNames.h"
#include "runtime/chat/TemplateText.h"
#include "runtime/core/Text.h"

#include <algorithm>

namespace lapidary::chat {

namespace {

using Kind = schema::TemplateKind;

/// A few seconds. A template that goes over all messages for each of 2000
/// messages takes a tenth of it.
constexpr size_t mostSteps = size_t(1) << 25;
/// Bytes that a step pays for.
constexpr size_t stepBytes = 16;
constexpr size_t largestOutput = size_t(1) << 28;
} // namespace

const Value *Arguments::get(size_t place, std::string_view name) const {
  if (place < values.size())
    return &values[place];
  for (const auto &[key, value] : named)
    if (key == name)
      return &value;
  return nullptr;
}

Status Arguments::checkCount(size_t most) const {
  return values.size() <= most
             ? Status()
             : invalidArgument(concat("expected at most ", most,
                                      " arguments, found ", values.size()));
}

Status Arguments::check(size_t most,
                        std::initializer_list<std::string_view> names) const {
  LAPIDARY_TRY(checkCount(most));
  for (const auto &item : named)
    if (std::find(names.begin(), names.end(), item.first) == names.end())
      return unsupported(
          concat("the argument '", item.first, "' is not supported"));
  return {};
}

bool Interpreter::mayStep() {
  return ++steps <= mostSteps && depth <= deepestCall;
}

Status Interpreter::tooMuch() const {
  return unsupported(depth > deepestCall
                         ? "macros that call each other too deeply"
                         : "it takes too many steps");
}

Status Interpreter::step() { return mayStep() ? Status() : tooMuch(); }

Status Interpreter::charge(size_t bytes) {
  steps += bytes / stepBytes;
  return step();
}

Result<Value> Interpreter::makeText(std::string made) {
  LAPIDARY_TRY(charge(made.size()));
  return Value::text(std::move(made));
}

Result<std::string> Interpreter::asText(const Value &value) {
  LAPIDARY_TRY(charge(sizeOf(value)));
  if (value.is<Macro>() || value.is<Function>() || value.is<Method>() ||
      value.is<NamespacePointer>())
    return unsupported(
        concat("expected what can be printed, found ", typeName(value)));
  std::string made;
  appendText(made, value);
  return made;
}

Status Interpreter::at(const Node &node, const Status &status) {
  if (isPlaced)
    return status;
  isPlaced = true;
  return {status.getCode(), concat("the chat template, line ", node.line(),
                                   ": ", status.message())};
}

void Interpreter::define(std::string_view name, Value value) {
  given.insert_or_assign(std::string(name), std::move(value));
}

Result<std::string> Interpreter::run() {
  const Node &root = table.node(table.root());
  const Result<Flow> flow = execute(table.root());
  if (!flow.ok())
    return at(root, flow.status());
  return std::move(text);
}

Result<Interpreter::Flow> Interpreter::execute(uint32_t index) {
  const Node &node = table.node(index);
  const Restore deeper(depth, depth + 1);
  if (!mayStep())
    return at(node, tooMuch());
  Result<Flow> flow = executeNode(node, index);
  if (!flow.ok())
    flow = at(node, flow.status());
  return flow;
}

Result<Interpreter::Flow> Interpreter::executeNode(const Node &node,
                                                   uint32_t index) {
  switch (node.kind()) {
  case Kind::Block:
    return executeBlock(node);
  case Kind::Text:
  case Kind::Output:
    return executeOutput(node);
  case Kind::If:
    return executeIf(node);
  case Kind::For:
    return executeFor(node);
  case Kind::Set:
  case Kind::SetBlock:
    return executeSet(node);
  case Kind::Macro:
    set(node.text(), Macro{index});
    return Flow::Normal;
  case Kind::Break:
    return Flow::Break;
  case Kind::Continue:
    return Flow::Continue;
  default:
    return invalidData("expected a statement");
  }
}

Result<Interpreter::Flow> Interpreter::executeBlock(const Node &node) {
  for (uint32_t child : table.children(node)) {
    Result<Flow> flow = execute(child);
    if (!flow.ok() || *flow != Flow::Normal)
      return flow;
  }
  return Flow::Normal;
}

Result<Interpreter::Flow> Interpreter::executeOutput(const Node &node) {
  if (node.kind() == Kind::Text) {
    LAPIDARY_TRY(charge(name(node).size()));
    output->append(name(node));
  } else {
    const Value value = LAPIDARY_TRY(evaluate(table.children(node)[0]));
    output->append(LAPIDARY_TRY(asText(value)));
  }
  if (output->size() > largestOutput)
    return unsupported(concat("it prints more than ", largestOutput, " bytes"));
  return Flow::Normal;
}

Result<Interpreter::Flow> Interpreter::executeIf(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const bool isTrue = LAPIDARY_TRY(evaluate(children[0])).isTrue();
  const uint32_t chosen = children[isTrue ? 1 : 2];
  return chosen == absent ? Result<Flow>(Flow::Normal) : execute(chosen);
}

Result<Interpreter::Flow> Interpreter::executeSet(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const Value value =
      LAPIDARY_TRY(node.kind() == Kind::Set ? evaluate(children[1])
                                            : captureText(children[1]));
  LAPIDARY_TRY(assign(children[0], value));
  return Flow::Normal;
}

Result<Value> Interpreter::captureText(uint32_t body) {
  std::string made;
  const Restore redirected(output, &made);
  LAPIDARY_TRY(execute(body));
  return makeText(std::move(made));
}

Result<Interpreter::Flow> Interpreter::executeFor(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  const ListPointer items = LAPIDARY_TRY(loopItems(node));
  if (!items->items.empty())
    return executeItems(node, items->items);
  if (children[4] == absent)
    return Flow::Normal;
  Scope inner{scope};
  const Restore entered(scope, &inner);
  return execute(children[4]);
}

Result<ListPointer> Interpreter::loopItems(const Node &node) {
  const std::span<const uint32_t> children = table.children(node);
  ListPointer items =
      LAPIDARY_TRY(iterate(LAPIDARY_TRY(evaluate(children[1]))));
  if (children[2] == absent)
    return items;
  ListValue chosen;
  for (const Value &item : items->items) {
    Scope inner{scope};
    const Restore entered(scope, &inner);
    LAPIDARY_TRY(assign(children[0], item));
    if (LAPIDARY_TRY(evaluate(children[2])).isTrue())
      chosen.items.push_back(item);
  }
  return std::make_shared<const ListValue>(std::move(chosen));
}

Result<Interpreter::Flow>
Interpreter::executeItems(const Node &node, const std::vector<Value> &items) {
  const std::span<const uint32_t> children = table.children(node);
  Loop loop{&items, 0};
  for (; loop.index < items.size(); ++loop.index) {
    Scope inner{scope, &loop};
    const Restore entered(scope, &inner);
    LAPIDARY_TRY(assign(children[0], items[loop.index]));
    if (LAPIDARY_TRY(execute(children[3])) == Flow::Break)
      break;
  }
  return Flow::Normal;
}

void Interpreter::set(uint32_t name, Value value) {
  for (auto &variable : scope->variables)
    if (variable.first == name) {
      variable.second = std::move(value);
      return;
    }
  scope->variables.emplace_back(name, std::move(value));
}

Status Interpreter::assign(uint32_t target, const Value &value) {
  const Node &node = table.node(target);
  const std::span<const uint32_t> children = table.children(node);
  LAPIDARY_TRY(step());
  if (node.kind() == Kind::Name) {
    set(node.text(), value);
    return {};
  }
  if (node.kind() == Kind::Attribute) {
    const Value object = LAPIDARY_TRY(evaluate(children[0]));
    const NamespacePointer *space = object.get<NamespacePointer>();
    if (!space)
      return invalidArgument(concat("expected a namespace to set '", name(node),
                                    "' of, found ", typeName(object)));
    if (value.is<NamespacePointer>())
      return unsupported("a namespace in a namespace is not supported");
    for (auto &item : (*space)->items)
      if (item.first == node.text()) {
        item.second = value;
        return {};
      }
    (*space)->items.emplace_back(node.text(), value);
    return {};
  }
  if (node.kind() != Kind::Tuple)
    return invalidData("expected a name to set");
  const ListPointer items = LAPIDARY_TRY(iterate(value));
  if (items->items.size() != children.size())
    return invalidArgument(concat("expected ", children.size(),
                                  " values to unpack, found ",
                                  items->items.size()));
  for (size_t i = 0; i < children.size(); ++i)
    LAPIDARY_TRY(assign(children[i], items->items[i]));
  return {};
}

Result<Value> Interpreter::callMacro(uint32_t index,
                                     const Arguments &arguments) {
  const Node &node = table.node(index);
  const std::span<const uint32_t> children = table.children(node);
  LAPIDARY_TRY(checkArguments(node, arguments));
  const Restore deeper(depth, depth + 1);
  // A macro sees the template's variables, not its caller's.
  Scope inner{&globals};
  const Restore entered(scope, &inner);
  for (size_t i = 1; i < children.size(); ++i) {
    const Node &parameter = table.node(children[i]);
    const uint32_t otherwise = table.children(parameter)[0];
    const Value *given = arguments.get(i - 1, name(parameter));
    if (given || otherwise == absent)
      set(parameter.text(), given ? *given : Value());
    else
      set(parameter.text(), LAPIDARY_TRY(evaluate(otherwise)));
  }
  return captureText(children[0]);
}

Status Interpreter::checkArguments(const Node &node,
                                   const Arguments &arguments) {
  const std::span<const uint32_t> parameters = table.children(node).subspan(1);
  if (arguments.values.size() > parameters.size())
    return invalidArgument(concat("macro '", name(node), "' takes ",
                                  parameters.size(), " arguments, found ",
                                  arguments.values.size()));
  for (const auto &argument : arguments.named)
    if (std::ranges::none_of(parameters, [&](uint32_t parameter) {
          return name(table.node(parameter)) == argument.first;
        }))
      return invalidArgument(concat(
          "macro '", name(node), "' has no parameter '", argument.first, "'"));
  return {};
}

} // namespace lapidary::chat
