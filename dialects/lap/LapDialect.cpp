// Registration of the dialect, and the textual form of its types.
#include "dialects/lap/LapDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::lap;

#include "dialects/lap/LapDialect.cpp.inc"
#include "dialects/lap/LapEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/lap/LapAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/lap/LapTypes.cpp.inc"

void LapDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/lap/LapAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/lap/LapTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/lap/LapOps.cpp.inc"
      >();
}

Type QuantizedType::parse(AsmParser &parser) {
  SmallVector<int64_t> shape;
  FlatSymbolRefAttr scheme;
  auto location = parser.getCurrentLocation();
  if (parser.parseLess() ||
      parser.parseDimensionList(shape, /*allowDynamic=*/false,
                                /*withTrailingX=*/false) ||
      parser.parseComma() || parser.parseAttribute(scheme) ||
      parser.parseGreater())
    return {};
  return parser.getChecked<QuantizedType>(location, parser.getContext(), shape,
                                          scheme);
}

void QuantizedType::print(AsmPrinter &printer) const {
  printer << '<';
  printer.printDimensionList(getShape());
  printer << ", " << getScheme() << '>';
}

LogicalResult
QuantizedType::verify(function_ref<InFlightDiagnostic()> emitError,
                      ArrayRef<int64_t> shape, FlatSymbolRefAttr) {
  if (shape.size() != 2 || shape[0] <= 0 || shape[1] <= 0 ||
      shape[0] > maxWeightElements / shape[1]) // C1
    return emitError() << "expected rows x columns, both positive and of at "
                          "most 2^40 elements";
  return success();
}

LogicalResult KvCacheType::verify(function_ref<InFlightDiagnostic()> emitError,
                                  int64_t heads, int64_t headDim,
                                  int64_t window, KvFormat, int64_t rotated) {
  constexpr int64_t maxHeads = 65536;
  if (heads <= 0 || heads > maxHeads || headDim <= 0 || headDim > maxHeads ||
      window < 0 || window > std::numeric_limits<int32_t>::max()) // C1
    return emitError() << "expected heads and head_dim of 1 to 65536 and a "
                          "window of 0 to 2^31 - 1, found "
                       << heads << ", " << headDim << ", " << window;
  if (rotated < 0 || (rotated && (headDim % 2 || rotated >= headDim / 2))) // C2
    return emitError() << "expected rotated of 0, or below half of an even "
                          "head_dim of "
                       << headDim << ", found " << rotated;
  return success();
}

int64_t KvCacheType::getStoredBytes(int64_t elements) const {
  switch (getFormat()) {
  case KvFormat::F32:
    return elements * 4;
  case KvFormat::F16:
  case KvFormat::BF16:
    return elements * 2;
  case KvFormat::Q8_0:
    return elements + llvm::divideCeil(elements, scaleGroup) * 2;
  }
  llvm_unreachable("unknown format");
}

ArrayRef<int64_t> mlir::lap::getMatrixShape(Type type) {
  if (auto quantized = dyn_cast<QuantizedType>(type))
    return quantized.getShape();
  return cast<RankedTensorType>(type).getShape();
}
