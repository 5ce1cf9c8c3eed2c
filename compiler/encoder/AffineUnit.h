// What an AffineEncoder knows of the columns that it works on; private to it.
#pragma once

#include "compiler/encoder/AffineEncoder.h"

namespace lapidary {

struct AffineEncoder::Group {
  LaneColumns columns;
  GroupFit ideal;
  /// Where the next choice of fields looks.
  GroupFit center;
  FieldChoice slope, offset;
  /// With the chosen fields.
  double decodedSlope = 0, decodedOffset = 0;
  double error = 0;
  /// Sums at the chosen fields.
  double rq = 0, r = 0, qq = 0, q = 0;
};

/// The value of an outer field of a slope or an offset.
struct AffineEncoder::Instance {
  FieldChoice slope{0, 1}, offset{0, 1};
};

struct AffineEncoder::Unit {
  int64_t begin = 0;
  SourceFormat rounding = SourceFormat::F32;
  std::span<const float> source, weights;
  /// The source's columns are 2^exponent times these.
  std::vector<float> x;
  int exponent = 0;
  /// 2^-exponent
  double scale = 1;
  std::vector<Group> groups;
  std::vector<float> groupWeights;
  /// By group: outer fields that groups share have the same values.
  std::vector<Instance> outers;
  std::vector<std::vector<Instance>> starts;

  double getError() const {
    double error = 0;
    for (const Group &group : groups)
      error += group.error;
    return error;
  }
};

inline bool hasBothSigns(const FieldDomain &domain) {
  return domain.getLowest() < 0 && domain.getHighest() > 0;
}

inline double divide(double value, double by) {
  return by == 0 ? 0 : value / by;
}

} // namespace lapidary
