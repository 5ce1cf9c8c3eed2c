// What a device did and when, for `lapidary bench --profile`. Room for it is
// made beforehand, so that looking takes little from what is looked at.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lapidary {

struct Profile {
  /// One dispatch, from the thread that runs the entry point. Times are
  /// nanoseconds of a clock that never goes back.
  struct Dispatch {
    uint32_t entry, index;
    int64_t tokens, past, tiles, begin, end;
  };
  /// A part of a dispatch on one of the device's threads.
  struct Call {
    uint32_t entry, index;
    int64_t tokens, tileBegin, tileEnd, begin, end;
  };

  /// What a GPU was given at once. `dispatches` are its own: a large one is cut
  /// into several, and kernels with caches are one for each sequence.
  struct Submission {
    uint32_t entry;
    int64_t tokens;
    uint64_t dispatches, barriers;
  };

  /// Holds that many dispatches and, for each thread, eight times as many
  /// calls. Throws when there is no memory for them.
  Profile(size_t capacity, int32_t threads) : calls(threads) {
    dispatches.reserve(capacity);
    submissions.reserve(capacity);
    for (std::vector<Call> &each : calls)
      each.reserve(8 * capacity);
  }

  /// What does not fit is left out.
  template <typename Event>
  static void add(std::vector<Event> &events, const Event &event) {
    if (events.size() < events.capacity())
      events.push_back(event);
  }
  static int64_t now() {
    return std::chrono::nanoseconds(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  std::vector<Dispatch> dispatches;
  std::vector<Submission> submissions;
  /// By thread; each is written by its own.
  std::vector<std::vector<Call>> calls;
};

} // namespace lapidary
