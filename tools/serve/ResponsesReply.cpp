// Replies of /v1/responses: an answer is a list of items (thought, message,
// calls), and in a stream one item is done before the next is added.
#include "tools/serve/Reply.h"

#include "runtime/core/Text.h"

namespace lapidary::serve {

namespace {

class ResponsesWriter : public ReplyWriter {
public:
  explicit ResponsesWriter(ReplyHead head) : head(std::move(head)) {}

  Json whole(const std::vector<GatheredAnswer> &answers) override {
    return finished(answers.front());
  }

  std::string begin(int64_t) override {
    const Json response = envelope("in_progress", Json::array());
    return event("response.created", {{"response", response}}) +
           event("response.in_progress", {{"response", response}});
  }

  std::string push(size_t, const AnswerDelta &delta,
                   const std::vector<ReplyToken> &tokens) override {
    std::string text;
    if (!delta.reasoning.empty()) {
      text += enter("reasoning", {});
      gathered += delta.reasoning;
      text += event("response.reasoning_text.delta",
                    place({{"content_index", 0}, {"delta", delta.reasoning}}));
    }
    if (!delta.content.empty()) {
      text += enter("message", {});
      gathered += delta.content;
      Json list = Json::array();
      if (head.logprobs)
        for (const ReplyToken &token : tokens)
          list.push_back(logprobJson(token));
      text += event("response.output_text.delta",
                    place({{"content_index", 0},
                           {"delta", delta.content},
                           {"logprobs", std::move(list)}}));
    }
    for (const AnswerDelta::Call &call : delta.calls) {
      if (!call.name.empty()) {
        text += leave();
        callName = call.name;
        text += enter("function_call", callId(head.id, 0, call.index));
      }
      gathered += call.arguments;
      if (!call.arguments.empty())
        text += event("response.function_call_arguments.delta",
                      place({{"delta", call.arguments}}));
    }
    return text;
  }

  std::string end(size_t, const GatheredAnswer &) override {
    // An empty answer is a message too.
    const std::string text =
        index == 0 && open.empty() ? enter("message", {}) : std::string();
    return text + leave();
  }

  std::string close(const std::vector<GatheredAnswer> &answers) override {
    const Json response = finished(answers.front());
    return event(response["status"] == "completed" ? "response.completed"
                                                   : "response.incomplete",
                 {{"response", response}});
  }

  std::string fail(const ApiError &error) override {
    Json response = envelope("failed", Json::array());
    response["error"] = {{"code", "server_error"}, {"message", error.message}};
    return event("response.failed", {{"response", std::move(response)}});
  }

private:
  Json envelope(const char *status, Json output) const {
    Json json = {{"id", "resp_" + head.id},    {"object", "response"},
                 {"created_at", head.created}, {"status", status},
                 {"error", nullptr},           {"incomplete_details", nullptr},
                 {"model", head.model},        {"output", std::move(output)}};
    json.update(head.echoed);
    return json;
  }

  Json finished(const GatheredAnswer &answer) const {
    const bool complete = answer.ending.reason == "stop";
    const char *status = complete ? "completed" : "incomplete";
    Json output = Json::array();
    size_t index = 0;
    if (!answer.reasoning.empty())
      output.push_back(
          item("reasoning", index++, {}, {}, answer.reasoning, status));
    if (!answer.content.empty() || answer.calls.empty()) {
      output.push_back(
          item("message", index++, {}, {}, answer.content, status));
      if (head.logprobs)
        for (const ReplyToken &token : answer.tokens)
          output.back()["content"][0]["logprobs"].push_back(logprobJson(token));
    }
    for (const GatheredAnswer::Call &call : answer.calls)
      output.push_back(item("function_call", index++, call.id, call.name,
                            call.arguments, status));
    Json json = envelope(status, std::move(output));
    if (!complete)
      json["incomplete_details"] = {{"reason", "max_output_tokens"}};
    const Usage &usage = answer.ending.usage;
    json["usage"] = {
        {"input_tokens", usage.promptTokens},
        {"input_tokens_details", {{"cached_tokens", usage.cachedTokens}}},
        {"output_tokens", usage.answerTokens},
        {"output_tokens_details",
         {{"reasoning_tokens", usage.reasoningTokens}}},
        {"total_tokens", usage.promptTokens + usage.answerTokens}};
    return json;
  }

  std::string itemId(std::string_view kind, size_t index) const {
    return concat(kind == "message"     ? "msg_"
                  : kind == "reasoning" ? "rs_"
                                        : "fc_",
                  head.id, "_", index);
  }

  static Json textPart(const std::string &text) {
    return {{"type", "output_text"},
            {"text", text},
            {"annotations", Json::array()},
            {"logprobs", Json::array()}};
  }

  Json item(const std::string &kind, size_t index, const std::string &call,
            const std::string &name, const std::string &text,
            const char *status) const {
    Json json = {{"id", itemId(kind, index)}, {"type", kind}};
    if (kind == "function_call") {
      json["call_id"] = call;
      json["name"] = name;
      json["arguments"] = text;
    } else if (kind == "reasoning") {
      json["summary"] = Json::array();
      json["content"] =
          Json::array({{{"type", "reasoning_text"}, {"text", text}}});
    } else {
      json["role"] = "assistant";
      json["content"] = Json::array({textPart(text)});
    }
    json["status"] = status;
    return json;
  }

  std::string event(const char *name, const Json &fields) {
    Json data = {{"type", name}, {"sequence_number", number++}};
    data.update(fields);
    return sseEvent(data, name);
  }

  Json place(const Json &fields) const {
    Json data = {{"item_id", itemId(open, index)}, {"output_index", index}};
    data.update(fields);
    return data;
  }

  /// Makes sure that an item of this kind is open.
  std::string enter(const std::string &kind, const std::string &call) {
    if (open == kind)
      return {};
    std::string text = leave();
    open = kind;
    callName = kind == "function_call" ? callName : "";
    openCall = call;
    gathered.clear();
    Json added = item(kind, index, call, callName, "", "in_progress");
    if (kind == "message")
      added["content"] = Json::array();
    text += event("response.output_item.added",
                  {{"output_index", index}, {"item", std::move(added)}});
    if (kind == "message")
      text += event("response.content_part.added",
                    place({{"content_index", 0}, {"part", textPart("")}}));
    return text;
  }

  std::string leave() {
    if (open.empty())
      return {};
    std::string text;
    if (open == "message") {
      text += event("response.output_text.done",
                    place({{"content_index", 0},
                           {"text", gathered},
                           {"logprobs", Json::array()}}));
      text +=
          event("response.content_part.done",
                place({{"content_index", 0}, {"part", textPart(gathered)}}));
    } else if (open == "reasoning") {
      text += event("response.reasoning_text.done",
                    place({{"content_index", 0}, {"text", gathered}}));
    } else {
      text += event("response.function_call_arguments.done",
                    place({{"name", callName}, {"arguments", gathered}}));
    }
    text += event("response.output_item.done",
                  {{"output_index", index},
                   {"item", item(open, index, openCall, callName, gathered,
                                 "completed")}});
    open.clear();
    ++index;
    return text;
  }

  ReplyHead head;
  int64_t number = 0;
  /// The item that is open, by its kind, what it has so far, and its place or
  /// that of the next.
  std::string open, openCall, callName, gathered;
  size_t index = 0;
};

} // namespace

std::unique_ptr<ReplyWriter> makeResponsesWriter(ReplyHead head) {
  return std::make_unique<ResponsesWriter>(std::move(head));
}

} // namespace lapidary::serve
