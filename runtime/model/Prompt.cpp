// Turns: which ones open and close, what stands before and after them, tool
// calls and responses, media placeholders.
#include "runtime/model/Prompt.h"

#include "runtime/model/PromptValue.h"
#include "runtime/model/Unicode.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

namespace lapidary {

using nlohmann::json;
using prompt::find;
using prompt::wrongType;

namespace {

class Renderer {
public:
  Renderer(const json &messages, const json &options)
      : messages(messages), options(options) {}

  Result<std::string> render();

private:
  Status readOptions();
  Status readMessage(const json &message, const std::string &path);
  Status readCall(const json &call, const std::string &path);
  Status appendSystem(bool hasSystem);
  Status appendTool(const json &message, const std::string &path);
  Status appendMessage(const json &message, const std::string &path);
  Status appendCalls(const json &calls, const std::string &path);
  Result<std::string> contentOf(const json &message,
                                const std::string &path) const;

  const json &messages, &options;
  const json *tools = nullptr;
  bool thinking = false, generation = true;
  /// The last turn is the model's and waits for what its tool calls gave.
  bool open = false;
  /// The name of the function by the call's id. An absent id is one too, and
  /// equals another absent one.
  std::map<std::optional<json>, std::string> calledNames;
  std::string text;
};

std::string item(const std::string &path, size_t index) {
  return path + "[" + std::to_string(index) + "]";
}

/// A string, null or absent.
Status expectString(const json &object, const std::string &path,
                    const char *key) {
  const json *value = find(object, key);
  if (value && !value->is_string() && !value->is_null())
    return wrongType(path + "." + key, "a string", value);
  return {};
}

std::optional<json> idOf(const json &object, const char *key) {
  const json *id = find(object, key);
  return id ? std::optional<json>(*id) : std::nullopt;
}

/// The placeholder that a content part leaves.
std::string_view placeholderOf(std::string_view type) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kinds =
      {{{"image", "<|image|>"},
        {"image_url", "<|image|>"},
        {"audio", "<|audio|>"},
        {"input_audio", "<|audio|>"},
        {"video", "<|video|>"},
        {"input_video", "<|video|>"},
        {"video_url", "<|video|>"}}};
  for (auto [name, placeholder] : kinds)
    if (name == type)
      return placeholder;
  return {};
}

Status Renderer::readOptions() {
  if (options.is_null())
    return {};
  if (!options.is_object())
    return wrongType("options", "an object", &options);
  for (const auto &option : options.items()) {
    const json &value = option.value();
    if (option.key() == "tools") {
      if (!value.is_array() && !value.is_null())
        return wrongType("options.tools", "a list", &value);
      tools = &value;
    } else if (option.key() == "enable_thinking" ||
               option.key() == "add_generation_prompt") {
      if (!value.is_boolean())
        return wrongType("options." + option.key(), "true or false", &value);
      (option.key() == "enable_thinking" ? thinking : generation) =
          value.get<bool>();
    } else {
      return invalidArgument(
          "options." + option.key() +
          ": expected tools, enable_thinking or add_generation_prompt");
    }
  }
  return {};
}

Status Renderer::readCall(const json &call, const std::string &path) {
  if (!call.is_object())
    return wrongType(path, "an object", &call);
  LAPIDARY_TRY(expectString(call, path, "id"));
  const json *function = find(call, "function");
  if (!function || !function->is_object())
    return wrongType(path + ".function", "an object", function);
  const json *name = find(*function, "name");
  if (!name || !name->is_string())
    return wrongType(path + ".function.name", "a string", name);
  calledNames[idOf(call, "id")] = name->get<std::string>();
  return {};
}

/// Checks what rendering relies on, and notes the calls: a response may come
/// before its call.
Status Renderer::readMessage(const json &message, const std::string &path) {
  if (!message.is_object())
    return wrongType(path, "an object", &message);
  const json *role = find(message, "role");
  constexpr std::string_view roles[] = {"system", "developer", "user",
                                        "assistant", "tool"};
  if (!role || !role->is_string() ||
      std::find(std::begin(roles), std::end(roles),
                role->get_ref<const std::string &>()) == std::end(roles))
    return wrongType(path + ".role",
                     "system, developer, user, assistant or tool", role);
  LAPIDARY_TRY(expectString(message, path, "name"));
  LAPIDARY_TRY(expectString(message, path, "tool_call_id"));
  const json *calls = find(message, "tool_calls");
  if (!calls || calls->is_null())
    return {};
  if (!calls->is_array())
    return wrongType(path + ".tool_calls", "a list", calls);
  for (size_t i = 0; i < calls->size(); ++i)
    LAPIDARY_TRY(readCall((*calls)[i], item(path + ".tool_calls", i)));
  return {};
}

Result<std::string> Renderer::contentOf(const json &message,
                                        const std::string &path) const {
  const json *content = find(message, "content");
  if (!content || content->is_null())
    return std::string();
  if (content->is_string())
    return std::string(
        stripWhiteSpace(content->get_ref<const std::string &>()));
  if (!content->is_array())
    return wrongType(path + ".content", "a string, null or a list of parts",
                     content);
  std::string result;
  for (size_t i = 0; i < content->size(); ++i) {
    const json &part = (*content)[i];
    std::string at = item(path + ".content", i);
    if (!part.is_object())
      return wrongType(at, "an object", &part);
    const json *type = find(part, "type");
    std::string_view name = type && type->is_string()
                                ? type->get_ref<const std::string &>()
                                : std::string_view();
    std::string_view placeholder = placeholderOf(name);
    if (name != "text" && placeholder.empty())
      return wrongType(at + ".type",
                       "text, image, image_url, audio, input_audio, video, "
                       "input_video or video_url",
                       type);
    result += placeholder;
    if (name != "text")
      continue;
    const json *words = find(part, "text");
    if (!words || !words->is_string())
      return wrongType(at + ".text", "a string", words);
    result += stripWhiteSpace(words->get_ref<const std::string &>());
  }
  return result;
}

Status Renderer::appendSystem(bool hasSystem) {
  if (!thinking && !prompt::isTrue(tools) && !hasSystem)
    return {};
  text += "<|turn>system\n";
  if (thinking)
    text += "<|think|>\n";
  if (hasSystem)
    text += LAPIDARY_TRY(contentOf(messages[0], "messages[0]"));
  for (size_t i = 0; tools && i < tools->size(); ++i) {
    std::string path = item("options.tools", i);
    const json &tool = (*tools)[i];
    const json *function = tool.is_object() ? find(tool, "function") : nullptr;
    if (!function)
      return wrongType(path, "an object with a function", &tool);
    LAPIDARY_TRY(
        prompt::appendDeclaration(text, *function, path + ".function"));
  }
  text += "<turn|>\n";
  return {};
}

Status Renderer::appendTool(const json &message, const std::string &path) {
  const json *given = find(message, "name");
  std::string name =
      prompt::isTrue(given) ? given->get<std::string>() : "unknown";
  if (auto called = calledNames.find(idOf(message, "tool_call_id"));
      called != calledNames.end())
    name = called->second;
  text += "<|tool_response>response:" + name +
          "{value:" + prompt::quote(LAPIDARY_TRY(contentOf(message, path))) +
          "}<tool_response|>";
  return {};
}

Status Renderer::appendCalls(const json &calls, const std::string &path) {
  for (size_t i = 0; i < calls.size(); ++i) {
    const json &function = calls[i]["function"];
    std::string at = item(path, i) + ".function.arguments";
    const json *arguments = find(function, "arguments");
    json parsed;
    if (arguments && arguments->is_string()) {
      const auto &source = arguments->get_ref<const std::string &>();
      // A call without arguments is also written as no text at all.
      parsed = stripWhiteSpace(source).empty()
                   ? json::object()
                   : json::parse(source, nullptr, false);
      if (!parsed.is_object())
        return wrongType(at, "an object, or one as JSON text", arguments);
      arguments = &parsed;
    }
    if (!arguments || !arguments->is_object())
      return wrongType(at, "an object, or one as JSON text", arguments);
    text += "<|tool_call>call:" + function["name"].get<std::string>();
    LAPIDARY_TRY(prompt::appendValue(text, *arguments, false, at));
    text += "<tool_call|>";
  }
  return {};
}

Status Renderer::appendMessage(const json &message, const std::string &path) {
  const auto &role = message["role"].get_ref<const std::string &>();
  if (role == "tool")
    return appendTool(message, path);
  bool isModel = role == "assistant";
  // The model goes on in the turn in which it called its tools.
  if (!open || !isModel)
    text += "<|turn>" + (isModel ? "model" : role) + "\n";
  const json *calls = find(message, "tool_calls");
  open = prompt::isTrue(calls);
  if (open)
    LAPIDARY_TRY(appendCalls(*calls, path + ".tool_calls"));
  text += LAPIDARY_TRY(contentOf(message, path));
  if (!open)
    text += "<turn|>\n";
  return {};
}

Result<std::string> Renderer::render() {
  LAPIDARY_TRY(readOptions());
  if (!messages.is_array())
    return wrongType("messages", "a list", &messages);
  if (messages.empty())
    return invalidArgument(
        "messages: expected one message or more, found none");
  for (size_t i = 0; i < messages.size(); ++i)
    LAPIDARY_TRY(readMessage(messages[i], item("messages", i)));
  const auto &first = messages[0]["role"].get_ref<const std::string &>();
  bool hasSystem = first == "system" || first == "developer";
  text = "<bos>";
  LAPIDARY_TRY(appendSystem(hasSystem));
  for (size_t i = hasSystem; i < messages.size(); ++i)
    LAPIDARY_TRY(appendMessage(messages[i], item("messages", i)));
  if (generation && !open)
    text += thinking ? "<|turn>model\n"
                     : "<|turn>model\n<|channel>thought\n<channel|>";
  return std::move(text);
}

} // namespace

Result<std::string> renderPrompt(const json &messages, const json &options) {
  return Renderer(messages, options).render();
}

} // namespace lapidary
