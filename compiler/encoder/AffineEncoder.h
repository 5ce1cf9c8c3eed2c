// Finds the fields of affine schemes: fits each group of columns, rounds the
// fits to what the fields can hold, and improves all of them in turn.
#pragma once

#include "compiler/encoder/AffineForm.h"
#include "compiler/encoder/Encoder.h"
#include "compiler/encoder/GroupFit.h"
#include "compiler/encoder/Lattice.h"

namespace lapidary {

class AffineEncoder {
public:
  AffineEncoder(const Scheme &scheme, AffineForm form, int64_t columns);

  /// `values` and `weights` are padded to whole blocks, with weight 0.
  void encode(std::span<const float> values, std::span<const float> weights,
              SourceFormat rounding, EncodedRow &out) const;

private:
  struct Group;
  struct Instance;
  struct Unit;

  bool isSearch() const {
    return scheme.strategy == EncodeStrategy::Search ||
           scheme.strategy == EncodeStrategy::Weighted;
  }
  void encodeUnit(Unit &unit) const;
  void scaleUnit(Unit &unit) const;
  bool findLattice(Unit &unit) const;
  void fitGroups(Unit &unit) const;
  void chooseStarts(Unit &unit) const;
  void useStart(Unit &unit, size_t number, bool mirrored) const;
  void chooseFields(Unit &unit, double spread) const;
  void chooseGroup(const Unit &unit, Group &group, double spread) const;
  bool refitOuter(Unit &unit) const;
  void write(const Unit &unit, EncodedRow &out) const;

  const Scheme &scheme;
  AffineForm form;
  FitLimits limits;
  /// By field: nothing depends on it.
  std::vector<bool> unused;
  LatticeFinder lattice;
  /// Slopes, and offsets for each, that are tried about a fit.
  int windowSide;
  /// Turned codes, with a negative slope, may hit the fields' values better.
  bool mirrors;
  int64_t columns, padded;
  /// Columns of a group, and of a unit, whose groups share outer fields.
  int64_t groupColumns, unitColumns;
};

} // namespace lapidary
