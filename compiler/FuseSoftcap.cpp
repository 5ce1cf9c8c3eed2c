// Bounds logits where they are computed.
#include "compiler/Passes.h"
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-fuse-softcap"

namespace mlir::lap {
#define GEN_PASS_DEF_FUSESOFTCAPPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

/// Matches
///   %l = lap.fused_linear %x weights(%w)
///   %s = lap.softcap %l {cap}
/// and leaves
///   %s = lap.fused_linear %x weights(%w) {epilogue = softcap, cap}
class FuseCap : public OpRewritePattern<SoftcapOp> {
public:
  FuseCap(MLIRContext *context, Pass::Statistic &fused)
      : OpRewritePattern(context), fused(fused) {}

  LogicalResult matchAndRewrite(SoftcapOp op,
                                PatternRewriter &rewriter) const override {
    auto linear = op.getInput().getDefiningOp<FusedLinearOp>();
    if (!linear)
      return rewriter.notifyMatchFailure(op, "its input is no fused_linear");
    if (linear.getResults().size() != 1 ||
        linear.getEpilogue() != Epilogue::None)
      return rewriter.notifyMatchFailure(
          op, "the fused_linear has other results or an epilogue");
    if (!op.getInput().hasOneUse())
      return rewriter.notifyMatchFailure(op, "its input has other uses");
    rewriter.replaceOpWithNewOp<FusedLinearOp>(
        op, TypeRange(op.getType()), linear.getInput(), linear.getNormWeight(),
        linear.getNormBias(), linear.getWeights(), linear.getBias(),
        linear.getNormAttr(), linear.getEpsAttr(),
        EpilogueAttr::get(getContext(), Epilogue::Softcap), op.getCapAttr(),
        linear.getActivationsAttr());
    ++fused;
    return success();
  }

private:
  Pass::Statistic &fused;
};

class FuseSoftcapPass : public lap::impl::FuseSoftcapPassBase<FuseSoftcapPass> {
public:
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseCap>(&getContext(), fused);
    if (failed(applyFusions(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
