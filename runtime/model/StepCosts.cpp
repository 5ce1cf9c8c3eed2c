// Moving means: machines slow down and contexts grow.
#include "runtime/model/StepCosts.h"

#include <algorithm>

namespace lapidary {
namespace {

/// Whatever disturbs a step makes it slower, so a faster one counts more.
constexpr double newShare = 0.1, fasterShare = 0.3, outlier = 2;
/// Of trials at each step, and what a prior is worth in trials.
constexpr double decay = 0.9, priorTrials = 3;
/// Where nothing is known.
constexpr double firstRate = 0.6;
/// A size is known after so many measurements.
constexpr int32_t enoughSamples = 2;
/// Steps after which a size is to be measured anew: contexts have grown or are
/// others, and machines are busier or less.
constexpr int64_t memory = 1024;

} // namespace

void StepCosts::add(int64_t tokens, double seconds) {
  if (tokens < 1 || tokens > most)
    return;
  Entry &entry = entries[static_cast<size_t>(tokens)];
  ++steps;
  if (!isKnown(entry) && entry.samples >= enoughSamples)
    entry.samples = 0;
  entry.last = steps;
  if (entry.samples < enoughSamples) {
    // Whatever disturbs a step makes it slower.
    entry.seconds =
        entry.samples == 0 ? seconds : std::min(entry.seconds, seconds);
    ++entry.samples;
    return;
  }
  double share = seconds < entry.seconds ? fasterShare : newShare;
  entry.seconds +=
      share * (std::min(seconds, outlier * entry.seconds) - entry.seconds);
}

bool StepCosts::isKnown(const Entry &entry) const {
  return entry.samples >= enoughSamples && steps - entry.last <= memory;
}

bool StepCosts::knows(int64_t tokens) const {
  for (int64_t near = tokens - tokens / 4; near <= tokens + tokens / 4; ++near)
    if (near >= 1 && near <= most &&
        isKnown(entries[static_cast<size_t>(near)]))
      return true;
  return false;
}

double StepCosts::seconds(int64_t tokens) const {
  int64_t below = 0, beforeBelow = 0, above = 0;
  for (int64_t size = 1; size <= most && above == 0; ++size) {
    if (entries[static_cast<size_t>(size)].samples == 0)
      continue;
    if (size > tokens) {
      above = size;
    } else {
      beforeBelow = below;
      below = size;
    }
  }
  auto at = [&](int64_t size) {
    return entries[static_cast<size_t>(size)].seconds;
  };
  if (below == 0)
    return above == 0 ? 0 : at(above);
  int64_t first = above == 0 ? beforeBelow : below,
          second = above == 0 ? below : above;
  if (first == 0)
    return at(second);
  double slope = (at(second) - at(first)) / static_cast<double>(second - first);
  return at(below) + std::max(slope, 0.0) * static_cast<double>(tokens - below);
}

void Acceptance::add(int64_t drafted, int64_t accepted) {
  for (Entry &entry : entries) {
    entry.tried *= decay;
    entry.right *= decay;
  }
  for (int64_t depth = 0; depth < std::min<int64_t>(drafted, most); ++depth) {
    entries[static_cast<size_t>(depth)].tried += 1;
    entries[static_cast<size_t>(depth)].right += depth < accepted;
    // What follows a wrong one was not tried.
    if (depth >= accepted)
      break;
  }
}

double Acceptance::rate(size_t depth, const Acceptance *prior) const {
  depth = std::min(depth, most - 1);
  double expected = prior ? prior->rate(depth, nullptr) : firstRate;
  return (entries[depth].right + priorTrials * expected) /
         (entries[depth].tried + priorTrials);
}

} // namespace lapidary
