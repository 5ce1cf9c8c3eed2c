// Multiplies gate and up where they are computed.
#include "compiler/Passes.h"
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-fuse-gated-mlp"

namespace mlir::lap {
#define GEN_PASS_DEF_FUSEGATEDMLPPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

/// Matches, with the factors in any order and gate as either result,
///   %g, %u = lap.fused_linear %x weights(%wg, %wu)
///   %a = lap.gelu %g
///   %m = lap.multiply %a, %u
/// and leaves
///   %m = lap.fused_linear %x weights(%wg, %wu) {epilogue = gated_gelu}
class FuseGate : public OpRewritePattern<MultiplyOp> {
public:
  FuseGate(MLIRContext *context, Pass::Statistic &fused)
      : OpRewritePattern(context), fused(fused) {}

  LogicalResult matchAndRewrite(MultiplyOp op,
                                PatternRewriter &rewriter) const override {
    Value up = op.getRhs();
    auto gelu = op.getLhs().getDefiningOp<GeluOp>();
    if (!gelu) {
      up = op.getLhs();
      gelu = op.getRhs().getDefiningOp<GeluOp>();
    }
    if (!gelu)
      return rewriter.notifyMatchFailure(op, "no factor is a gelu");
    Value gate = gelu.getInput();
    auto linear = gate.getDefiningOp<FusedLinearOp>();
    if (!linear || up.getDefiningOp() != linear)
      return rewriter.notifyMatchFailure(
          op, "gate and up are not results of one fused_linear");
    if (linear.getResults().size() != 2)
      return rewriter.notifyMatchFailure(op, "it has other results");
    if (!gate.hasOneUse() || !gelu->hasOneUse() || !up.hasOneUse())
      return rewriter.notifyMatchFailure(op, "gate, gelu or up is used twice");
    Value gateWeight =
        linear.getWeights()[cast<OpResult>(gate).getResultNumber()];
    Value upWeight = linear.getWeights()[cast<OpResult>(up).getResultNumber()];
    if (gateWeight.getType() != upWeight.getType())
      return rewriter.notifyMatchFailure(op, "the weights differ in type");
    SmallVector<Value> weights = {gateWeight, upWeight};
    rewriter.replaceOpWithNewOp<FusedLinearOp>(
        op, TypeRange(op.getType()), linear.getInput(), linear.getNormWeight(),
        linear.getNormBias(), weights, linear.getBias(), linear.getNormAttr(),
        linear.getEpsAttr(),
        EpilogueAttr::get(getContext(), Epilogue::GatedGelu),
        linear.getCapAttr(), linear.getActivationsAttr());
    ++fused;
    return success();
  }

private:
  Pass::Statistic &fused;
};

class FuseGatedMlpPass
    : public lap::impl::FuseGatedMlpPassBase<FuseGatedMlpPass> {
public:
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseGate>(&getContext(), fused);
    if (failed(applyFusions(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
