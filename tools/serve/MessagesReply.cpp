// Replies of /v1/messages, in Anthropic's form: an answer is a list of blocks,
// and in a stream one block ends before the next begins.
#include "tools/serve/Reply.h"

namespace lapidary::serve {

namespace {

class MessagesWriter : public ReplyWriter {
public:
  explicit MessagesWriter(ReplyHead head) : head(std::move(head)) {}

  Json whole(const std::vector<GatheredAnswer> &answers) override {
    const GatheredAnswer &answer = answers.front();
    Json blocks = Json::array();
    if (!answer.reasoning.empty())
      blocks.push_back({{"type", "thinking"},
                        {"thinking", answer.reasoning},
                        {"signature", ""}});
    if (!answer.content.empty())
      blocks.push_back({{"type", "text"}, {"text", answer.content}});
    for (const GatheredAnswer::Call &call : answer.calls) {
      Json input = Json::parse(call.arguments, nullptr, false);
      blocks.push_back(
          {{"type", "tool_use"},
           {"id", call.id},
           {"name", call.name},
           {"input", input.is_object() ? std::move(input) : Json::object()}});
    }
    Json message = envelope();
    message["content"] = std::move(blocks);
    message["stop_reason"] = stopReason(answer);
    message["stop_sequence"] = stopSequence(answer);
    message["usage"] = usage(answer.ending.usage);
    return message;
  }

  std::string begin(int64_t tokens) override {
    Json message = envelope();
    message["content"] = Json::array();
    message["stop_reason"] = nullptr;
    message["stop_sequence"] = nullptr;
    message["usage"] = {{"input_tokens", tokens}, {"output_tokens", 0}};
    return event("message_start", {{"message", std::move(message)}});
  }

  std::string push(size_t, const AnswerDelta &delta,
                   const std::vector<ReplyToken> &) override {
    std::string text;
    if (!delta.reasoning.empty())
      text += blockDelta(
          "thinking",
          {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}},
          {{"type", "thinking_delta"}, {"thinking", delta.reasoning}});
    if (!delta.content.empty())
      text += blockDelta("text", {{"type", "text"}, {"text", ""}},
                         {{"type", "text_delta"}, {"text", delta.content}});
    for (const AnswerDelta::Call &call : delta.calls) {
      if (!call.name.empty()) {
        text += stop();
        text += start("tool_use", {{"type", "tool_use"},
                                   {"id", callId(head.id, 0, call.index)},
                                   {"name", call.name},
                                   {"input", Json::object()}});
      }
      if (!call.arguments.empty())
        text += event("content_block_delta",
                      {{"index", block},
                       {"delta",
                        {{"type", "input_json_delta"},
                         {"partial_json", call.arguments}}}});
    }
    return text;
  }

  std::string end(size_t, const GatheredAnswer &gathered) override {
    return stop() + event("message_delta",
                          {{"delta",
                            {{"stop_reason", stopReason(gathered)},
                             {"stop_sequence", stopSequence(gathered)}}},
                           {"usage", usage(gathered.ending.usage)}});
  }

  std::string close(const std::vector<GatheredAnswer> &) override {
    return event("message_stop", Json::object());
  }

  std::string fail(const ApiError &error) override {
    return sseEvent(error.toAnthropic(), "error");
  }

private:
  Json envelope() const {
    return {{"id", "msg_" + head.id},
            {"type", "message"},
            {"role", "assistant"},
            {"model", head.model}};
  }

  static Json usage(const Usage &usage) {
    return {{"input_tokens", usage.promptTokens - usage.cachedTokens},
            {"cache_creation_input_tokens", 0},
            {"cache_read_input_tokens", usage.cachedTokens},
            {"output_tokens", usage.answerTokens}};
  }

  static const char *stopReason(const GatheredAnswer &answer) {
    if (answer.ending.reason != "stop")
      return "max_tokens";
    if (!answer.ending.stopString.empty())
      return "stop_sequence";
    return answer.calls.empty() ? "end_turn" : "tool_use";
  }

  static Json stopSequence(const GatheredAnswer &answer) {
    return answer.ending.stopString.empty() ? Json()
                                            : Json(answer.ending.stopString);
  }

  static std::string event(const char *name, const Json &fields) {
    Json data = {{"type", name}};
    data.update(fields);
    return sseEvent(data, name);
  }

  std::string start(const char *kind, Json content) {
    open = kind;
    return event("content_block_start",
                 {{"index", block}, {"content_block", std::move(content)}});
  }

  std::string stop() {
    if (open.empty())
      return {};
    open.clear();
    return event("content_block_stop", {{"index", block++}});
  }

  std::string blockDelta(const char *kind, Json content, Json delta) {
    std::string text;
    if (open != kind)
      text = stop() + start(kind, std::move(content));
    return text + event("content_block_delta",
                        {{"index", block}, {"delta", std::move(delta)}});
  }

  ReplyHead head;
  /// The block that is open, by its kind, and its index or that of the next.
  std::string open;
  size_t block = 0;
};

} // namespace

std::unique_ptr<ReplyWriter> makeMessagesWriter(ReplyHead head) {
  return std::make_unique<MessagesWriter>(std::move(head));
}

} // namespace lapidary::serve
