// Many answers at once: requests wait for a sequence, read their prompts chunk
// by chunk beside the answers of others, and leave when they are done.
#pragma once

#include "runtime/model/Generator.h"
#include "runtime/model/Speculation.h"
#include "runtime/model/Timer.h"

#include <deque>
#include <memory>

namespace lapidary {

/// Used by one thread at a time, the one that uses the engine.
class Scheduler {
public:
  struct Request {
    /// What it points to must live until `onDone`. Taken as whole.
    GenerateInput input;
    GenerateOptions options;
    /// Called once, from `step` or `cancelAll`.
    std::function<void(Result<GenerateResult>)> onDone;
  };

  /// Makes all sequences that the engine may have.
  static Result<std::unique_ptr<Scheduler>> create(Engine &engine,
                                                   const Tokenizer &tokenizer);

  /// Requests are begun in the order they come.
  void submit(std::unique_ptr<Request> request) {
    waiting.push_back(std::move(request));
  }
  bool idle() const { return waiting.empty() && active() == 0; }
  size_t active() const;
  /// Whether the next request would begin at once.
  bool hasRoom() const { return waiting.empty() && active() < slots.size(); }

  /// Begins what can begin and runs one step for all active requests. A
  /// request's own error goes to its `onDone`. An error of the step, a
  /// cancellation by the engine's flag for one, comes back and leaves all
  /// requests as they were.
  Status step();
  /// Ends all requests with what they have so far.
  void cancelAll();

private:
  struct Slot {
    std::unique_ptr<Sequence> sequence;
    /// All of it belongs to the request at hand, if there is one.
    std::unique_ptr<Request> request;
    std::unique_ptr<Answer> answer;
    EmbeddedPrompt prompt;
    std::optional<PromptFeed> feed;
    /// What it decodes next, once the prompt is read.
    Lane lane;
    double started = 0;
    /// Of the request among all that were begun.
    uint64_t number = 0;
  };

  Scheduler(Engine &engine, const Tokenizer &tokenizer)
      : engine(engine), tokenizer(tokenizer) {}
  void begin(std::unique_ptr<Request> request);
  Status prepare(Slot &slot);
  Slot &chooseSlot(const GenerateInput &input);
  bool addWork(Slot &slot, int64_t &room);
  Status proposeDrafts();
  Status collectWork();
  void takeResult(Slot &slot, const Work &work);
  void finish(Slot &slot, const char *reason);
  void fail(Slot &slot, const Status &status);

  Engine &engine;
  const Tokenizer &tokenizer;
  Timer clock;
  std::vector<Slot> slots;
  std::deque<std::unique_ptr<Request>> waiting;
  uint64_t begun = 0;
  std::vector<Work> works;
  /// The slot of each work.
  std::vector<Slot *> workers;
  /// A vision block found no room beside the answers: prompts go first.
  bool promptsFirst = false;
};

} // namespace lapidary
