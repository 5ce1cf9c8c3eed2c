// The fields of OpenAI's chat requests that say what an answer may be.
#include "runtime/chat/ChatConstraint.h"
#include "runtime/core/Text.h"

#include <algorithm>

namespace lapidary {
namespace {

using Json = nlohmann::ordered_json;

Status readFormat(const Json &format, ChatRules &rules) {
  const auto wrong = [](std::string_view place, std::string_view expected) {
    return invalidArgument(concat(place, ": expected ", expected));
  };
  if (!format.is_object() || !format.contains("type"))
    return wrong("response_format", "an object with a type");
  const Json &type = format["type"];
  if (type == "text")
    return {};
  if (type == "json_object") {
    rules.jsonObject = true;
    return {};
  }
  if (type != "json_schema")
    return wrong("response_format.type", "text, json_object or json_schema");
  // The Responses API has the schema without a wrapper.
  const Json &holder =
      format.contains("json_schema") ? format["json_schema"] : format;
  if (!holder.is_object() || !holder.contains("schema") ||
      !(holder["schema"].is_object() || holder["schema"].is_boolean()))
    return wrong("response_format.json_schema", "an object with a schema");
  rules.schema = holder["schema"];
  return {};
}

/// The name of a tool, with or without the wrapper; null where it has none.
const Json *nameOf(const Json &tool) {
  const Json *holder =
      tool.is_object() && tool.contains("function") ? &tool["function"] : &tool;
  return holder->is_object() && holder->contains("name") &&
                 (*holder)["name"].is_string()
             ? &(*holder)["name"]
             : nullptr;
}

/// {"type": "allowed_tools", "mode": ..., "tools": [...]}: only those may be
/// called.
Status readAllowedTools(const Json &choice, ChatRules &rules) {
  // The Responses API has them without a wrapper.
  const Json &allowed =
      choice.contains("allowed_tools") ? choice["allowed_tools"] : choice;
  const auto wrong = [](std::string_view expected) {
    return invalidArgument(
        concat("tool_choice.allowed_tools: expected ", expected));
  };
  if (!allowed.is_object() || !allowed.contains("mode") ||
      !(allowed["mode"] == "auto" || allowed["mode"] == "required"))
    return wrong("a mode, auto or required");
  if (!allowed.contains("tools") || !allowed["tools"].is_array() ||
      allowed["tools"].empty())
    return wrong("a list of tools");
  Json chosen = Json::array();
  for (const Json &tool : allowed["tools"]) {
    const Json *name = nameOf(tool);
    if (!name)
      return wrong("tools with names");
    const auto same = [&](const Json &other) {
      const Json *otherName = nameOf(other);
      return otherName && *otherName == *name;
    };
    const auto found =
        std::find_if(rules.tools.begin(), rules.tools.end(), same);
    if (found == rules.tools.end())
      return wrong(concat("names of tools, found '", name->get<std::string>(),
                          "', which is none"));
    if (std::none_of(chosen.begin(), chosen.end(), same))
      chosen.push_back(*found);
  }
  rules.tools = std::move(chosen);
  rules.toolChoice = allowed["mode"] == "required"
                         ? ChatRules::ToolChoice::Required
                         : ChatRules::ToolChoice::Auto;
  return {};
}

Status readToolChoice(const Json &choice, ChatRules &rules) {
  using ToolChoice = ChatRules::ToolChoice;
  if (choice == "none") {
    rules.toolChoice = ToolChoice::None;
  } else if (choice == "auto") {
    rules.toolChoice = ToolChoice::Auto;
  } else if (choice == "required") {
    rules.toolChoice = ToolChoice::Required;
  } else if (choice.is_object() && choice.contains("type") &&
             choice["type"] == "allowed_tools") {
    return readAllowedTools(choice, rules);
  } else {
    const Json *name = nameOf(choice);
    if (!name)
      return invalidArgument("tool_choice: expected none, auto, required, "
                             "allowed_tools or {\"type\": \"function\", "
                             "\"function\": {\"name\": ...}}");
    rules.toolChoice = ToolChoice::Required;
    rules.toolName = name->get<std::string>();
  }
  return {};
}

} // namespace

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
    LAPIDARY_TRY(readToolChoice(request["tool_choice"], rules));
  if (given("parallel_tool_calls")) {
    if (!request["parallel_tool_calls"].is_boolean())
      return invalidArgument("parallel_tool_calls: expected true or false");
    rules.parallelCalls = request["parallel_tool_calls"].get<bool>();
  }
  if (given("response_format"))
    LAPIDARY_TRY(readFormat(request["response_format"], rules));
  return {};
}

} // namespace lapidary
