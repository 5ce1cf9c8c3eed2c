// Verifiers of the kernel level ops. C1, C2, ... are the constraints of
// LapKernelOps.td.
#include "dialects/lap/LapDialect.h"
#include "dialects/lap/PackedInput.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::lap;

static int64_t getWidth(Value activation) {
  return cast<RankedTensorType>(activation.getType()).getDimSize(1);
}

static int64_t getTokens(Value activation) {
  return cast<RankedTensorType>(activation.getType()).getDimSize(0);
}

/// True when `vector` is absent or has `size` elements.
static bool hasSize(Value vector, int64_t size) {
  return !vector ||
         cast<RankedTensorType>(vector.getType()).getDimSize(0) == size;
}

LogicalResult EmbedOp::verify() {
  int64_t width = getWidth(getResult());
  if (getMatrixShape(getTable().getType())[1] != width ||
      !hasSize(getIds(), getTokens(getResult()))) // C1
    return emitOpError("expected ids x table columns, found ")
           << getResult().getType();
  if (!getMedia() != !getRows() ||
      (getMedia() && (getWidth(getMedia()) != width ||
                      !hasSize(getRows(), getTokens(getResult()))))) // C2
    return emitOpError("expected media of ")
           << width << " columns with a row a token";
  return success();
}

/// Whether a norm before linear ops on `width` columns has its operands.
template <typename Op> static LogicalResult verifyNorm(Op op, int64_t width) {
  bool weightFits = op.getNorm() == Norm::None    ? !op.getNormWeight()
                    : op.getNorm() == Norm::Layer ? !!op.getNormWeight()
                                                  : true;
  if (weightFits && !op.getNormBias() == (op.getNorm() != Norm::Layer) &&
      hasSize(op.getNormWeight(), width) && hasSize(op.getNormBias(), width))
    return success();
  return op.emitOpError("norm '") << stringifyNorm(op.getNorm())
                                  << "' does not take these norm operands";
}

LogicalResult PackInputOp::verify() {
  int64_t width = getWidth(getInput());
  PackedAttr packing = getPacking();
  if (packing.getColumns() != width ||
      getTokens(getResult()) != getTokens(getInput()) ||
      getWidth(getResult()) != PackedInputLayout(packing).words) // C1
    return emitOpError("does not pack ")
           << getInput().getType() << " as " << getResult().getType()
           << ": expected rows of " << PackedInputLayout(packing).words
           << " words for " << packing.getColumns() << " columns";
  return verifyNorm(*this, width); // C2
}

int64_t FusedLinearOp::getColumns() {
  PackedAttr packing = getPacking();
  return packing ? packing.getColumns() : getWidth(getInput());
}

LogicalResult FusedLinearOp::verify() {
  int64_t width = getColumns();
  bool gated = getEpilogue() == Epilogue::GatedGelu;
  size_t results = gated ? 1 : getWeights().size();
  if (getWeights().empty() || getResults().size() != results ||
      (gated && (getWeights().size() != 2 ||
                 getWeights()[0].getType() != getWeights()[1].getType())))
    return emitOpError(
        "expected a result a weight, or two weights of one type " // C3
        "and one result with gated_gelu");
  for (auto [index, result] : llvm::enumerate(getResults())) {
    ArrayRef<int64_t> shape = getMatrixShape(getWeights()[index].getType());
    if (shape[1] != width || shape[0] != getWidth(result) ||
        getTokens(result) != getTokens(getInput())) // C1
      return emitOpError("a weight of ")
             << shape[0] << " x " << shape[1] << " does not take "
             << getInput().getType() << " to " << result.getType();
  }
  if (failed(verifyNorm(*this, width))) // C2
    return failure();
  if (PackedAttr packing = getPacking();
      packing &&
      (getNorm() != Norm::None ||
       packing.getActivations() != getActivations() ||
       getWidth(getInput()) != PackedInputLayout(packing).words)) // C6
    return emitOpError("expected no norm, the activations of its packed input "
                       "and rows of ")
           << PackedInputLayout(packing).words << " words";
  if (getBias() &&
      (getWeights().size() != 1 ||
       !hasSize(getBias(),
                getMatrixShape(getWeights()[0].getType())[0]))) // C4
    return emitOpError("expected a bias only with one weight, of its rows");
  float cap = getCap().convertToFloat();
  if (getEpilogue() == Epilogue::Softcap ? !(cap > 0) : cap != 0) // C5
    return emitOpError("expected a positive cap with softcap and none without");
  return success();
}

LogicalResult RopeKvUpdateOp::verify() {
  KvCacheType cache = getCache().getType();
  int64_t headDim = cache.getHeadDim();
  int64_t keyWidth = cache.getHeads() * headDim;
  if (getWidth(getKeys()) != keyWidth || getWidth(getQuery()) % keyWidth) // C1
    return emitOpError("expected keys of ")
           << keyWidth << " and a query of a multiple of it, found "
           << getWidth(getKeys()) << " and " << getWidth(getQuery());
  int64_t row = getWidth(getTable());
  if (!hasSize(getQueryNorm(), headDim) || !hasSize(getKeyNorm(), headDim) ||
      headDim % 2 || row > headDim || row % 2) // C2
    return emitOpError("expected an even head_dim, norms of ")
           << headDim << " elements and a table row of an even width up to it";
  if (cache.getRotated() &&
      (2 * cache.getRotated() != row || getKeys() != getValues())) // C3
    return emitOpError("expected a table row of ")
           << 2 * cache.getRotated() << " and the keys as values, for a "
           << cache;
  return success();
}

LogicalResult RopeQueryOp::verify() {
  KvCacheType cache = getCache().getType();
  int64_t headDim = cache.getHeadDim(), row = getWidth(getTable());
  if (getWidth(getQuery()) % (cache.getHeads() * headDim)) // C1
    return emitOpError("expected a query of a multiple of ")
           << cache.getHeads() * headDim << ", found " << getWidth(getQuery());
  if (!hasSize(getQueryNorm(), headDim) ||
      (getKeyNorm() && !hasSize(getKeyNorm(), headDim)) || headDim % 2 ||
      row > headDim || row % 2) // C2
    return emitOpError("expected an even head_dim, norms of ")
           << headDim << " elements and a table row of an even width up to it";
  if (bool(getKeyNorm()) != (cache.getRotated() > 0) ||
      (cache.getRotated() && 2 * cache.getRotated() != row)) // C3
    return emitOpError("expected the norm of keys exactly where a cache stores "
                       "them in part, as much as the table turns, for a ")
           << cache;
  if (getAhead() > 1) // C4
    return emitOpError("expected ahead of 0 or 1, found ")
           << static_cast<int64_t>(getAhead());
  return success();
}

/// A vector of the CPU's kernels, and enough for the threads of one device.
static constexpr int64_t maxSplits = 16;

LogicalResult PartialAttentionOp::verify() {
  KvCacheType cache = getCache().getType();
  int64_t keyWidth = cache.getHeads() * cache.getHeadDim();
  int64_t width = getWidth(getQuery());
  if (width % keyWidth) // C1
    return emitOpError("expected a query whose width is a multiple of ")
           << keyWidth << ", found " << width;
  int64_t splits = getSplits(), heads = width / cache.getHeadDim();
  if (splits < 1 || splits > maxSplits ||
      getTokens(getResult()) != getTokens(getQuery()) ||
      getWidth(getResult()) != splits * heads * (cache.getHeadDim() + 2)) // C2
    return emitOpError("expected 1 to 16 splits and a result of splits * ")
           << heads << " * (" << cache.getHeadDim() << " + 2) columns, found "
           << splits << " and " << getResult().getType();
  return success();
}

LogicalResult MergeAttentionOp::verify() {
  int64_t heads = getHeads(), splits = getSplits();
  int64_t width = getWidth(getResult());
  if (splits < 1 || splits > maxSplits || heads < 1 || heads > width ||
      width % heads) // C1
    return emitOpError("expected 1 to 16 splits and heads that divide ")
           << width << " columns, found " << splits << " and " << heads;
  if (getTokens(getInput()) != getTokens(getResult()) ||
      getWidth(getInput()) != splits * (width + 2 * heads)) // C2
    return emitOpError("expected an input of ")
           << splits * (width + 2 * heads) << " columns, found "
           << getInput().getType();
  return success();
}

LogicalResult ResidualNormOp::verify() {
  if (!hasSize(getWeight(), getWidth(getInput()))) // C1
    return emitOpError("expected a weight of ")
           << getWidth(getInput()) << " elements";
  if (!hasSize(getScalar(), 1)) // C2
    return emitOpError("expected a scalar of one element");
  return success();
}

LogicalResult PatchEmbeddingOp::verify() {
  int64_t width = getWidth(getInput());
  auto positions = cast<RankedTensorType>(getPositions().getType());
  auto table = cast<RankedTensorType>(getTable().getType());
  for (Value vector : {getNormWeight(), getNormBias(), getPositionNormWeight(),
                       getPositionNormBias()})
    if (!hasSize(vector, width)) // C1
      return emitOpError("expected weights and biases of ")
             << width << " elements";
  if (positions.getDimSize(0) != getTokens(getInput()) ||
      positions.getDimSize(1) != 2 || table.getDimSize(1) != 2 ||
      table.getDimSize(2) != width) // C1
    return emitOpError("expected positions T x 2 and a table N x 2 x ")
           << width << ", found " << positions << " and " << table;
  return success();
}

int64_t TopKOp::getBlocks() {
  return llvm::divideCeil(getWidth(getInput()), blockColumns);
}

LogicalResult TopKOp::verify() {
  auto count = static_cast<int64_t>(getCount());
  if (count < 1 || count > blockColumns / 2) // C1
    return emitOpError("expected a count of 1 to ")
           << blockColumns / 2 << ", found " << count;
  for (Value result : getResults())
    if (getTokens(result) != getTokens(getInput()) ||
        getWidth(result) != getBlocks() * count) // C2
      return emitOpError("expected results of ")
             << getBlocks() << " * " << count << " columns, found "
             << result.getType();
  if (getIds() && cast<RankedTensorType>(getIds().getType()).getShape() !=
                      getInput().getType().getShape()) // C3
    return emitOpError("expected an id for each element of ")
           << getInput().getType() << ", found " << getIds().getType();
  return success();
}
