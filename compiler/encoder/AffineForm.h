// Whether a scheme's decode program is slope * level(code) + offset, and how
// slope and offset follow from the outer fields. It is found by looking at
// what each step depends on and by trying values, not from a list of schemes.
#pragma once

#include "compiler/encoder/FieldDomain.h"
#include "compiler/encoder/LaneKernel.h"

#include <optional>

namespace lapidary {

/// A field's part in a slope or an offset.
struct FieldFactor {
  /// -1: none, the factor is 1.
  int field = -1;
  /// SchemeField::perRow or the columns that a value covers.
  int64_t columns = 0;
  FieldDomain domain;
};

struct AffineForm {
  CodeLevels levels;
  /// The codes of the levels.
  std::vector<uint32_t> codes;

  /// slope = inner * outer
  FieldFactor slopeInner, slopeOuter;
  enum class Offset : uint8_t {
    /// There is none.
    None,
    /// offset = inner * outer
    Own,
    /// offset = slope * inner: codes have a zero point.
    Relative,
  } offset = Offset::None;
  FieldFactor offsetInner, offsetOuter;
  /// Columns that inner factors cover: SchemeField::perRow or a count.
  int64_t groupColumns = 0;
  /// For each field of the scheme, a value for when nothing depends on it.
  std::vector<uint32_t> unusedRaws;
};

/// None when the scheme is not of the form, or of one that the search for
/// affine schemes does not handle: more than two fields in a factor, inner
/// fields of different periods, or codes of more than 8 bits.
std::optional<AffineForm> findAffineForm(const Scheme &scheme);

} // namespace lapidary
