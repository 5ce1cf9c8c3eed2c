// How many drafts a step gets is chosen anew each time: as many as make the
// expected tokens a second most, by what steps and drafts took and how often
// drafts were right; none is a choice.
#include "runtime/model/Speculation.h"

#include "runtime/core/Text.h"
#include "runtime/model/Timer.h"

#include <algorithm>
#include <new>

namespace lapidary {
namespace {

/// Steps until drafting is tried again where it was not worth it; each trial
/// that changes nothing doubles them.
constexpr int64_t leastPatience = 16, mostPatience = 1024;
/// Steps with drafts until one without is taken.
constexpr int64_t mostPlainPatience = 64;
/// First drafts that are right less often are no reason to look further.
constexpr double hopeless = 0.35;
/// To measure a size; drafts that end an answer make smaller steps.
constexpr int32_t mostTrials = 3;
/// Expected gains below this are noise.
constexpr double leastGain = 1.02;

} // namespace

Work Lane::work() const {
  Work work;
  work.sequence = sequence;
  work.tokens = tokens;
  work.generated = true;
  work.logitRows = static_cast<int64_t>(tokens.size());
  work.reach = answer->reach();
  return work;
}

void Speculation::keepHidden(Lane &lane, const Work &work, size_t row) {
  if (lane.draft == 0 || drafter->isFree())
    return;
  const auto width =
      static_cast<size_t>(engine.bundle().program().model()->hidden());
  std::span<const float> hidden = work.hidden.subspan(row * width, width);
  lane.hidden.assign(hidden.begin(), hidden.end());
}

Result<bool> Speculation::begin(Lane &lane, const Work &work) {
  keepHidden(lane, work, work.tokens.size() - 1);
  lane.patience = leastPatience;
  bool full = lane.sequence->position() >= engine.memoryPlan().context;
  std::optional<int32_t> token =
      LAPIDARY_TRY(lane.answer->next(work.scores(0), full));
  lane.tokens.assign(1, lane.answer->result().ids.back());
  return token.has_value();
}

Status Speculation::step(std::span<Work> works) {
  int64_t tokens = 0;
  bool answers = true;
  for (const Work &work : works) {
    tokens += static_cast<int64_t>(work.tokens.size());
    answers &= work.generated;
  }
  Timer timer;
  LAPIDARY_TRY(engine.step(works));
  // A prompt's step is another thing.
  if (answers)
    costs.add(tokens, timer.seconds());
  return {};
}

Result<bool> Speculation::accept(Lane &lane, const Work &work) {
  const auto drafted = static_cast<int64_t>(lane.tokens.size()) - 1;
  const int64_t before =
      lane.sequence->position() - static_cast<int64_t>(lane.tokens.size());
  GenerateResult &result = lane.answer->result();
  ++result.steps;
  result.draftedTokens += drafted;
  std::optional<int32_t> next;
  int64_t row = 0;
  while (true) {
    bool full = before + row + 1 >= engine.memoryPlan().context;
    next = LAPIDARY_TRY(lane.answer->next(work.scores(row), full));
    // One that ends the answer is right too.
    bool right = row < drafted &&
                 result.ids.back() == lane.tokens[static_cast<size_t>(row) + 1];
    result.acceptedTokens += right;
    if (!right || !next) {
      if (drafted > 0) {
        lane.acceptance.add(drafted, row + right);
        acceptance.add(drafted, row + right);
      }
      break;
    }
    ++row;
  }
  if (row < drafted &&
      lane.sequence->goBack(before + row + 1) != before + row + 1)
    return internalError("a sequence cannot go back to before its drafts");
  keepHidden(lane, work, static_cast<size_t>(row));
  lane.tokens.assign(1, result.ids.back());
  return next.has_value();
}

/// Drafts that may stand behind the lane's token.
int64_t Speculation::limit(const Lane &lane, int64_t room) const {
  int64_t most = lane.draft == draftAuto ? mostAutoDrafts : lane.draft;
  most =
      std::min({most, room, engine.memoryPlan().drafts,
                engine.memoryPlan().context - lane.sequence->position() - 1});
  if (lane.maxTokens > 0)
    // The step itself chooses one more.
    most = std::min(
        most, lane.maxTokens -
                  static_cast<int64_t>(lane.answer->result().ids.size()) - 1);
  return std::max<int64_t>(most, 0);
}

/// Drafts go, one after the other, where they are most likely to be right; how
/// many of them are worth it is what is tried out.
void Speculation::maximizeRate(std::span<Lane *const> lanes,
                               std::span<const int64_t> limits, int64_t room,
                               std::vector<int64_t> &widths) {
  const auto count = static_cast<int64_t>(lanes.size());
  // Of each lane's next draft, that it and all before it are right.
  std::vector<double> chances(lanes.size());
  for (size_t lane = 0; lane < lanes.size(); ++lane)
    chances[lane] = lanes[lane]->acceptance.rate(0, &acceptance);
  std::vector<int64_t> tried(lanes.size(), 0);
  double expected = static_cast<double>(count);
  double best = expected / costs.seconds(count) * leastGain;
  for (int64_t added = 1; added <= room; ++added) {
    size_t chosen = lanes.size();
    for (size_t lane = 0; lane < lanes.size(); ++lane)
      if (tried[lane] < limits[lane] &&
          (chosen == lanes.size() || chances[lane] > chances[chosen]))
        chosen = lane;
    if (chosen == lanes.size())
      return;
    expected += chances[chosen];
    ++tried[chosen];
    chances[chosen] *= lanes[chosen]->acceptance.rate(
        static_cast<size_t>(tried[chosen]), &acceptance);
    const auto rounds = static_cast<double>(*std::ranges::max_element(tried));
    double seconds = costs.seconds(count + added) +
                     (drafter->isFree() ? 0 : rounds * draftSeconds);
    if (expected / seconds > best) {
      best = expected / seconds;
      widths = tried;
    }
  }
}

void Speculation::chooseWidths(std::span<Lane *const> lanes,
                               std::span<const int64_t> limits, int64_t room,
                               bool alone, std::vector<int64_t> &widths) {
  widths.assign(lanes.size(), 0);
  std::vector<Lane *> open;
  std::vector<int64_t> openLimits, openWidths;
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    if (lanes[lane]->draft == draftAuto) {
      open.push_back(lanes[lane]);
      openLimits.push_back(limits[lane]);
      continue;
    }
    // Who asks for a number gets it.
    widths[lane] = std::min(limits[lane], room);
    room -= widths[lane];
  }
  if (open.empty())
    return;
  chooseBest(open, openLimits, room, alone && open.size() == lanes.size(),
             openWidths);
  for (size_t lane = 0, next = 0; lane < lanes.size(); ++lane)
    if (lanes[lane]->draft == draftAuto)
      widths[lane] = openWidths[next++];
}

void Speculation::chooseBest(std::span<Lane *const> lanes,
                             std::span<const int64_t> limits, int64_t room,
                             bool alone, std::vector<int64_t> &widths) {
  const auto count = static_cast<int64_t>(lanes.size());
  widths.assign(lanes.size(), 0);
  // Steps find out what steps of some sizes take, as long as there is a chance
  // that it matters.
  for (int64_t size : {int64_t(1), int64_t(2), int64_t(4), int64_t(8)}) {
    if (costs.knows(count * size)) {
      explored.erase(count * size);
      continue;
    }
    if (int64_t each = size - 1;
        alone && (size == 1 || acceptance.rate(0, nullptr) > hopeless) &&
        count * each <= room &&
        std::ranges::all_of(limits,
                            [&](int64_t most) { return most >= each; }) &&
        explored[count * size]++ < mostTrials) {
      std::ranges::fill(widths, each);
      return;
    }
  }
  if (!drafter->isFree() && !draftsMeasured) {
    for (size_t lane = 0; lane < lanes.size() && room > 0; ++lane, --room)
      widths[lane] = std::min<int64_t>(limits[lane], 1);
    return;
  }
  maximizeRate(lanes, limits, room, widths);
  // Only a step without drafts tells whether these are still worth it.
  if (std::ranges::all_of(widths, [](int64_t width) { return width == 0; })) {
    sincePlain = 0;
    plainPatience = leastPlainPatience;
  } else if (++sincePlain > plainPatience) {
    sincePlain = 0;
    plainPatience = std::min(2 * plainPatience, mostPlainPatience);
    std::ranges::fill(widths, 0);
    return;
  }
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    Lane &own = *lanes[lane];
    if (widths[lane] > 0) {
      own.idle = 0;
      own.patience = leastPatience;
    } else if (++own.idle >= own.patience && limits[lane] > 0) {
      // The text may have become one that is easy to guess.
      widths[lane] = std::min<int64_t>(limits[lane], 2);
      own.idle = 0;
      own.patience = std::min(2 * own.patience, mostPatience);
    }
  }
}

Status Speculation::draft(std::span<Lane *const> lanes,
                          std::span<const int64_t> widths) {
  std::vector<Draft> drafts;
  std::vector<Lane *> owners;
  for (size_t lane = 0; lane < lanes.size(); ++lane)
    if (widths[lane] > 0) {
      owners.push_back(lanes[lane]);
      drafts.push_back({.sequence = lanes[lane]->sequence,
                        .token = lanes[lane]->tokens.front(),
                        .hidden = lanes[lane]->hidden,
                        .count = widths[lane]});
    }
  if (drafts.empty())
    return {};
  Timer timer;
  LAPIDARY_TRY(drafter->draft(drafts));
  size_t rounds = 0;
  for (size_t index = 0; index < drafts.size(); ++index) {
    const std::vector<int32_t> &tokens = drafts[index].tokens;
    rounds = std::max(rounds, tokens.size());
    owners[index]->tokens.insert(owners[index]->tokens.end(), tokens.begin(),
                                 tokens.end());
  }
  if (rounds > 0) {
    constexpr double newShare = 0.1;
    double each = timer.seconds() / static_cast<double>(rounds);
    draftSeconds +=
        draftsMeasured
            ? newShare * (std::min(each, 2 * draftSeconds) - draftSeconds)
            : each;
    draftsMeasured = true;
  }
  return {};
}

Status Speculation::propose(std::span<Lane *const> lanes, int64_t room,
                            bool alone) {
  try {
    std::vector<Lane *> drafting;
    std::vector<int64_t> limits, widths;
    for (Lane *lane : lanes) {
      lane->tokens.resize(1);
      if (int64_t most = limit(*lane, room); most > 0) {
        drafting.push_back(lane);
        limits.push_back(most);
      }
    }
    if (drafting.empty())
      return {};
    if (!drafter->isFree()) {
      chooseWidths(drafting, limits, room, alone, widths);
      return draft(drafting, widths);
    }
    // Guesses that cost nothing are made first: there may be none.
    LAPIDARY_TRY(draft(drafting, limits));
    std::vector<Lane *> guessed;
    std::vector<int64_t> found;
    for (Lane *lane : drafting)
      if (lane->tokens.size() > 1) {
        guessed.push_back(lane);
        found.push_back(static_cast<int64_t>(lane->tokens.size()) - 1);
      }
    if (guessed.empty())
      return {};
    chooseWidths(guessed, found, room, alone, widths);
    for (size_t index = 0; index < guessed.size(); ++index)
      guessed[index]->tokens.resize(static_cast<size_t>(widths[index]) + 1);
  } catch (const std::bad_alloc &) {
    return outOfMemory("no memory for drafts");
  }
  return {};
}

} // namespace lapidary
