// Everything here is done by the thread of the client's connection, beside the
// engine.
#include "tools/serve/ServedModel.h"

#include "runtime/core/Text.h"

#include <limits>
#include <map>
#include <random>

namespace lapidary::serve {

namespace {

uint64_t randomSeed() {
  std::random_device device;
  return uint64_t(device()) << 32 | device();
}

/// Where a rule that cannot be honoured is likely said.
const char *fieldOfRules(const ChatRequest &request) {
  const ChatRules &rules = request.rules;
  if (rules.schema || rules.jsonObject)
    return request.api == Api::Responses ? "text.format" : "response_format";
  return rules.grammar.empty() ? "tools" : "grammar";
}

} // namespace

Result<std::unique_ptr<ServedModel>>
ServedModel::create(std::shared_ptr<const Bundle> bundle, std::string alias) {
  Tokenizer table = LAPIDARY_TRY(
      Tokenizer::create(bundle->segment(bundle->program().tokenizer())));
  TokenTable bytes = LAPIDARY_TRY(TokenTable::create(table));
  ChatTemplate form = LAPIDARY_TRY(ChatTemplate::create(*bundle, table));
  std::unique_ptr<ServedModel> served(new ServedModel(
      std::move(bundle), std::move(table), std::move(bytes), std::move(form)));
  served->shownName =
      alias.empty() ? served->model().name()->str() : std::move(alias);
  return served;
}

Result<std::string> ServedModel::render(const ChatRequest &request) const {
  return form.render(request.messages, request.templateOptions);
}

void ServedModel::checkLength(const ServedPrompt &prompt,
                              Problems &problems) const {
  if (prompt.tokens.empty())
    problems.add("prompt", "the prompt is empty");
  if (static_cast<int64_t>(prompt.tokens.size()) < context)
    return;
  problems.add({}, concat("the prompt has ", prompt.tokens.size(),
                          " tokens, but the context has ", context,
                          " positions and the answer needs one at least"));
}

std::optional<std::vector<ServedPrompt>>
ServedModel::prepare(const ChatRequest &request, const RequestLimits &limits,
                     const std::function<bool(size_t)> &take,
                     Problems &problems) const {
  std::vector<ServedPrompt> prompts;
  if (request.api == Api::Completion) {
    for (const std::string &text : request.prompts) {
      ServedPrompt prompt;
      prompt.tokens.push_back(model().bos_token());
      const std::vector<int32_t> ids = tokens.encode(text);
      // A text that begins with the mark itself gets no second one.
      const bool marked = !ids.empty() && ids[0] == model().bos_token();
      prompt.tokens.insert(prompt.tokens.end(), ids.begin() + marked,
                           ids.end());
      prompts.push_back(std::move(prompt));
    }
    for (const std::vector<int32_t> &ids : request.promptIds) {
      ServedPrompt prompt;
      prompt.tokens = ids;
      prompts.push_back(std::move(prompt));
    }
    // Marks of media in a text have no media.
    for (const ServedPrompt &prompt : prompts)
      for (int32_t id : prompt.tokens)
        if (id >= 0 &&
            (id == model().image_token() || id == model().audio_token() ||
             id == model().video_token()))
          problems.add("prompt", "'prompt' has a placeholder of a medium; "
                                 "media need /v1/chat/completions");
  } else {
    LoadedMedia media = loadMedia(
        model(), request.media,
        {std::min(chunk, imageTokens), context, limits.maxMedia, take},
        problems);
    if (!problems.ok())
      return std::nullopt;
    Result<std::string> text = render(request);
    if (text.ok()) {
      ServedPrompt prompt;
      prompt.startsInThought = endsInThought(*text);
      text = expandMedia(*text, media.tokens);
      if (text.ok()) {
        prompt.tokens = tokens.encodeProtected(*text);
        prompt.items = std::move(media.items);
        prompts.push_back(std::move(prompt));
      }
    }
    if (!text.ok())
      problems.add("messages", text.status().message());
  }
  for (const ServedPrompt &prompt : prompts) {
    checkLength(prompt, problems);
    if (problems.ok() && !take(prompt.tokens.size() * sizeof(int32_t)))
      problems.add({}, "the requests at hand take too much memory", 429);
  }
  if (!problems.ok())
    return std::nullopt;
  return prompts;
}

GenerateOptions ServedModel::options(const ChatRequest &request,
                                     const RequestLimits &limits) const {
  GenerateOptions options;
  options.maxTokens = request.maxTokens;
  if (limits.maxTokens > 0 &&
      (options.maxTokens == 0 || options.maxTokens > limits.maxTokens))
    options.maxTokens = limits.maxTokens;
  options.logprobs = request.topLogprobs;
  options.chosenLogprobs = request.logprobs;
  options.stop = request.stop;
  options.draft = draft;

  SamplerOptions &sampling = options.sampling;
  sampling = suggestedSampling(model());
  const SamplingFields &wanted = request.sampling;
  auto set = [](auto &field, const auto &value) {
    if (value)
      field = static_cast<std::remove_reference_t<decltype(field)>>(*value);
  };
  set(sampling.temperature, wanted.temperature);
  // None of the probability is the likeliest token's still.
  constexpr float least = 1e-9f;
  set(sampling.topP, wanted.topP);
  sampling.topP = std::max(sampling.topP, least);
  set(sampling.minP, wanted.minP);
  set(sampling.typicalP, wanted.typicalP);
  sampling.typicalP = std::max(sampling.typicalP, least);
  if (wanted.topK)
    sampling.topK = static_cast<int32_t>(std::max<int64_t>(*wanted.topK, 0));
  set(sampling.penalties.repeat, wanted.repeatPenalty);
  set(sampling.penalties.presence, wanted.presencePenalty);
  set(sampling.penalties.frequency, wanted.frequencyPenalty);
  if (wanted.repeatLastN)
    sampling.penalties.lastTokens = static_cast<int32_t>(*wanted.repeatLastN);
  sampling.seed = wanted.seed ? *wanted.seed : randomSeed();
  constexpr float never = -std::numeric_limits<float>::infinity();
  std::map<int32_t, float> biases;
  for (const auto &[id, bias] : wanted.logitBias)
    biases[id] = bias <= -100 ? never : bias;
  if (request.ignoreEnd)
    for (int32_t id : *model().stop_tokens())
      biases[id] = never;
  for (const auto &[id, bias] : biases)
    sampling.logitBias.push_back({id, bias});
  return options;
}

std::optional<ConstraintMaker>
ServedModel::constraints(const ChatRequest &request, const ServedPrompt &prompt,
                         Problems &problems) const {
  ChatRules rules = request.rules;
  rules.startsInThought = prompt.startsInThought;
  // A thought that nobody asked for is unlikely, but where other text is not
  // allowed it would be the only way out.
  if (isShaped(rules) && !request.thinking && !rules.startsInThought)
    rules.thinkingBudget = 0;
  Result<ConstraintMaker> maker =
      compileRules(model(), tokens, tokenBytes, rules);
  if (!maker.ok()) {
    problems.add(fieldOfRules(request), maker.status().message());
    return std::nullopt;
  }
  return *std::move(maker);
}

std::string ServedModel::tokenText(int32_t id) const {
  return std::string(tokens.isSpecial(id) ? tokens.piece(id)
                                          : tokenBytes.bytes(id));
}

std::vector<ReplyToken>
ServedModel::replyTokens(std::span<const TokenChoice> choices) const {
  std::vector<ReplyToken> list;
  for (const TokenChoice &choice : choices) {
    ReplyToken token{tokenText(choice.id), choice.id, choice.logprob, {}};
    for (const TokenLogprob &entry : choice.top)
      token.top.push_back({tokenText(entry.id), entry.id, entry.logprob});
    list.push_back(std::move(token));
  }
  return list;
}

} // namespace lapidary::serve
