// The loop of generation. Order within a step matters: a token is recorded
// before it is judged, so that `ids` always ends with the token that ended the
// answer.
#include "runtime/model/Generator.h"

#include "runtime/core/Text.h"
#include "runtime/model/Speculation.h"
#include "runtime/model/Timer.h"

#include <algorithm>

namespace lapidary {
namespace {

/// Lends the session the caller's flag, if there is one, for one generation.
class CancelGuard {
public:
  CancelGuard(Session &session, const std::atomic<bool> *flag)
      : session(session), before(session.cancelFlag()) {
    if (flag)
      session.setCancelFlag(flag);
  }
  ~CancelGuard() { session.setCancelFlag(before); }
  CancelGuard(const CancelGuard &) = delete;
  CancelGuard &operator=(const CancelGuard &) = delete;

private:
  Session &session;
  const std::atomic<bool> *before;
};

/// From the prompt's logits to the answer's end.
Status decodeAnswer(Session &session, Answer &answer,
                    const GenerateOptions &options) {
  Speculation &speculation = session.engine().speculation();
  Lane lane{.sequence = &session.sequence(),
            .answer = &answer,
            .draft = options.draft,
            .maxTokens = options.maxTokens};
  Lane *const lanes[] = {&lane};
  Work work = session.lastWork();
  bool goesOn = LAPIDARY_TRY(speculation.begin(lane, work));
  while (goesOn) {
    LAPIDARY_TRY(speculation.propose(lanes, session.memoryPlan().drafts));
    work = lane.work();
    LAPIDARY_TRY(session.step(work, speculation));
    goesOn = LAPIDARY_TRY(speculation.accept(lane, work));
  }
  return {};
}

bool contains(const flatbuffers::Vector<int32_t> &tokens, int32_t token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

} // namespace

Result<std::unique_ptr<Answer>> Answer::create(const schema::Model &model,
                                               const Tokenizer &tokenizer,
                                               const GenerateOptions &options) {
  if (options.maxTokens < 0 || options.logprobs < 0)
    return invalidArgument(
        concat(options.maxTokens, " tokens with ", options.logprobs,
               " logprobs were asked for, expected 0 or more"));
  if (options.draft < draftAuto)
    return invalidArgument(concat(options.draft,
                                  " drafts were asked for, expected ",
                                  draftAuto, " (auto) or more"));
  Sampler sampler = LAPIDARY_TRY(Sampler::create(
      options.sampling, model.vocabulary(),
      {model.suppress_tokens()->data(), model.suppress_tokens()->size()}));
  return std::unique_ptr<Answer>(
      new Answer(model, tokenizer, options, std::move(sampler)));
}

/// Sends text on as it comes and remembers whether the receiver wants more.
void Answer::send(const std::string &part) {
  gathered.text += part;
  if (wantsMore && !part.empty() && options.onText)
    wantsMore = options.onText(part);
}

Result<std::optional<int32_t>> Answer::next(std::span<const float> logits,
                                            bool full) {
  int32_t token = LAPIDARY_TRY(sampler.sample(logits));
  if (options.logprobs > 0)
    gathered.logprobs.push_back(
        LAPIDARY_TRY(topLogprobs(logits, options.logprobs)));
  gathered.ids.push_back(token);
  bool stop = contains(*model.stop_tokens(), token);
  if (!stop || options.specialTokens)
    send(decoder.push(token));
  if (stop)
    gathered.finishReason = "stop";
  else if (!wantsMore)
    gathered.finishReason = "cancelled";
  else if (static_cast<int64_t>(gathered.ids.size()) == options.maxTokens ||
           full)
    gathered.finishReason = "length";
  if (!gathered.finishReason.empty())
    return std::optional<int32_t>();
  return std::optional(token);
}

void Answer::finish(const char *reason) {
  send(decoder.finish());
  if (gathered.finishReason.empty())
    gathered.finishReason = reason;
}

Result<GenerateResult> generate(Session &session, const Tokenizer &tokenizer,
                                const GenerateInput &input,
                                const GenerateOptions &options) {
  std::unique_ptr<Answer> answer = LAPIDARY_TRY(
      Answer::create(*session.bundle().program().model(), tokenizer, options));
  GenerateResult &result = answer->result();
  result.promptIds.assign(input.tokens.begin(), input.tokens.end());
  CancelGuard guard(session, options.cancel);

  if (input.whole)
    session.forgetLogits();
  Result<EmbeddedPrompt> prompt =
      embedPrompt(session.engine(), session.sequence(), input);
  Status status = prompt.status();
  if (status.ok()) {
    result.embedSeconds = prompt->embedSeconds;
    result.reusedTokens = prompt->reusedTokens;
    Timer timer;
    status = session.prefill(prompt->prompt);
    result.prefillSeconds = timer.seconds();
  }
  if (status.ok()) {
    session.sequence().mark();
    Timer timer;
    status = decodeAnswer(session, *answer, options);
    result.decodeSeconds = timer.seconds();
  }
  if (!status.ok() && status.getCode() != StatusCode::Cancelled)
    return status;
  answer->finish("cancelled");
  return std::move(result);
}

SamplerOptions suggestedSampling(const schema::Model &model) {
  SamplerOptions options;
  const schema::Sampling *sampling = model.sampling();
  if (!sampling || !sampling->enabled())
    return options;
  options.temperature = sampling->temperature();
  options.topK = sampling->top_k();
  // A field that is not there reads as 0, which means the same as 1.
  options.topP = sampling->top_p() > 0 ? sampling->top_p() : 1;
  return options;
}

} // namespace lapidary
