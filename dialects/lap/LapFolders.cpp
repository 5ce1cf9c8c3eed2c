// Folds and canonicalizations: only what is exact, to the last bit. No pass
// depends on them.
#include "dialects/lap/LapDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::lap;

/// True for media that cannot have a row.
static bool isEmpty(Value activation) {
  return cast<RankedTensorType>(activation.getType()).getDimSize(0) == 0;
}

OpFoldResult RopeOp::fold(FoldAdaptor) {
  // No pair turns.
  if (cast<RankedTensorType>(getTable().getType()).getDimSize(1) == 0)
    return getInput();
  return {};
}

OpFoldResult ScatterEmbeddingsOp::fold(FoldAdaptor) {
  // Every row is negative, for there is none that it could name.
  if (isEmpty(getMedia()))
    return getEmbeddings();
  return {};
}

/// Drops media without rows:
///   lap.embed %ids, %table media(%none, %rows : tensor<0x256xf32>, ...)
/// becomes
///   lap.embed %ids, %table
LogicalResult EmbedOp::canonicalize(EmbedOp op, PatternRewriter &rewriter) {
  if (!op.getMedia() || !isEmpty(op.getMedia()))
    return rewriter.notifyMatchFailure(op, "media may have rows");
  rewriter.replaceOpWithNewOp<EmbedOp>(op, op.getType(), op.getIds(),
                                       op.getTable(), Value(), Value(),
                                       op.getScaleAttr());
  return success();
}

/// Drops weights whose result nobody reads or that an earlier result has too:
///   %a, %b, %c = lap.fused_linear %x weights(%w0, %w1, %w0) // %b is unused
/// becomes
///   %a = lap.fused_linear %x weights(%w0)                   // %c is %a
LogicalResult FusedLinearOp::canonicalize(FusedLinearOp op,
                                          PatternRewriter &rewriter) {
  if (op.getEpilogue() == Epilogue::GatedGelu)
    return rewriter.notifyMatchFailure(op, "its weights make one result");
  // With nothing to keep the op is dead, and not ours to erase.
  if (op.use_empty())
    return rewriter.notifyMatchFailure(op, "no result is used");
  SmallVector<Value> weights;
  SmallVector<Type> types;
  // For each old result the new one, or -1.
  SmallVector<int64_t> kept;
  for (auto [weight, result] : llvm::zip(op.getWeights(), op.getResults())) {
    if (result.use_empty()) {
      kept.push_back(-1);
      continue;
    }
    auto *known = llvm::find(weights, weight);
    kept.push_back(std::distance(weights.begin(), known));
    if (known != weights.end())
      continue;
    weights.push_back(weight);
    types.push_back(result.getType());
  }
  if (weights.size() == op.getWeights().size())
    return rewriter.notifyMatchFailure(op, "every weight is needed");
  auto smaller = FusedLinearOp::create(
      rewriter, op.getLoc(), types, op.getInput(), op.getNormWeight(),
      op.getNormBias(), weights, op.getBias(), op.getNormAttr(),
      op.getEpsAttr(), op.getEpilogueAttr(), op.getCapAttr(),
      op.getActivationsAttr());
  for (auto [index, result] : llvm::zip(kept, op.getResults()))
    if (index >= 0)
      rewriter.replaceAllUsesWith(result, smaller.getResult(index));
  rewriter.eraseOp(op);
  return success();
}
