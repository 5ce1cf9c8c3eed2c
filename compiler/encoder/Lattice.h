// Finds again the fields of values that were made by decoding a scheme and then
// rounded to the checkpoint's float type.
#pragma once

#include "compiler/encoder/AffineForm.h"
#include "compiler/encoder/Encoder.h"

namespace lapidary {

struct LatticeFit {
  FieldChoice slope, offset;
};

/// One group of a scheme whose slope, and offset if it is the group's own, are
/// wide floats.
class LatticeFinder {
public:
  LatticeFinder(const Scheme &scheme, const AffineForm &form);

  /// Whether the scheme is one that this can search.
  bool isUseful() const { return useful; }
  /// Fields whose decoded values, rounded as the source was, are the source's.
  /// `source` is 2^exponent times `x`.
  std::optional<LatticeFit> find(std::span<const float> source,
                                 std::span<const float> x, int exponent,
                                 SourceFormat rounding) const;

private:
  struct Work;
  void findScaled(Work &work) const;
  void findShifted(Work &work) const;
  bool fitSlope(Work &work, double slope) const;
  bool fitShift(Work &work, double slope, double offset) const;
  bool isExact(Work &work, const LatticeFit &fit) const;

  const Scheme &scheme;
  const AffineForm &form;
  bool useful = false;
  /// With all zero points, where codes have one.
  CodeLevels levels;
  /// Levels that the extreme value may have, the outermost first.
  std::vector<float> extremes;
};

} // namespace lapidary
