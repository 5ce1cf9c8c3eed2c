// /v1/chat/completions and /v1/completions.
#include "tools/serve/RequestParts.h"

#include "runtime/core/Text.h"

namespace lapidary::serve {

namespace {

constexpr int64_t mostLogprobs = 20;
constexpr size_t mostPrompts = 16;

void readCalls(const Parsing &parsing, const Json &calls,
               const std::string &place, Json &message) {
  Json list = Json::array();
  readEach(
      parsing, calls, place, [&](const Json &value, const std::string &path) {
        if (!isObject(parsing, value, path))
          return;
        const Fields call(value, path + ".", parsing.problems);
        const Json *function = call.child("function");
        if (!function)
          return call.fail("function",
                           concat("'", path, ".function' is missing"));
        const Fields fields(*function, path + ".function.", parsing.problems);
        const std::string name = fields.required("name");
        const Json *arguments = fields.get("arguments");
        if (arguments && !arguments->is_string() && !arguments->is_object())
          fields.wrong("arguments", "an object or its JSON text", *arguments);
        list.push_back(
            {{"id", call.string("id").value_or("")},
             {"type", "function"},
             {"function",
              {{"name", name},
               {"arguments", arguments ? *arguments : Json(Json::object())}}}});
      });
  if (!list.empty())
    message["tool_calls"] = std::move(list);
}

void readMessage(const Parsing &parsing, const Json &value,
                 const std::string &place) {
  if (!isObject(parsing, value, place))
    return;
  const Fields fields(value, place + ".", parsing.problems);
  const std::string role = fields.required("role");
  if (!parsing.problems.ok())
    return;
  if (role != "system" && role != "developer" && role != "user" &&
      role != "assistant" && role != "tool")
    return fields.fail("role",
                       concat("'", place, ".role' is '", role.substr(0, 100),
                              "'; there are system, developer, user, "
                              "assistant and tool"));
  Json message = {{"role", role}};
  const Json *content = fields.get("content");
  const Json *calls = fields.array("tool_calls");
  if (!content && role != "assistant")
    return fields.fail("content", concat("'", place, ".content' is missing"));
  message["content"] =
      content ? readContent(parsing, *content, place + ".content") : Json();
  if (calls && role == "assistant")
    readCalls(parsing, *calls, place + ".tool_calls", message);
  for (const char *key : {"name", "tool_call_id", "reasoning_content"})
    if (auto text = fields.string(key))
      message[key] = std::move(*text);
  parsing.request.messages.push_back(std::move(message));
}

void readTools(const Parsing &parsing, const Fields &fields) {
  if (const Json *tools = fields.array("tools"))
    readEach(parsing, *tools, "tools",
             [&](const Json &tool, const std::string &place) {
               if (!tool.is_object() || !tool.contains("function") ||
                   !tool["function"].is_object())
                 return parsing.problems.add(
                     place,
                     concat("'", place,
                            "' must be {\"type\": \"function\", \"function\": "
                            "{...}}"));
               addTool(parsing,
                       Fields(tool["function"], place + ".function.",
                              parsing.problems),
                       "parameters");
             });
  parsing.request.rules.parallelCalls =
      fields.flag("parallel_tool_calls", true);
  if (const Json *choice = fields.get("tool_choice"))
    chooseTools(parsing, *choice);
}

/// Thinking: the effort first, then what is said in numbers or to the template.
void readThinking(const Parsing &parsing, const Fields &fields) {
  ChatRequest &request = parsing.request;
  if (const auto effort = fields.string("reasoning_effort"))
    readEffort(parsing, *effort, "reasoning_effort");
  if (const Json *arguments = fields.child("chat_template_kwargs")) {
    const Fields inner(*arguments, "chat_template_kwargs.", parsing.problems);
    request.thinking = inner.flag("enable_thinking", request.thinking);
    for (const auto &entry : arguments->items())
      if (entry.key() != "tools" && entry.key() != "messages")
        request.templateOptions[entry.key()] = entry.value();
  }
  for (const char *key : {"reasoning_budget_tokens", "thinking_budget_tokens"})
    if (const auto budget = fields.integer(key, -1, int64_t(1) << 40)) {
      request.rules.thinkingBudget = *budget;
      if (*budget == 0)
        request.thinking = false;
    }
  request.templateOptions["enable_thinking"] = request.thinking;
}

} // namespace

ChatRequest parseChat(const Json &body, const RequestLimits &limits,
                      Problems &problems) {
  ChatRequest request;
  const Parsing parsing{request, limits, problems};
  const Fields fields(body, "", problems);
  readCommon(parsing, fields);
  readMessages(parsing, fields, readMessage);
  request.logprobs = fields.flag("logprobs");
  if (const auto top = fields.integer("top_logprobs", 0, mostLogprobs)) {
    if (!request.logprobs && *top > 0)
      fields.fail("top_logprobs", "'top_logprobs' needs 'logprobs': true");
    request.topLogprobs = static_cast<int32_t>(*top);
  }
  readTools(parsing, fields);
  if (const Json *format = fields.get("response_format"))
    readFormat(parsing, *format, "response_format");
  readThinking(parsing, fields);
  finishTools(parsing);
  finishRules(parsing);
  return request;
}

ChatRequest parseCompletion(const Json &body, const RequestLimits &limits,
                            Problems &problems) {
  ChatRequest request;
  request.api = Api::Completion;
  const Parsing parsing{request, limits, problems};
  const Fields fields(body, "", problems);
  readCommon(parsing, fields);
  auto isIds = [](const Json &value) {
    return value.is_array() && !value.empty() && value[0].is_number();
  };
  auto addPrompt = [&](const Json &value) {
    if (value.is_string())
      return request.prompts.push_back(value.get<std::string>());
    std::vector<int32_t> ids;
    for (const Json &id : isIds(value) ? value : Json::array()) {
      const bool whole = id.is_number_unsigned() &&
                         id.get<uint64_t>() < uint64_t(limits.vocabulary);
      if (!whole)
        return fields.fail("prompt",
                           concat("'prompt' has a token that is no id from 0 "
                                  "to ",
                                  limits.vocabulary - 1));
      ids.push_back(id.get<int32_t>());
    }
    if (ids.empty())
      return fields.wrong("prompt", "a string, token ids, or a list of these",
                          value);
    request.promptIds.push_back(std::move(ids));
  };
  const Json *prompt = fields.get("prompt");
  if (!prompt) {
    fields.fail("prompt", "'prompt' is missing");
  } else if (prompt->is_array() && !isIds(*prompt)) {
    if (prompt->empty() || prompt->size() > mostPrompts)
      fields.fail("prompt", concat("'prompt' must have 1 to ", mostPrompts,
                                   " prompts, but it has ", prompt->size()));
    for (size_t index = 0; index < prompt->size() && problems.ok(); ++index)
      addPrompt((*prompt)[index]);
  } else {
    addPrompt(*prompt);
  }
  if (!request.prompts.empty() && !request.promptIds.empty())
    fields.fail("prompt", "'prompt' has text beside token ids");
  if (const auto count = fields.integer("logprobs", 0, mostLogprobs)) {
    request.logprobs = true;
    request.topLogprobs = static_cast<int32_t>(*count);
  }
  if (fields.flag("echo"))
    fields.fail("echo", "'echo' is not supported");
  if (const auto suffix = fields.string("suffix"); suffix && !suffix->empty())
    fields.fail("suffix", "'suffix' is not supported");
  if (const auto best = fields.integer("best_of", 1, INT32_MAX);
      best && *best > request.choices)
    fields.fail("best_of", "'best_of' above 'n' is not supported");
  if (const Json *format = fields.get("response_format"))
    readFormat(parsing, *format, "response_format");
  request.rules.toolChoice = ChatRules::ToolChoice::None;
  finishRules(parsing);
  return request;
}

} // namespace lapidary::serve
