// The slope and the offset that suit one group of columns best, before they are
// rounded to what fields can hold.
#pragma once

#include "compiler/encoder/LaneKernel.h"

namespace lapidary {

struct GroupFit {
  double slope = 0, offset = 0;
  /// Weighted squared error.
  double error = 0;
  /// Sums of w q q, w q and w: how the error grows about the fit.
  double qq = 0, q = 0, weight = 0;
};

/// What slopes and offsets can be.
struct FitLimits {
  bool offsets = false;
  /// Slopes may be negative, and the levels are not symmetric.
  bool bothSigns = false;
  /// The group's lowest and highest decoded value must have 0 between them.
  bool throughZero = false;
};

/// Columns are scaled so that the largest magnitude is about 1.
GroupFit fitGroup(const CodeLevels &levels, const FitLimits &limits,
                  const LaneColumns &columns);

/// The fit whose lowest and highest level meet the lowest and highest value;
/// with `absmax`, and without offsets, the level of largest magnitude meets the
/// value of largest magnitude.
GroupFit fitRange(const CodeLevels &levels, const FitLimits &limits,
                  const LaneColumns &columns, bool absmax);

/// Least squares for the levels of a lane.
GroupFit refitLane(const LaneColumns &columns, bool offsets,
                   const LaneCandidates &candidates, const LaneSums &sums,
                   int lane);

} // namespace lapidary
