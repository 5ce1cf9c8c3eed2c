#include "tools/serve/Exchange.h"

#include "runtime/core/Text.h"

#include <ctime>

namespace lapidary::serve {

bool MemoryBudget::Lease::take(size_t bytes) {
  if (budget.left.fetch_sub(static_cast<int64_t>(bytes)) <
      static_cast<int64_t>(bytes)) {
    budget.left += static_cast<int64_t>(bytes);
    return false;
  }
  taken += bytes;
  return true;
}

namespace {

/// Bytes of a stream that are joined before some are sent.
constexpr size_t mostJoined = size_t(64) << 10;

/// What /v1/responses repeats of a request, and its defaults.
Json echoOf(const ChatRequest &request) {
  auto number = [](const std::optional<double> &value) {
    return value ? Json(*value) : Json();
  };
  Json echo = {{"instructions", nullptr},
               {"max_output_tokens",
                request.maxTokens > 0 ? Json(request.maxTokens) : Json()},
               {"metadata", Json::object()},
               {"parallel_tool_calls", request.rules.parallelCalls},
               {"previous_response_id", nullptr},
               {"temperature", number(request.sampling.temperature)},
               {"top_p", number(request.sampling.topP)},
               {"tool_choice", "auto"},
               {"store", false},
               {"truncation", "disabled"}};
  echo.update(request.echoed);
  return echo;
}

} // namespace

std::shared_ptr<Exchange>
Exchange::create(const ServedModel &model, EngineLoop &loop,
                 const ChatRequest &request, const RequestLimits &limits,
                 double maxSeconds, std::shared_ptr<MemoryBudget::Lease> lease,
                 Problems &problems) {
  // What a prompt's media take counts too.
  const auto started = std::chrono::steady_clock::now();
  const size_t wanted =
      std::max<size_t>(request.prompts.size() + request.promptIds.size(), 1) *
      static_cast<size_t>(request.choices);
  if (wanted > loop.capacity()) {
    problems.add(request.choices > 1 ? "n" : "prompt",
                 concat("'n' times the prompts are ", wanted,
                        " answers, but this server takes ", loop.capacity(),
                        " at most (--parallel and --max-queue)"));
    return nullptr;
  }
  std::optional<std::vector<ServedPrompt>> prompts = model.prepare(
      request, limits, [&](size_t bytes) { return lease->take(bytes); },
      problems);
  if (!prompts)
    return nullptr;
  std::shared_ptr<Exchange> exchange(new Exchange(model, loop));
  exchange->api = request.api;
  exchange->id = randomId();
  exchange->logprobs = request.logprobs;
  exchange->channel = std::make_shared<Channel>();
  exchange->channel->prompts = *std::move(prompts);
  exchange->channel->lease = std::move(lease);
  if (request.maxSeconds > 0 && request.maxSeconds < maxSeconds)
    maxSeconds = request.maxSeconds;
  exchange->deadline = started + std::chrono::milliseconds(
                                     static_cast<int64_t>(maxSeconds * 1000));

  // Where there are rules for thoughts, there is one prompt.
  const std::optional<ConstraintMaker> makeConstraint =
      model.constraints(request, exchange->channel->prompts.front(), problems);
  if (!makeConstraint)
    return nullptr;
  for (const ServedPrompt &prompt : exchange->channel->prompts) {
    GenerateOptions options = model.options(request, limits);
    exchange->promptTokens += static_cast<int64_t>(prompt.tokens.size());
    for (int32_t choice = 0; choice < request.choices; ++choice) {
      auto task = std::make_shared<Task>();
      task->input = prompt.input();
      task->options = options;
      // A place in the grammar belongs to one answer.
      if (*makeConstraint)
        task->options.constraint = (*makeConstraint)();
      ++options.sampling.seed;
      const size_t answer = exchange->tasks.size();
      std::shared_ptr<Channel> channel = exchange->channel;
      task->options.onPart = [channel, answer](const AnswerPart &part) {
        Event event{answer,
                    std::string(part.text),
                    part.control,
                    {part.tokens.begin(), part.tokens.end()},
                    {}};
        {
          const std::lock_guard lock(channel->mutex);
          channel->events.push_back(std::move(event));
        }
        channel->arrived.notify_one();
        return true;
      };
      task->onDone = [channel, answer](Result<GenerateResult> result) {
        {
          const std::lock_guard lock(channel->mutex);
          channel->events.push_back({answer, {}, -1, {}, std::move(result)});
        }
        channel->arrived.notify_one();
      };
      exchange->tasks.push_back(std::move(task));
      exchange->parsers.push_back(std::make_unique<AnswerParser>(
          model.tokenizer(), prompt.startsInThought));
    }
  }
  exchange->open = exchange->tasks.size();
  exchange->gathered.resize(exchange->open);
  ReplyHead head;
  head.id = exchange->id;
  head.model = request.model.empty() ? model.name() : request.model;
  head.created = std::time(nullptr);
  head.includeUsage = request.includeUsage;
  head.logprobs = request.logprobs;
  head.choices = static_cast<size_t>(request.choices);
  if (request.api == Api::Responses)
    head.echoed = echoOf(request);
  exchange->writer = makeReplyWriter(request.api, std::move(head));
  return exchange;
}

EngineLoop::Submitted Exchange::submit() { return loop.submit(tasks); }

void Exchange::abandon() {
  if (open == 0)
    return;
  loop.metrics().countCancelled();
  for (const std::shared_ptr<Task> &task : tasks)
    loop.cancel(*task);
  open = 0;
}

void Exchange::checkTime() {
  if (std::chrono::steady_clock::now() < deadline)
    return;
  for (const std::shared_ptr<Task> &task : tasks)
    loop.cancel(*task);
}

std::deque<Exchange::Event> Exchange::takeEvents() {
  checkTime();
  std::unique_lock lock(channel->mutex);
  channel->arrived.wait_for(lock, std::chrono::milliseconds(100),
                            [this] { return !channel->events.empty(); });
  return std::exchange(channel->events, {});
}

std::string Exchange::takeEvent(Event &event) {
  GatheredAnswer &answer = gathered[event.answer];
  AnswerDelta delta;
  const bool ends = event.result.has_value();
  if (api == Api::Completion)
    delta.content = std::move(event.text);
  else if (ends)
    delta = parsers[event.answer]->finish();
  else
    delta =
        parsers[event.answer]->push({event.text, event.control, event.tokens});
  const bool thinks = !delta.reasoning.empty() && delta.content.empty();
  if (thinks)
    answer.ending.usage.reasoningTokens +=
        static_cast<int64_t>(event.tokens.size());
  // Logprobs are those of the content.
  std::vector<ReplyToken> tokens;
  if (logprobs && !delta.content.empty())
    tokens = model.replyTokens(event.tokens);
  answer.add(delta, tokens, id, event.answer);
  std::string text = writer->push(event.answer, delta, tokens);
  if (!ends)
    return text;

  --open;
  if (!event.result->ok()) {
    const Status status = event.result->status();
    failure =
        ApiError{status.getCode() == StatusCode::InvalidArgument ? 400 : 500,
                 status.message()};
    return text;
  }
  const GenerateResult &result = **event.result;
  answer.ending.reason = result.finishReason;
  answer.ending.stopString = result.stopString;
  Usage &usage = answer.ending.usage;
  usage.promptTokens = static_cast<int64_t>(result.promptIds.size());
  usage.cachedTokens = result.reusedTokens;
  usage.answerTokens = static_cast<int64_t>(result.ids.size());
  usage.draftedTokens = result.draftedTokens;
  usage.acceptedTokens = result.acceptedTokens;
  usage.promptSeconds = result.embedSeconds + result.prefillSeconds;
  usage.answerSeconds = result.decodeSeconds;
  if (result.finishReason == "cancelled" && loop.stopping())
    failure = stoppingError();
  return text + writer->end(event.answer, answer);
}

std::optional<Json> Exchange::finish(const std::function<bool()> &gone,
                                     std::optional<ApiError> &error) {
  while (open > 0) {
    std::deque<Event> events = takeEvents();
    for (Event &event : events)
      takeEvent(event);
    if (open > 0 && gone()) {
      abandon();
      return std::nullopt;
    }
  }
  error = failure;
  if (failure)
    return std::nullopt;
  return writer->whole(gathered);
}

std::string Exchange::next(bool &done) {
  std::string text;
  if (!begun)
    text = writer->begin(promptTokens);
  // What begins a stream does not wait for the first token.
  if (std::exchange(begun, true) || text.empty()) {
    if (pending.empty())
      pending = takeEvents();
    for (; !pending.empty() && text.size() < mostJoined; pending.pop_front())
      text += takeEvent(pending.front());
  }
  done = open == 0;
  if (done)
    text += failure ? writer->fail(*failure) : writer->close(gathered);
  return text;
}

} // namespace lapidary::serve
