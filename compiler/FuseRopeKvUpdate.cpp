// Makes one kernel of the norms and turns of queries and keys and the update of
// the cache, and one of the norms and turns of queries without an update.
#include "compiler/Passes.h"
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-fuse-rope-kv-update"

namespace mlir::lap {
#define GEN_PASS_DEF_FUSEROPEKVUPDATEPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// The first attention behind the update that reads its cache, or null.
static AttentionOp getAttention(KvUpdateOp update) {
  for (Operation *op = update->getNextNode(); op; op = op->getNextNode()) {
    auto attention = dyn_cast<AttentionOp>(op);
    if (attention && isSameValue(attention.getCache(), update.getCache()))
      return attention;
  }
  return {};
}

namespace {

/// A turned value: rope(rms_norm(input) * weight).
struct TurnedValue {
  RopeOp rope;
  RmsNormOp norm;
};

} // namespace

/// What `value` is made of, if it is a weighted norm of each head, then turned.
static FailureOr<TurnedValue> getTurned(Value value, int64_t headDim) {
  auto rope = value.getDefiningOp<RopeOp>();
  if (!rope || static_cast<int64_t>(rope.getHeadDim()) != headDim)
    return failure();
  auto norm = rope.getInput().getDefiningOp<RmsNormOp>();
  if (!norm || !norm.getWeight() ||
      static_cast<int64_t>(norm.getGroup()) != headDim)
    return failure();
  return TurnedValue{rope, norm};
}

/// Where the kernel can stand: at the update, or at the first op behind it
/// where all of `operands` are there; null if that would move the update over
/// an op that may touch memory.
static Operation *getPlace(KvUpdateOp update, ArrayRef<Value> operands,
                           AttentionOp attention) {
  for (Operation *op = update; op; op = op->getNextNode()) {
    if (llvm::all_of(operands,
                     [&](Value operand) { return isAvailable(operand, op); }))
      return op;
    if (op != update && !isMemoryEffectFree(op))
      return nullptr;
    if (op == attention)
      return nullptr;
  }
  return nullptr;
}

namespace {

/// Matches
///   %qr = lap.rope (lap.rms_norm %q, %wq), %table, %past
///   %kr = lap.rope (lap.rms_norm %k, %wk), %table, %past
///   %vn = lap.rms_norm %v
///   lap.kv_update %c, %kr, %vn, %past
///   %a = lap.attention %c, %qr, %past
/// and leaves
///   %qr = lap.rope_kv_update %c, %q, %k, %v, %wq, %wk, %table, %past
///   %a = lap.attention %c, %qr, %past
/// in the update's place, or as soon behind it as %q is there.
class FuseUpdate : public OpRewritePattern<KvUpdateOp> {
public:
  FuseUpdate(MLIRContext *context, Pass::Statistic &fused)
      : OpRewritePattern(context), fused(fused) {}

  LogicalResult matchAndRewrite(KvUpdateOp op,
                                PatternRewriter &rewriter) const override {
    int64_t headDim = op.getCache().getType().getHeadDim();
    AttentionOp attention = getAttention(op);
    if (!attention)
      return rewriter.notifyMatchFailure(op, "no attention reads the cache");
    FailureOr<TurnedValue> keys = getTurned(op.getKeys(), headDim);
    FailureOr<TurnedValue> query = getTurned(attention.getQuery(), headDim);
    if (failed(keys) || failed(query))
      return rewriter.notifyMatchFailure(
          op, "keys or query are not the rope of a weighted norm of heads");
    auto values = op.getValues().getDefiningOp<RmsNormOp>();
    if (!values || values.getWeight() ||
        static_cast<int64_t>(values.getGroup()) != headDim)
      return rewriter.notifyMatchFailure(
          op, "values are not a norm of heads without a weight");
    FloatAttr eps = keys->norm.getEpsAttr();
    if (query->norm.getEpsAttr() != eps || values.getEpsAttr() != eps)
      return rewriter.notifyMatchFailure(op, "the norms differ in eps");
    if (!isSameValue(keys->rope.getTable(), query->rope.getTable()))
      return rewriter.notifyMatchFailure(op, "the rope tables differ");
    Value past = op.getPast();
    if (keys->rope.getPast() != past || query->rope.getPast() != past)
      return rewriter.notifyMatchFailure(op, "the positions differ");
    if (keys->rope.getAhead() || query->rope.getAhead())
      return rewriter.notifyMatchFailure(op, "they turn for later positions");
    if (!query->rope->hasOneUse())
      return rewriter.notifyMatchFailure(op, "the query has other uses");

    SmallVector<Value> operands = {
        op.getCache(),           query->norm.getInput(),
        keys->norm.getInput(),   values.getInput(),
        query->norm.getWeight(), keys->norm.getWeight(),
        keys->rope.getTable(),   past};
    Operation *place = getPlace(op, operands, attention);
    if (!place)
      return rewriter.notifyMatchFailure(
          op, "the query comes too late to update the cache with it");
    makeAvailable(operands, place, rewriter);
    rewriter.setInsertionPoint(place);
    auto kernel = RopeKvUpdateOp::create(
        rewriter, rewriter.getFusedLoc({query->rope.getLoc(), op.getLoc()}),
        query->rope.getType(), operands, rewriter.getNamedAttr("eps", eps));
    rewriter.modifyOpInPlace(attention, [&] {
      attention.getQueryMutable().assign(kernel.getResult());
    });
    rewriter.eraseOp(op);
    ++fused;
    return success();
  }

private:
  Pass::Statistic &fused;
};

/// Matches, where nothing in the block updates %c,
///   %qr = lap.rope (lap.rms_norm %q, %wq), %table, %past
///   %a = lap.attention %c, %qr, %past
/// and leaves
///   %qr = lap.rope_query %c, %q, %wq, %table, %past
///   %a = lap.attention %c, %qr, %past
class FuseQuery : public OpRewritePattern<AttentionOp> {
public:
  FuseQuery(MLIRContext *context, Pass::Statistic &queries)
      : OpRewritePattern(context), queries(queries) {}

  LogicalResult matchAndRewrite(AttentionOp op,
                                PatternRewriter &rewriter) const override {
    for (auto update : op->getBlock()->getOps<KvUpdateOp>())
      if (isSameValue(update.getCache(), op.getCache()))
        return rewriter.notifyMatchFailure(op, "an update turns its query");
    FailureOr<TurnedValue> query =
        getTurned(op.getQuery(), op.getCache().getType().getHeadDim());
    if (failed(query) || !query->rope->hasOneUse())
      return rewriter.notifyMatchFailure(
          op, "the query is not the rope, for it alone, of a weighted norm");
    RopeOp rope = query->rope;
    // The cache may be read behind the turn.
    rewriter.setInsertionPoint(op);
    rewriter.replaceOpWithNewOp<RopeQueryOp>(
        rope, rope.getType(), op.getCache(), query->norm.getInput(),
        query->norm.getWeight(), rope.getTable(), rope.getPast(), Value(),
        query->norm.getEpsAttr(), rope.getAheadAttr());
    ++queries;
    return success();
  }

private:
  Pass::Statistic &queries;
};

class FuseRopeKvUpdatePass
    : public lap::impl::FuseRopeKvUpdatePassBase<FuseRopeKvUpdatePass> {
public:
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseUpdate>(&getContext(), fused);
    patterns.add<FuseQuery>(&getContext(), queries);
    if (failed(applyFusions(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
