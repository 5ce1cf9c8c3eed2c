// One request's way through the engine: its answers run as tasks, what they
// send comes back through a queue to the thread of the client's connection,
// which sorts it and writes the reply.
#pragma once

#include "tools/serve/ServedModel.h"

namespace lapidary::serve {

/// Bytes that all requests at hand share: bodies, and media that were cut.
class MemoryBudget {
public:
  explicit MemoryBudget(size_t bytes) : left(static_cast<int64_t>(bytes)) {}

  /// What a request has of it; given back with the object.
  class Lease {
  public:
    explicit Lease(MemoryBudget &budget) : budget(budget) {}
    ~Lease() { budget.left += static_cast<int64_t>(taken); }
    Lease(const Lease &) = delete;
    Lease &operator=(const Lease &) = delete;
    /// False where there is not that much.
    bool take(size_t bytes);

  private:
    MemoryBudget &budget;
    size_t taken = 0;
  };

private:
  std::atomic<int64_t> left;
};

class Exchange {
public:
  /// Everything is ready to be submitted, or `problems` says why not. The lease
  /// is held as long as the engine may use the prompts.
  static std::shared_ptr<Exchange>
  create(const ServedModel &model, EngineLoop &loop, const ChatRequest &request,
         const RequestLimits &limits, double maxSeconds,
         std::shared_ptr<MemoryBudget::Lease> lease, Problems &problems);

  EngineLoop::Submitted submit();

  /// Runs to the end and gives the reply; nothing where the client has gone.
  /// `gone` is asked ten times a second.
  std::optional<Json> finish(const std::function<bool()> &gone,
                             std::optional<ApiError> &error);
  /// The next piece of the stream; `done` after the last one. Empty pieces
  /// (nothing for a tenth of a second) mean nothing.
  std::string next(bool &done);
  /// Nobody waits for it any more.
  void abandon();

private:
  struct Event {
    size_t answer = 0;
    std::string text;
    int32_t control = -1;
    std::vector<TokenChoice> tokens;
    std::optional<Result<GenerateResult>> result;
  };
  /// What the engine's thread shares with this one.
  struct Channel {
    std::mutex mutex;
    std::condition_variable arrived;
    std::deque<Event> events;
    std::vector<ServedPrompt> prompts;
    std::shared_ptr<MemoryBudget::Lease> lease;
  };

  Exchange(const ServedModel &model, EngineLoop &loop)
      : model(model), loop(loop) {}
  std::deque<Event> takeEvents();
  /// Gives what the stream shows of it.
  std::string takeEvent(Event &event);
  void checkTime();

  const ServedModel &model;
  EngineLoop &loop;
  Api api = Api::Chat;
  bool logprobs = false;
  std::string id;
  std::unique_ptr<ReplyWriter> writer;
  std::shared_ptr<Channel> channel;
  std::vector<std::shared_ptr<Task>> tasks;
  /// By answer.
  std::vector<std::unique_ptr<AnswerParser>> parsers;
  std::vector<GatheredAnswer> gathered;
  size_t open = 0;
  /// Taken from the channel, not yet in the stream.
  std::deque<Event> pending;
  int64_t promptTokens = 0;
  std::optional<ApiError> failure;
  bool begun = false;
  std::chrono::steady_clock::time_point deadline;
};

} // namespace lapidary::serve
