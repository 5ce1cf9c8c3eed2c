// Verifiers and symbol uses of the model level ops. C1, C2, ... are the
// constraints of LapModelOps.td.
#include "dialects/lap/LapDialect.h"
#include "dialects/lap/WeightLayout.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::lap;

static int64_t getWidth(Value activation) {
  return cast<RankedTensorType>(activation.getType()).getDimSize(1);
}

static int64_t getTokens(Value activation) {
  return cast<RankedTensorType>(activation.getType()).getDimSize(0);
}

/// True for 1 to `maxWeightElements` elements; safe for any dimensions.
static bool hasWeightSize(RankedTensorType type) {
  int64_t room = maxWeightElements;
  for (int64_t size : type.getShape()) {
    if (size <= 0 || size > room)
      return false;
    room /= size;
  }
  return true;
}

static int64_t getSize(Value vector) {
  return cast<RankedTensorType>(vector.getType()).getDimSize(0);
}

LogicalResult WeightOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  if (!type.hasStaticShape() ||
      !(type.getElementType().isF32() || type.getElementType().isF16() ||
        type.getElementType().isBF16()) ||
      !hasWeightSize(type)) // C1
    return emitOpError("expected a static tensor of f32, f16 or bf16 and of 1 "
                       "to 2^40 elements, found ")
           << type;
  if (static_cast<int64_t>(getOffset()) < 0) // C2
    return emitOpError("expected an offset of 0 or more");
  if (auto stored = getStored()) { // C3
    auto tensor = dyn_cast<RankedTensorType>(*stored);
    bool known =
        isa<QuantizedType>(*stored) ||
        (tensor && tensor.getRank() == 2 &&
         (tensor.getElementType().isF32() || tensor.getElementType().isF16() ||
          tensor.getElementType().isBF16()));
    if (!known || getMatrixShape(*stored) != type.getShape())
      return emitOpError("expected a stored type of the shape of ")
             << type << ", found " << *stored;
  }
  return success();
}

LogicalResult WeightOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto quantized =
      dyn_cast_or_null<QuantizedType>(getStored().value_or(Type()));
  if (quantized && !symbols.lookupNearestSymbolFrom<SchemeOp>(
                       *this, quantized.getScheme())) // C4
    return emitOpError() << quantized.getScheme() << " names no lap.scheme";
  return success();
}

Type WeightOp::getValueType() { return getStored() ? *getStored() : getType(); }

LogicalResult RopeTableOp::verify() {
  int64_t headDim = getHeadDim(), rotated = getRotated();
  if (headDim <= 0 || headDim % 2 || rotated < 0 || rotated > headDim / 2) // C1
    return emitOpError("expected an even head_dim and 0 <= rotated <= "
                       "head_dim / 2, found ")
           << headDim << " and " << rotated;
  int64_t positions = getPositions();
  if (positions <= 0 || positions > std::numeric_limits<int32_t>::max() ||
      !(getTheta().convertToDouble() > 0)) // C2
    return emitOpError("expected 1 to 2^31 - 1 positions and a positive theta");
  return success();
}

RankedTensorType RopeTableOp::getValueType() {
  int64_t highRows = (getPositions() + lowRows - 1) / lowRows;
  return RankedTensorType::get(
      {lowRows + highRows, 2 * static_cast<int64_t>(getRotated())},
      Float32Type::get(getContext()));
}

LogicalResult GetWeightOp::verifySymbolUses(SymbolTableCollection &symbols) {
  Operation *symbol = symbols.lookupNearestSymbolFrom(*this, getWeightAttr());
  Type type;
  Layout layout = Layout::Plain;
  if (auto weight = dyn_cast_or_null<WeightOp>(symbol)) {
    type = weight.getValueType();
    layout = weight.getLayout();
  } else if (auto table = dyn_cast_or_null<RopeTableOp>(symbol)) {
    type = table.getValueType();
  }
  if (!type) // C1
    return emitOpError() << getWeightAttr()
                         << " names no lap.weight or lap.rope_table";
  if (isa<MemRefType>(getResult().getType())) { // C1
    FailureOr<MemRefType> buffer = getStoredType(type, layout, *this);
    if (failed(buffer))
      return failure();
    type = *buffer;
  }
  if (type != getResult().getType()) // C1
    return emitOpError() << getWeightAttr() << " is " << type << ", not "
                         << getResult().getType();
  return success();
}

LogicalResult GetCacheOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto cache =
      symbols.lookupNearestSymbolFrom<KvCacheOp>(*this, getCacheAttr());
  if (!cache || cache.getType() != getResult().getType()) // C1
    return emitOpError() << getCacheAttr() << " names no lap.kv_cache of type "
                         << getResult().getType();
  return success();
}

LogicalResult DequantizeOp::verify() {
  if (getInput().getType().getShape() != getResult().getType().getShape()) // C1
    return emitOpError("expected the shape of ")
           << getInput().getType() << ", found " << getResult().getType();
  return success();
}

LogicalResult EmbeddingOp::verify() {
  if (getWidth(getResult()) != getMatrixShape(getTable().getType())[1] ||
      getTokens(getResult()) != getSize(getIds())) // C1
    return emitOpError("expected ids x table columns, found ")
           << getResult().getType();
  return success();
}

LogicalResult ScatterEmbeddingsOp::verify() {
  if (getWidth(getMedia()) != getWidth(getEmbeddings())) // C1
    return emitOpError("media is ")
           << getWidth(getMedia()) << " wide, the embeddings "
           << getWidth(getEmbeddings());
  if (getSize(getRows()) != getTokens(getEmbeddings())) // C2
    return emitOpError("expected a row a token, found ")
           << getRows().getType() << " for " << getEmbeddings().getType();
  return success();
}

LogicalResult RmsNormOp::verify() {
  int64_t group = getGroup();
  if (group <= 0 || getWidth(getInput()) % group) // C1
    return emitOpError("expected a group that divides the row of ")
           << getWidth(getInput()) << ", found " << group;
  if (getWeight() && getSize(getWeight()) != group) // C2
    return emitOpError("expected a weight of ")
           << group << " elements, found " << getSize(getWeight());
  return success();
}

LogicalResult LayerNormOp::verify() {
  int64_t width = getWidth(getInput());
  if (getSize(getWeight()) != width || getSize(getBias()) != width) // C1
    return emitOpError("expected a weight and a bias of ")
           << width << " elements";
  return success();
}

LogicalResult LinearOp::verify() {
  ArrayRef<int64_t> shape = getMatrixShape(getWeight().getType());
  if (shape[1] != getWidth(getInput()) || shape[0] != getWidth(getResult()) ||
      getTokens(getInput()) != getTokens(getResult())) // C1
    return emitOpError("a weight of ")
           << shape[0] << " x " << shape[1] << " does not take "
           << getInput().getType() << " to " << getResult().getType();
  if (getBias() && getSize(getBias()) != shape[0]) // C2
    return emitOpError("expected a bias of ") << shape[0] << " elements";
  return success();
}

LogicalResult RopeOp::verify() {
  int64_t headDim = getHeadDim();
  if (headDim <= 0 || headDim % 2 || getWidth(getInput()) % headDim) // C1
    return emitOpError("expected an even head_dim that divides the row of ")
           << getWidth(getInput()) << ", found " << headDim;
  int64_t row = getWidth(getTable());
  if (row > headDim || row % 2) // C2
    return emitOpError("expected a table row of an even width up to ")
           << headDim << ", found " << row;
  if (getAhead() > 1) // C3
    return emitOpError("expected ahead of 0 or 1, found ")
           << static_cast<int64_t>(getAhead());
  return success();
}

LogicalResult ConcatOp::verify() {
  int64_t tokens = getTokens(getResult());
  if (getWidth(getLhs()) + getWidth(getRhs()) != getWidth(getResult()) ||
      getTokens(getLhs()) != tokens || getTokens(getRhs()) != tokens) // C1
    return emitOpError("expected a result of ")
           << getWidth(getLhs()) << " + " << getWidth(getRhs())
           << " columns and as many tokens, found " << getResult().getType();
  if (getNorm() && getSize(getNorm()) != getWidth(getRhs())) // C2
    return emitOpError("expected a norm of ")
           << getWidth(getRhs()) << " elements, found " << getSize(getNorm());
  return success();
}

LogicalResult KvUpdateOp::verify() {
  KvCacheType cache = getCache().getType();
  if (getWidth(getKeys()) != cache.getHeads() * cache.getHeadDim()) // C1
    return emitOpError("expected rows of ")
           << cache.getHeads() * cache.getHeadDim() << ", found "
           << getWidth(getKeys());
  return success();
}

LogicalResult AttentionOp::verify() {
  KvCacheType cache = getCache().getType();
  int64_t keyWidth = cache.getHeads() * cache.getHeadDim();
  if (getWidth(getQuery()) % keyWidth) // C1
    return emitOpError("expected a query whose width is a multiple of ")
           << keyWidth << ", found " << getWidth(getQuery());
  if (getVisibleEnd() && !cache.getWindow()) // C2
    return emitOpError("visible ends need a cache with a window");
  if (getVisibleEnd() &&
      getSize(getVisibleEnd()) != getTokens(getQuery())) // C3
    return emitOpError("expected a visible end a token, found ")
           << getVisibleEnd().getType() << " for " << getQuery().getType();
  return success();
}

LogicalResult ScaleOp::verify() {
  if (getSize(getScalar()) != 1) // C1
    return emitOpError("expected a scalar of one element, found ")
           << getSize(getScalar());
  return success();
}

LogicalResult SoftcapOp::verify() {
  if (!(getCap().convertToFloat() > 0)) // C1
    return emitOpError("expected a positive cap");
  return success();
}

LogicalResult PositionEmbeddingOp::verify() {
  auto positions = cast<RankedTensorType>(getPositions().getType());
  auto table = cast<RankedTensorType>(getTable().getType());
  if (positions.getDimSize(1) != 2 || table.getDimSize(1) != 2 ||
      table.getDimSize(2) != getWidth(getResult()) ||
      positions.getDimSize(0) != getTokens(getResult())) // C1
    return emitOpError("expected positions T x 2, a table N x 2 x E and a "
                       "result T x E, found ")
           << positions << ", " << table << ", " << getResult().getType();
  return success();
}
