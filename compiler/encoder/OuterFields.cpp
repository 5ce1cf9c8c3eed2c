// The fields that several groups share: values to start from, by the fits of
// the groups, and least squares once the rest is chosen.
#include "compiler/encoder/AffineUnit.h"

#include <algorithm>
#include <cmath>

using namespace lapidary;

/// Twice as many make the error of 4-bit schemes 0.1 % less and take twice the
/// time.
static constexpr size_t wideStarts = 2;
/// A coarse outer field leaves more to choose than what is refitted.
static constexpr size_t maxStarts = 6;

/// The outer value with which the inner one reaches all slopes or offsets.
static double coverWith(const FieldDomain &inner, double lowest, double highest,
                        bool negative) {
  if (negative) {
    std::swap(lowest, highest);
    lowest = -lowest;
    highest = -highest;
  }
  double most = inner.isWide() ? 1 : inner.getHighest();
  double least = inner.isWide() ? -1 : inner.getLowest();
  double value = 0;
  if (most > 0 && highest > 0)
    value = highest / most;
  if (least < 0 && lowest < 0)
    value = std::max(value, lowest / least);
  return negative ? -value : value;
}

namespace {

struct Scored {
  FieldChoice choice;
  double cost = 0;
};

/// Fits to be made by inner * outer, and what a squared deviation costs.
struct Wanted {
  std::vector<double> values, weights;
};

} // namespace

/// Outer values, best first by what they leave of the groups' fits; as many as
/// `out` has room for, at least one.
static size_t scoreOuters(const FieldDomain &inner, const FieldDomain &outer,
                          const Wanted &wanted, size_t begin, size_t count,
                          std::span<Scored> out, bool search) {
  const double *values = wanted.values.data() + begin;
  const double *weights = wanted.weights.data() + begin;
  double lowest = std::min(0.0, *std::min_element(values, values + count));
  double highest = std::max(0.0, *std::max_element(values, values + count));
  size_t found = 0;
  const int steps = search ? 24 : 1;
  // Some of many groups say enough.
  constexpr size_t mostGroups = 64;
  size_t stride = (count + mostGroups - 1) / mostGroups;
  for (bool negative : {false, true}) {
    // The other sign only where it gives other products.
    bool turned = inner.getLowest() < 0
                      ? inner.getLowest() != -inner.getHighest()
                      : highest == 0;
    bool useful = !inner.isWide() && hasBothSigns(outer) && turned;
    if (negative && !useful)
      continue;
    double covering = coverWith(inner, lowest, highest, negative);
    if (covering == 0)
      continue;
    for (int i = 0; i < steps; ++i) {
      // From a little less than what covers everything to almost twice that.
      double by = search ? covering / (1.1 - 0.55 * i / steps) : covering;
      if (!outer.isWide())
        by = outer.nearest(by).value;
      if (by == 0)
        continue;
      double inverse = 1 / by, cost = 0;
      for (size_t g = 0; g < count; g += stride) {
        double rest = values[g] - by * inner.round(values[g] * inverse);
        cost += weights[g] * rest * rest;
      }
      // Kept in order.
      size_t at = found;
      while (at > 0 && cost < out[at - 1].cost)
        --at;
      bool known = at > 0 && out[at - 1].choice.value == by;
      if (at == out.size() || known)
        continue;
      found = std::min(found + 1, out.size());
      std::move_backward(out.begin() + at, out.begin() + found - 1,
                         out.begin() + found);
      out[at] = {{0, by}, cost};
    }
  }
  if (found == 0)
    out[found++] = {};
  for (Scored &scored : out.first(found))
    scored.choice = outer.nearest(scored.choice.value);
  return found;
}

void AffineEncoder::chooseStarts(Unit &unit) const {
  unit.starts.clear();
  if (form.slopeOuter.field < 0 && form.offsetOuter.field < 0) {
    unit.starts.push_back(unit.outers);
    return;
  }
  double unitScale = unit.scale;
  bool search = isSearch();
  size_t groups = unit.groups.size();
  bool wide = form.slopeOuter.field < 0 || form.slopeOuter.domain.isWide();
  size_t starts = !search ? 1 : wide ? wideStarts : maxStarts;
  unit.starts.assign(starts, unit.outers);
  auto getPeriod = [&](const FieldFactor &factor) {
    return factor.columns == SchemeField::perRow
               ? groups
               : static_cast<size_t>(factor.columns / groupColumns);
  };
  Wanted wanted;
  wanted.values.resize(groups);
  wanted.weights.resize(groups);
  if (form.slopeOuter.field >= 0) {
    for (size_t g = 0; g < groups; ++g) {
      const GroupFit &fit = unit.groups[g].ideal;
      wanted.values[g] = fit.slope / unitScale;
      // Offsets follow the slope.
      wanted.weights[g] =
          fit.qq - (fit.weight > 0 ? fit.q * fit.q / fit.weight : 0.0);
    }
    size_t period = getPeriod(form.slopeOuter);
    for (size_t begin = 0; begin < groups; begin += period) {
      size_t count = std::min(period, groups - begin);
      Scored best[maxStarts];
      size_t found =
          scoreOuters(form.slopeInner.domain, form.slopeOuter.domain, wanted,
                      begin, count, std::span(best).first(starts), search);
      for (size_t s = 0; s < starts; ++s)
        for (size_t g = begin; g < begin + count; ++g)
          unit.starts[s][g].slope = best[std::min(s, found - 1)].choice;
    }
  }
  if (form.offsetOuter.field < 0)
    return;
  size_t period = getPeriod(form.offsetOuter);
  for (std::vector<Instance> &start : unit.starts) {
    for (size_t g = 0; g < groups; ++g) {
      // The best offset with the slope that this start gives.
      const Group &group = unit.groups[g];
      const GroupFit &fit = group.ideal;
      double by = start[g].slope.value, slope = fit.slope / unitScale;
      double rounded =
          by == 0 ? 0 : by * form.slopeInner.domain.round(slope / by);
      double lever = fit.weight > 0 ? fit.q / fit.weight : 0;
      wanted.values[g] =
          std::clamp(fit.offset - lever * (rounded - slope) * unitScale,
                     double(group.columns.lowestOffset),
                     double(group.columns.highestOffset)) /
          unitScale;
      wanted.weights[g] = fit.weight;
    }
    for (size_t begin = 0; begin < groups; begin += period) {
      size_t count = std::min(period, groups - begin);
      Scored best[1];
      scoreOuters(form.offsetInner.domain, form.offsetOuter.domain, wanted,
                  begin, count, best, search);
      for (size_t g = begin; g < begin + count; ++g)
        start[g].offset = best[0].choice;
    }
  }
}

/// Least squares for the outer fields, codes and inner fields as they are.
/// Whether anything changed.
bool AffineEncoder::refitOuter(Unit &unit) const {
  // Normal equations of a step of slope and offset, in units of the source.
  struct Equations {
    double slopes = 0, both = 0, offsets = 0, slopeRest = 0, offsetRest = 0;
  };
  double unitScale = unit.scale;
  size_t groups = unit.groups.size();
  bool relative = form.offset == AffineForm::Offset::Relative;
  auto getPeriod = [&](const FieldFactor &factor) {
    if (factor.field < 0)
      return size_t{0};
    return factor.columns == SchemeField::perRow
               ? groups
               : static_cast<size_t>(factor.columns / groupColumns);
  };
  size_t slopePeriod = getPeriod(form.slopeOuter);
  size_t offsetPeriod = getPeriod(form.offsetOuter);
  auto collect = [&](size_t begin, size_t count) {
    Equations sums;
    for (size_t g = begin; g < std::min(begin + count, groups); ++g) {
      const Group &group = unit.groups[g];
      double a = group.slope.value * unitScale;
      double b = group.offset.value * unitScale;
      double weight = group.columns.weight;
      if (relative) {
        double zero = group.offset.value;
        sums.slopes +=
            a * a * (group.qq + 2 * zero * group.q + zero * zero * weight);
        sums.slopeRest += a * (group.rq + zero * group.r);
        continue;
      }
      sums.slopes += a * a * group.qq;
      sums.both += a * b * group.q;
      sums.offsets += b * b * weight;
      sums.slopeRest += a * group.rq;
      sums.offsetRest += b * group.r;
    }
    return sums;
  };
  bool changed = false;
  auto move = [&](size_t begin, size_t count, bool slope, double step) {
    FieldChoice Instance::*part = slope ? &Instance::slope : &Instance::offset;
    FieldChoice old = unit.outers[begin].*part;
    const FieldDomain &domain =
        slope ? form.slopeOuter.domain : form.offsetOuter.domain;
    FieldChoice moved = domain.nearest(old.value + step);
    // To 0 would leave nothing to refit later.
    if (moved.raw == old.raw || moved.value == 0)
      return;
    changed = true;
    for (size_t g = begin; g < std::min(begin + count, groups); ++g)
      unit.outers[g].*part = moved;
  };
  if (slopePeriod && slopePeriod == offsetPeriod) {
    for (size_t begin = 0; begin < groups; begin += slopePeriod) {
      Equations sums = collect(begin, slopePeriod);
      double determinant = sums.slopes * sums.offsets - sums.both * sums.both;
      if (determinant > 1e-6 * sums.slopes * sums.offsets) {
        move(begin, slopePeriod, true,
             (sums.slopeRest * sums.offsets - sums.offsetRest * sums.both) /
                 determinant);
        move(begin, slopePeriod, false,
             (sums.offsetRest * sums.slopes - sums.slopeRest * sums.both) /
                 determinant);
      } else {
        move(begin, slopePeriod, true, divide(sums.slopeRest, sums.slopes));
      }
    }
    return changed;
  }
  for (size_t begin = 0; slopePeriod && begin < groups; begin += slopePeriod) {
    Equations sums = collect(begin, slopePeriod);
    move(begin, slopePeriod, true, divide(sums.slopeRest, sums.slopes));
  }
  for (size_t begin = 0; offsetPeriod && begin < groups;
       begin += offsetPeriod) {
    Equations sums = collect(begin, offsetPeriod);
    move(begin, offsetPeriod, false, divide(sums.offsetRest, sums.offsets));
  }
  return changed;
}
