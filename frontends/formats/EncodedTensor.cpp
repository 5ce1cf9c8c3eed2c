// Takes apart what checkpoints have quantized, by encoding.
#include "frontends/formats/EncodedTensor.h"

#include "frontends/formats/CompressedTensors.h"
#include "frontends/formats/GgufBlocks.h"

#include <algorithm>
#include <bit>
#include <cmath>

using namespace lapidary;

static Result<const GgmlType *> findType(const TensorInfo &tensor) {
  const GgmlType *type = findGgmlType(tensor.encoding);
  if (!type || !type->scheme)
    return unsupported("tensor " + quoteName(tensor.name) + " is of " +
                       tensor.encoding + ", which is no known type of blocks");
  return type;
}

Result<std::string> lapidary::getEncodedScheme(const TensorInfo &tensor) {
  if (tensor.matrix)
    return tensor.encoding;
  const GgmlType *type = LAPIDARY_TRY(findType(tensor));
  return std::string(type->scheme);
}

std::string_view lapidary::getEncodedSchemeText(const TensorInfo &tensor) {
  return tensor.matrix ? std::string_view(tensor.matrix->schemeText)
                       : std::string_view();
}

/// Blocks may hold any bits: scales must be finite, and so must be what they
/// make of the largest code.
static Status checkScales(const Checkpoint &checkpoint,
                          const TensorInfo &tensor, const Scheme &scheme,
                          int64_t number, const EncodedRow &row) {
  auto wrong = [&](const std::string &found) {
    return invalidData(
        checkpoint.pathOf(tensor) + ": tensor " + quoteName(tensor.name) +
        ": expected scales that are finite times the largest code, found " +
        found + " in row " + std::to_string(number) +
        ": the checkpoint is damaged, fetch it again");
  };
  // Integers in the place of codes are too small to matter.
  constexpr float largestF4 = 6;
  float product = scheme.fields[0].kind == FieldKind::F4E2M1 ? largestF4 : 1.0F;
  for (size_t f = 0; f < scheme.fields.size(); ++f) {
    const SchemeField &field = scheme.fields[f];
    if (!field.isFloat() || field.columns == 1)
      continue;
    float largest = 0;
    for (int64_t i = 0; i < row.getCount(f); ++i) {
      float value = std::bit_cast<float>(widenField(field, row.get(f, i)));
      if (!std::isfinite(value))
        return wrong(std::to_string(value));
      largest = std::max(largest, std::fabs(value));
    }
    product *= largest;
  }
  return std::isfinite(product) ? Status() : wrong("one that is too large");
}

Status lapidary::readEncodedRows(const Checkpoint &checkpoint,
                                 const TensorInfo &tensor, const Scheme &scheme,
                                 int64_t first, std::span<EncodedRow> rows) {
  if (tensor.matrix)
    return readCompressedRows(checkpoint, tensor, scheme, first, rows);
  const GgmlType *type = LAPIDARY_TRY(findType(tensor));
  LAPIDARY_TRY(checkGgmlScheme(*type, scheme));
  if (tensor.shape.size() != 2 || tensor.shape[1] % type->columns)
    return invalidData("tensor " + quoteName(tensor.name) +
                       ": expected a matrix of whole blocks of " +
                       std::to_string(type->columns) + " columns, found " +
                       describeTensor(tensor));
  uint64_t rowBytes = uint64_t(tensor.shape[1] / type->columns) * type->bytes;
  std::vector<uint8_t> bytes(rowBytes * rows.size());
  LAPIDARY_TRY(checkpoint.read(tensor, uint64_t(first) * rowBytes, bytes));
  for (size_t i = 0; i < rows.size(); ++i) {
    LAPIDARY_TRY(unpackGgmlRow(*type,
                               std::span(bytes).subspan(i * rowBytes, rowBytes),
                               tensor.factor, rows[i]));
    LAPIDARY_TRY(
        checkScales(checkpoint, tensor, scheme, first + int64_t(i), rows[i]));
  }
  return {};
}
