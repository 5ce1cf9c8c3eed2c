// Levels are sorted by their factor; a wide float is rounded as it is stored.
#include "compiler/encoder/FieldDomain.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

using namespace lapidary;

FieldDomain::FieldDomain() : levels{{0, 1.0}} {}

FieldDomain::FieldDomain(const SchemeField &field, double slope)
    : wide(true), field(field), slope(slope) {}

FieldDomain::FieldDomain(std::vector<FieldChoice> choices)
    : levels(std::move(choices)) {
  sort();
}

std::vector<uint32_t> FieldDomain::listRaws(const SchemeField &field) {
  std::vector<uint32_t> raws;
  if (field.isFloat()) {
    for (uint32_t raw = 0; raw < 1u << field.bits; ++raw)
      if (std::isfinite(std::bit_cast<float>(widenField(field, raw))))
        raws.push_back(raw);
    return raws;
  }
  for (int32_t value = field.minimum; value <= field.maximum; ++value)
    raws.push_back(static_cast<uint32_t>(value) & ((1u << field.bits) - 1));
  return raws;
}

void FieldDomain::sort() {
  std::sort(levels.begin(), levels.end(),
            [](const FieldChoice &a, const FieldChoice &b) {
              return a.value != b.value ? a.value < b.value : a.raw < b.raw;
            });
  auto equal = [](const FieldChoice &a, const FieldChoice &b) {
    return a.value == b.value;
  };
  levels.erase(std::unique(levels.begin(), levels.end(), equal), levels.end());
  inverseStep = 0;
  if (levels.size() < 2)
    return;
  first = levels[0].value;
  last = double(levels.size() - 1);
  step = levels[1].value - first;
  for (size_t i = 0; i < levels.size(); ++i)
    if (std::fabs(levels[i].value - (levels[0].value + step * double(i))) >
        1e-6 * step)
      return;
  inverseStep = 1 / step;
}

void FieldDomain::negate() {
  slope = -slope;
  for (FieldChoice &level : levels)
    level.value = -level.value;
  sort();
}

double FieldDomain::getLowest() const {
  return wide ? -std::numeric_limits<double>::infinity() : levels.front().value;
}

double FieldDomain::getHighest() const {
  return wide ? std::numeric_limits<double>::infinity() : levels.back().value;
}

size_t FieldDomain::findNearest(double value) const {
  size_t last = levels.size() - 1;
  if (inverseStep > 0) {
    double at = (value - levels[0].value) * inverseStep + 0.5;
    return at >= 0 ? static_cast<size_t>(std::min(at, double(last))) : 0;
  }
  auto next = std::lower_bound(
      levels.begin(), levels.end(), value,
      [](const FieldChoice &level, double v) { return level.value < v; });
  size_t index = std::min<size_t>(next - levels.begin(), last);
  return index && value - levels[index - 1].value < levels[index].value - value
             ? index - 1
             : index;
}

FieldChoice FieldDomain::nearest(double value) const {
  if (!wide)
    return levels[findNearest(value)];
  constexpr double largest = std::numeric_limits<float>::max();
  double wanted = std::clamp(value / slope, -largest, largest);
  uint32_t raw = narrowField(field, static_cast<float>(wanted));
  return {raw, slope * std::bit_cast<float>(widenField(field, raw))};
}

void FieldDomain::list(double value, double spread,
                       std::span<FieldChoice> out) const {
  auto half = static_cast<int64_t>(out.size() / 2);
  if (wide) {
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = nearest(value *
                       (1 + spread * double(static_cast<int64_t>(i) - half)));
    return;
  }
  auto last = static_cast<int64_t>(levels.size()) - 1;
  auto nearestIndex = static_cast<int64_t>(findNearest(value));
  // The window leans to the side on which the wanted value lies.
  int64_t begin = nearestIndex - half;
  if (out.size() % 2 == 0 && value > levels[nearestIndex].value)
    ++begin;
  begin = std::max<int64_t>(
      0, std::min(begin, last + 1 - static_cast<int64_t>(out.size())));
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = levels[std::min(begin + static_cast<int64_t>(i), last)];
}
