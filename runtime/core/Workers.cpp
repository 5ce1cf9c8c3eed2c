// One atomic word a thread says what is left of its share; the owner takes from
// the front of it, the others from the back.
#include "runtime/core/Workers.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>
#include <utility>
#if defined(__linux__)
#include <sched.h>
#endif

namespace lapidary {
namespace {

using Clock = std::chrono::steady_clock;

/// Begin and end of a range have 16 bits.
constexpr int64_t mostUnits = UINT16_MAX;
/// How long a thread looks for work before it sleeps: longer than what lies
/// between two tokens, sampling among it; an idle session costs nothing after.
constexpr auto lookFor = std::chrono::microseconds(1000);
/// With fewer processors than threads, looking takes time from who works.
constexpr auto lookCrowded = std::chrono::microseconds(20);
/// How long the caller looks for the others' end before it sleeps.
constexpr auto lookForEnd = std::chrono::microseconds(200);
/// Looks between two looks at the clock, which costs as much as some of them.
constexpr int looks = 32;

constexpr uint64_t pack(uint32_t number, uint32_t begin, uint32_t end) {
  return uint64_t(number) << 32 | uint64_t(begin) << 16 | end;
}

/// Tells the processor that this is a loop of waiting.
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#elif defined(__riscv)
  asm volatile(".insn i 0x0F, 0, x0, x0, 0x010" ::: "memory"); // pause
#endif
}

/// Looks for `done` for that long; says whether it came.
template <typename Condition>
bool lookUntil(const Condition &done, Clock::duration time, bool crowded) {
  if (done())
    return true;
  Clock::time_point end = Clock::now() + time;
  do {
    for (int look = 0; look < looks; ++look) {
      relax();
      if (done())
        return true;
    }
    if (crowded)
      std::this_thread::yield();
  } while (Clock::now() < end);
  return false;
}

} // namespace

Result<std::unique_ptr<Workers>> Workers::create(int32_t count) {
  if (count < 1)
    return invalidArgument(
        concat("a team has 1 thread at least, but ", count, " are asked for"));
  std::unique_ptr<Workers> workers(new (std::nothrow) Workers());
  if (!workers)
    return outOfMemory("no memory for threads");
  workers->crowded = count > usableProcessors();
  try {
    workers->team = std::vector<Member>(static_cast<size_t>(count));
    for (int32_t worker = 1; worker < count; ++worker)
      workers->team[worker].thread =
          std::thread([team = workers.get(), worker] { team->serve(worker); });
  } catch (const std::bad_alloc &) {
    return outOfMemory(concat("no memory for ", count, " threads"));
  } catch (const std::system_error &error) {
    // The destructor ends those that did start.
    return outOfMemory(
        concat("the system does not give ", count, " threads: ", error.what()));
  }
  return workers;
}

Workers::~Workers() {
  stopping = true;
  ++number;
  for (Member &member : team) {
    member.signal.store(number);
    member.signal.notify_one();
  }
  for (Member &member : team)
    if (member.thread.joinable())
      member.thread.join();
}

void Workers::runLoop(int64_t items, int64_t grain, const void *context,
                      Call call) {
  int64_t unit = (items - 1) / mostUnits + 1, units = (items - 1) / unit + 1;
  auto least =
      static_cast<uint32_t>(std::min<int64_t>((grain - 1) / unit + 1, units));
  loop = {context, call, items, unit};
  this->grain.store(least, std::memory_order_relaxed);
  // No more threads than have something to do.
  auto shares = static_cast<int64_t>(std::clamp<uint64_t>(
      static_cast<uint64_t>(units) / least, 1, team.size()));
  failed.store(false, std::memory_order_relaxed);
  unitsLeft.store(static_cast<uint32_t>(units), std::memory_order_relaxed);
  ++number;
  for (int64_t worker = 0; worker < shares; ++worker)
    team[worker].range.store(
        pack(number, static_cast<uint32_t>(units * worker / shares),
             static_cast<uint32_t>(units * (worker + 1) / shares)),
        std::memory_order_release);
  for (int64_t worker = 1; worker < shares; ++worker) {
    // Either this sees that the thread sleeps, or the thread sees the signal.
    team[worker].signal.store(number, std::memory_order_seq_cst);
    if (team[worker].asleep.load(std::memory_order_seq_cst))
      team[worker].signal.notify_one();
  }
  work(0);
  waitForOthers();
  if (failed.load(std::memory_order_relaxed))
    std::rethrow_exception(std::exchange(failure, nullptr));
}

void Workers::serve(int32_t worker) {
  uint32_t seen = 0;
  while (waitForSignal(team[worker], seen))
    work(worker);
}

void Workers::work(int32_t worker) {
  while (takeShare(worker, worker)) {
  }
  auto size = static_cast<int32_t>(team.size());
  for (int32_t step = 1; step < size;) {
    int32_t victim =
        worker + step < size ? worker + step : worker + step - size;
    if (!takeShare(worker, victim))
      ++step;
  }
}

/// Half of what is left, so that calls are few and the last ones short.
bool Workers::takeShare(int32_t worker, int32_t victim) {
  std::atomic<uint64_t> &range = team[victim].range;
  uint64_t seen = range.load(std::memory_order_acquire);
  for (;;) {
    uint32_t begin = seen >> 16 & UINT16_MAX, end = seen & UINT16_MAX;
    if (begin == end)
      return false;
    // A loop does not end while some of it is left: if this is another's grain,
    // then the range is not what was seen either.
    uint32_t left = end - begin,
             part = std::min(left,
                             std::max((left + 1) / 2,
                                      grain.load(std::memory_order_relaxed)));
    auto number = static_cast<uint32_t>(seen >> 32);
    bool own = worker == victim;
    uint64_t rest =
        own ? pack(number, begin + part, end) : pack(number, begin, end - part);
    if (!range.compare_exchange_weak(seen, rest, std::memory_order_acq_rel,
                                     std::memory_order_acquire))
      continue;
    perform(worker, own ? begin : end - part, part);
    return true;
  }
}

void Workers::perform(int32_t worker, uint32_t begin, uint32_t units) {
  if (!failed.load(std::memory_order_relaxed)) {
    try {
      loop.call(loop.context, worker, begin * loop.unit,
                std::min((int64_t(begin) + units) * loop.unit, loop.items));
    } catch (...) {
      std::lock_guard lock(failureMutex);
      if (!failure)
        failure = std::current_exception();
      failed.store(true, std::memory_order_relaxed);
    }
  }
  // The caller may be gone after the last of these, so that what it needs to
  // be woken is the team's own.
  if (unitsLeft.fetch_sub(units, std::memory_order_seq_cst) == units &&
      callerAsleep.load(std::memory_order_seq_cst))
    unitsLeft.notify_one();
}

bool Workers::waitForSignal(Member &member, uint32_t &seen) {
  auto signalled = [&] {
    return member.signal.load(std::memory_order_acquire) != seen;
  };
  if (!lookUntil(signalled, crowded ? lookCrowded : lookFor, crowded)) {
    member.asleep.store(true, std::memory_order_seq_cst);
    member.signal.wait(seen, std::memory_order_seq_cst);
    member.asleep.store(false, std::memory_order_relaxed);
  }
  seen = member.signal.load(std::memory_order_acquire);
  return !stopping.load(std::memory_order_relaxed);
}

void Workers::waitForOthers() {
  auto done = [&] { return unitsLeft.load(std::memory_order_acquire) == 0; };
  if (lookUntil(done, crowded ? lookCrowded : lookForEnd, crowded))
    return;
  callerAsleep.store(true, std::memory_order_seq_cst);
  for (uint32_t left; (left = unitsLeft.load(std::memory_order_seq_cst)) != 0;)
    unitsLeft.wait(left, std::memory_order_seq_cst);
  callerAsleep.store(false, std::memory_order_relaxed);
}

int32_t usableProcessors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()));
}

} // namespace lapidary
