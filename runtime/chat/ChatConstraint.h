// What an answer in a chat may look like: thinking, then content by a schema or
// a grammar, then calls of the declared tools in the model's own notation.
#pragma once

#include "runtime/grammar/TokenTable.h"
#include "runtime/model/Constraint.h"

#include <nlohmann/json.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace lapidary {

namespace schema {
struct Model;
}

struct ChatRules {
  /// As OpenAI's API has them: [{"type": "function", "function": {...}}].
  nlohmann::ordered_json tools;
  /// None: no tool is called. Required: the answer is nothing but calls,
  /// thinking aside.
  enum class ToolChoice : uint8_t { None, Auto, Required };
  ToolChoice toolChoice = ToolChoice::Auto;
  /// The one function to call, once; empty: any.
  std::string toolName;
  /// Whether an answer may have several calls.
  bool parallelCalls = true;
  /// What the content must be, at most one of the three: JSON by a schema, any
  /// JSON object, a text by a GBNF grammar. The answer then is either that or
  /// calls.
  std::optional<nlohmann::ordered_json> schema;
  bool jsonObject = false;
  std::string grammar;
  /// Most tokens of thought, the channel's marks and name aside; then the
  /// channel is closed. 0: no thinking; -1: no limit.
  int64_t thinkingBudget = -1;
  /// The prompt ends within the thought channel.
  bool startsInThought = false;

  bool shapesContent() const {
    return schema || jsonObject || !grammar.empty();
  }
};

/// A field of a request, such as "response_format.type", and what is wrong with
/// it: "must be ...".
struct FieldProblem {
  std::string place, message;
};

/// Add what the field at `place` asks for, in the forms of OpenAI's APIs for
/// chats and responses. A tool that is chosen must be among the rules' tools.
std::optional<FieldProblem> readToolChoice(const nlohmann::ordered_json &choice,
                                           const std::string &place,
                                           ChatRules &rules);
std::optional<FieldProblem>
readAnswerFormat(const nlohmann::ordered_json &format, const std::string &place,
                 ChatRules &rules);

/// Adds what a request's `tools`, `tool_choice`, `parallel_tool_calls` and
/// `response_format` ask for, as OpenAI's API has them. An error names the
/// field.
Status readChatRules(const nlohmann::ordered_json &request, ChatRules &rules);

/// Gives each answer a constraint of its own.
using ConstraintMaker = std::function<std::shared_ptr<Constraint>()>;

/// Empty where the rules allow everything. The table must live as long. An
/// error names the keyword of a schema that cannot be honoured and its place,
/// as a pointer into the schema; `Unsupported` where it is not a mistake of the
/// rules.
Result<ConstraintMaker> compileRules(const schema::Model &model,
                                     const Tokenizer &tokenizer,
                                     const TokenTable &tokens,
                                     const ChatRules &rules);

/// The constraint of one answer; null where there is nothing to keep to.
Result<std::shared_ptr<Constraint>> makeConstraint(const schema::Model &model,
                                                   const Tokenizer &tokenizer,
                                                   const TokenTable &tokens,
                                                   const ChatRules &rules);

} // namespace lapidary
