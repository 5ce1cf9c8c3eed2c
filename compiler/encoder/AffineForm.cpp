// Slope and offset of a decode program are evaluated for many values of the
// outer fields, to see that they are products of one factor a field.
#include "compiler/encoder/AffineForm.h"

#include "compiler/encoder/LineReader.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

using namespace lapidary;

namespace {

bool near(double a, double b, double scale) {
  return std::fabs(a - b) <= 1e-5 * scale;
}

/// Tries values of the outer fields.
class FactorFinder {
public:
  explicit FactorFinder(const Scheme &scheme)
      : scheme(scheme), reader(scheme) {}
  std::optional<AffineForm> find();

private:
  struct Product {
    /// By field: the factor relative to the reference; empty domain values
    /// where the product does not depend on the field.
    std::vector<bool> depends;
    std::vector<std::vector<double>> factors;
  };

  bool tabulate(AffineForm &form);
  bool findReference();
  std::vector<uint32_t> getProbes(size_t field) const;
  Assignment draw();
  bool factorize(bool slope, Product &product) const;
  double predict(const Product &product, const Assignment &at,
                 bool slope) const;
  bool verify(const AffineForm &form);
  /// The two fields of a product by period: inner, outer.
  bool arrange(const Product &product, std::vector<size_t> fields,
               double constant, FieldFactor &inner, FieldFactor &outer) const;
  FieldDomain getDomain(const Product &product, size_t field,
                        double constant) const;
  int64_t getPeriod(size_t field) const {
    int64_t columns = scheme.fields[field].columns;
    return columns == SchemeField::perRow ? std::numeric_limits<int64_t>::max()
                                          : columns;
  }

  const Scheme &scheme;
  LineReader reader;
  uint32_t state = 12345;
  Assignment reference;
  Line atReference;
  bool hasOffset = false;
  Product slopes, offsets;
  std::vector<double> table;
  std::vector<uint32_t> tableCodes;
  /// What a step of the levels is in units of the table.
  double unit = 1;
};

} // namespace

std::vector<uint32_t> FactorFinder::getProbes(size_t number) const {
  const SchemeField &field = scheme.fields[number];
  if (field.bits <= 8)
    return FieldDomain::listRaws(field);
  std::vector<uint32_t> raws;
  for (float value : {1.0f, 0.5f, 2.0f, -1.0f, 0.0625f, -3.0f, 1.25f, 0.0f})
    raws.push_back(narrowField(field, value));
  return raws;
}

/// A random assignment of moderate values.
Assignment FactorFinder::draw() {
  auto next = [&] {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
  };
  Assignment at;
  for (size_t f = 0; f < scheme.fields.size(); ++f) {
    const SchemeField &field = scheme.fields[f];
    if (field.bits <= 8) {
      std::vector<uint32_t> raws = FieldDomain::listRaws(field);
      uint32_t pick = next() % raws.size();
      // Powers of two about 1: products of others overflow.
      if (field.kind == FieldKind::F8E8M0)
        pick = 120 + next() % 16;
      at.push_back(raws[pick]);
    } else {
      float magnitude = 0.25f + float(next() % 1024) / 256;
      at.push_back(
          narrowField(field, next() % 4 == 0 ? -magnitude : magnitude));
    }
  }
  return at;
}

/// The levels that codes can mean.
bool FactorFinder::tabulate(AffineForm &form) {
  const SchemeField &code = scheme.fields[scheme.getCode()];
  std::vector<uint32_t> codes = FieldDomain::listRaws(code);
  std::vector<double> base = reader.tabulateBase(codes);
  std::vector<std::pair<double, uint32_t>> levels;
  for (size_t i = 0; i < codes.size(); ++i)
    if (std::isfinite(base[i]))
      levels.emplace_back(base[i], codes[i]);
  std::sort(levels.begin(), levels.end());
  auto equal = [](auto &a, auto &b) { return a.first == b.first; };
  levels.erase(std::unique(levels.begin(), levels.end(), equal), levels.end());
  if (levels.size() < 2)
    return false;
  double step = levels[1].first - levels[0].first;
  auto count = static_cast<int>(levels.size());
  bool uniform =
      near(levels[0].first / step, std::nearbyint(levels[0].first / step), 1);
  for (int i = 0; i < count; ++i)
    uniform &= near(levels[i].first, levels[0].first + step * i, step);
  unit = uniform ? step
                 : std::max(std::fabs(levels.front().first),
                            std::fabs(levels.back().first));
  CodeLevels &out = form.levels;
  out.count = count;
  out.uniform = uniform;
  out.values.fill(0);
  out.thresholds.fill(std::numeric_limits<float>::infinity());
  for (int i = 0; i < count; ++i) {
    double value = levels[i].first / unit;
    out.values[i] = static_cast<float>(uniform ? std::nearbyint(value) : value);
    form.codes.push_back(levels[i].second);
    table.push_back(levels[i].first);
  }
  for (int i = 0; i + 1 < count; ++i)
    out.thresholds[i] =
        static_cast<float>((levels[i].first + levels[i + 1].first) / 2 / unit);
  out.symmetric = true;
  for (int i = 0; i < count; ++i)
    out.symmetric &= out.values[i] == -out.values[count - 1 - i];
  out.lowest = out.values[0];
  out.highest = out.values[count - 1];
  // Sums of squares of levels are kept in f32.
  return std::fabs(out.lowest) < 1e6f && std::fabs(out.highest) < 1e6f;
}

/// An assignment where slope, and offset if there is any, are not 0.
bool FactorFinder::findReference() {
  for (int attempt = 0; attempt < 64; ++attempt) {
    Assignment at = draw();
    Line line = reader.evaluate(at);
    if (!std::isfinite(line.slope) || !std::isfinite(line.offset) ||
        line.slope == 0)
      continue;
    bool offset = line.offset != 0;
    if (reference.empty() || (offset && !hasOffset)) {
      reference = at;
      atReference = line;
      hasOffset |= offset;
    }
  }
  return !reference.empty();
}

/// Each field's factor, its value relative to the reference.
bool FactorFinder::factorize(bool slope, Product &product) const {
  size_t count = scheme.fields.size();
  product.depends.assign(count, false);
  product.factors.assign(count, {});
  for (size_t f = 0; f < count; ++f) {
    if (f == scheme.getCode())
      continue;
    const SchemeField &field = scheme.fields[f];
    float origin = std::bit_cast<float>(widenField(field, reference[f]));
    for (uint32_t raw : getProbes(f)) {
      Assignment at = reference;
      at[f] = raw;
      Line line = reader.evaluate(at);
      double factor = slope ? line.slope / atReference.slope
                            : line.offset / atReference.offset;
      if (!std::isfinite(factor))
        return false;
      product.factors[f].push_back(factor);
      product.depends[f] = product.depends[f] || !near(factor, 1, 1);
    }
    if (!product.depends[f] || field.bits <= 8)
      continue;
    std::vector<uint32_t> probes = getProbes(f);
    for (size_t i = 0; i < probes.size(); ++i) {
      double ratio =
          std::bit_cast<float>(widenField(field, probes[i])) / double(origin);
      if (!near(product.factors[f][i], ratio, std::fabs(ratio)))
        return false; // Not linear in the float.
    }
  }
  return true;
}

double FactorFinder::predict(const Product &product, const Assignment &at,
                             bool slope) const {
  double value = slope ? atReference.slope : atReference.offset;
  for (size_t f = 0; f < scheme.fields.size(); ++f) {
    if (!product.depends[f])
      continue;
    const SchemeField &field = scheme.fields[f];
    if (field.bits > 8) {
      value *= std::bit_cast<float>(widenField(field, at[f])) /
               double(std::bit_cast<float>(widenField(field, reference[f])));
      continue;
    }
    std::vector<uint32_t> raws = FieldDomain::listRaws(field);
    value *= product.factors[f][std::find(raws.begin(), raws.end(), at[f]) -
                                raws.begin()];
  }
  return value;
}

/// The decode program itself, at random values.
bool FactorFinder::verify(const AffineForm &form) {
  for (int attempt = 0; attempt < 64; ++attempt) {
    Assignment at = draw();
    double slope = predict(slopes, at, true);
    double offset = hasOffset ? predict(offsets, at, false) : 0;
    std::vector<float> values = reader.decode(at, form.codes);
    for (size_t i = 0; i < values.size(); ++i) {
      double expected = slope * table[i] + offset;
      if (!near(values[i], expected,
                std::fabs(slope * table[i]) + std::fabs(offset)))
        return false;
    }
  }
  return true;
}

FieldDomain FactorFinder::getDomain(const Product &product, size_t field,
                                    double constant) const {
  const SchemeField &it = scheme.fields[field];
  if (it.bits > 8)
    return FieldDomain(
        it, constant / std::bit_cast<float>(widenField(it, reference[field])));
  std::vector<FieldChoice> choices;
  std::vector<uint32_t> raws = FieldDomain::listRaws(it);
  for (size_t i = 0; i < raws.size(); ++i)
    choices.push_back({raws[i], constant * product.factors[field][i]});
  return FieldDomain(std::move(choices));
}

bool FactorFinder::arrange(const Product &product, std::vector<size_t> fields,
                           double constant, FieldFactor &inner,
                           FieldFactor &outer) const {
  std::sort(fields.begin(), fields.end(),
            [&](size_t a, size_t b) { return getPeriod(a) < getPeriod(b); });
  if (fields.empty() || fields.size() > 2 ||
      (fields.size() == 2 && getPeriod(fields[0]) == getPeriod(fields[1])))
    return false;
  auto set = [&](FieldFactor &factor, size_t field, double scale) {
    factor.field = static_cast<int>(field);
    factor.columns = scheme.fields[field].columns;
    factor.domain = getDomain(product, field, scale);
  };
  set(inner, fields[0], constant);
  if (fields.size() == 2) {
    set(outer, fields[1], 1);
    if (outer.columns != SchemeField::perRow && outer.columns % inner.columns)
      return false;
  }
  return true;
}

std::optional<AffineForm> FactorFinder::find() {
  AffineForm form;
  if (!reader.isValid() || scheme.fields[scheme.getCode()].bits > 8 ||
      !tabulate(form) || !findReference() || !factorize(true, slopes) ||
      (hasOffset && !factorize(false, offsets)) || !verify(form))
    return std::nullopt;
  form.unusedRaws = reference;
  std::vector<size_t> inSlope, inOffset, offsetOnly;
  for (size_t f = 0; f < scheme.fields.size(); ++f) {
    if (slopes.depends[f])
      inSlope.push_back(f);
    if (!hasOffset || !offsets.depends[f])
      continue;
    inOffset.push_back(f);
    if (!slopes.depends[f])
      offsetOnly.push_back(f);
  }
  if (!arrange(slopes, inSlope, atReference.slope * unit, form.slopeInner,
               form.slopeOuter))
    return std::nullopt;
  form.groupColumns = form.slopeInner.columns;
  FieldDomain &domain = form.slopeInner.domain;
  if (hasOffset && inOffset.size() == offsetOnly.size()) {
    form.offset = AffineForm::Offset::Own;
    if (!arrange(offsets, inOffset, atReference.offset, form.offsetInner,
                 form.offsetOuter))
      return std::nullopt;
  } else if (hasOffset) {
    // All of the slope's fields, in the same way, and one more.
    if (offsetOnly.size() != 1 || inOffset.size() != inSlope.size() + 1)
      return std::nullopt;
    for (size_t f : inSlope)
      for (size_t i = 0; i < slopes.factors[f].size(); ++i)
        if (!near(slopes.factors[f][i], offsets.factors[f][i],
                  std::fabs(slopes.factors[f][i])))
          return std::nullopt;
    form.offset = AffineForm::Offset::Relative;
    size_t f = offsetOnly[0];
    form.offsetInner = {
        static_cast<int>(f), scheme.fields[f].columns,
        getDomain(offsets, f, atReference.offset / (atReference.slope * unit))};
  }
  if (hasOffset && form.offsetInner.columns != form.groupColumns)
    return std::nullopt;
  // The columns of a unit are those of its longest field; the others must end
  // where it does.
  if (form.slopeOuter.field >= 0 && form.offsetOuter.field >= 0) {
    auto [shorter, longer] =
        std::minmax(form.slopeOuter.columns, form.offsetOuter.columns);
    if (shorter != SchemeField::perRow && longer % shorter)
      return std::nullopt;
  }
  // A slope that is never positive is one of turned levels.
  if (!domain.isWide() && domain.getHighest() <= 0) {
    domain.negate();
    if (form.offset == AffineForm::Offset::Relative)
      form.offsetInner.domain.negate();
    CodeLevels turned = form.levels;
    int count = turned.count;
    for (int i = 0; i < count; ++i)
      turned.values[i] = -form.levels.values[count - 1 - i];
    for (int i = 0; i + 1 < count; ++i)
      turned.thresholds[i] = -form.levels.thresholds[count - 2 - i];
    turned.lowest = -form.levels.highest;
    turned.highest = -form.levels.lowest;
    form.levels = turned;
    std::reverse(form.codes.begin(), form.codes.end());
  }
  return form;
}

std::optional<AffineForm> lapidary::findAffineForm(const Scheme &scheme) {
  return FactorFinder(scheme).find();
}
