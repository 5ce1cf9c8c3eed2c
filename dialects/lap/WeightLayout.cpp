// The numbers of each weight layout.
#include "dialects/lap/WeightLayout.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lap;
using lapidary::FieldKind;
using lapidary::Scheme;
using lapidary::SchemeField;

static constexpr int64_t wordBits = 8 * RowTileLayout::wordBytes;
static constexpr int64_t planeAlignment = 64;

int64_t RowTileLayout::getUnitColumns() const {
  int64_t unit = 1;
  for (const FieldPlane &plane : getCode().planes)
    unit = std::max(unit, wordBits / plane.bits);
  return unit;
}

/// Cuts a field's bits into planes of a power of two, low bits first in the
/// widest; sets bits and shifts.
static void addPlanes(FieldLayout &layout) {
  int64_t left = layout.field.bits, shift = 0;
  while (left) {
    int64_t bits = int64_t(1) << llvm::Log2_64(left);
    layout.planes.push_back({bits, shift, 0});
    left -= bits;
    shift += bits;
  }
}

RowTileLayout mlir::lap::getRowTileLayout(const Scheme &scheme, int64_t rows,
                                          int64_t columns) {
  constexpr int64_t tileRows = RowTileLayout::tileRows;
  RowTileLayout layout;
  layout.rows = rows;
  layout.columns = columns;
  layout.code = scheme.getCode();
  layout.tiles = llvm::divideCeil(rows, tileRows);
  for (const SchemeField &field : scheme.fields) {
    FieldLayout own;
    own.field = field;
    addPlanes(own);
    layout.fields.push_back(std::move(own));
    if (field.columns > 1 &&
        (!layout.groupColumns || field.columns < layout.groupColumns))
      layout.groupColumns = field.columns;
  }
  int64_t at = 0;
  for (auto [number, own] : llvm::enumerate(layout.fields)) {
    bool isCode = number == layout.code;
    int64_t period =
        own.field.columns == SchemeField::perRow ? columns : own.field.columns;
    own.count = llvm::divideCeil(columns, period);
    if (isCode)
      own.count = llvm::alignTo(own.count, layout.getUnitColumns());
    for (FieldPlane &plane : own.planes) {
      plane.offset = at;
      at +=
          llvm::alignTo(own.count * tileRows * plane.bits / 8, planeAlignment);
    }
  }
  layout.tileBytes = at;
  return layout;
}

Scheme mlir::lap::getFloatScheme(Type element) {
  SchemeField code;
  code.name = "code";
  code.kind = element.isF32()   ? FieldKind::F32
              : element.isF16() ? FieldKind::F16
                                : FieldKind::BF16;
  code.bits = element.getIntOrFloatBitWidth();
  code.minimum = code.maximum = 0;
  Scheme scheme;
  scheme.name = element.isF32() ? "f32" : element.isF16() ? "f16" : "bf16";
  scheme.fields.push_back(code);
  scheme.strategy = lapidary::EncodeStrategy::Nearest;
  scheme.decode.inputs = 1;
  return scheme;
}

FailureOr<SchemeOp> mlir::lap::getSchemeOp(Type matrix, Operation *from) {
  auto quantized = dyn_cast<QuantizedType>(matrix);
  if (!quantized)
    return SchemeOp();
  auto scheme = SymbolTable::lookupNearestSymbolFrom<SchemeOp>(
      from, quantized.getScheme());
  if (!scheme)
    return from->emitError() << quantized.getScheme() << " names no lap.scheme";
  return scheme;
}

FailureOr<Scheme> mlir::lap::getScheme(Type matrix, Operation *from) {
  FailureOr<SchemeOp> op = getSchemeOp(matrix, from);
  if (failed(op))
    return failure();
  return *op ? op->getModel()
             : getFloatScheme(cast<RankedTensorType>(matrix).getElementType());
}

FailureOr<RowTileLayout> mlir::lap::getRowTileLayout(Type matrix,
                                                     Operation *from) {
  FailureOr<Scheme> scheme = getScheme(matrix, from);
  if (failed(scheme))
    return failure();
  ArrayRef<int64_t> shape = getMatrixShape(matrix);
  return getRowTileLayout(*scheme, shape[0], shape[1]);
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
