// From rows of floats to the fields of any scheme: least squared error by
// search, weighted by the importance of columns where it is known.
#pragma once

#include "dialects/scheme/Scheme.h"

#include <memory>
#include <span>

namespace lapidary {

/// Floating point formats of a checkpoint. Values that were made by decoding a
/// scheme and then rounded to one are found again exactly by its encoder.
enum class SourceFormat : uint8_t { F32, F16, BF16 };

class AffineEncoder;
class NumericEncoder;

/// Encodes rows of `columns` values in a scheme. Analyses the scheme once; may
/// then be used by several threads at once. The same input gives the same
/// fields, whatever instructions the machine has.
class RowEncoder {
public:
  RowEncoder(const Scheme &scheme, int64_t columns);
  ~RowEncoder();

  /// `values` are finite, one a column. `importance` is empty or has a weight
  /// of the squared error for each column, at least 0; only `weighted` schemes
  /// use it. `out` was made for the scheme and the columns.
  void encode(std::span<const float> values, std::span<const float> importance,
              SourceFormat rounding, EncodedRow &out) const;

  /// Whether the scheme was recognized as slope * level(code) + offset, which
  /// is encoded fast.
  bool isAffine() const { return affine != nullptr; }

private:
  const Scheme scheme;
  int64_t columns;
  std::unique_ptr<AffineEncoder> affine;
  std::unique_ptr<NumericEncoder> numeric;
};

} // namespace lapidary
