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
    LAPIDARY_TRY(speculation.propose(lanes, session.memoryPlan().drafts,
                                     /*alone=*/true));
    work = lane.work();
    LAPIDARY_TRY(session.step(work, speculation));
    goesOn = LAPIDARY_TRY(speculation.accept(lane, work));
  }
  return {};
}

/// Around the model's thoughts.
constexpr std::string_view channelBegin = "<|channel>",
                           channelEnd = "<channel|>";

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
  StopStrings stops = LAPIDARY_TRY(StopStrings::create(options.stop));
  return std::unique_ptr<Answer>(new Answer(
      model, tokenizer, options, std::move(sampler), std::move(stops)));
}

/// Sends on the text up to `end` and remembers whether the receiver wants more.
void Answer::release(size_t end) {
  if (end <= released)
    return;
  const std::string part = held.substr(0, end - released);
  held.erase(0, part.size());
  released = end;
  gathered.text += part;
  std::vector<TokenChoice> tokens;
  auto rest = pending.begin();
  for (; rest != pending.end() && rest->end <= end; ++rest)
    tokens.push_back(std::move(rest->choice));
  pending.erase(pending.begin(), rest);
  if (wantsMore && options.onText)
    wantsMore = options.onText(part);
  if (wantsMore && options.onPart)
    wantsMore = options.onPart({part, -1, tokens});
}

void Answer::takeText(const std::string &text) {
  if (!gathered.stopString.empty())
    return;
  held += text;
  taken += text.size();
  if (!inContent)
    return release(taken);
  StopStrings::Found found = stops.push(text);
  if (found.index >= 0) {
    gathered.stopString = options.stop[static_cast<size_t>(found.index)];
    gathered.finishReason = "stop";
    std::erase_if(pending, [&](const PendingToken &token) {
      return token.end > found.free;
    });
  }
  release(found.free);
}

void Answer::takeControl(const TokenChoice &choice) {
  takeText(decoder.finish());
  if (!gathered.stopString.empty())
    return;
  release(taken);
  stops.clear();
  taken = released = 0;
  const std::string_view name = tokenizer.piece(choice.id);
  if (name == channelBegin || name == "<|tool_call>")
    inContent = false;
  else if (name == channelEnd || name == "<tool_call|>")
    inContent = true;
  if (wantsMore && options.onPart)
    wantsMore = options.onPart({{}, choice.id, {&choice, 1}});
}

void Answer::readPrompt() {
  for (int32_t token : gathered.promptIds)
    if (token != model.image_token() && token != model.video_token() &&
        token != model.audio_token())
      sampler.see(token);
  if (options.stop.empty() || options.specialTokens)
    return;
  const std::optional<int32_t> begin = tokenizer.idOf(channelBegin),
                               end = tokenizer.idOf(channelEnd),
                               turn = tokenizer.idOf("<|turn>");
  for (size_t at = gathered.promptIds.size(); begin && at-- > 0;) {
    const int32_t token = gathered.promptIds[at];
    inContent = token != *begin;
    if (!inContent || token == end || token == turn)
      return;
  }
}

int64_t Answer::reach() const {
  return options.constraint || options.logprobs > 0 || options.chosenLogprobs
             ? 0
             : sampler.reach();
}

Result<int32_t> Answer::choose(const TokenScores &scores) {
  if (gathered.ids.empty())
    readPrompt();
  std::span<const uint32_t> allowed;
  if (options.constraint) {
    mask.assign(sampler.maskWords(), ~uint32_t(0));
    if (options.constraint->restrict(mask))
      allowed = mask;
  }
  int32_t token =
      LAPIDARY_TRY(allowed.empty() ? sampler.sample(scores)
                                   : sampler.sample(scores.logits, allowed));
  sampler.see(token);
  return token;
}

Result<std::optional<int32_t>> Answer::next(const TokenScores &scores,
                                            bool full) {
  TokenChoice choice{LAPIDARY_TRY(choose(scores)), 0, {}};
  const int32_t token = choice.id;
  if (options.logprobs > 0 || options.chosenLogprobs) {
    choice =
        LAPIDARY_TRY(describeChoice(scores.logits, token, options.logprobs));
    gathered.logprobs.push_back(choice);
  }
  gathered.ids.push_back(token);
  if (options.constraint)
    LAPIDARY_TRY(options.constraint->accept(token));
  const bool stop = contains(*model.stop_tokens(), token);
  if (!options.specialTokens && (stop || tokenizer.isSpecial(token))) {
    takeControl(choice);
  } else {
    const std::string text = decoder.push(token);
    if (options.onPart)
      pending.push_back({std::move(choice), taken + text.size()});
    takeText(text);
  }
  if (stop)
    gathered.finishReason = "stop";
  else if (gathered.finishReason.empty() && !wantsMore)
    gathered.finishReason = "cancelled";
  else if (gathered.finishReason.empty() &&
           (static_cast<int64_t>(gathered.ids.size()) == options.maxTokens ||
            full))
    gathered.finishReason = "length";
  if (!gathered.finishReason.empty())
    return std::optional<int32_t>();
  return std::optional(token);
}

void Answer::finish(const char *reason) {
  takeText(decoder.finish());
  if (gathered.stopString.empty())
    release(taken);
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
