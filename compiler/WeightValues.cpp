// Values of weights for the reference interpreter.
#include "compiler/WeightValues.h"

#include "compiler/SourceFormat.h"
#include "compiler/WeightPacking.h"
#include "compiler/WeightSource.h"
#include "compiler/WeightWriter.h"

using namespace mlir;
using namespace mlir::lap;
using lapidary::Status;

Status CheckpointValues::read(WeightOp weight, int64_t first,
                              std::span<float> out) const {
  const lapidary::TensorInfo *tensor =
      LAPIDARY_TRY(findSource(checkpoint, weight));
  if (tensor->encoding.empty()) {
    SourceFormat format = getSourceFormat(
        cast<RankedTensorType>(weight.getType()).getElementType());
    int64_t size = getSourceBytes(format);
    std::vector<uint8_t> bytes(out.size() * size);
    LAPIDARY_TRY(checkpoint.read(*tensor, first * size, bytes));
    convertToFloat(format, bytes.data(), out.size(), out.data());
    return {};
  }
  return readEncodedValues(checkpoint, *tensor, weight, first, out);
}

StoredValues::StoredValues(ArrayRef<StoredWeight> stored,
                           const lapidary::BundleFile &file)
    : file(file) {
  for (const StoredWeight &entry : stored) {
    auto weight = dyn_cast<WeightOp>(entry.op);
    if (!weight)
      continue;
    Stored own;
    own.offset = entry.offset;
    // Verified when the sizes were computed.
    if (weight.getLayout() == Layout::Rows16) {
      own.scheme = *getScheme(weight.getValueType(), weight);
      own.layout = *getRowTileLayout(weight.getValueType(), weight);
    } else {
      own.scheme = getFloatScheme(
          cast<RankedTensorType>(weight.getValueType()).getElementType());
    }
    weights[weight.getSymName()] = std::move(own);
  }
}

Status StoredValues::read(WeightOp weight, int64_t first,
                          std::span<float> out) const {
  auto found = weights.find(weight.getSymName());
  if (found == weights.end())
    return lapidary::notFound("the bundle has no weight " +
                              weight.getSymName().str());
  const Stored &stored = found->second;
  if (stored.layout)
    return readTiles(stored, first, out);
  auto format = getSourceFormat(
      cast<RankedTensorType>(weight.getValueType()).getElementType());
  int64_t size = getSourceBytes(format);
  std::vector<uint8_t> bytes(out.size() * size);
  LAPIDARY_TRY(file.read(stored.offset + first * size, bytes));
  convertToFloat(format, bytes.data(), out.size(), out.data());
  return {};
}

Status StoredValues::readTiles(const Stored &stored, int64_t first,
                               std::span<float> out) const {
  constexpr int64_t tileRows = RowTileLayout::tileRows;
  const RowTileLayout &layout = *stored.layout;
  int64_t columns = layout.columns;
  if (first % columns || out.size() % columns)
    return lapidary::internalError("expected whole rows of a packed weight");
  int64_t row = first / columns, end = row + out.size() / columns;
  std::vector<uint8_t> tile(layout.tileBytes);
  lapidary::EncodedRow encoded(stored.scheme, columns);
  for (float *at = out.data(); row < end; ++row, at += columns) {
    if (at == out.data() || row % tileRows == 0)
      LAPIDARY_TRY(
          file.read(stored.offset + row / tileRows * layout.tileBytes, tile));
    unpackRow(layout, tile.data(), row % tileRows, encoded);
    decodeRow(stored.scheme, encoded, {at, static_cast<size_t>(columns)});
  }
  return {};
}
