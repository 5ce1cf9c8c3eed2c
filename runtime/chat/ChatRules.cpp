// The fields of OpenAI's requests that say what an answer may be.
#include "runtime/chat/ChatConstraint.h"
#include "runtime/core/Text.h"

#include <set>

namespace lapidary {
namespace {

using Json = nlohmann::ordered_json;

/// The name of a tool, with or without the wrapper; null where it has none.
const Json *nameOf(const Json &tool) {
  const Json *holder =
      tool.is_object() && tool.contains("function") ? &tool["function"] : &tool;
  return holder->is_object() && holder->contains("name") &&
                 (*holder)["name"].is_string()
             ? &(*holder)["name"]
             : nullptr;
}

const Json *findTool(const ChatRules &rules, const Json &name) {
  for (const Json &tool : rules.tools)
    if (const Json *own = nameOf(tool); own && *own == name)
      return &tool;
  return nullptr;
}

/// {"type": "allowed_tools", "mode": ..., "tools": [...]}: only those may be
/// called.
std::optional<FieldProblem>
readAllowedTools(const Json &choice, std::string place, ChatRules &rules) {
  // The Responses API has them without a wrapper.
  const bool isWrapped = choice.contains("allowed_tools");
  const Json &allowed = isWrapped ? choice["allowed_tools"] : choice;
  place += isWrapped ? ".allowed_tools" : "";
  if (!allowed.is_object() || !allowed.contains("mode") ||
      !(allowed["mode"] == "auto" || allowed["mode"] == "required"))
    return FieldProblem{place + ".mode", "must be auto or required"};
  place += ".tools";
  if (!allowed.contains("tools") || !allowed["tools"].is_array() ||
      allowed["tools"].empty())
    return FieldProblem{place, "must be a list of tools"};
  // In the order of the declared ones, each once.
  std::set<std::string> names;
  for (const Json &tool : allowed["tools"]) {
    const Json *name = nameOf(tool);
    if (!name)
      return FieldProblem{place, "must have tools with names"};
    if (!findTool(rules, *name))
      return FieldProblem{place, concat("names '",
                                        name->get<std::string>().substr(0, 100),
                                        "', which is no tool")};
    names.insert(name->get<std::string>());
  }
  Json chosen = Json::array();
  for (Json &tool : rules.tools)
    if (const Json *name = nameOf(tool);
        name && names.contains(name->get_ref<const std::string &>()))
      chosen.push_back(std::move(tool));
  rules.tools = std::move(chosen);
  rules.toolChoice = allowed["mode"] == "required"
                         ? ChatRules::ToolChoice::Required
                         : ChatRules::ToolChoice::Auto;
  return std::nullopt;
}

Status asStatus(const std::optional<FieldProblem> &problem) {
  return problem ? invalidArgument(problem->place + " " + problem->message)
                 : Status();
}

} // namespace

std::optional<FieldProblem>
readToolChoice(const Json &choice, const std::string &place, ChatRules &rules) {
  using ToolChoice = ChatRules::ToolChoice;
  if (choice == "none" || choice == "auto") {
    rules.toolChoice = choice == "none" ? ToolChoice::None : ToolChoice::Auto;
    return std::nullopt;
  }
  if (choice == "required") {
    rules.toolChoice = ToolChoice::Required;
    if (rules.tools.empty())
      return FieldProblem{place, "asks for a call, but there are no tools"};
    return std::nullopt;
  }
  if (choice.is_object() && choice.contains("type") &&
      choice["type"] == "allowed_tools")
    return readAllowedTools(choice, place, rules);
  const Json *name = nameOf(choice);
  if (!name)
    return FieldProblem{place, "must be none, auto, required, allowed_tools or "
                               "{\"type\": \"function\", \"function\": "
                               "{\"name\": ...}}"};
  if (!findTool(rules, *name))
    return FieldProblem{place, concat("names '",
                                      name->get<std::string>().substr(0, 100),
                                      "', which is no tool")};
  rules.toolChoice = ToolChoice::Required;
  rules.toolName = name->get<std::string>();
  return std::nullopt;
}

std::optional<FieldProblem> readAnswerFormat(const Json &format,
                                             const std::string &place,
                                             ChatRules &rules) {
  if (!format.is_object() || !format.contains("type"))
    return FieldProblem{place, "must be an object with a type"};
  const Json &type = format["type"];
  if (type == "text")
    return std::nullopt;
  const bool isObject = type == "json_object";
  if (!isObject && type != "json_schema")
    return FieldProblem{place + ".type",
                        "must be text, json_object or json_schema"};
  // The Responses API has the schema without a wrapper.
  const bool isWrapped = !isObject && format.contains("json_schema");
  const Json &holder = isWrapped ? format["json_schema"] : format;
  const std::string inner = isWrapped ? place + ".json_schema" : place;
  if (!holder.is_object())
    return FieldProblem{inner, "must be an object"};
  // Any object is wanted where no schema says which.
  const bool has = holder.contains("schema") && !holder["schema"].is_null();
  rules.jsonObject = isObject && !has;
  if (rules.jsonObject)
    return std::nullopt;
  if (!has)
    return FieldProblem{inner + ".schema", "is missing"};
  const Json &schema = holder["schema"];
  if (!schema.is_object() && (isObject || !schema.is_boolean()))
    return FieldProblem{inner + ".schema", "must be an object"};
  rules.schema = schema;
  return std::nullopt;
}

Status readChatRules(const Json &request, ChatRules &rules) {
  const auto given = [&](const char *key) {
    return request.is_object() && request.contains(key) &&
           !request[key].is_null();
  };
  if (given("tools")) {
    if (!request["tools"].is_array())
      return invalidArgument("tools: expected a list");
    rules.tools = request["tools"];
  }
  if (given("tool_choice"))
    LAPIDARY_TRY(
        asStatus(readToolChoice(request["tool_choice"], "tool_choice", rules)));
  if (given("parallel_tool_calls")) {
    if (!request["parallel_tool_calls"].is_boolean())
      return invalidArgument("parallel_tool_calls: expected true or false");
    rules.parallelCalls = request["parallel_tool_calls"].get<bool>();
  }
  if (given("response_format"))
    LAPIDARY_TRY(asStatus(readAnswerFormat(request["response_format"],
                                           "response_format", rules)));
  return {};
}

} // namespace lapidary
