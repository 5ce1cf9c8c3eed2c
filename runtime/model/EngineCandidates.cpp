// Candidates: the likeliest tokens of each row, which a GPU chooses where all
// that a step's works want are these, so that the logits stay where they are.
#include "runtime/core/Text.h"
#include "runtime/model/Engine.h"

#include <algorithm>
#include <cmath>

namespace lapidary {

TokenScores Work::scores(int64_t row) const {
  const auto rows = static_cast<size_t>(std::max<int64_t>(logitRows, 1)),
             index = static_cast<size_t>(row);
  if (topTokens.empty()) {
    const size_t width = logits.size() / rows;
    return {logits.subspan(index * width, width)};
  }
  const size_t width = topTokens.size() / rows;
  return {topLogits.subspan(index * width, width),
          topTokens.subspan(index * width, width)};
}

Engine::Wanted Engine::choose(std::span<const Work> works) const {
  if (candidateCount == 0)
    return Wanted::Logits;
  if (checking)
    return Wanted::Both;
  return std::ranges::all_of(works,
                             [&](const Work &work) {
                               return work.logitRows == 0 ||
                                      (work.reach > 0 &&
                                       work.reach <= candidateCount);
                             })
             ? Wanted::Candidates
             : Wanted::Logits;
}

Status Engine::run(const Entry &entry, Wanted wanted) {
  return runner->run(entry.index, steps, entry.inputs,
                     entry.outputs[size_t(wanted)], cancel);
}

/// Gives a work its rows of the buffers, from `firstRow` on.
void Engine::handOut(Work &work, size_t firstRow, Wanted wanted) const {
  const auto vocabulary =
                 static_cast<size_t>(file->program().model()->vocabulary()),
             count = static_cast<size_t>(candidateCount),
             rows = static_cast<size_t>(work.logitRows);
  work.logits = {};
  work.topLogits = {};
  work.topTokens = {};
  if (wanted == Wanted::Candidates) {
    work.topLogits = {topLogitsBuffer.as<float>() + firstRow * count,
                      rows * count};
    work.topTokens = {topTokenBuffer.as<int32_t>() + firstRow * count,
                      rows * count};
  } else {
    work.logits = {logitsBuffer.as<float>() + firstRow * vocabulary,
                   rows * vocabulary};
  }
}

/// Of the first rows of the buffers.
Status Engine::checkCandidates(int64_t rows) const {
  const auto vocabulary =
                 static_cast<size_t>(file->program().model()->vocabulary()),
             count = static_cast<size_t>(candidateCount);
  std::vector<Candidate> best;
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    const std::span<const float> logits(
        logitsBuffer.as<float>() + row * vocabulary, vocabulary);
    // Wrong logits are the test's own matter.
    if (!checkFinite(logits).ok())
      continue;
    selectBest(logits, {}, count, best);
    std::ranges::sort(best, isBetter);
    for (size_t place = 0; place < best.size(); ++place) {
      const size_t at = row * count + place;
      const int32_t token = topTokenBuffer.as<int32_t>()[at];
      const float logit = topLogitsBuffer.as<float>()[at];
      if (token != best[place].id || logit != best[place].logit)
        return unsupported(concat(
            "the kernels that choose candidates (top_k) are wrong on ",
            runner->description(), ": in place ", place, " is token ", token,
            " with ", logit, ", expected ", best[place].id, " with ",
            best[place].logit,
            "; another version of the driver or --device cpu may do better"));
    }
  }
  return {};
}

} // namespace lapidary
