// Makes one kernel of what lies between the linear ops of a patch projection.
#include "compiler/Passes.h"
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-fuse-patch-projection"

namespace mlir::lap {
#define GEN_PASS_DEF_FUSEPATCHPROJECTIONPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

/// Matches, with the terms of the sum in any order,
///   %n = lap.layer_norm %x, %w2, %b2
///   %p = lap.position_embedding %xy, %table
///   %s = lap.add %n, %p
///   %r = lap.layer_norm %s, %w3, %b3
/// and leaves
///   %r = lap.patch_embedding %x, %w2, %b2, %xy, %table, %w3, %b3
class FusePatch : public OpRewritePattern<LayerNormOp> {
public:
  FusePatch(MLIRContext *context, Pass::Statistic &fused)
      : OpRewritePattern(context), fused(fused) {}

  LogicalResult matchAndRewrite(LayerNormOp op,
                                PatternRewriter &rewriter) const override {
    auto add = op.getInput().getDefiningOp<AddOp>();
    if (!add)
      return rewriter.notifyMatchFailure(op, "its input is no sum");
    auto norm = add.getLhs().getDefiningOp<LayerNormOp>();
    auto position = add.getRhs().getDefiningOp<PositionEmbeddingOp>();
    if (!norm || !position) {
      norm = add.getRhs().getDefiningOp<LayerNormOp>();
      position = add.getLhs().getDefiningOp<PositionEmbeddingOp>();
    }
    if (!norm || !position)
      return rewriter.notifyMatchFailure(
          op, "the sum is not of a layer_norm and a position_embedding");
    if (norm.getEpsAttr() != op.getEpsAttr())
      return rewriter.notifyMatchFailure(op, "the norms differ in eps");
    if (!add->hasOneUse())
      return rewriter.notifyMatchFailure(op, "the sum has other uses");
    rewriter.replaceOpWithNewOp<PatchEmbeddingOp>(
        op, op.getType(), norm.getInput(), norm.getWeight(), norm.getBias(),
        position.getPositions(), position.getTable(), op.getWeight(),
        op.getBias(), op.getEpsAttr());
    ++fused;
    return success();
  }

private:
  Pass::Statistic &fused;
};

class FusePatchProjectionPass
    : public lap::impl::FusePatchProjectionPassBase<FusePatchProjectionPass> {
public:
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FusePatch>(&getContext(), fused);
    if (failed(applyFusions(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
