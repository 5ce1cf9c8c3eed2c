// A coarse grid over how much of the range is clipped at each end, then finer
// grids about the best; each candidate is judged after a least squares fit to
// the levels that it chooses.
#include "compiler/encoder/GroupFit.h"

#include <algorithm>
#include <cmath>

using namespace lapidary;

namespace {

struct Range {
  float lowest = 0, highest = 0;
  /// Sum of w |x|.
  float weighted = 0;
  /// Columns that count.
  float count = 0;
};

struct Best {
  int batch = 0, lane = 0;
  float error = INFINITY;
};

} // namespace

static Range findRange(const LaneColumns &columns) {
  Range range;
  for (size_t i = 0; i < columns.x.size(); ++i) {
    float x = columns.w[i] > 0 ? columns.x[i] : 0;
    bool first = range.count == 0 && columns.w[i] > 0;
    range.lowest = first || x < range.lowest ? x : range.lowest;
    range.highest = first || x > range.highest ? x : range.highest;
    range.weighted += columns.w[i] * std::fabs(x);
    range.count += columns.w[i] > 0;
  }
  return range;
}

static Best findBest(std::span<const LaneSums> sums) {
  Best best;
  for (size_t batch = 0; batch < sums.size(); ++batch)
    for (int lane = 0; lane < laneCount; ++lane)
      if (sums[batch].fitted[lane] < best.error)
        best = {static_cast<int>(batch), lane, sums[batch].fitted[lane]};
  return best;
}

GroupFit lapidary::refitLane(const LaneColumns &columns, bool offsets,
                             const LaneCandidates &candidates,
                             const LaneSums &sums, int lane) {
  GroupFit fit;
  double rr = sums.rr[lane], rq = sums.rq[lane], qq = sums.qq[lane];
  fit.slope = candidates.slope[lane];
  fit.qq = qq;
  fit.weight = columns.weight;
  if (!offsets) {
    double step = qq > 1e-30 ? rq / qq : 0;
    fit.slope += step;
    fit.error = rr - rq * step;
    return fit;
  }
  double r = sums.r[lane], q = sums.q[lane], w = columns.weight;
  fit.offset = candidates.offset[lane];
  fit.q = q;
  double determinant = qq * w - q * q;
  double slopeStep = qq > 1e-30 ? rq / qq : 0, offsetStep = 0;
  if (determinant > 1e-4 * qq * w) {
    double offsetMove = (r * qq - rq * q) / determinant;
    double moved = fit.offset + offsetMove;
    if (moved >= columns.lowestOffset && moved <= columns.highestOffset) {
      slopeStep = (rq * w - r * q) / determinant;
      offsetStep = offsetMove;
    }
  } else if (qq <= 1e-30 && w > 0) { // All at level 0.
    offsetStep = r / w;
  }
  double moved =
      std::clamp(fit.offset + offsetStep, double(columns.lowestOffset),
                 double(columns.highestOffset));
  offsetStep = moved - fit.offset;
  fit.offset = moved;
  fit.slope += slopeStep;
  fit.error = rr - 2 * (rq * slopeStep + r * offsetStep) +
              slopeStep * slopeStep * qq + 2 * slopeStep * offsetStep * q +
              offsetStep * offsetStep * w;
  return fit;
}

/// The smallest slope of a sign that clips nothing; 0 when no slope of this
/// sign means anything but 0.
static float cover(const CodeLevels &levels, const Range &range,
                   bool negative) {
  float low = negative ? -range.highest : range.lowest;
  float high = negative ? -range.lowest : range.highest;
  float slope = 0;
  if (levels.highest > 0 && high > 0)
    slope = high / levels.highest;
  if (levels.lowest < 0 && low < 0)
    slope = std::max(slope, low / levels.lowest);
  return slope;
}

static float getReach(const CodeLevels &levels) {
  return std::max(std::fabs(levels.lowest), std::fabs(levels.highest));
}

/// How far beyond the last level a value may usefully lie, in levels: clipping
/// costs the square of it and makes the error of all others smaller.
static float getOvershoot(const LaneColumns &columns, const Range &range,
                          float levels) {
  float largest = 0, mean = columns.weight / std::max(range.count, 1.0f);
  for (float w : columns.w)
    largest = std::max(largest, w);
  // Extreme values of little weight are clipped further.
  bool weighted = largest > 1.5f * mean;
  return 0.6f + range.count * (weighted ? 6.0f : 1.0f) / (6 * levels);
}

static GroupFit fitSlope(const CodeLevels &levels, const FitLimits &limits,
                         const LaneColumns &columns, const Range &range) {
  constexpr int batches = 2;
  LaneCandidates candidates[batches];
  LaneSums sums[batches];
  // Tables are scaled to reach 1; their steps are about 2 / count.
  float steps = levels.uniform ? getReach(levels) : float(levels.count) / 2;
  float overshoot = getOvershoot(columns, range, steps);
  float mean = range.weighted / std::max(columns.weight, 1e-30f);
  GroupFit best;
  float all = 0;
  for (size_t i = 0; i < columns.x.size(); ++i)
    all += columns.w[i] * columns.x[i] * columns.x[i];
  best.error = all;
  best.weight = columns.weight;
  bool fewer = levels.isLargeTable();
  int total = fewer ? laneCount : batches * laneCount;
  int count = limits.bothSigns ? total / 2 : total;
  float ratio = 1;
  for (int sign = 0; sign * count < total; ++sign) {
    float covering = cover(levels, range, sign);
    // Beyond the mean magnitude, everything is clipped.
    float last = std::max(steps / (steps + overshoot) * covering,
                          std::min(mean / getReach(levels), covering * 0.9f));
    // Larger slopes leave the outermost levels unused; of many levels, some
    // such slope suits all values well.
    float spare = std::min(2 + 0.17f * steps, 0.6f * steps);
    float first = covering * steps / (steps - spare);
    float factor = covering > 0 ? last / first : 1;
    // The root by square roots, which round alike everywhere; powf does not.
    for (int i = 1; i < count; i *= 2)
      factor = std::sqrt(factor);
    ratio = std::min(ratio, factor);
    float slope = first;
    for (int i = 0; i < count; ++i, slope *= factor) {
      int at = sign * count + i;
      candidates[at / laneCount].slope[at % laneCount] = sign ? -slope : slope;
    }
  }
  auto used = static_cast<size_t>(total / laneCount);
  evaluateLanes(levels, false, columns, {candidates, used}, sums);
  Best found = findBest({sums, used});
  GroupFit fit = refitLane(columns, false, candidates[found.batch],
                           sums[found.batch], found.lane);
  if (fit.error < best.error)
    best = fit;
  if (fewer)
    return best;
  // Between the neighbours of the best candidate.
  float spread = (1 - ratio) / (laneCount / 2);
  for (int i = 0; i < laneCount; ++i)
    candidates[0].slope[i] = static_cast<float>(
        fit.slope * (1 + spread * (float(i) - laneCount / 2 + 0.5f)));
  evaluateLanes(levels, false, columns, {candidates, 1}, sums);
  found = findBest({sums, 1});
  fit = refitLane(columns, false, candidates[0], sums[0], found.lane);
  return fit.error < best.error ? fit : best;
}

static GroupFit fitLine(const CodeLevels &levels, const FitLimits &limits,
                        const LaneColumns &columns, Range range) {
  constexpr int side = 8, batches = side * side / laneCount;
  LaneCandidates candidates[batches];
  LaneSums sums[batches];
  float span = levels.highest - levels.lowest;
  auto low = [&](float slope, float offset) {
    return offset + slope * levels.lowest;
  };
  auto set = [&](int at, float lowest, float highest) {
    if (limits.throughZero) {
      lowest = std::min(lowest, 0.0f);
      highest = std::max(highest, 0.0f);
    }
    float slope = std::max(highest - lowest, 0.0f) / span;
    float offset = std::clamp(lowest - slope * levels.lowest,
                              columns.lowestOffset, columns.highestOffset);
    // A bounded offset moves the lower end; keep the upper one.
    if (levels.highest > 0)
      slope = std::max((highest - offset) / levels.highest, 0.0f);
    candidates[at / laneCount].slope[at % laneCount] = slope;
    candidates[at / laneCount].offset[at % laneCount] = offset;
  };
  float steps = levels.uniform ? span : float(levels.count - 1);
  float overshoot =
      std::min(getOvershoot(columns, range, steps / 2), 0.4f * steps);
  float width = range.highest - range.lowest, unit = width / steps;
  float stride = (overshoot + 0.3f) / (side - 1) * unit;
  for (int i = 0; i < side; ++i)
    for (int j = 0; j < side; ++j)
      set(i * side + j, range.lowest - 0.3f * unit + float(i) * stride,
          range.highest + 0.3f * unit - float(j) * stride);
  evaluateLanes(levels, true, columns, candidates, sums);
  Best found = findBest(sums);
  GroupFit best = refitLane(columns, true, candidates[found.batch],
                            sums[found.batch], found.lane);
  constexpr int fine = 4, refinements = 2;
  for (int refinement = 0; refinement < refinements; ++refinement) {
    stride /= 3;
    auto slope = static_cast<float>(best.slope);
    auto offset = static_cast<float>(best.offset);
    float lowest = low(slope, offset), highest = lowest + slope * span;
    for (int i = 0; i < fine; ++i)
      for (int j = 0; j < fine; ++j)
        set(i * fine + j, lowest + (float(i) - 1.5f) * stride,
            highest + (float(j) - 1.5f) * stride);
    evaluateLanes(levels, true, columns, {candidates, 1}, sums);
    found = findBest({sums, 1});
    GroupFit fit = refitLane(columns, true, candidates[0], sums[0], found.lane);
    if (fit.error < best.error)
      best = fit;
  }
  return best;
}

GroupFit lapidary::fitGroup(const CodeLevels &levels, const FitLimits &limits,
                            const LaneColumns &columns) {
  Range range = findRange(columns);
  GroupFit none;
  none.weight = columns.weight;
  if (range.lowest == 0 && range.highest == 0)
    return none;
  return limits.offsets ? fitLine(levels, limits, columns, range)
                        : fitSlope(levels, limits, columns, range);
}

GroupFit lapidary::fitRange(const CodeLevels &levels, const FitLimits &limits,
                            const LaneColumns &columns, bool absmax) {
  Range range = findRange(columns);
  GroupFit fit;
  fit.weight = columns.weight;
  fit.qq = columns.weight * getReach(levels) * getReach(levels);
  if (limits.offsets) {
    if (limits.throughZero) {
      range.lowest = std::min(range.lowest, 0.0f);
      range.highest = std::max(range.highest, 0.0f);
    }
    float span = levels.highest - levels.lowest;
    float slope = (range.highest - range.lowest) / span;
    float offset = std::clamp(range.lowest - slope * levels.lowest,
                              columns.lowestOffset, columns.highestOffset);
    if (levels.highest > 0)
      slope = std::max((range.highest - offset) / levels.highest, 0.0f);
    fit.slope = slope;
    fit.offset = offset;
    return fit;
  }
  float positive = cover(levels, range, false);
  if (!limits.bothSigns) {
    fit.slope = positive;
    return fit;
  }
  float negative = cover(levels, range, true);
  if (absmax) {
    bool lowIsFar = -levels.lowest > levels.highest;
    float far = lowIsFar ? levels.lowest : levels.highest;
    float extreme =
        -range.lowest > range.highest ? range.lowest : range.highest;
    fit.slope = extreme / far;
    return fit;
  }
  bool useNegative = negative > 0 && (negative < positive || positive == 0);
  fit.slope = useNegative ? -negative : positive;
  return fit;
}
