// Takes apart what checkpoints have quantized, by encoding.
#include "frontends/formats/EncodedTensor.h"

#include "frontends/formats/CompressedTensors.h"
#include "frontends/formats/GgufBlocks.h"

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
  for (size_t i = 0; i < rows.size(); ++i)
    LAPIDARY_TRY(unpackGgmlRow(*type,
                               std::span(bytes).subspan(i * rowBytes, rowBytes),
                               tensor.factor, rows[i]));
  return {};
}
