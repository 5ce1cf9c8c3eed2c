// Replies of /v1/chat/completions.
#include "tools/serve/Reply.h"

#include "runtime/core/Text.h"

namespace lapidary::serve {

namespace {

class ChatWriter : public ReplyWriter {
public:
  explicit ChatWriter(ReplyHead head) : head(std::move(head)) {}

  Json whole(const std::vector<GatheredAnswer> &answers) override {
    Json choices = Json::array();
    for (size_t index = 0; index < answers.size(); ++index)
      choices.push_back(choiceJson(index, answers[index]));
    Json reply = envelope("chat.completion");
    reply["choices"] = std::move(choices);
    addUsage(reply, sumUsage(answers, head.choices));
    return reply;
  }

  std::string begin(int64_t) override { return {}; }

  std::string push(size_t answer, const AnswerDelta &delta,
                   const std::vector<ReplyToken> &tokens) override {
    Json json = Json::object();
    if (!delta.reasoning.empty())
      json["reasoning_content"] = delta.reasoning;
    if (!delta.content.empty())
      json["content"] = delta.content;
    for (const AnswerDelta::Call &call : delta.calls) {
      Json function = Json::object();
      Json entry = {{"index", call.index}};
      if (!call.name.empty()) {
        entry["id"] = callId(head.id, answer, call.index);
        entry["type"] = "function";
        function["name"] = call.name;
      }
      function["arguments"] = call.arguments;
      entry["function"] = std::move(function);
      json["tool_calls"].push_back(std::move(entry));
    }
    std::string text = role(answer);
    if (json.empty() && (!head.logprobs || tokens.empty()))
      return text;
    return text + chunk(answer, std::move(json), logprobs(tokens), nullptr);
  }

  std::string end(size_t answer, const GatheredAnswer &gathered) override {
    return role(answer) +
           chunk(answer, Json::object(), nullptr, finishReason(gathered));
  }

  std::string close(const std::vector<GatheredAnswer> &answers) override {
    return closeStream(head, envelope("chat.completion.chunk"), answers);
  }

  std::string fail(const ApiError &error) override { return failStream(error); }

private:
  Json envelope(const char *object) const {
    return {{"id", "chatcmpl-" + head.id},
            {"object", object},
            {"created", head.created},
            {"model", head.model},
            {"system_fingerprint", "lapidary-" LAPIDARY_VERSION}};
  }

  Json logprobs(const std::vector<ReplyToken> &tokens) const {
    if (!head.logprobs)
      return nullptr;
    Json list = Json::array();
    for (const ReplyToken &token : tokens)
      list.push_back(logprobJson(token));
    return {{"content", std::move(list)}};
  }

  Json choiceJson(size_t index, const GatheredAnswer &answer) const {
    Json message = {{"role", "assistant"}};
    message["content"] = answer.content.empty() && !answer.calls.empty()
                             ? Json()
                             : Json(answer.content);
    if (!answer.reasoning.empty())
      message["reasoning_content"] = answer.reasoning;
    for (const GatheredAnswer::Call &call : answer.calls)
      message["tool_calls"].push_back(
          {{"id", call.id},
           {"type", "function"},
           {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    return {{"index", index},
            {"message", std::move(message)},
            {"logprobs", logprobs(answer.tokens)},
            {"finish_reason", finishReason(answer)}};
  }

  std::string chunk(size_t answer, Json delta, Json logprobs,
                    const char *finish) const {
    Json reply = envelope("chat.completion.chunk");
    reply["choices"] =
        Json::array({{{"index", answer},
                      {"delta", std::move(delta)},
                      {"logprobs", std::move(logprobs)},
                      {"finish_reason", finish ? Json(finish) : Json()}}});
    return sseEvent(reply);
  }

  /// The first chunk of an answer says whose it is.
  std::string role(size_t answer) {
    if (begun.size() <= answer)
      begun.resize(answer + 1);
    if (begun[answer])
      return {};
    begun[answer] = true;
    return chunk(answer, {{"role", "assistant"}, {"content", ""}}, nullptr,
                 nullptr);
  }

  ReplyHead head;
  std::vector<bool> begun;
};

} // namespace

std::unique_ptr<ReplyWriter> makeChatWriter(ReplyHead head) {
  return std::make_unique<ChatWriter>(std::move(head));
}

} // namespace lapidary::serve
