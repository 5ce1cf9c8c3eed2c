// The factors that a field can contribute to a weight: what its raw values
// mean, which are near a wanted one.
#pragma once

#include "dialects/scheme/Scheme.h"

#include <span>

namespace lapidary {

struct FieldChoice {
  uint32_t raw = 0;
  double value = 0;
};

class FieldDomain {
public:
  /// A domain that holds only 1: there is no field.
  FieldDomain();
  /// A float of 16 or 32 bits; the factor is `slope` times its value.
  FieldDomain(const SchemeField &field, double slope);
  /// The factors of a narrow field's values, in any order.
  explicit FieldDomain(std::vector<FieldChoice> choices);

  /// All raw values of a field of at most 8 bits that an encoder may write.
  static std::vector<uint32_t> listRaws(const SchemeField &field);

  bool isWide() const { return wide; }
  /// Smallest and largest factor; infinite for a wide float.
  double getLowest() const;
  double getHighest() const;
  size_t getCount() const { return levels.size(); }
  const FieldChoice &getLevel(size_t index) const { return levels[index]; }

  FieldChoice nearest(double value) const;
  /// The nearest factor, a wide float's unrounded.
  double round(double value) const {
    if (wide)
      return value;
    if (inverseStep == 0)
      return levels[findNearest(value)].value;
    double at = (value - first) * inverseStep;
    at = at < 0 ? 0 : at;
    at = at < last ? at : last;
    // Shifted by 1.5 * 2^52, a double is rounded to an integer.
    return first + ((at + 0x1.8p52) - 0x1.8p52) * step;
  }
  /// `out.size()` choices around a value: neighbouring levels, or for a wide
  /// float values whose ratio to the wanted one differs by `spread` each.
  void list(double value, double spread, std::span<FieldChoice> out) const;
  void negate();

private:
  size_t findNearest(double value) const;
  void sort();

  bool wide = false;
  SchemeField field;
  double slope = 1;
  /// Ascending; empty for a wide float.
  std::vector<FieldChoice> levels;
  /// Where levels are first + step * index, 1 / step, else 0.
  double inverseStep = 0, step = 0, first = 0;
  /// The last level's index.
  double last = 0;
};

} // namespace lapidary
