// Lets linear and embedding read quantized weights.
#include "compiler/Passes.h"
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-fuse-dequantize-linear"

namespace mlir::lap {
#define GEN_PASS_DEF_FUSEDEQUANTIZELINEARPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

/// Matches
///   %d = lap.dequantize %w
///   lap.linear %x, %d          (or: lap.embedding %ids, %d)
/// and leaves
///   lap.linear %x, %w          (or: lap.embedding %ids, %w)
template <typename Op> class FuseDequantize : public OpRewritePattern<Op> {
public:
  FuseDequantize(MLIRContext *context, Pass::Statistic &fused)
      : OpRewritePattern<Op>(context), fused(fused) {}

  LogicalResult matchAndRewrite(Op op,
                                PatternRewriter &rewriter) const override {
    OpOperand &matrix = getMatrix(op);
    auto dequantize = matrix.get().getDefiningOp<DequantizeOp>();
    if (!dequantize)
      return rewriter.notifyMatchFailure(op, "the matrix is not dequantized");
    rewriter.modifyOpInPlace(op, [&] { matrix.set(dequantize.getInput()); });
    ++fused;
    return success();
  }

private:
  static OpOperand &getMatrix(LinearOp op) { return op.getWeightMutable(); }
  static OpOperand &getMatrix(EmbeddingOp op) { return op.getTableMutable(); }

  Pass::Statistic &fused;
};

class FuseDequantizeLinearPass
    : public lap::impl::FuseDequantizeLinearPassBase<FuseDequantizeLinearPass> {
public:
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseDequantize<LinearOp>, FuseDequantize<EmbeddingOp>>(
        &getContext(), fused);
    if (failed(applyFusions(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
