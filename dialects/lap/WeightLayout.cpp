// The numbers of each weight layout.
#include "dialects/lap/WeightLayout.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lap;

FailureOr<RowTileLayout> mlir::lap::getRowTileLayout(Type matrix,
                                                     Operation *from) {
  RowTileLayout layout;
  ArrayRef<int64_t> shape = getMatrixShape(matrix);
  layout.rows = shape[0];
  layout.columns = shape[1];
  if (auto quantized = dyn_cast<QuantizedType>(matrix)) {
    auto scheme = SymbolTable::lookupNearestSymbolFrom<SchemeOp>(
        from, quantized.getScheme());
    if (!scheme)
      return from->emitError()
             << quantized.getScheme() << " names no lap.scheme";
    layout.codeType = scheme.getCodes();
    layout.scaleType = scheme.getScale();
    layout.blockColumns = scheme.getBlock();
  } else {
    layout.codeType = cast<RankedTensorType>(matrix).getElementType();
  }
  int64_t codeBytes = layout.codeType.getIntOrFloatBitWidth() / 8;
  layout.groupColumns = RowTileLayout::groupBytes / codeBytes;
  layout.paddedColumns =
      llvm::alignTo(layout.columns, layout.blockColumns ? layout.blockColumns
                                                        : layout.groupColumns);
  layout.tiles = llvm::divideCeil(layout.rows, RowTileLayout::tileRows);
  layout.scaleOffset =
      layout.paddedColumns * RowTileLayout::tileRows * codeBytes;
  layout.tileBytes = layout.scaleOffset;
  if (layout.blockColumns) {
    int64_t scaleBytes = layout.scaleType.getIntOrFloatBitWidth() / 8;
    layout.tileBytes +=
        llvm::alignTo(layout.paddedColumns / layout.blockColumns *
                          RowTileLayout::tileRows * scaleBytes,
                      64);
  }
  return layout;
}

FailureOr<int64_t> mlir::lap::getStoredBytes(Type value, Layout layout,
                                             Operation *from) {
  if (layout == Layout::Rows16) {
    FailureOr<RowTileLayout> rowTile = getRowTileLayout(value, from);
    if (failed(rowTile))
      return failure();
    return rowTile->getBytes();
  }
  auto tensor = dyn_cast<RankedTensorType>(value);
  if (!tensor)
    return from->emitError() << "a plain layout has no form for " << value;
  return tensor.getNumElements() * tensor.getElementTypeBitWidth() / 8;
}

FailureOr<MemRefType> mlir::lap::getStoredType(Type value, Layout layout,
                                               Operation *from) {
  auto tensor = dyn_cast<RankedTensorType>(value);
  if (layout == Layout::Plain && tensor)
    return MemRefType::get(tensor.getShape(), tensor.getElementType());
  FailureOr<int64_t> bytes = getStoredBytes(value, layout, from);
  if (failed(bytes))
    return failure();
  return MemRefType::get({*bytes}, IntegerType::get(value.getContext(), 8));
}
