// Finds the fields of a scheme of any form by decoding candidates: for schemes
// that are not affine in their code, and for codes that are wide floats.
#pragma once

#include "dialects/scheme/Scheme.h"

#include <span>

namespace lapidary {

class NumericEncoder {
public:
  NumericEncoder(const Scheme &scheme, int64_t columns);

  /// `values` and `weights` are padded to whole blocks, with weight 0.
  void encode(std::span<const float> values, std::span<const float> weights,
              EncodedRow &out) const;

private:
  struct Row;
  /// One value of an outer field.
  struct Instance {
    size_t field;
    int64_t index;
    int64_t begin, end;
  };

  void encodePlain(std::span<const float> values, EncodedRow &out) const;
  void chooseShared(Row &row) const;
  void improve(Row &row, int sweeps) const;
  void tryCandidates(Row &row, const Instance &instance,
                     std::span<const uint32_t> candidates) const;
  double evaluateColumns(Row &row, int64_t begin, int64_t end, size_t field,
                         uint32_t raw) const;
  void decodeCell(Row &row, int64_t begin, size_t field,
                  std::span<const uint32_t> candidates) const;
  double chooseWide(Row &row, int64_t begin, int64_t end, size_t field,
                    uint32_t raw, uint32_t *codes) const;
  void decodeCodes(Row &row, int64_t begin, int64_t end, size_t field,
                   uint32_t raw, std::span<const uint32_t> codes) const;
  void writeCodes(Row &row, EncodedRow &out) const;
  std::vector<uint32_t> listShared(size_t field) const;
  std::vector<uint32_t> listCoarse(size_t field, uint32_t current,
                                   float reach) const;
  std::vector<uint32_t> listFine(size_t field, uint32_t current,
                                 int sweep) const;

  const Scheme &scheme;
  int64_t columns, padded;
  size_t code;
  bool wideCode, plain;
  /// No outer field changes within a cell.
  int64_t cellColumns;
  std::vector<uint32_t> codes;
  /// By field: raw values ascending by what they mean; empty for wide floats.
  std::vector<std::vector<uint32_t>> levels;
  std::vector<Instance> instances;
};

} // namespace lapidary
