// Reads, checks, encodes and packs the rows of one matrix.
#include "compiler/WeightSource.h"

#include "compiler/WeightPacking.h"
#include "frontends/formats/EncodedTensor.h"

using namespace mlir;
using namespace mlir::lap;
using lapidary::Result;
using lapidary::Status;
using lapidary::TensorInfo;

static constexpr int64_t tileRows = RowTileLayout::tileRows;

static lapidary::ElementType getElementType(Type type) {
  if (type.isF32())
    return lapidary::ElementType::F32;
  if (type.isF16())
    return lapidary::ElementType::F16;
  return lapidary::ElementType::BF16;
}

Result<const TensorInfo *>
mlir::lap::findSource(const lapidary::Checkpoint &checkpoint, WeightOp weight) {
  auto type = cast<RankedTensorType>(weight.getType());
  const TensorInfo *tensor = checkpoint.find(weight.getSymName());
  bool fits = tensor && ArrayRef(tensor->shape) == type.getShape() &&
              (!tensor->encoding.empty() ||
               tensor->type == getElementType(type.getElementType()));
  if (!fits) {
    std::string expected;
    llvm::raw_string_ostream(expected) << type;
    return lapidary::notFound(
        "expected the tensor " + weight.getSymName().str() + " of " + expected +
        " in " + checkpoint.folder() + ", found " +
        (tensor ? lapidary::describeTensor(*tensor) : "none"));
  }
  return tensor;
}

Status mlir::lap::readEncodedValues(const lapidary::Checkpoint &checkpoint,
                                    const TensorInfo &tensor,
                                    const lapidary::Scheme &scheme,
                                    int64_t first, std::span<float> out) {
  int64_t columns = tensor.shape.back();
  if (first % columns || out.size() % columns)
    return lapidary::internalError("expected whole rows of " + tensor.name);
  std::vector<lapidary::EncodedRow> row(1,
                                        lapidary::EncodedRow(scheme, columns));
  for (size_t at = 0; at < out.size(); at += columns) {
    LAPIDARY_TRY(lapidary::readEncodedRows(
        checkpoint, tensor, scheme,
        (first + static_cast<int64_t>(at)) / columns, row));
    decodeRow(scheme, row[0], out.subspan(at, columns));
  }
  return {};
}

Status mlir::lap::checkFinite(const lapidary::Checkpoint &checkpoint,
                              const TensorInfo &tensor, SourceFormat format,
                              std::span<const uint8_t> bytes, int64_t first) {
  int64_t bad = findNonFinite(format, bytes.data(),
                              bytes.size() / getSourceBytes(format));
  if (bad < 0)
    return {};
  return lapidary::invalidData(
      tensor.name + " in " + checkpoint.fileOf(tensor) +
      " has a value that is not finite (NaN or infinity) at element " +
      std::to_string(first + bad) +
      ": the checkpoint is damaged, fetch it again");
}

Result<WeightSource> WeightSource::open(const lapidary::Checkpoint &checkpoint,
                                        WeightOp weight,
                                        const Importance &importance) {
  WeightSource source(checkpoint);
  source.tensor = LAPIDARY_TRY(findSource(checkpoint, weight));
  auto type = cast<RankedTensorType>(weight.getType());
  source.format = getSourceFormat(type.getElementType());
  // Verified when the sizes were computed.
  source.scheme = *getScheme(weight.getValueType(), weight);
  source.layout = *getRowTileLayout(weight.getValueType(), weight);
  int64_t columns = source.layout.columns;
  source.rowBytes =
      static_cast<int64_t>(source.tensor->bytes) / source.layout.rows;
  if (!source.tensor->encoding.empty())
    return source;
  source.plain = weight.getValueType() == weight.getType();
  if (source.plain)
    return source;
  source.encoder =
      std::make_shared<lapidary::RowEncoder>(source.scheme, columns);
  if (auto found = importance.find(weight.getSymName());
      found != importance.end()) {
    if (static_cast<int64_t>(found->second.size()) != columns)
      return lapidary::invalidData(
          "the importance of " + weight.getSymName().str() + " has " +
          std::to_string(found->second.size()) + " columns, expected " +
          std::to_string(columns) +
          ": calibrate with the checkpoint that is compiled");
    source.importance = found->second;
  }
  return source;
}

Status WeightSource::packTiles(int64_t first, int64_t count,
                               std::span<uint8_t> buffer, uint8_t *out) const {
  int64_t columns = layout.columns, firstRow = first * tileRows;
  int64_t rows = std::min(count * tileRows, layout.rows - firstRow);
  std::span<uint8_t> bytes = buffer.first(rows * rowBytes);
  std::vector<lapidary::EncodedRow> encoded;
  if (tensor->encoding.empty()) {
    LAPIDARY_TRY(checkpoint->read(*tensor, firstRow * rowBytes, bytes));
    LAPIDARY_TRY(
        checkFinite(*checkpoint, *tensor, format, bytes, firstRow * columns));
    if (plain) {
      packFloatTiles(layout, bytes.data(), rows, count, out);
      return {};
    }
  }
  encoded.assign(tileRows, lapidary::EncodedRow(scheme, columns));
  std::vector<float> values(columns);
  for (int64_t tile = 0; tile < count; ++tile) {
    int64_t begin = tile * tileRows, own = std::min(tileRows, rows - begin);
    std::span<lapidary::EncodedRow> tileOwn = std::span(encoded).first(own);
    if (!encoder) {
      LAPIDARY_TRY(lapidary::readEncodedRows(*checkpoint, *tensor, scheme,
                                             firstRow + begin, tileOwn));
    } else {
      for (int64_t row = 0; row < own; ++row) {
        convertToFloat(format, bytes.data() + (begin + row) * rowBytes, columns,
                       values.data());
        encoder->encode(values, importance, format, tileOwn[row]);
      }
    }
    SmallVector<const lapidary::EncodedRow *, tileRows> pointers;
    for (const lapidary::EncodedRow &row : tileOwn)
      pointers.push_back(&row);
    packTile(layout, pointers, out + tile * layout.tileBytes);
  }
  return {};
}
