// Reads a decode program as slope * T(code) + offset, T a step that depends on
// the code alone.
#pragma once

#include "dialects/scheme/Scheme.h"

#include <span>

namespace lapidary {

/// Raw values, one a field of a scheme.
using Assignment = std::vector<uint32_t>;

/// Slope and offset at an assignment of the outer fields.
struct Line {
  double slope = 0, offset = 0;
};

/// Reads a decode program as a line over one of its values.
class LineReader {
public:
  explicit LineReader(const Scheme &scheme);

  /// Whether the result is a line over one value that comes from the code
  /// alone, as far as the steps say.
  bool isValid() const { return valid; }
  /// The values of the base for each code.
  std::vector<double> tabulateBase(std::span<const uint32_t> codes) const;
  Line evaluate(const Assignment &outer) const;
  std::vector<float> decode(const Assignment &outer,
                            std::span<const uint32_t> codes) const;

private:
  bool readStep(uint32_t number);
  bool setBase(uint32_t number, bool isInteger);
  /// The value of an operand that does not depend on the code.
  double evaluateOuter(uint32_t number, bool isInteger,
                       const Assignment &outer) const;
  Line evaluateNumber(uint32_t number, bool isInteger,
                      const Assignment &outer) const;
  std::vector<float> run(uint32_t number, const Assignment &outer,
                         std::span<const uint32_t> codes) const;
  bool isMixed(uint32_t number) const {
    return onCode[number] && onOuter[number];
  }

  const Scheme &scheme;
  size_t code;
  std::vector<bool> onCode, onOuter;
  bool valid = true;
  /// The value that depends on the code alone; its type.
  int64_t base = -1;
  bool baseIsInteger = false;
};

} // namespace lapidary
