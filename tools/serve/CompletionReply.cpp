// Replies of /v1/completions.
#include "tools/serve/Reply.h"

namespace lapidary::serve {

namespace {

class CompletionWriter : public ReplyWriter {
public:
  explicit CompletionWriter(ReplyHead head) : head(std::move(head)) {}

  Json whole(const std::vector<GatheredAnswer> &answers) override {
    Json choices = Json::array();
    for (size_t index = 0; index < answers.size(); ++index) {
      size_t offset = 0;
      choices.push_back(choice(index, answers[index].content,
                               logprobs(answers[index].tokens, offset),
                               finishReason(answers[index])));
    }
    Json reply = envelope();
    reply["choices"] = std::move(choices);
    addUsage(reply, sumUsage(answers, head.choices));
    return reply;
  }

  std::string begin(int64_t) override { return {}; }

  std::string push(size_t answer, const AnswerDelta &delta,
                   const std::vector<ReplyToken> &tokens) override {
    if (delta.content.empty() && (!head.logprobs || tokens.empty()))
      return {};
    if (offsets.size() <= answer)
      offsets.resize(answer + 1);
    Json reply = envelope();
    reply["choices"] = Json::array({choice(
        answer, delta.content, logprobs(tokens, offsets[answer]), nullptr)});
    return sseEvent(reply);
  }

  std::string end(size_t answer, const GatheredAnswer &gathered) override {
    Json reply = envelope();
    reply["choices"] =
        Json::array({choice(answer, "", nullptr, finishReason(gathered))});
    return sseEvent(reply);
  }

  std::string close(const std::vector<GatheredAnswer> &answers) override {
    return closeStream(head, envelope(), answers);
  }

  std::string fail(const ApiError &error) override { return failStream(error); }

private:
  Json envelope() const {
    return {{"id", "cmpl-" + head.id},
            {"object", "text_completion"},
            {"created", head.created},
            {"model", head.model},
            {"system_fingerprint", "lapidary-" LAPIDARY_VERSION}};
  }

  static Json choice(size_t index, const std::string &text, Json logprobs,
                     const char *finish) {
    return {{"index", index},
            {"text", text},
            {"logprobs", std::move(logprobs)},
            {"finish_reason", finish ? Json(finish) : Json()}};
  }

  /// The old form: four lists. `offset` goes on by the tokens' text.
  Json logprobs(const std::vector<ReplyToken> &tokens, size_t &offset) const {
    if (!head.logprobs)
      return nullptr;
    Json texts = Json::array(), values = Json::array(), tops = Json::array(),
         offsets = Json::array();
    for (const ReplyToken &token : tokens) {
      Json top = Json::object();
      for (const ReplyToken::Likely &likely : token.top)
        top[likely.text] = likely.logprob;
      texts.push_back(token.text);
      values.push_back(token.logprob);
      tops.push_back(std::move(top));
      offsets.push_back(offset);
      offset += token.text.size();
    }
    return {{"tokens", std::move(texts)},
            {"token_logprobs", std::move(values)},
            {"top_logprobs", std::move(tops)},
            {"text_offset", std::move(offsets)}};
  }

  ReplyHead head;
  std::vector<size_t> offsets;
};

} // namespace

std::unique_ptr<ReplyWriter> makeCompletionWriter(ReplyHead head) {
  return std::make_unique<CompletionWriter>(std::move(head));
}

} // namespace lapidary::serve
