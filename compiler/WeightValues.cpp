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
  // Verified by the op.
  return readEncodedValues(checkpoint, *tensor,
                           *getScheme(weight.getValueType(), weight), first,
                           out);
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
  if (stored.layout) {
    std::vector<uint8_t> bytes(stored.layout->tileBytes);
    return decodeRows(stored.scheme, *stored.layout, first, out,
                      [&](int64_t tile, const uint8_t *&at) {
                        at = bytes.data();
                        return file.read(stored.offset +
                                             tile * stored.layout->tileBytes,
                                         bytes);
                      });
  }
  auto format = getSourceFormat(
      cast<RankedTensorType>(weight.getValueType()).getElementType());
  int64_t size = getSourceBytes(format);
  std::vector<uint8_t> bytes(out.size() * size);
  LAPIDARY_TRY(file.read(stored.offset + first * size, bytes));
  convertToFloat(format, bytes.data(), out.size(), out.data());
  return {};
}

Status WatchedValues::read(WeightOp weight, int64_t first,
                           std::span<float> out) const {
  if (!progress(static_cast<int64_t>(out.size())))
    return lapidary::cancelled("reading weights was interrupted");
  return values.read(weight, first, out);
}
