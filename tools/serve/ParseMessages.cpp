// /v1/messages, Anthropic's form: blocks of content become OpenAI's messages.
#include "tools/serve/RequestParts.h"

#include "runtime/core/Text.h"

#include <algorithm>

namespace lapidary::serve {

namespace {

/// A block {source: {type: base64, media_type, data} | {type: url, url}}.
void readImage(const Parsing &parsing, const Fields &block,
               const std::string &place, Json &parts) {
  const Json *source = block.child("source");
  if (!source)
    return block.fail("source", concat("'", place, ".source' is missing"));
  const Fields fields(*source, place + ".source.", parsing.problems);
  const std::string type = fields.required("type");
  const char *key = type == "url" ? "url" : "data";
  if (type != "url" && type != "base64")
    return fields.fail(
        "type", concat("'", place, ".source.type' must be base64 or url"));
  const std::string text = fields.required(key);
  if (parsing.problems.ok())
    parts.push_back(
        addMedium(parsing, readMedium(parsing, MediaKind::Image, text,
                                      concat(place, ".source.", key))));
}

/// A message's blocks, sorted: parts of the text, calls, results of calls.
struct Blocks {
  Json parts = Json::array();
  Json calls = Json::array();
  std::vector<Json> results;
};

void readBlock(const Parsing &parsing, const Json &value,
               const std::string &place, Blocks &blocks);

/// A string, or blocks of text and images.
Json readInner(const Parsing &parsing, const Json &content,
               const std::string &place) {
  if (content.is_string())
    return content;
  Blocks blocks;
  if (!content.is_array())
    parsing.problems.add(place, concat("'", place,
                                       "' must be a string or an array of "
                                       "blocks, but it is ",
                                       kindOf(content)));
  else
    readEach(parsing, content, place,
             [&](const Json &block, const std::string &at) {
               readBlock(parsing, block, at, blocks);
             });
  if (!blocks.calls.empty() || !blocks.results.empty())
    parsing.problems.add(place,
                         concat("'", place, "' has a block of a tool's use"));
  return std::move(blocks.parts);
}

void readBlock(const Parsing &parsing, const Json &value,
               const std::string &place, Blocks &blocks) {
  if (!isObject(parsing, value, place))
    return;
  const Fields block(value, place + ".", parsing.problems);
  const std::string type = block.required("type");
  if (type == "text") {
    blocks.parts.push_back(
        {{"type", "text"}, {"text", block.required("text")}});
  } else if (type == "image") {
    readImage(parsing, block, place, blocks.parts);
  } else if (type == "tool_use") {
    const Json *input = block.child("input");
    blocks.calls.push_back(
        {{"id", block.required("id")},
         {"type", "function"},
         {"function",
          {{"name", block.required("name")},
           {"arguments", input ? *input : Json(Json::object())}}}});
  } else if (type == "tool_result") {
    const std::string id = block.required("tool_use_id");
    const Json *content = block.get("content");
    // A result inside a result would nest without end.
    blocks.results.push_back(
        {{"role", "tool"},
         {"tool_call_id", id},
         {"content", content ? readInner(parsing, *content, place + ".content")
                             : Json("")}});
  } else if (type != "thinking" && type != "redacted_thinking") {
    block.fail("type", concat("'", place, ".type' is '", type.substr(0, 100),
                              "'; there are text, image, tool_use, "
                              "tool_result and thinking"));
  }
}

void readMessage(const Parsing &parsing, const Json &value,
                 const std::string &place) {
  if (!isObject(parsing, value, place))
    return;
  const Fields fields(value, place + ".", parsing.problems);
  const std::string role = fields.required("role");
  const Json *content = fields.get("content");
  if (role != "user" && role != "assistant" && role != "system")
    fields.fail("role", concat("'", place, ".role' must be user or assistant"));
  if (!content)
    fields.fail("content", concat("'", place, ".content' is missing"));
  if (!parsing.problems.ok())
    return;
  Json &messages = parsing.request.messages;
  if (content->is_string()) {
    messages.push_back({{"role", role}, {"content", *content}});
    return;
  }
  if (!content->is_array())
    return fields.wrong("content", "a string or an array of blocks", *content);
  Blocks blocks;
  // Results answer the calls of the turn before, so they come first, and their
  // media with them.
  std::vector<MediaSource> &media = parsing.request.media;
  auto ofResults = static_cast<std::ptrdiff_t>(media.size());
  readEach(parsing, *content, place + ".content",
           [&](const Json &block, const std::string &at) {
             const auto before = static_cast<std::ptrdiff_t>(media.size());
             const size_t results = blocks.results.size();
             readBlock(parsing, block, at, blocks);
             if (blocks.results.size() == results)
               return;
             std::rotate(media.begin() + ofResults, media.begin() + before,
                         media.end());
             ofResults += static_cast<std::ptrdiff_t>(media.size()) - before;
           });
  for (Json &result : blocks.results)
    messages.push_back(std::move(result));
  if (blocks.parts.empty() && blocks.calls.empty() && !blocks.results.empty())
    return;
  Json message = {{"role", role}, {"content", std::move(blocks.parts)}};
  if (!blocks.calls.empty())
    message["tool_calls"] = std::move(blocks.calls);
  messages.push_back(std::move(message));
}

void readTools(const Parsing &parsing, const Fields &fields) {
  if (const Json *tools = fields.array("tools"))
    readEach(parsing, *tools, "tools",
             [&](const Json &value, const std::string &place) {
               if (!isObject(parsing, value, place))
                 return;
               const Fields tool(value, place + ".", parsing.problems);
               if (const auto type = tool.string("type");
                   type && *type != "custom" && *type != "function")
                 return tool.fail("type",
                                  concat("'", place,
                                         ".type' must be custom: this server "
                                         "has no tools of its own"));
               addTool(parsing, tool, "input_schema");
             });
  const Json *choice = fields.child("tool_choice");
  if (!choice)
    return;
  const Fields inner(*choice, "tool_choice.", parsing.problems);
  const std::string type = inner.required("type");
  parsing.request.rules.parallelCalls =
      !inner.flag("disable_parallel_tool_use");
  const Json chosen = type == "tool" ? Json({{"name", inner.required("name")}})
                                     : Json(type == "any" ? "required" : type);
  if (parsing.problems.ok())
    chooseTools(parsing, chosen);
}

} // namespace

ChatRequest parseMessages(const Json &body, const RequestLimits &limits,
                          Problems &problems, bool counting) {
  ChatRequest request;
  request.api = Api::Messages;
  const Parsing parsing{request, limits, problems};
  const Fields fields(body, "", problems);
  readCommon(parsing, fields);
  request.choices = 1;
  if (!counting && !fields.get("max_tokens"))
    fields.fail("max_tokens", "'max_tokens' is missing");
  readStop(parsing, fields, "stop_sequences");
  if (const Json *system = fields.get("system"))
    request.messages.push_back(
        {{"role", "system"},
         {"content", readInner(parsing, *system, "system")}});
  readMessages(parsing, fields, readMessage);
  if (const Json *thinking = fields.child("thinking")) {
    const Fields inner(*thinking, "thinking.", problems);
    const std::string type = inner.required("type");
    if (type != "enabled" && type != "disabled" && type != "adaptive")
      inner.fail("type", "'thinking.type' must be enabled, adaptive or "
                         "disabled");
    request.thinking = type == "enabled" || type == "adaptive";
    request.rules.thinkingBudget =
        inner.integer("budget_tokens", 1, int64_t(1) << 40).value_or(-1);
  }
  request.templateOptions["enable_thinking"] = request.thinking;
  readTools(parsing, fields);
  finishTools(parsing);
  finishRules(parsing);
  return request;
}

} // namespace lapidary::serve
