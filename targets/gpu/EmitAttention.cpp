// The attention kernels: whole steps, and, for steps of few tokens over long
// caches, parts of the positions and what brings these together.
#include "targets/gpu/AttentionEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

/// Blocks of positions that are worth a workgroup of their own: it takes as
/// many at a time.
static constexpr int64_t leastBlocks = 4;

/// About how many multiply-adds a step's token is: its cost grows with the
/// context, so count on a typical one.
static int64_t getTokenWork(KvCacheType cache, int64_t group) {
  int64_t context = cache.getWindow() ? cache.getWindow() : 1024;
  return cache.getHeads() * group * cache.getHeadDim() * 2 * context;
}

/// Of an attention whose tiles share the work of a token.
static KernelInfo getInfo(const AttentionEmitter &attention, KvCacheType cache,
                          int64_t tiles) {
  int64_t work = getTokenWork(cache, attention.getGroup());
  KernelInfo info;
  info.tiles = {tiles, 0};
  info.tokenTile = attention.getTokenTile();
  info.tileWork =
      info.tokenTile
          ? Extent{0, static_cast<int64_t>(llvm::divideCeil(work, tiles))}
          : Extent{work / tiles, 0};
  return info;
}

FailureOr<KernelInfo> simt::emitAttention(KernelEmitter &e, AttentionOp op) {
  KvCacheType cache = op.getCache().getType();
  if (failed(KvCacheAccess::check(op, cache)))
    return failure();
  AttentionEmitter attention(e, op.getCache(), op.getQuery(),
                             op.getVisibleEnd());
  int64_t headDim = cache.getHeadDim(), runs = attention.getRuns();
  int64_t heads = cache.getHeads() * attention.getGroup();
  Buffer out = e.getResultBuffer(op.getResult());
  attention.setQueries(e.div(e.getTile(), runs), e.rem(e.getTile(), runs));
  auto [firstBlock, endBlock] = attention.getBlocks();
  attention.run(firstBlock, endBlock);
  attention.forSums(/*divide=*/true,
                    [&](Value row, Value head, Value element, Value sum) {
                      Value at = e.mul(e.add(e.mul(row, heads), head), headDim);
                      e.store(sum, out, e.add(at, element));
                    });
  return getInfo(attention, cache, cache.getHeads() * runs);
}

/// Parts of a token's row of partial results, in elements: the weighted sums by
/// split and head, then maxima and totals by head and split.
namespace {

struct PartialRow {
  int64_t heads, headDim, splits;

  int64_t getMaxima() const { return splits * heads * headDim; }
  int64_t getTotals() const { return getMaxima() + heads * splits; }
  int64_t getWidth() const { return getTotals() + heads * splits; }
};

} // namespace

FailureOr<KernelInfo> simt::emitPartialAttention(KernelEmitter &e,
                                                 PartialAttentionOp op) {
  KvCacheType cache = op.getCache().getType();
  if (failed(KvCacheAccess::check(op, cache)))
    return failure();
  AttentionEmitter attention(e, op.getCache(), op.getQuery(), {});
  int64_t splits = op.getSplits(), runs = attention.getRuns();
  PartialRow part{cache.getHeads() * attention.getGroup(), cache.getHeadDim(),
                  splits};
  Buffer out = e.getResultBuffer(op.getResult());
  Value split = e.rem(e.getTile(), splits), rest = e.div(e.getTile(), splits);
  attention.setQueries(e.div(rest, runs), e.rem(rest, runs));
  auto [begin, end] = attention.getBlocks();
  Value share = e.div(e.add(e.sub(end, begin), splits * leastBlocks - 1),
                      splits * leastBlocks);
  share = e.mul(share, leastBlocks);
  Value from = e.min(e.add(begin, e.mul(split, share)), end);
  attention.run(from, e.min(e.add(from, share), end));
  attention.forTotals([&](Value row, Value head, Value maximum, Value total) {
    Value at =
        e.add(e.mul(row, part.getWidth()), e.add(e.mul(head, splits), split));
    e.store(maximum, out, e.add(at, part.getMaxima()));
    e.store(total, out, e.add(at, part.getTotals()));
  });
  attention.forSums(
      /*divide=*/false, [&](Value row, Value head, Value element, Value sum) {
        Value at = e.add(e.mul(split, part.heads), head);
        at = e.add(e.mul(row, part.getWidth()), e.mul(at, part.headDim));
        e.store(sum, out, e.add(at, element));
      });
  return getInfo(attention, cache, cache.getHeads() * runs * splits);
}

KernelInfo simt::emitMergeAttention(KernelEmitter &e, MergeAttentionOp op) {
  int64_t heads = op.getHeads(), splits = op.getSplits();
  int64_t width =
      cast<RankedTensorType>(op.getResult().getType()).getDimSize(1);
  PartialRow part{heads, width / heads, splits};
  Buffer input = e.getBuffer(op.getInput());
  Buffer out = e.getResultBuffer(op.getResult());
  Value token = e.div(e.getTile(), heads), head = e.rem(e.getTile(), heads);
  Value base = e.mul(token, part.getWidth());
  Value at = e.add(base, e.mul(head, splits));
  SmallVector<Value> maxima, shares, counts;
  Value lowest = e.number(KernelEmitter::lowest), most = lowest;
  for (int64_t split = 0; split < splits; ++split) {
    maxima.push_back(e.load(input, e.add(at, part.getMaxima() + split)));
    most = e.maxF(most, maxima.back());
  }
  Value total = e.number(0);
  for (int64_t split = 0; split < splits; ++split) {
    // True for NaN, which must stay.
    counts.push_back(arith::CmpFOp::create(e, arith::CmpFPredicate::UGT,
                                           maxima[split], lowest));
    Value weight = e.select(counts[split], e.exp(e.subF(maxima[split], most)),
                            e.number(0));
    shares.push_back(weight);
    total = e.fma(weight, e.load(input, e.add(at, part.getTotals() + split)),
                  total);
  }
  e.forThread(part.headDim, [&](Value i) {
    Value sum = e.number(0);
    for (int64_t split = 0; split < splits; ++split) {
      Value from = e.add(base, e.mul(e.add(head, split * heads), part.headDim));
      // A CPU leaves out the sums of an empty part.
      Value own =
          e.select(counts[split], e.load(input, e.add(from, i)), e.number(0));
      sum = e.fma(shares[split], own, sum);
    }
    e.store(e.divF(sum, total), out,
            e.add(e.mul(e.getTile(), part.headDim), i));
  });
  KernelInfo info;
  info.tiles = {0, heads};
  info.tileWork = {part.headDim * splits, 0};
  return info;
}
