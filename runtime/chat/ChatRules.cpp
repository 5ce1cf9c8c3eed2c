// The fields of OpenAI's chat requests that say what an answer may be.
#include "runtime/chat/ChatConstraint.h"
#include "runtime/core/Text.h"

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

Status readToolChoice(const Json &choice, ChatRules &rules) {
  using ToolChoice = ChatRules::ToolChoice;
  if (choice == "none") {
    rules.toolChoice = ToolChoice::None;
  } else if (choice == "auto") {
    rules.toolChoice = ToolChoice::Auto;
  } else if (choice == "required") {
    rules.toolChoice = ToolChoice::Required;
  } else {
    const Json *holder = choice.is_object() && choice.contains("function")
                             ? &choice["function"]
                             : &choice;
    if (!holder->is_object() || !holder->contains("name") ||
        !(*holder)["name"].is_string())
      return invalidArgument("tool_choice: expected none, auto, required or "
                             "{\"type\": \"function\", \"function\": "
                             "{\"name\": ...}}");
    rules.toolChoice = ToolChoice::Required;
    rules.toolName = (*holder)["name"].get<std::string>();
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
