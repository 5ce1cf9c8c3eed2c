// A unit is the columns that share the outermost fields. Its groups are fitted
// one by one; several values of the outer fields are tried, and from each one
// the inner fields, the codes and the outer fields are chosen in turn until
// nothing improves.
#include "compiler/encoder/AffineUnit.h"

#include <algorithm>
#include <cmath>

using namespace lapidary;

/// Rounds of improvement from each start.
static constexpr int maxRounds = 3;
/// Pairs of slope and offset that are tried about a fit.
static constexpr int maxWindow = 64;

AffineEncoder::AffineEncoder(const Scheme &scheme, AffineForm affineForm,
                             int64_t columns)
    : scheme(scheme), form(std::move(affineForm)), lattice(scheme, form),
      columns(columns), padded(scheme.getPaddedColumns(columns)) {
  auto resolve = [&](const FieldFactor &factor) {
    return factor.columns == SchemeField::perRow ? padded : factor.columns;
  };
  unused.assign(scheme.fields.size(), true);
  unused[scheme.getCode()] = false;
  for (const FieldFactor *factor : {&form.slopeInner, &form.slopeOuter,
                                    &form.offsetInner, &form.offsetOuter})
    if (factor->field >= 0)
      unused[factor->field] = false;
  groupColumns = resolve(form.slopeInner);
  unitColumns = groupColumns;
  for (const FieldFactor *factor : {&form.slopeOuter, &form.offsetOuter})
    if (factor->field >= 0)
      unitColumns = std::max(unitColumns, resolve(*factor));
  limits.offsets = form.offset != AffineForm::Offset::None;
  limits.bothSigns = !limits.offsets &&
                     form.levels.lowest != -form.levels.highest &&
                     hasBothSigns(form.slopeInner.domain);
  // Coarse levels without outer fields that could make up for it need more.
  bool coarse = form.slopeOuter.field < 0 && form.offsetOuter.field < 0 &&
                !form.slopeInner.domain.isWide() &&
                !form.offsetInner.domain.isWide();
  windowSide = coarse ? 8 : 4;
  mirrors = coarse && form.offset == AffineForm::Offset::Own &&
            hasBothSigns(form.slopeInner.domain);
  limits.throughZero = form.offset == AffineForm::Offset::Relative;
}

void AffineEncoder::encode(std::span<const float> values,
                           std::span<const float> weights,
                           SourceFormat rounding, EncodedRow &out) const {
  for (size_t f = 0; f < scheme.fields.size(); ++f)
    for (int64_t i = 0; unused[f] && i < out.getCount(f); ++i)
      out.set(f, i, form.unusedRaws[f]);
  Unit unit;
  unit.rounding = rounding;
  for (int64_t begin = 0; begin < padded; begin += unitColumns) {
    int64_t count = std::min(unitColumns, padded - begin);
    unit.begin = begin;
    unit.source = values.subspan(begin, count);
    unit.weights = weights.subspan(begin, count);
    encodeUnit(unit);
    write(unit, out);
  }
}

void AffineEncoder::encodeUnit(Unit &unit) const {
  scaleUnit(unit);
  if (isSearch() && findLattice(unit))
    return;
  fitGroups(unit);
  chooseStarts(unit);
  if (!isSearch()) {
    useStart(unit, 0, false);
    chooseFields(unit, 0);
    return;
  }
  bool hasOuter = form.slopeOuter.field >= 0 || form.offsetOuter.field >= 0;
  std::vector<Group> bestGroups;
  std::vector<Instance> bestOuters;
  double bestError = INFINITY;
  size_t starts = unit.starts.size();
  for (size_t start = 0; start < (mirrors ? 2 * starts : starts); ++start) {
    useStart(unit, start % starts, start >= starts);
    double last = INFINITY;
    // Without outer fields only wide floats have more to find.
    double spread = 1.0 / 256;
    // Many levels are slow, and the slope matters little to them.
    int rounds = form.levels.isLargeTable() ? 1 : maxRounds;
    for (int round = 0; round < rounds; ++round, spread /= 4) {
      chooseFields(unit, spread);
      double error = unit.getError();
      if (error < bestError) {
        bestError = error;
        bestGroups = unit.groups;
        bestOuters = unit.outers;
      }
      if (error >= last * (1 - 1e-4))
        break;
      last = error;
      if (hasOuter && !refitOuter(unit) && round > 0)
        break;
    }
  }
  // In long groups the fit may just miss what the range gives.
  bool isLong = groupColumns >= 256 || form.levels.isLargeTable();
  if (isLong && !hasOuter && !limits.offsets) {
    for (Group &group : unit.groups)
      group.center = fitRange(form.levels, limits, group.columns, true);
    chooseFields(unit, 0);
    if (unit.getError() < bestError)
      return;
  }
  unit.groups = std::move(bestGroups);
  unit.outers = std::move(bestOuters);
}

/// To magnitudes of at most 1, by a power of two: nothing overflows then.
void AffineEncoder::scaleUnit(Unit &unit) const {
  size_t count = unit.source.size();
  float largest = 0;
  for (float value : unit.source)
    largest = std::max(largest, std::fabs(value));
  unit.exponent = largest > 0 ? std::ilogb(largest) + 1 : 0;
  unit.scale = std::ldexp(1.0, -unit.exponent);
  unit.x.resize(count);
  for (size_t i = 0; i < count; ++i)
    unit.x[i] = static_cast<float>(unit.source[i] * unit.scale);
  unit.groups.assign(count / groupColumns, {});
  unit.outers.assign(unit.groups.size(), {});
  for (size_t g = 0; g < unit.groups.size(); ++g) {
    LaneColumns &columns = unit.groups[g].columns;
    size_t at = g * static_cast<size_t>(groupColumns);
    columns.x = std::span<const float>(unit.x).subspan(at, groupColumns);
    columns.w = unit.weights.subspan(at, groupColumns);
    for (float w : columns.w)
      columns.weight += w;
  }
}

/// Without outer fields a unit is one group.
bool AffineEncoder::findLattice(Unit &unit) const {
  if (!lattice.isUseful())
    return false;
  Group &group = unit.groups[0];
  auto used = static_cast<size_t>(
      std::clamp<int64_t>(columns - unit.begin, 1, groupColumns));
  std::optional<LatticeFit> fit =
      lattice.find(unit.source.first(used), group.columns.x.first(used),
                   unit.exponent, unit.rounding);
  if (!fit)
    return false;
  group.slope = fit->slope;
  group.offset = fit->offset;
  group.decodedSlope = std::ldexp(fit->slope.value, -unit.exponent);
  double by =
      form.offset == AffineForm::Offset::Relative ? fit->slope.value : 1;
  if (limits.offsets)
    group.decodedOffset = std::ldexp(fit->offset.value * by, -unit.exponent);
  return true;
}

void AffineEncoder::fitGroups(Unit &unit) const {
  // An offset of one sign only: the one that most groups need.
  float lowest = -INFINITY, highest = INFINITY;
  if (form.offset == AffineForm::Offset::Own &&
      !hasBothSigns(form.offsetInner.domain)) {
    bool outerSign =
        form.offsetOuter.field >= 0 && hasBothSigns(form.offsetOuter.domain);
    bool positive = form.offsetInner.domain.getHighest() > 0;
    if (outerSign) {
      float minimum = INFINITY;
      for (size_t i = 0; i < unit.x.size(); ++i)
        if (unit.weights[i] > 0)
          minimum = std::min(minimum, unit.x[i]);
      positive = minimum > 0;
    }
    (positive ? lowest : highest) = 0;
  }
  for (Group &group : unit.groups) {
    LaneColumns &columns = group.columns;
    columns.lowestOffset = lowest;
    columns.highestOffset = highest;
    group.ideal = isSearch()
                      ? fitGroup(form.levels, limits, columns)
                      : fitRange(form.levels, limits, columns,
                                 scheme.strategy == EncodeStrategy::Absmax);
  }
}

void AffineEncoder::useStart(Unit &unit, size_t number, bool mirrored) const {
  unit.outers = unit.starts[number];
  double ends = form.levels.lowest + form.levels.highest;
  for (Group &group : unit.groups) {
    group.center = group.ideal;
    if (!mirrored)
      continue;
    // Level q becomes lowest + highest - q.
    GroupFit &center = group.center;
    center.offset += center.slope * ends;
    center.slope = -center.slope;
    center.qq += ends * ends * center.weight - 2 * ends * center.q;
    center.q = ends * center.weight - center.q;
  }
}

/// Inner fields of each group for the current outer ones.
void AffineEncoder::chooseFields(Unit &unit, double spread) const {
  for (Group &group : unit.groups)
    chooseGroup(unit, group, spread);
}

void AffineEncoder::chooseGroup(const Unit &unit, Group &group,
                                double spread) const {
  const Instance &outer = unit.outers[&group - unit.groups.data()];
  double slopeBy = outer.slope.value * unit.scale;
  double offsetBy = outer.offset.value * unit.scale;
  bool relative = form.offset == AffineForm::Offset::Relative;
  const GroupFit &center = group.center;
  // A square of slopes by offsets, or as many slopes; one without a search.
  int side = spread == 0 ? 1 : limits.offsets ? windowSide : laneCount;
  int repeats = spread == 0 || !limits.offsets ? 1 : side;
  int used = side * repeats, batches = (used + laneCount - 1) / laneCount;
  FieldChoice slopes[laneCount], offsets[maxWindow];
  LaneCandidates lanes[maxWindow / laneCount];
  LaneSums sums[maxWindow / laneCount];
  form.slopeInner.domain.list(divide(center.slope, slopeBy), spread,
                              std::span(slopes).first(side));
  double lever = center.weight > 0 ? center.q / center.weight : 0;
  for (int i = 0; i < side; ++i) {
    double slope = slopes[i].value * slopeBy;
    double by = relative ? slope : offsetBy;
    if (limits.offsets) {
      double wanted = center.offset - lever * (slope - center.slope);
      form.offsetInner.domain.list(
          divide(wanted, by), spread,
          std::span(offsets).subspan(i * repeats, repeats));
    }
    for (int j = i * repeats; j < (i + 1) * repeats; ++j) {
      lanes[j / laneCount].slope[j % laneCount] = static_cast<float>(slope);
      lanes[j / laneCount].offset[j % laneCount] =
          static_cast<float>(offsets[j].value * by);
    }
  }
  for (int j = used; j < batches * laneCount; ++j) {
    lanes[0].slope[j] = lanes[0].slope[0];
    lanes[0].offset[j] = lanes[0].offset[0];
  }
  evaluateLanes(form.levels, limits.offsets, group.columns,
                std::span(lanes).first(batches), sums);
  int best = 0;
  float least = INFINITY;
  for (int j = 0; j < used; ++j)
    if (float error = sums[j / laneCount].rr[j % laneCount]; error < least) {
      least = error;
      best = j;
    }
  const LaneCandidates &bestLanes = lanes[best / laneCount];
  const LaneSums &bestSums = sums[best / laneCount];
  int lane = best % laneCount;
  group.slope = slopes[best / repeats];
  group.offset = offsets[best];
  group.decodedSlope = bestLanes.slope[lane];
  group.decodedOffset = limits.offsets ? bestLanes.offset[lane] : 0;
  group.error = least;
  group.rq = bestSums.rq[lane];
  group.qq = bestSums.qq[lane];
  group.r = bestSums.r[lane];
  group.q = bestSums.q[lane];
  group.center =
      refitLane(group.columns, limits.offsets, bestLanes, bestSums, lane);
}

void AffineEncoder::write(const Unit &unit, EncodedRow &out) const {
  size_t code = scheme.getCode();
  std::vector<uint8_t> numbers(groupColumns);
  for (size_t g = 0; g < unit.groups.size(); ++g) {
    const Group &group = unit.groups[g];
    int64_t begin = unit.begin + static_cast<int64_t>(g) * groupColumns;
    auto set = [&](const FieldFactor &factor, uint32_t raw) {
      if (factor.field >= 0)
        out.set(factor.field,
                factor.columns == SchemeField::perRow ? 0
                                                      : begin / factor.columns,
                raw);
    };
    set(form.slopeInner, group.slope.raw);
    set(form.offsetInner, group.offset.raw);
    set(form.slopeOuter, unit.outers[g].slope.raw);
    set(form.offsetOuter, unit.outers[g].offset.raw);
    chooseLevels(form.levels, group.columns.x,
                 static_cast<float>(group.decodedSlope),
                 static_cast<float>(group.decodedOffset), numbers.data());
    std::span<uint8_t> codes = out.getBytes(code).subspan(begin, groupColumns);
    for (int64_t i = 0; i < groupColumns; ++i)
      codes[i] = static_cast<uint8_t>(form.codes[numbers[i]]);
  }
}
