// /v1/responses: items of input become messages. Nothing is kept between
// requests, so what refers to an earlier one is refused.
#include "tools/serve/RequestParts.h"

#include "runtime/core/Text.h"

namespace lapidary::serve {

namespace {

/// A call joins the assistant's message before it, as the template has it.
void addCall(const Parsing &parsing, const Fields &item) {
  Json &messages = parsing.request.messages;
  const std::string name = item.required("name");
  const std::string arguments = item.string("arguments").value_or("{}");
  if (messages.empty() || messages.back()["role"] != "assistant")
    messages.push_back({{"role", "assistant"}, {"content", nullptr}});
  Json &message = messages.back();
  if (!message.contains("tool_calls"))
    message["tool_calls"] = Json::array();
  message["tool_calls"].push_back(
      {{"id", item.required("call_id")},
       {"type", "function"},
       {"function", {{"name", name}, {"arguments", arguments}}}});
}

void readItem(const Parsing &parsing, const Json &value,
              const std::string &place) {
  if (!isObject(parsing, value, place))
    return;
  const Fields item(value, place + ".", parsing.problems);
  const std::string type = item.string("type").value_or("message");
  if (type == "function_call")
    return addCall(parsing, item);
  // What the model thought is not shown to it again.
  if (type == "reasoning")
    return;
  if (type == "function_call_output") {
    const Json *output = item.get("output");
    if (!output)
      return item.fail("output", concat("'", place, ".output' is missing"));
    parsing.request.messages.push_back(
        {{"role", "tool"},
         {"tool_call_id", item.required("call_id")},
         {"content", readContent(parsing, *output, place + ".output")}});
    return;
  }
  if (type != "message")
    return item.fail("type",
                     concat("'", place, ".type' is '", type.substr(0, 100),
                            "'; there are message, function_call, "
                            "function_call_output and reasoning"));
  const std::string role = item.required("role");
  if (role != "system" && role != "developer" && role != "user" &&
      role != "assistant")
    return item.fail("role", concat("'", place,
                                    ".role' must be system, developer, user "
                                    "or assistant"));
  const Json *content = item.get("content");
  if (!content)
    return item.fail("content", concat("'", place, ".content' is missing"));
  parsing.request.messages.push_back(
      {{"role", role},
       {"content", readContent(parsing, *content, place + ".content")}});
}

void readTools(const Parsing &parsing, const Fields &fields) {
  if (const Json *tools = fields.array("tools"))
    readEach(parsing, *tools, "tools",
             [&](const Json &value, const std::string &place) {
               if (!isObject(parsing, value, place))
                 return;
               const Fields tool(value, place + ".", parsing.problems);
               if (tool.string("type").value_or("") != "function")
                 return tool.fail("type",
                                  concat("'", place,
                                         ".type' must be function: this server "
                                         "has no tools of its own"));
               addTool(parsing, tool, "parameters");
             });
  // All of them, whichever may be called.
  Json &shown = parsing.request.echoed["tools"] = Json::array();
  for (const Json &tool : parsing.request.rules.tools) {
    Json entry = {{"type", "function"}, {"strict", true}};
    entry.update(tool["function"]);
    shown.push_back(std::move(entry));
  }
  parsing.request.rules.parallelCalls =
      fields.flag("parallel_tool_calls", true);
  if (const Json *choice = fields.get("tool_choice"))
    chooseTools(parsing, *choice);
}

/// Nothing is done with it but to repeat it, so it is short.
void readMetadata(const Parsing &parsing, const Fields &fields) {
  constexpr size_t mostEntries = 16, longest = 512;
  const Json *metadata = fields.child("metadata");
  if (!metadata)
    return;
  bool good = metadata->size() <= mostEntries;
  for (const auto &entry : metadata->items())
    good = good && entry.key().size() <= longest && entry.value().is_string() &&
           entry.value().get_ref<const std::string &>().size() <= longest;
  if (!good)
    return fields.fail("metadata",
                       concat("'metadata' must have at most ", mostEntries,
                              " strings of at most ", longest, " bytes"));
  parsing.request.echoed["metadata"] = *metadata;
}

void readEchoed(const Parsing &parsing, const Fields &fields) {
  readMetadata(parsing, fields);
  if (!parsing.problems.ok())
    return;
  Json &echoed = parsing.request.echoed;
  if (const Json *instructions = fields.get("instructions"))
    echoed["instructions"] = *instructions;
  const ChatRules &rules = parsing.request.rules;
  const Json *choice = fields.get("tool_choice");
  if (!choice)
    return;
  Json &shown = echoed["tool_choice"];
  if (choice->is_string()) {
    shown = *choice;
  } else if (!rules.toolName.empty()) {
    shown = {{"type", "function"}, {"name", rules.toolName}};
  } else {
    const bool isRequired = rules.toolChoice == ChatRules::ToolChoice::Required;
    shown = {{"type", "allowed_tools"},
             {"mode", isRequired ? "required" : "auto"},
             {"tools", Json::array()}};
    for (const Json &tool : rules.tools)
      shown["tools"].push_back(
          {{"type", "function"}, {"name", tool["function"]["name"]}});
  }
}

} // namespace

ChatRequest parseResponses(const Json &body, const RequestLimits &limits,
                           Problems &problems) {
  ChatRequest request;
  request.api = Api::Responses;
  const Parsing parsing{request, limits, problems};
  const Fields fields(body, "", problems);
  readCommon(parsing, fields);
  request.choices = 1;
  for (const char *key : {"previous_response_id", "conversation", "prompt"})
    if (fields.get(key))
      fields.fail(key, concat("'", key,
                              "' is not supported: this server keeps no "
                              "conversations; send all of it as 'input'"));
  if (fields.flag("background"))
    fields.fail("background", "'background' is not supported");
  if (auto text = fields.string("instructions"); text && !text->empty())
    request.messages.push_back({{"role", "system"}, {"content", *text}});
  const Json *input = fields.get("input");
  if (!input) {
    fields.fail("input", "'input' is missing");
  } else if (input->is_string()) {
    request.messages.push_back({{"role", "user"}, {"content", *input}});
  } else if (input->is_array() && !input->empty()) {
    readEach(parsing, *input, "input",
             [&](const Json &item, const std::string &place) {
               readItem(parsing, item, place);
             });
  } else {
    fields.wrong("input", "a string or an array of items", *input);
  }
  request.maxTokens = fields.integer("max_output_tokens", 1, int64_t(1) << 40)
                          .value_or(request.maxTokens);
  if (const auto top = fields.integer("top_logprobs", 0, 20)) {
    request.topLogprobs = static_cast<int32_t>(*top);
    request.logprobs = *top > 0;
  }
  if (const Json *text = fields.child("text"))
    if (const Json *format = Fields(*text, "text.", problems).get("format"))
      readFormat(parsing, *format, "text.format");
  if (const Json *reasoning = fields.child("reasoning"))
    if (const auto effort =
            Fields(*reasoning, "reasoning.", problems).string("effort"))
      readEffort(parsing, *effort, "reasoning.effort");
  request.templateOptions["enable_thinking"] = request.thinking;
  readTools(parsing, fields);
  finishTools(parsing);
  finishRules(parsing);
  readEchoed(parsing, fields);
  return request;
}

} // namespace lapidary::serve
