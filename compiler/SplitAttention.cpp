// Cuts the attention of steps of few tokens over long caches into parts of the
// positions, so that it is work for many threads.
#include "compiler/Passes.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-split-attention"

namespace mlir::lap {
#define GEN_PASS_DEF_SPLITATTENTIONPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// Independent pieces of work that an attention should be at least, for the
/// threads of a CPU and for a GPU.
static constexpr int64_t cpuPieces = 16, gpuPieces = 128;
/// Of lap.partial_attention.
static constexpr int64_t mostSplits = 16;
/// Positions of a window that are worth a piece.
static constexpr int64_t leastPositions = 64;
/// Longer steps have enough tokens to be worked on at once, and results of
/// parts would take much memory.
static constexpr int64_t mostTokens = 32;

namespace {

class SplitAttentionPass
    : public lap::impl::SplitAttentionPassBase<SplitAttentionPass> {
public:
  using SplitAttentionPassBase::SplitAttentionPassBase;

  void runOnOperation() override {
    for (auto entry : getOperation().getOps<func::FuncOp>()) {
      auto tokens = entry->getAttrOfType<IntegerAttr>("lap.max_tokens");
      if (!tokens || tokens.getInt() > mostTokens)
        continue;
      for (Operation &op : llvm::make_early_inc_range(entry.getOps()))
        if (auto attention = dyn_cast<AttentionOp>(op))
          splitAttention(attention);
    }
  }

private:
  void splitAttention(AttentionOp op) {
    KvCacheType cache = op.getCache().getType();
    if (op.getVisibleEnd() || (cache.getWindow() && !gpu))
      return;
    int64_t pieces = gpu ? gpuPieces : cpuPieces;
    int64_t splits = llvm::divideCeil(pieces, cache.getHeads());
    splits = std::min(splits, mostSplits);
    if (cache.getWindow())
      splits = std::min(splits, cache.getWindow() / leastPositions);
    if (splits < 2)
      return;
    auto type = cast<RankedTensorType>(op.getResult().getType());
    int64_t heads = type.getDimSize(1) / cache.getHeadDim();
    auto partial = RankedTensorType::get(
        {type.getDimSize(0), splits * (type.getDimSize(1) + 2 * heads)},
        type.getElementType());
    OpBuilder builder(op);
    auto parts = PartialAttentionOp::create(
        builder, op.getLoc(), partial, op.getCache(), op.getQuery(),
        op.getPast(), static_cast<uint64_t>(splits));
    auto merged = MergeAttentionOp::create(
        builder, op.getLoc(), type, parts.getResult(),
        static_cast<uint64_t>(heads), static_cast<uint64_t>(splits));
    op.replaceAllUsesWith(merged.getResult());
    op.erase();
    ++split;
  }
};

} // namespace
