// Nothing is computed while the lock is held, and no callback is called.
#include "tools/serve/EngineLoop.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace lapidary::serve {

Result<std::unique_ptr<EngineLoop>>
EngineLoop::create(std::shared_ptr<const Bundle> bundle,
                   const Tokenizer &tokenizer, const SessionOptions &session,
                   size_t queue) {
  std::unique_ptr<EngineLoop> loop(new EngineLoop(queue));
  loop->engine = LAPIDARY_TRY(Engine::create(std::move(bundle), session));
  loop->engine->setCancelFlag(&loop->abort);
  loop->scheduler = LAPIDARY_TRY(Scheduler::create(*loop->engine, tokenizer));
  loop->thread = std::thread([object = loop.get()] { object->run(); });
  return loop;
}

EngineLoop::~EngineLoop() {
  drain(0);
  {
    const std::lock_guard lock(mutex);
    ended = true;
  }
  wake.notify_all();
  if (thread.joinable())
    thread.join();
}

size_t EngineLoop::capacity() const {
  return static_cast<size_t>(engine->memoryPlan().sequences) + mostWaiting;
}

bool EngineLoop::hasRoom(size_t count) const {
  const std::lock_guard lock(mutex);
  return active + queue.size() + count <= capacity();
}

size_t EngineLoop::waiting() const {
  const std::lock_guard lock(mutex);
  return queue.size();
}

int EngineLoop::retryAfter() const {
  const auto slots = static_cast<double>(engine->memoryPlan().sequences);
  return static_cast<int>(
      std::clamp(std::ceil(answerSeconds / slots), 1.0, 60.0));
}

EngineLoop::Submitted
EngineLoop::submit(const std::vector<std::shared_ptr<Task>> &tasks) {
  {
    const std::lock_guard lock(mutex);
    if (draining)
      return Submitted::Stopping;
    if (active + queue.size() + tasks.size() > capacity())
      return Submitted::Full;
    queue.insert(queue.end(), tasks.begin(), tasks.end());
  }
  wake.notify_one();
  return Submitted::Yes;
}

void EngineLoop::cancel(Task &task) {
  {
    const std::lock_guard lock(mutex);
    task.cancelled = true;
  }
  wake.notify_one();
}

void EngineLoop::drain(double seconds) {
  std::unique_lock lock(mutex);
  draining = true;
  wake.notify_one();
  const auto done = [this] { return queue.empty() && active == 0; };
  if (seconds > 0)
    quiet.wait_for(lock, std::chrono::duration<double>(seconds), done);
  abort = true;
  wake.notify_one();
  quiet.wait(lock, done);
}

void EngineLoop::begin(std::shared_ptr<Task> task) {
  auto request = std::make_unique<Scheduler::Request>();
  request->input = task->input;
  request->options = task->options;
  request->options.cancel = &task->cancelled;
  const auto started = std::chrono::steady_clock::now();
  request->onDone = [this, task, started](Result<GenerateResult> result) {
    const std::chrono::duration<double> took =
        std::chrono::steady_clock::now() - started;
    answerSeconds = 0.9 * answerSeconds + 0.1 * took.count();
    if (!failure.ok())
      result = failure;
    if (result.ok())
      counters.countAnswer(*result);
    else
      counters.countFailed();
    task->onDone(std::move(result));
  };
  scheduler->submit(std::move(request));
}

void EngineLoop::takeTasks(std::vector<std::shared_ptr<Task>> &dropped) {
  const auto slots = static_cast<size_t>(engine->memoryPlan().sequences);
  std::erase_if(queue, [&](const std::shared_ptr<Task> &task) {
    const bool gone = task->cancelled || abort;
    if (gone)
      dropped.push_back(task);
    return gone;
  });
  while (!queue.empty() && active < slots) {
    begin(std::move(queue.front()));
    queue.pop_front();
    ++active;
  }
}

void EngineLoop::run() {
  while (true) {
    std::vector<std::shared_ptr<Task>> dropped;
    {
      std::unique_lock lock(mutex);
      wake.wait(lock, [this] { return ended || active > 0 || !queue.empty(); });
      if (ended && active == 0 && queue.empty())
        return;
      takeTasks(dropped);
    }
    for (const std::shared_ptr<Task> &task : dropped) {
      GenerateResult result;
      result.finishReason = "cancelled";
      task->onDone(std::move(result));
    }
    if (active == 0) {
      quiet.notify_all();
      continue;
    }
    counters.countStep(active);
    const Status status = scheduler->step();
    if (!status.ok()) {
      if (status.getCode() != StatusCode::Cancelled) {
        std::fprintf(stderr, "lapidary: error: %s\n", status.message().c_str());
        failure = status;
      }
      scheduler->cancelAll();
      failure = {};
    } else if (abort) {
      scheduler->cancelAll();
    }
    {
      const std::lock_guard lock(mutex);
      active = scheduler->active();
    }
    quiet.notify_all();
  }
}

} // namespace lapidary::serve
