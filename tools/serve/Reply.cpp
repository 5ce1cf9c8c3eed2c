// What the writers of all APIs share.
#include "tools/serve/Reply.h"

#include "runtime/core/Text.h"

#include <random>

namespace lapidary::serve {

void GatheredAnswer::add(const AnswerDelta &delta,
                         const std::vector<ReplyToken> &more,
                         const std::string &head, size_t answer) {
  reasoning += delta.reasoning;
  content += delta.content;
  for (const AnswerDelta::Call &call : delta.calls) {
    while (calls.size() <= call.index)
      calls.push_back({callId(head, answer, calls.size()), {}, {}});
    if (!call.name.empty())
      calls[call.index].name = call.name;
    calls[call.index].arguments += call.arguments;
  }
  tokens.insert(tokens.end(), more.begin(), more.end());
}

std::unique_ptr<ReplyWriter> makeReplyWriter(Api api, ReplyHead head) {
  switch (api) {
  case Api::Chat:
    return makeChatWriter(std::move(head));
  case Api::Completion:
    return makeCompletionWriter(std::move(head));
  case Api::Responses:
    return makeResponsesWriter(std::move(head));
  case Api::Messages:
    return makeMessagesWriter(std::move(head));
  }
  return nullptr;
}

std::string randomId(size_t length) {
  constexpr std::string_view letters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  static thread_local std::random_device device;
  std::uniform_int_distribution<size_t> any(0, letters.size() - 1);
  std::string id;
  while (id.size() < length)
    id += letters[any(device)];
  return id;
}

Usage sumUsage(const std::vector<GatheredAnswer> &answers, size_t choices) {
  Usage sum;
  for (size_t index = 0; index < answers.size(); ++index) {
    const Usage &usage = answers[index].ending.usage;
    if (index % choices == 0) {
      sum.promptTokens += usage.promptTokens;
      sum.cachedTokens += usage.cachedTokens;
    }
    sum.answerTokens += usage.answerTokens;
    sum.draftedTokens += usage.draftedTokens;
    sum.acceptedTokens += usage.acceptedTokens;
    sum.reasoningTokens += usage.reasoningTokens;
    sum.promptSeconds += usage.promptSeconds;
    sum.answerSeconds += usage.answerSeconds;
  }
  return sum;
}

Json usageJson(const Usage &usage) {
  return {{"prompt_tokens", usage.promptTokens},
          {"completion_tokens", usage.answerTokens},
          {"total_tokens", usage.promptTokens + usage.answerTokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cachedTokens}}},
          {"completion_tokens_details",
           {{"reasoning_tokens", usage.reasoningTokens}}}};
}

Json timingsJson(const Usage &usage) {
  const int64_t read = usage.promptTokens - usage.cachedTokens;
  auto each = [](double seconds, int64_t count) {
    return count > 0 ? seconds * 1000 / static_cast<double>(count) : 0.0;
  };
  auto rate = [](double seconds, int64_t count) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
  };
  Json timings = {
      {"cache_n", usage.cachedTokens},
      {"prompt_n", read},
      {"prompt_ms", usage.promptSeconds * 1000},
      {"prompt_per_token_ms", each(usage.promptSeconds, read)},
      {"prompt_per_second", rate(usage.promptSeconds, read)},
      {"predicted_n", usage.answerTokens},
      {"predicted_ms", usage.answerSeconds * 1000},
      {"predicted_per_token_ms", each(usage.answerSeconds, usage.answerTokens)},
      {"predicted_per_second", rate(usage.answerSeconds, usage.answerTokens)}};
  if (usage.draftedTokens > 0) {
    timings["draft_n"] = usage.draftedTokens;
    timings["draft_n_accepted"] = usage.acceptedTokens;
  }
  return timings;
}

const char *finishReason(const GatheredAnswer &answer) {
  if (answer.ending.reason != "stop")
    return "length";
  return answer.calls.empty() ? "stop" : "tool_calls";
}

void addUsage(Json &reply, const Usage &usage) {
  reply["usage"] = usageJson(usage);
  reply["timings"] = timingsJson(usage);
}

std::string closeStream(const ReplyHead &head, Json envelope,
                        const std::vector<GatheredAnswer> &answers) {
  std::string text;
  if (head.includeUsage) {
    envelope["choices"] = Json::array();
    addUsage(envelope, sumUsage(answers, head.choices));
    text = sseEvent(envelope);
  }
  return text + "data: [DONE]\n\n";
}

std::string failStream(const ApiError &error) {
  return sseEvent(error.toJson()) + "data: [DONE]\n\n";
}

std::string sseEvent(const Json &data, const char *event) {
  return concat(event ? concat("event: ", std::string_view(event), "\n") : "",
                "data: ", dumpJson(data), "\n\n");
}

Json logprobJson(const ReplyToken &token) {
  auto bytes = [](const std::string &text) {
    Json list = Json::array();
    for (unsigned char byte : text)
      list.push_back(byte);
    return list;
  };
  Json top = Json::array();
  for (const ReplyToken::Likely &likely : token.top)
    top.push_back({{"id", likely.id},
                   {"token", likely.text},
                   {"bytes", bytes(likely.text)},
                   {"logprob", likely.logprob}});
  return {{"id", token.id},
          {"token", token.text},
          {"bytes", bytes(token.text)},
          {"logprob", token.logprob},
          {"top_logprobs", std::move(top)}};
}

std::string callId(const std::string &head, size_t answer, size_t call) {
  return concat("call_", std::string_view(head).substr(0, 16), answer, "x",
                call);
}

} // namespace lapidary::serve
