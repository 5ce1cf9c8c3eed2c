// Makes one kernel of the token embedding and the media put into it.
#include "compiler/Passes.h"
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-fuse-embedding"

namespace mlir::lap {
#define GEN_PASS_DEF_FUSEEMBEDDINGPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

/// Matches
///   %e = lap.embedding %ids, %table
/// and leaves
///   %e = lap.embed %ids, %table
class FuseTokens : public OpRewritePattern<EmbeddingOp> {
public:
  FuseTokens(MLIRContext *context, Pass::Statistic &fused)
      : OpRewritePattern(context), fused(fused) {}

  LogicalResult matchAndRewrite(EmbeddingOp op,
                                PatternRewriter &rewriter) const override {
    rewriter.replaceOpWithNewOp<EmbedOp>(op, op.getType(), op.getIds(),
                                         op.getTable(), Value(), Value(),
                                         op.getScaleAttr());
    ++fused;
    return success();
  }

private:
  Pass::Statistic &fused;
};

/// Matches
///   %e = lap.embed %ids, %table
///   %h = lap.scatter_embeddings %e, %media, %rows
/// and leaves
///   %h = lap.embed %ids, %table media(%media, %rows)
/// Where %e has other uses it stays for them.
class FuseMedia : public OpRewritePattern<ScatterEmbeddingsOp> {
public:
  FuseMedia(MLIRContext *context, Pass::Statistic &scattered)
      : OpRewritePattern(context), scattered(scattered) {}

  LogicalResult matchAndRewrite(ScatterEmbeddingsOp op,
                                PatternRewriter &rewriter) const override {
    auto embed = op.getEmbeddings().getDefiningOp<EmbedOp>();
    if (!embed)
      return rewriter.notifyMatchFailure(op, "it is not put into an embedding");
    if (embed.getMedia())
      return rewriter.notifyMatchFailure(op, "the embedding has media already");
    rewriter.replaceOpWithNewOp<EmbedOp>(op, op.getType(), embed.getIds(),
                                         embed.getTable(), op.getMedia(),
                                         op.getRows(), embed.getScaleAttr());
    ++scattered;
    return success();
  }

private:
  Pass::Statistic &scattered;
};

class FuseEmbeddingPass
    : public lap::impl::FuseEmbeddingPassBase<FuseEmbeddingPass> {
public:
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseTokens>(&getContext(), fused);
    patterns.add<FuseMedia>(&getContext(), scattered);
    if (failed(applyFusions(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
