// Messages as OpenAI's API has them, in the form in which templates expect
// them. Errors name the place.
#include "runtime/chat/ChatTemplate.h"
#include "runtime/core/Text.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <array>

namespace lapidary::chat {

namespace {

using Json = nlohmann::ordered_json;

/// Nesting of arguments that are JSON text.
constexpr int deepestArguments = 128;

std::string describe(const Json *value) {
  if (!value)
    return "nothing";
  switch (value->type()) {
  case Json::value_t::object:
    return "an object";
  case Json::value_t::array:
    return "a list";
  case Json::value_t::string: {
    const auto &text = value->get_ref<const std::string &>();
    size_t end = std::min<size_t>(text.size(), 60);
    while (end > 0 && end < text.size() && (text[end] & 0xC0) == 0x80)
      --end;
    return "\"" + text.substr(0, end) + (end < text.size() ? "..." : "") + "\"";
  }
  case Json::value_t::binary:
  case Json::value_t::discarded:
    return "no JSON value";
  default:
    return value->dump();
  }
}

Status wrongType(const std::string &path, const std::string &expected,
                 const Json *found) {
  return invalidArgument(path + ": expected " + expected + ", found " +
                         describe(found));
}

const Json *find(const Json &object, const char *key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

/// A string, null or absent.
Status expectString(const Json &object, const std::string &path,
                    const char *key) {
  const Json *value = find(object, key);
  if (value && !value->is_string() && !value->is_null())
    return wrongType(path + "." + key, "a string", value);
  return {};
}

/// Before anything goes through it: copies are recursive.
Status checkDepth(const Json &value, const std::string &path,
                  int left = deepestValue) {
  if (left == 0)
    return invalidArgument(concat(path, ": expected at most ", deepestValue,
                                  " levels, found more"));
  if (value.is_structured())
    for (const Json &item : value)
      LAPIDARY_TRY(checkDepth(item, path, left - 1));
  return {};
}

/// The kind of medium that a content part is.
std::string_view kindOf(std::string_view type) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kinds =
      {{{"image", "image"},
        {"image_url", "image"},
        {"audio", "audio"},
        {"input_audio", "audio"},
        {"video", "video"},
        {"input_video", "video"},
        {"video_url", "video"}}};
  for (const auto &[name, kind] : kinds)
    if (name == type)
      return kind;
  return {};
}

/// Of a part only what the template may print: a medium may have megabytes.
Result<Json> normalizePart(const Json &part, const std::string &path) {
  if (!part.is_object())
    return wrongType(path, "an object", &part);
  const Json *type = find(part, "type");
  const std::string_view name = type && type->is_string()
                                    ? type->get_ref<const std::string &>()
                                    : std::string_view();
  if (const std::string_view kind = kindOf(name); !kind.empty())
    return Json{{"type", kind}};
  if (name != "text")
    return wrongType(path + ".type",
                     "text, image, image_url, audio, input_audio, video, "
                     "input_video or video_url",
                     type);
  const Json *text = find(part, "text");
  if (!text || !text->is_string())
    return wrongType(path + ".text", "a string", text);
  return Json{{"type", "text"}, {"text", *text}};
}

Result<Json> normalizeContent(const Json &content, const std::string &path) {
  if (content.is_string() || content.is_null())
    return content;
  if (!content.is_array())
    return wrongType(path, "a string, null or a list of parts", &content);
  Json parts = Json::array();
  for (size_t i = 0; i < content.size(); ++i)
    parts.push_back(
        LAPIDARY_TRY(normalizePart(content[i], concat(path, "[", i, "]"))));
  return parts;
}

Result<Json> normalizeArguments(const Json *arguments,
                                const std::string &path) {
  Json result = arguments ? *arguments : Json();
  if (result.is_string()) {
    const auto &text = result.get_ref<const std::string &>();
    bool isTooDeep = false;
    // A call without arguments is also written as no text at all.
    Json parsed = stripWhiteSpace(text).empty()
                      ? Json::object()
                      : Json::parse(
                            text,
                            [&](int depth, Json::parse_event_t, Json &) {
                              isTooDeep |= depth > deepestArguments;
                              return depth <= deepestArguments;
                            },
                            false);
    if (isTooDeep)
      return invalidArgument(
          concat(path, ": expected at most ", deepestArguments, " levels"));
    result = std::move(parsed);
  }
  if (!result.is_object())
    return wrongType(path, "an object, or one as JSON text", arguments);
  return result;
}

Result<Json> normalizeCall(const Json &call, const std::string &path) {
  if (!call.is_object())
    return wrongType(path, "an object", &call);
  LAPIDARY_TRY(expectString(call, path, "id"));
  const Json *function = find(call, "function");
  if (!function || !function->is_object())
    return wrongType(path + ".function", "an object", function);
  const Json *name = find(*function, "name");
  if (!name || !name->is_string())
    return wrongType(path + ".function.name", "a string", name);
  Json result = call;
  result["function"]["arguments"] = LAPIDARY_TRY(normalizeArguments(
      find(*function, "arguments"), path + ".function.arguments"));
  return result;
}

Result<Json> normalizeMessage(const Json &message, const std::string &path) {
  if (!message.is_object())
    return wrongType(path, "an object", &message);
  const Json *role = find(message, "role");
  constexpr std::string_view roles[] = {"system", "developer", "user",
                                        "assistant", "tool"};
  if (!role || !role->is_string() ||
      std::ranges::find(roles, role->get_ref<const std::string &>()) ==
          std::end(roles))
    return wrongType(path + ".role",
                     "system, developer, user, assistant or tool", role);
  LAPIDARY_TRY(expectString(message, path, "name"));
  LAPIDARY_TRY(expectString(message, path, "tool_call_id"));
  LAPIDARY_TRY(expectString(message, path, "reasoning"));
  LAPIDARY_TRY(expectString(message, path, "reasoning_content"));
  Json result = Json::object();
  for (const auto &field : message.items()) {
    const Json &value = field.value();
    if (field.key() == "content") {
      result["content"] =
          LAPIDARY_TRY(normalizeContent(value, path + ".content"));
    } else if (field.key() == "tool_calls" && !value.is_null()) {
      const std::string at = path + ".tool_calls";
      if (!value.is_array())
        return wrongType(at, "a list", &value);
      Json calls = Json::array();
      for (size_t i = 0; i < value.size(); ++i)
        calls.push_back(
            LAPIDARY_TRY(normalizeCall(value[i], concat(at, "[", i, "]"))));
      result["tool_calls"] = std::move(calls);
    } else {
      result[field.key()] = value;
    }
  }
  return result;
}

} // namespace

Result<Json> normalizeMessages(const Json &messages) {
  if (!messages.is_array())
    return wrongType("messages", "a list", &messages);
  if (messages.empty())
    return invalidArgument(
        "messages: expected one message or more, found none");
  LAPIDARY_TRY(checkDepth(messages, "messages"));
  Json result = Json::array();
  for (size_t i = 0; i < messages.size(); ++i)
    result.push_back(LAPIDARY_TRY(
        normalizeMessage(messages[i], concat("messages[", i, "]"))));
  return result;
}

Status checkOptions(const Json &options) {
  if (options.is_null())
    return {};
  if (!options.is_object())
    return wrongType("options", "an object", &options);
  LAPIDARY_TRY(checkDepth(options, "options"));
  for (const auto &option : options.items()) {
    const Json &value = option.value();
    const std::string path = "options." + option.key();
    if (option.key() == "messages" || option.key().ends_with("_token"))
      return invalidArgument(path + ": this variable is not an option");
    if ((option.key() == "enable_thinking" ||
         option.key() == "add_generation_prompt") &&
        !value.is_boolean())
      return wrongType(path, "true or false", &value);
    if (option.key() != "tools" || value.is_null())
      continue;
    if (!value.is_array())
      return wrongType(path, "a list", &value);
    for (size_t i = 0; i < value.size(); ++i) {
      const std::string at = concat(path, "[", i, "]");
      const Json *function =
          value[i].is_object() ? find(value[i], "function") : nullptr;
      if (!function || !function->is_object())
        return wrongType(at, "an object with a function", &value[i]);
      const Json *name = find(*function, "name");
      if (!name || !name->is_string())
        return wrongType(at + ".function.name", "a string", name);
      LAPIDARY_TRY(expectString(*function, at + ".function", "description"));
      const Json *parameters = find(*function, "parameters");
      if (parameters && !parameters->is_object() && !parameters->is_null())
        return wrongType(at + ".function.parameters", "an object", parameters);
    }
  }
  return {};
}

} // namespace lapidary::chat
