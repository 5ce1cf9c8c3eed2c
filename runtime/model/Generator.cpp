// The loop of generation. Order within a step matters: a token is recorded
// before it is judged, so that `ids` always ends with the token that ended the
// answer.
#include "runtime/model/Generator.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <chrono>

namespace lapidary {
namespace {

class Timer {
public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() -
                                         start)
        .count();
  }

private:
  std::chrono::steady_clock::time_point start =
      std::chrono::steady_clock::now();
};

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

/// Embeds what is not embedded yet, into `storage`.
Status embedMedia(Session &session, const GenerateInput &input,
                  std::vector<std::vector<float>> &storage,
                  Session::Prompt &prompt) {
  for (size_t index = 0; index < input.media.size(); ++index) {
    const MediaInput &item = input.media[index];
    if (int(!item.patches.empty()) + int(!item.frames.empty()) +
            int(!item.embeddings.empty()) !=
        1)
      return invalidArgument(
          concat("media item ", index,
                 " must have patches, frames or embeddings, and one of them"));
    if (!item.embeddings.empty()) {
      prompt.media.push_back(item.embeddings);
      continue;
    }
    // The vector's own memory stays where it is when `storage` grows.
    storage.push_back(
        item.frames.empty()
            ? LAPIDARY_TRY(session.embedImage(item.patches, item.positions))
            : LAPIDARY_TRY(session.embedAudio(item.frames)));
    prompt.media.push_back(storage.back());
  }
  return {};
}

bool contains(const flatbuffers::Vector<int32_t> &tokens, int32_t token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

/// Sends text on as it comes and remembers whether the receiver wants more.
class TextOutput {
public:
  TextOutput(const Tokenizer &tokenizer, const GenerateOptions &options,
             std::string &text)
      : decoder(tokenizer, !options.specialTokens), options(options),
        text(text) {}

  void push(int32_t id) { send(decoder.push(id)); }
  void finish() { send(decoder.finish()); }
  bool wantsMore() const { return more; }

private:
  void send(const std::string &part) {
    text += part;
    if (more && !part.empty() && options.onText)
      more = options.onText(part);
  }

  StreamDecoder decoder;
  const GenerateOptions &options;
  std::string &text;
  bool more = true;
};

Status answer(Session &session, const Tokenizer &tokenizer, Sampler &sampler,
              const GenerateOptions &options, GenerateResult &result) {
  const schema::Model &model = *session.bundle().program().model();
  TextOutput output(tokenizer, options, result.text);
  Status status;
  while (result.finishReason.empty()) {
    int32_t token = LAPIDARY_TRY(sampler.sample(session.logits()));
    if (options.logprobs > 0)
      result.logprobs.push_back(
          LAPIDARY_TRY(topLogprobs(session.logits(), options.logprobs)));
    result.ids.push_back(token);
    bool stop = contains(*model.stop_tokens(), token);
    if (!stop || options.specialTokens)
      output.push(token);
    if (stop)
      result.finishReason = "stop";
    else if (!output.wantsMore())
      result.finishReason = "cancelled";
    else if (static_cast<int64_t>(result.ids.size()) == options.maxTokens ||
             session.position() >= session.context())
      result.finishReason = "length";
    else if (status = session.decode(token); !status.ok())
      result.finishReason =
          "cancelled"; // or an error, which the caller tells apart by `status`
  }
  output.finish();
  return status;
}

} // namespace

Result<GenerateResult> generate(Session &session, const Tokenizer &tokenizer,
                                const GenerateInput &input,
                                const GenerateOptions &options) {
  const schema::Model &model = *session.bundle().program().model();
  if (options.maxTokens < 0 || options.logprobs < 0)
    return invalidArgument(
        concat(options.maxTokens, " tokens with ", options.logprobs,
               " logprobs were asked for, expected 0 or more"));
  Sampler sampler = LAPIDARY_TRY(Sampler::create(
      options.sampling, model.vocabulary(),
      {model.suppress_tokens()->data(), model.suppress_tokens()->size()}));
  GenerateResult result;
  result.promptIds.assign(input.tokens.begin(), input.tokens.end());
  CancelGuard guard(session, options.cancel);

  Timer embedTimer;
  std::vector<std::vector<float>> storage;
  Session::Prompt prompt{input.tokens, {}};
  Status status = embedMedia(session, input, storage, prompt);
  result.embedSeconds = input.media.empty() ? 0 : embedTimer.seconds();
  if (status.ok()) {
    Timer timer;
    status = session.prefill(prompt);
    result.prefillSeconds = timer.seconds();
  }
  if (status.ok()) {
    Timer timer;
    status = answer(session, tokenizer, sampler, options, result);
    result.decodeSeconds = timer.seconds();
  }
  if (status.getCode() == StatusCode::Cancelled)
    result.finishReason = "cancelled";
  else if (!status.ok())
    return status;
  return result;
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
