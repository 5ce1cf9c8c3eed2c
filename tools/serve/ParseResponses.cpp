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
  if (!value.is_object())
    return parsing.problems.add(
        place,
        concat("'", place, "' must be an object, but it is ", kindOf(value)));
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
    for (size_t index = 0; index < tools->size() && parsing.problems.ok();
         ++index) {
      const std::string place = concat("tools[", index, "]");
      if (!(*tools)[index].is_object())
        return parsing.problems.add(place,
                                    concat("'", place, "' must be an object"));
      const Fields tool((*tools)[index], place + ".", parsing.problems);
      if (tool.string("type").value_or("") != "function")
        return tool.fail("type", concat("'", place,
                                        ".type' must be function: this server "
                                        "has no tools of its own"));
      addTool(parsing, tool, "parameters");
    }
  parsing.request.rules.parallelCalls =
      fields.flag("parallel_tool_calls", true);
  const Json *choice = fields.get("tool_choice");
  if (!choice)
    return;
  if (choice->is_string())
    readToolChoice(parsing, choice->get<std::string>(), "tool_choice");
  else if (choice->is_object())
    chooseTool(
        parsing,
        Fields(*choice, "tool_choice.", parsing.problems).required("name"),
        "tool_choice");
  else
    fields.wrong("tool_choice", "a string or an object", *choice);
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
  if (const Json *choice = fields.get("tool_choice"))
    echoed["tool_choice"] =
        choice->is_string() ? *choice
                            : Json({{"type", "function"},
                                    {"name", parsing.request.rules.toolName}});
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
    for (size_t index = 0; index < input->size() && problems.ok(); ++index)
      readItem(parsing, (*input)[index], concat("input[", index, "]"));
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
    if (const Json *format = Fields(*text, "text.", problems).child("format"))
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
