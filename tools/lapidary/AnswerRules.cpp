// Schemas and grammars are read here; what they mean is the library's affair.
#include "tools/lapidary/AnswerRules.h"

#include "runtime/chat/AnswerParser.h"
#include "runtime/grammar/JsonSchema.h"
#include "tools/lapidary/Terminal.h"

namespace lapidary::cli {
namespace {

constexpr uint64_t longestFile = uint64_t(1) << 20;

/// A schema begins with a brace, or is a file.
Result<nlohmann::ordered_json> readSchema(const std::string &argument) {
  const size_t first = argument.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && argument[first] == '{')
    return parseSchema(argument);
  const std::string text = LAPIDARY_TRY(readTextFile(argument, longestFile));
  Result<nlohmann::ordered_json> schema = parseSchema(text);
  if (!schema.ok())
    return Status(schema.status().getCode(),
                  "'" + argument + "': " + schema.status().message());
  return schema;
}

} // namespace

Result<ChatRules> readOptionRules(const RunOptions &options) {
  ChatRules rules;
  // Only who asks for thinking gets it: it would stand before what was asked
  // for.
  rules.thinkingBudget = 0;
  if (!options.jsonSchema.empty())
    rules.schema = LAPIDARY_TRY(readSchema(options.jsonSchema));
  if (!options.grammar.empty()) {
    rules.grammar = LAPIDARY_TRY(readTextFile(options.grammar, longestFile));
    if (rules.grammar.empty())
      return invalidArgument("the grammar '" + options.grammar + "' is empty");
  }
  return rules;
}

Result<ChatRules> readAnswerRules(const ChatRules &usual,
                                  const nlohmann::ordered_json &request) {
  ChatRules rules;
  rules.thinkingBudget = 0;
  const nlohmann::ordered_json none,
      &choices = request.contains("options") ? request["options"] : none;
  const auto given = [&](const char *key) {
    return choices.is_object() && choices.contains(key);
  };
  if (given("tools"))
    rules.tools = choices["tools"];
  LAPIDARY_TRY(readChatRules(request, rules));
  if (!request.contains("tool_choice"))
    rules.tools = nullptr;
  if (given("enable_thinking") && choices["enable_thinking"] == true)
    rules.thinkingBudget = -1;
  if (!rules.schema && !rules.jsonObject) {
    rules.schema = usual.schema;
    rules.grammar = usual.grammar;
  }
  return rules;
}

ChatRules rulesAfter(ChatRules rules, std::string_view prompt) {
  rules.startsInThought = endsInThought(prompt);
  if (rules.startsInThought)
    rules.thinkingBudget = -1;
  return rules;
}

bool asksForRules(const ChatRules &rules) {
  return rules.shapesContent() || !rules.tools.is_null() ||
         !rules.toolName.empty() ||
         rules.toolChoice != ChatRules::ToolChoice::Auto;
}

} // namespace lapidary::cli
