// Makes one kernel of a branch's norm, its addition to the residual stream and
// the layer's scalar.
#include "compiler/Passes.h"
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-fuse-residual-norm"

namespace mlir::lap {
#define GEN_PASS_DEF_FUSERESIDUALNORMPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// The norm that makes `value`, if it has a weight and spans the row; else
/// null.
static RmsNormOp getRowNorm(Value value) {
  auto norm = value.getDefiningOp<RmsNormOp>();
  int64_t width = cast<RankedTensorType>(value.getType()).getDimSize(1);
  if (!norm || !norm.getWeight() ||
      static_cast<int64_t>(norm.getGroup()) != width)
    return {};
  return norm;
}

namespace {

/// Matches, with the terms in any order,
///   %n = lap.rms_norm %x, %w
///   %s = lap.add %h, %n
/// and leaves
///   %s = lap.residual_norm %h, %x, %w
class FuseAdd : public OpRewritePattern<AddOp> {
public:
  FuseAdd(MLIRContext *context, Pass::Statistic &fused)
      : OpRewritePattern(context), fused(fused) {}

  LogicalResult matchAndRewrite(AddOp op,
                                PatternRewriter &rewriter) const override {
    Value residual = op.getLhs();
    RmsNormOp norm = getRowNorm(op.getRhs());
    if (!norm) {
      residual = op.getRhs();
      norm = getRowNorm(op.getLhs());
    }
    if (!norm)
      return rewriter.notifyMatchFailure(
          op, "no term is a weighted rms_norm of whole rows");
    rewriter.replaceOpWithNewOp<ResidualNormOp>(
        op, op.getType(), residual, norm.getInput(), norm.getWeight(), Value(),
        norm.getEpsAttr());
    ++fused;
    return success();
  }

private:
  Pass::Statistic &fused;
};

/// Matches
///   %s = lap.residual_norm %h, %x, %w
///   %r = lap.scale %s, %scalar
/// and leaves
///   %r = lap.residual_norm %h, %x, %w scale(%scalar)
class FuseScale : public OpRewritePattern<ScaleOp> {
public:
  FuseScale(MLIRContext *context, Pass::Statistic &scaled)
      : OpRewritePattern(context), scaled(scaled) {}

  LogicalResult matchAndRewrite(ScaleOp op,
                                PatternRewriter &rewriter) const override {
    auto norm = op.getInput().getDefiningOp<ResidualNormOp>();
    if (!norm || norm.getScalar())
      return rewriter.notifyMatchFailure(
          op, "its input is no residual_norm without a scalar");
    if (!norm->hasOneUse())
      return rewriter.notifyMatchFailure(op, "the sum has other uses");
    rewriter.replaceOpWithNewOp<ResidualNormOp>(
        op, op.getType(), norm.getResidual(), norm.getInput(), norm.getWeight(),
        op.getScalar(), norm.getEpsAttr());
    ++scaled;
    return success();
  }

private:
  Pass::Statistic &scaled;
};

class FuseResidualNormPass
    : public lap::impl::FuseResidualNormPassBase<FuseResidualNormPass> {
public:
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseAdd>(&getContext(), fused);
    patterns.add<FuseScale>(&getContext(), scaled);
    if (failed(applyFusions(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
