// The hot loops of the encoder: the squared error of a group of columns for 16
// candidates of (slope, offset) at once, one a lane, and the choice of codes.
// A candidate's sums run over the columns in order, in its own lane, so results
// are the same with every instruction set.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace lapidary {

/// The levels that a code can mean, ascending: a weight is
/// slope * level + offset.
struct CodeLevels {
  static constexpr int maximum = 256;
  /// Up to this many, a chain of comparisons is faster than a search.
  static constexpr int small = 16;

  int count = 0;
  /// All integers from `lowest` to `highest`.
  bool uniform = false;
  float lowest = 0, highest = 0;
  /// The levels turned are the same levels.
  bool symmetric = false;
  std::array<float, maximum> values;
  /// Half way between a level and the next; infinity beyond the last.
  std::array<float, maximum> thresholds;

  bool isLargeTable() const { return !uniform && count > small; }
};

constexpr int laneCount = 16;

/// Columns of a group, and how far a fitted offset may go.
struct LaneColumns {
  std::span<const float> x, w;
  /// The sum of w.
  float weight = 0;
  float lowestOffset = 0, highestOffset = 0;
};

struct LaneCandidates {
  alignas(64) float slope[laneCount];
  alignas(64) float offset[laneCount];
};

/// Sums over the columns, with weight w, residual r = x - (slope * q + offset)
/// and the level q that is nearest to x.
struct LaneSums {
  alignas(64) float rr[laneCount];
  alignas(64) float rq[laneCount];
  alignas(64) float qq[laneCount];
  // Only where candidates have offsets, else 0.
  alignas(64) float r[laneCount];
  alignas(64) float q[laneCount];
  /// What rr would be after a least squares fit of slope and offset to the same
  /// levels.
  alignas(64) float fitted[laneCount];
};

/// Fills `sums`, one an element of `candidates`. Without `offsets` the
/// candidates' offsets are not read.
void evaluateLanes(const CodeLevels &levels, bool offsets,
                   const LaneColumns &columns,
                   std::span<const LaneCandidates> candidates, LaneSums *sums);

/// For each lane, whether all x are within `tolerance` of a level's value.
void testLanes(const CodeLevels &levels, std::span<const float> x,
               std::span<const float> tolerance,
               const LaneCandidates &candidates, bool *fits);

/// The numbers of the levels nearest to each x.
void chooseLevels(const CodeLevels &levels, std::span<const float> x,
                  float slope, float offset, uint8_t *numbers);

} // namespace lapidary
