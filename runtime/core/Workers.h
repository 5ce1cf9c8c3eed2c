// Threads that share loops whose iterations take as little as a fraction of a
// millisecond, hundreds of times a decoded token: they look for the next loop
// for a while before they sleep, so that none is lost in waking them.
#pragma once

#include "runtime/core/Status.h"

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace lapidary {

/// A team of threads, one of which is whoever calls `run`. Each gets a fixed
/// share of a loop, the same one each time, so that what it touched before is
/// near it; who is done takes of what others have not begun. A thread that the
/// system does not let run holds up only what it has begun.
class Workers {
public:
  /// `count` from 1 on; starts one thread less than that.
  static Result<std::unique_ptr<Workers>> create(int32_t count);
  ~Workers();
  Workers(const Workers &) = delete;
  Workers &operator=(const Workers &) = delete;

  int32_t count() const { return static_cast<int32_t>(team.size()); }

  /// Calls `body(worker, begin, end)` for ranges that are `[0, items)` without
  /// overlap, of at least about `grain` items, and returns when all are done.
  /// `worker`, below `count`, is no other running call's. A loop of less than
  /// twice `grain`, which is above 0, is one call on the caller's thread. If
  /// calls throw, one of their exceptions comes out here, and ranges that were
  /// not begun are left out. One `run` at a time.
  template <typename Body>
  void run(int64_t items, int64_t grain, const Body &body) {
    if (items <= 0)
      return;
    if (team.size() == 1 || items / 2 < grain)
      return body(0, int64_t(0), items);
    runLoop(
        items, grain, &body,
        [](const void *context, int32_t worker, int64_t begin, int64_t end) {
          (*static_cast<const Body *>(context))(worker, begin, end);
        });
  }

private:
  using Call = void (*)(const void *context, int32_t worker, int64_t begin,
                        int64_t end);
  /// What one thread has left of the loop. On cache lines of its own, two of
  /// them, because processors fetch pairs.
  struct alignas(128) Member {
    /// The loop's number in the upper half, so that a slow thread's view of an
    /// older loop never fits; below it begin and end in units, 16 bits each.
    std::atomic<uint64_t> range = 0;
    /// The number of the last loop that this thread was given a share of.
    std::atomic<uint32_t> signal = 0;
    std::atomic<bool> asleep = false;
    std::thread thread;
  };
  struct Loop {
    const void *context = nullptr;
    Call call = nullptr;
    int64_t items = 0;
    /// Items a unit.
    int64_t unit = 1;
  };

  Workers() = default;
  void runLoop(int64_t items, int64_t grain, const void *context, Call call);
  void serve(int32_t worker);
  void work(int32_t worker);
  bool takeShare(int32_t worker, int32_t victim);
  void perform(int32_t worker, uint32_t begin, uint32_t units);
  bool waitForSignal(Member &member, uint32_t &seen);
  void waitForOthers();

  std::vector<Member> team;
  /// Written by `run` before the ranges are, read by those who took of one.
  Loop loop;
  uint32_t number = 0;
  /// Units that a call has at least.
  std::atomic<uint32_t> grain = 1;
  /// More threads than processors: who waits gives its processor up.
  bool crowded = false;
  alignas(128) std::atomic<uint32_t> unitsLeft = 0;
  std::atomic<bool> callerAsleep = false, stopping = false, failed = false;
  std::mutex failureMutex;
  std::exception_ptr failure;
};

/// Processors that this process may use.
int32_t usableProcessors();

} // namespace lapidary
