// The one thread that uses the engine: takes answers to compute from a bounded
// queue and keeps the scheduler going.
#pragma once

#include "runtime/model/Scheduler.h"
#include "tools/serve/Metrics.h"

#include <condition_variable>
#include <thread>

namespace lapidary::serve {

/// An answer to compute.
struct Task {
  /// What it points to must live as long as the task.
  GenerateInput input;
  /// `cancel` is set by the loop.
  GenerateOptions options;
  /// Called once, from the engine's thread.
  std::function<void(Result<GenerateResult>)> onDone;
  /// See EngineLoop::cancel.
  std::atomic<bool> cancelled = false;
};

class EngineLoop {
public:
  /// `queue`: answers that may wait while others are worked on.
  static Result<std::unique_ptr<EngineLoop>>
  create(std::shared_ptr<const Bundle> bundle, const Tokenizer &tokenizer,
         const SessionOptions &session, size_t queue);
  /// Stops at once.
  ~EngineLoop();

  enum class Submitted : uint8_t { Yes, Full, Stopping };
  /// All of them or none.
  Submitted submit(const std::vector<std::shared_ptr<Task>> &tasks);
  /// Answers at once, those that wait included.
  size_t capacity() const;
  /// Whether that many more would be taken.
  bool hasRoom(size_t count) const;
  /// The task ends soon, with what it has.
  void cancel(Task &task);
  /// Takes no more; gives back when all is done, or cancelled after `seconds`.
  void drain(double seconds);
  bool stopping() const { return draining; }

  size_t processing() const { return active; }
  size_t waiting() const;
  /// Seconds until a place in the queue is likely free: 1 to 60.
  int retryAfter() const;

  const MemoryPlan &memoryPlan() const { return engine->memoryPlan(); }
  Metrics &metrics() { return counters; }

private:
  explicit EngineLoop(size_t queue) : mostWaiting(queue) {}
  void run();
  /// Moves what can begin to the scheduler, and drops what nobody waits for.
  void takeTasks(std::vector<std::shared_ptr<Task>> &dropped);
  void begin(std::shared_ptr<Task> task);

  const size_t mostWaiting;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Scheduler> scheduler;
  Metrics counters;
  mutable std::mutex mutex;
  std::condition_variable wake, quiet;
  std::deque<std::shared_ptr<Task>> queue;
  std::atomic<size_t> active = 0;
  std::atomic<bool> draining = false;
  /// Looked at by the engine between dispatches.
  std::atomic<bool> abort = false;
  bool ended = false;
  /// Why all tasks are being ended; used by the engine's thread only.
  Status failure;
  /// Of answers, a moving average.
  std::atomic<double> answerSeconds = 1;
  std::thread thread;
};

} // namespace lapidary::serve
