// What the server counts, in Prometheus' text form. Where llama-server has a
// metric of that meaning, the name is its own (`llamacpp:`), so that dashboards
// made for it work; the rest begins with `lapidary:`.
#pragma once

#include "runtime/model/Generator.h"

#include <mutex>
#include <string>

namespace lapidary::serve {

/// Safe to use from several threads at once.
class Metrics {
public:
  /// An answer that has ended.
  void countAnswer(const GenerateResult &result);
  /// A step with so many sequences in it.
  void countStep(size_t sequences);
  void countRefused();
  void countFailed();
  void countCancelled();

  /// What is true now is given.
  std::string print(size_t processing, size_t waiting) const;

private:
  struct Counts {
    uint64_t promptTokens = 0, cachedTokens = 0, answerTokens = 0;
    double promptSeconds = 0, answerSeconds = 0;
    uint64_t steps = 0, busy = 0, longest = 0;
    uint64_t drafted = 0, accepted = 0;
    uint64_t answers = 0, refused = 0, failed = 0, cancelled = 0;
  };

  mutable std::mutex mutex;
  Counts counts;
};

} // namespace lapidary::serve
