// Folds the norm of a row into the kernel that puts it beside another.
#include "compiler/Passes.h"
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-fuse-norm-concat"

namespace mlir::lap {
#define GEN_PASS_DEF_FUSENORMCONCATPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

/// Matches
///   %n = lap.rms_norm %b, %w
///   %r = lap.concat %a, %n
/// and leaves
///   %r = lap.concat %a, %b norm(%w)
class FuseNorm : public OpRewritePattern<ConcatOp> {
public:
  FuseNorm(MLIRContext *context, Pass::Statistic &fused)
      : OpRewritePattern(context), fused(fused) {}

  LogicalResult matchAndRewrite(ConcatOp op,
                                PatternRewriter &rewriter) const override {
    auto norm = op.getRhs().getDefiningOp<RmsNormOp>();
    int64_t width = cast<RankedTensorType>(op.getRhs().getType()).getDimSize(1);
    if (op.getNorm() || !norm || !norm.getWeight() ||
        static_cast<int64_t>(norm.getGroup()) != width)
      return rewriter.notifyMatchFailure(
          op, "its second row is no weighted rms_norm of whole rows");
    rewriter.replaceOpWithNewOp<ConcatOp>(op, op.getType(), op.getLhs(),
                                          norm.getInput(), norm.getWeight(),
                                          norm.getEpsAttr());
    ++fused;
    return success();
  }

private:
  Pass::Statistic &fused;
};

class FuseNormConcatPass
    : public lap::impl::FuseNormConcatPassBase<FuseNormConcatPass> {
public:
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseNorm>(&getContext(), fused);
    if (failed(applyFusions(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
