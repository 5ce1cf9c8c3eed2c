// The largest magnitude is some level's value: each level gives a candidate for
// the slope, exact to the source's rounding. Where all values are near levels,
// the slopes that each value allows are intersected, and the middle is taken.
#include "compiler/encoder/Lattice.h"

#include <algorithm>
#include <bit>
#include <cmath>

using namespace lapidary;

struct LatticeFinder::Work {
  std::span<const float> source, x;
  int exponent;
  SourceFormat rounding;
  /// Half of the source's last place, in units of x.
  std::vector<float> half;
  std::vector<uint8_t> numbers;
  std::optional<LatticeFit> found;
};

static SchemeField getSourceField(SourceFormat rounding) {
  SchemeField field;
  field.kind = rounding == SourceFormat::F16    ? FieldKind::F16
               : rounding == SourceFormat::BF16 ? FieldKind::BF16
                                                : FieldKind::F32;
  field.bits = rounding == SourceFormat::F32 ? 32 : 16;
  return field;
}

/// The outermost levels: a block whose largest code is small is rare, and of
/// many levels close together some are always near.
static std::vector<float> listExtremes(const CodeLevels &levels) {
  std::vector<float> extremes;
  if (levels.uniform)
    for (float level = levels.lowest; level <= levels.highest; ++level)
      extremes.push_back(level);
  else
    extremes.assign(levels.values.begin(),
                    levels.values.begin() + levels.count);
  std::erase(extremes, 0.0f);
  std::sort(extremes.begin(), extremes.end(), [](float a, float b) {
    return std::fabs(a) != std::fabs(b) ? std::fabs(a) > std::fabs(b) : a < b;
  });
  constexpr size_t most = 64;
  extremes.resize(std::min(extremes.size(), most));
  return extremes;
}

LatticeFinder::LatticeFinder(const Scheme &scheme, const AffineForm &form)
    : scheme(scheme), form(form), levels(form.levels) {
  bool own = form.offset == AffineForm::Offset::Own;
  useful = form.slopeInner.domain.isWide() && form.slopeOuter.field < 0 &&
           form.offsetOuter.field < 0 &&
           (!own || (form.offsetInner.domain.isWide() && levels.uniform));
  if (form.offset != AffineForm::Offset::Relative) {
    extremes = listExtremes(levels);
    return;
  }
  const FieldDomain &zeros = form.offsetInner.domain;
  bool whole = levels.uniform && std::fabs(zeros.getLowest()) < 1024 &&
               std::fabs(zeros.getHighest()) < 1024;
  for (size_t i = 0; whole && i < zeros.getCount(); ++i) {
    double zero = zeros.getLevel(i).value;
    whole = std::fabs(zero - std::nearbyint(zero)) < 1e-4;
  }
  useful &= whole;
  if (!whole)
    return;
  levels.lowest += static_cast<float>(std::nearbyint(zeros.getLowest()));
  levels.highest += static_cast<float>(std::nearbyint(zeros.getHighest()));
  extremes = listExtremes(levels);
}

/// Half of the last place of a source value.
static double getHalfUnit(float value, SourceFormat rounding) {
  int mantissa = rounding == SourceFormat::BF16  ? 7
                 : rounding == SourceFormat::F16 ? 10
                                                 : 23;
  int least = rounding == SourceFormat::F16 ? -14 : -126;
  int exponent = value == 0 ? least : std::max(std::ilogb(value), least);
  return std::ldexp(0.5, exponent - mantissa);
}

std::optional<LatticeFit> LatticeFinder::find(std::span<const float> source,
                                              std::span<const float> x,
                                              int exponent,
                                              SourceFormat rounding) const {
  Work work{source, x, exponent, rounding, {}, {}, {}};
  for (float value : source)
    work.half.push_back(static_cast<float>(
        std::ldexp(getHalfUnit(value, rounding), -exponent)));
  work.numbers.resize(x.size());
  if (form.offset == AffineForm::Offset::Own)
    findShifted(work);
  else
    findScaled(work);
  return work.found;
}

void LatticeFinder::findScaled(Work &work) const {
  auto extreme =
      static_cast<size_t>(std::max_element(work.x.begin(), work.x.end(),
                                           [](float a, float b) {
                                             return std::fabs(a) < std::fabs(b);
                                           }) -
                          work.x.begin());
  float largest = work.x[extreme];
  if (largest == 0)
    return;
  std::vector<float> tolerance(work.x.size());
  // The candidate is off by the rounding of the extreme value.
  float relative = 1e-6f + 1.001f * work.half[extreme] /
                               (std::fabs(largest) - work.half[extreme]);
  for (size_t i = 0; i < tolerance.size(); ++i)
    tolerance[i] =
        work.half[i] + (std::fabs(work.x[i]) + work.half[i]) * relative;
  for (size_t begin = 0; begin < extremes.size(); begin += laneCount) {
    LaneCandidates lanes{};
    for (int lane = 0; lane < laneCount; ++lane) {
      size_t i = std::min(begin + lane, extremes.size() - 1);
      lanes.slope[lane] = largest / extremes[i];
    }
    bool fits[laneCount];
    testLanes(levels, work.x, tolerance, lanes, fits);
    for (int lane = 0; lane < laneCount; ++lane)
      if (fits[lane] && fitSlope(work, lanes.slope[lane]))
        return;
  }
}

/// Tries the slopes in the middle of what all values allow.
bool LatticeFinder::fitSlope(Work &work, double slope) const {
  double low = 0, high = INFINITY, least = INFINITY, most = -INFINITY;
  for (size_t i = 0; i < work.x.size(); ++i) {
    double level = std::nearbyint(work.x[i] / slope);
    if (!levels.uniform) {
      chooseLevels(levels, work.x.subspan(i, 1), static_cast<float>(slope), 0,
                   &work.numbers[i]);
      level = levels.values[work.numbers[i]];
    }
    least = std::min(least, level);
    most = std::max(most, level);
    if (level == 0)
      continue;
    double size = std::fabs(work.x[i]);
    low = std::max(low, (size - work.half[i]) / std::fabs(level));
    high = std::min(high, (size + work.half[i]) / std::fabs(level));
  }
  double middle = (low + std::min(high, 2 * low)) / 2;
  if (!(middle > 0))
    return false;
  middle = std::ldexp(std::copysign(middle, slope), work.exponent);
  // The zero point that has all levels within the codes.
  FieldChoice zero;
  if (form.offset == AffineForm::Offset::Relative) {
    double wanted = std::max(most - form.levels.highest,
                             std::min(least - form.levels.lowest, 0.0));
    zero = form.offsetInner.domain.nearest(wanted);
  }
  constexpr int choices = 9;
  FieldChoice slopes[choices];
  form.slopeInner.domain.list(middle, 1.0 / 2048, slopes);
  // From the middle outwards.
  for (int i = 0; i < choices && !work.found; ++i) {
    int at = choices / 2 + (i % 2 ? -(i + 1) / 2 : i / 2);
    LatticeFit fit{slopes[at], zero};
    if (isExact(work, fit))
      work.found = fit;
  }
  return work.found.has_value();
}

void LatticeFinder::findShifted(Work &work) const {
  auto [low, high] = std::minmax_element(work.x.begin(), work.x.end());
  float span = *high - *low;
  if (span == 0)
    return;
  float largestHalf = *std::max_element(work.half.begin(), work.half.end());
  // Both ends, and the value itself, were rounded.
  std::vector<float> tolerance(work.x.size());
  for (size_t i = 0; i < tolerance.size(); ++i)
    tolerance[i] = work.half[i] + 2 * largestHalf + 1e-6f * span;
  auto steps = static_cast<int>(levels.highest - levels.lowest);
  for (int first = steps; first > 0; first -= laneCount) {
    LaneCandidates lanes;
    for (int lane = 0; lane < laneCount; ++lane) {
      int used = std::max(first - lane, 1);
      lanes.slope[lane] = span / static_cast<float>(used);
      lanes.offset[lane] = *low - lanes.slope[lane] * levels.lowest;
    }
    bool fits[laneCount];
    testLanes(levels, work.x, tolerance, lanes, fits);
    for (int lane = 0; lane < laneCount; ++lane)
      if (fits[lane] && fitShift(work, lanes.slope[lane], lanes.offset[lane]))
        return;
    // Levels beyond the first few dozen are as good as continuous.
    if (steps - first >= 2 * laneCount)
      return;
  }
}

/// Least squares for the slope; for each slope near it the middle of the
/// offsets that all values allow, for each way to put the used levels into all.
bool LatticeFinder::fitShift(Work &work, double slope, double offset) const {
  double n = 0, q = 0, qq = 0, x = 0, xq = 0, most = -INFINITY;
  std::vector<double> used;
  for (float value : work.x) {
    double level = std::nearbyint((value - offset) / slope);
    used.push_back(level);
    n += 1;
    q += level;
    qq += level * level;
    x += value;
    xq += level * value;
    most = std::max(most, level);
  }
  double determinant = n * qq - q * q;
  if (!(determinant > 0))
    return false;
  double fitted = (n * xq - q * x) / determinant;
  constexpr int choices = 17;
  FieldChoice slopes[choices];
  form.slopeInner.domain.list(std::ldexp(fitted, work.exponent), 1.0 / 2048,
                              slopes);
  for (int i = 0; i < choices; ++i) {
    int at = choices / 2 + (i % 2 ? -(i + 1) / 2 : i / 2);
    double exact = std::ldexp(slopes[at].value, -work.exponent);
    double low = -INFINITY, high = INFINITY;
    for (size_t c = 0; c < work.x.size(); ++c) {
      double rest = work.x[c] - exact * used[c];
      low = std::max(low, rest - work.half[c]);
      high = std::min(high, rest + work.half[c]);
    }
    if (low > high + 1e-6)
      continue;
    for (double shift = 0; most + shift <= levels.highest; ++shift) {
      double base = (low + high) / 2 - shift * exact;
      LatticeFit fit{slopes[at], form.offsetInner.domain.nearest(
                                     std::ldexp(base, work.exponent))};
      if (isExact(work, fit)) {
        work.found = fit;
        return true;
      }
    }
  }
  return false;
}

/// By the decode program itself.
bool LatticeFinder::isExact(Work &work, const LatticeFit &fit) const {
  size_t count = work.x.size(), fields = scheme.fields.size();
  double offset = fit.offset.value;
  if (form.offset == AffineForm::Offset::Relative)
    offset *= fit.slope.value;
  if (form.offset == AffineForm::Offset::None)
    offset = 0;
  chooseLevels(form.levels, work.x,
               static_cast<float>(std::ldexp(fit.slope.value, -work.exponent)),
               static_cast<float>(std::ldexp(offset, -work.exponent)),
               work.numbers.data());
  std::vector<std::vector<uint32_t>> words(fields);
  std::vector<const uint32_t *> inputs(fields);
  size_t code = scheme.getCode();
  for (size_t f = 0; f < fields; ++f) {
    uint32_t raw = form.unusedRaws[f];
    if (static_cast<int>(f) == form.slopeInner.field)
      raw = fit.slope.raw;
    if (static_cast<int>(f) == form.offsetInner.field)
      raw = fit.offset.raw;
    words[f].assign(count, widenField(scheme.fields[f], raw));
    if (f == code)
      for (size_t i = 0; i < count; ++i)
        words[f][i] = widenField(scheme.fields[f], form.codes[work.numbers[i]]);
    inputs[f] = words[f].data();
  }
  std::vector<float> decoded(count);
  scheme.decode.run(inputs, static_cast<int64_t>(count), decoded.data());
  SchemeField source = getSourceField(work.rounding);
  for (size_t i = 0; i < count; ++i) {
    float value = decoded[i];
    float rounded =
        std::bit_cast<float>(widenField(source, narrowField(source, value)));
    if (rounded != work.source[i])
      return false;
  }
  return true;
}
