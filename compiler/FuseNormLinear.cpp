// Makes one kernel of a norm and all the linear ops that read it.
#include "compiler/Passes.h"
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-fuse-norm-linear"

namespace mlir::lap {
#define GEN_PASS_DEF_FUSENORMLINEARPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// How a matrix is stored: its element type or its scheme. A kernel has one
/// inner loop, so its weights must agree in it.
static Attribute getStorage(Value matrix) {
  if (auto quantized = dyn_cast<QuantizedType>(matrix.getType()))
    return quantized.getScheme();
  return TypeAttr::get(
      cast<RankedTensorType>(matrix.getType()).getElementType());
}

/// The linear ops that become one kernel with `op`, in the order of the block;
/// the first of them is where the kernel will stand.
static SmallVector<LinearOp> getGroup(LinearOp op) {
  if (op.getBias())
    return {op};
  SmallVector<LinearOp> candidates;
  for (Operation *user : op.getInput().getUsers()) {
    auto linear = dyn_cast<LinearOp>(user);
    if (linear && linear->getBlock() == op->getBlock() && !linear.getBias() &&
        getStorage(linear.getWeight()) == getStorage(op.getWeight()))
      candidates.push_back(linear);
  }
  llvm::sort(candidates,
             [](LinearOp a, LinearOp b) { return a->isBeforeInBlock(b); });
  LinearOp first = candidates.front();
  SmallVector<LinearOp> group;
  for (LinearOp linear : candidates)
    if (isAvailable(linear.getWeight(), first))
      group.push_back(linear);
  // A weight that is computed too late leaves its linear alone.
  return llvm::is_contained(group, op) ? group : SmallVector<LinearOp>{op};
}

namespace {

/// The norm in front of a linear, as the kernel takes it.
struct FusedNorm {
  Value input;
  Value weight;
  Value bias;
  Norm kind = Norm::None;
  float eps = 0;
};

} // namespace

/// The norm that makes `value`, if it can be part of the kernel; else none.
static FusedNorm getNorm(Value value) {
  if (auto norm = value.getDefiningOp<LayerNormOp>())
    return {norm.getInput(), norm.getWeight(), norm.getBias(), Norm::Layer,
            norm.getEps().convertToFloat()};
  int64_t width = cast<RankedTensorType>(value.getType()).getDimSize(1);
  auto norm = value.getDefiningOp<RmsNormOp>();
  if (norm && static_cast<int64_t>(norm.getGroup()) == width)
    return {norm.getInput(), norm.getWeight(), Value(), Norm::Rms,
            norm.getEps().convertToFloat()};
  FusedNorm none;
  none.input = value;
  return none;
}

namespace {

/// Matches a norm (or none) and the linear ops that read it
///   %n = lap.rms_norm %x, %w
///   %a = lap.linear %n, %wa
///   %b = lap.linear %n, %wb
/// and leaves, in place of the first one,
///   %a, %b = lap.fused_linear %x norm(%w) weights(%wa, %wb) {norm = rms}
class FuseLinears : public OpRewritePattern<LinearOp> {
public:
  FuseLinears(MLIRContext *context, Pass::Statistic &fused,
              Pass::Statistic &norms)
      : OpRewritePattern(context), fused(fused), norms(norms) {}

  LogicalResult matchAndRewrite(LinearOp op,
                                PatternRewriter &rewriter) const override {
    SmallVector<LinearOp> group = getGroup(op);
    if (group.front() != op)
      return rewriter.notifyMatchFailure(op, "an earlier linear takes it in");
    SmallVector<Value> weights;
    SmallVector<Type> types;
    SmallVector<Location> locations;
    for (LinearOp linear : group) {
      weights.push_back(linear.getWeight());
      types.push_back(linear.getType());
      locations.push_back(linear.getLoc());
    }
    FusedNorm norm = getNorm(op.getInput());
    makeAvailable(weights, op, rewriter);
    rewriter.setInsertionPoint(op);
    auto kernel = FusedLinearOp::create(
        rewriter, rewriter.getFusedLoc(locations), types, norm.input,
        norm.weight, norm.bias, weights, op.getBias(),
        NormAttr::get(getContext(), norm.kind),
        rewriter.getF32FloatAttr(norm.eps),
        EpilogueAttr::get(getContext(), Epilogue::None),
        rewriter.getF32FloatAttr(0),
        ActivationsAttr::get(getContext(), Activations::F32));
    fused += group.size();
    if (norm.kind != Norm::None)
      ++norms;
    for (auto [linear, result] : llvm::zip(group, kernel.getResults()))
      rewriter.replaceOp(linear, result);
    return success();
  }

private:
  Pass::Statistic &fused;
  Pass::Statistic &norms;
};

class FuseNormLinearPass
    : public lap::impl::FuseNormLinearPassBase<FuseNormLinearPass> {
public:
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseLinears>(&getContext(), fused, norms);
    if (failed(applyFusions(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
