// The attention kernels: whole steps, and, for steps of few tokens over long
// caches, parts of the positions and what brings these together.
#include "targets/cpu/AttentionEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

/// Fewer queries than fill the registers are not worth a tile of their own.
static constexpr int64_t leastQueries = 16;
/// Tiles of a step of any number of tokens.
static constexpr int64_t mostTiles = 64;
/// Blocks of positions that are worth a tile of their own.
static constexpr int64_t leastBlocks = 4;

/// About how many multiply-adds a step's token is: its cost grows with the
/// context, so count on a typical one.
static int64_t getTokenWork(KvCacheType cache, int64_t group) {
  int64_t context = cache.getWindow() ? cache.getWindow() : 1024;
  return cache.getHeads() * group * cache.getHeadDim() * 2 * context;
}

KernelInfo cpu::emitAttention(KernelEmitter &e, AttentionOp op) {
  AttentionEmitter attention(e, op.getCache(), op.getQuery(),
                             op.getVisibleEnd());
  KvCacheType cache = op.getCache().getType();
  int64_t kvHeads = cache.getHeads(), headDim = cache.getHeadDim();
  int64_t group = attention.getGroup();
  Buffer out = e.getResultBuffer(op.getResult());
  bool one = e.getStaticTokens() == 1;
  // Tiles of a head: each takes every `parts`-th run of tokens.
  int64_t parts = one ? 1 : llvm::divideCeil(mostTiles, kvHeads);
  int64_t most = attention.getMostTokens();
  int64_t least =
      std::min<int64_t>(most, llvm::divideCeil(leastQueries, group));

  auto runPass = [&](Value head, Value firstToken, Value tokens) {
    auto [firstBlock, endBlock] = attention.getBlocks(firstToken, tokens);
    AttentionPass pass{head, firstToken, tokens, firstBlock, endBlock};
    attention.run(pass);
    Buffer sums = attention.getSums();
    attention.forQueries(pass, [&](Value query, Value token, Value head) {
      Value total = e.broadcast(attention.loadTotal(query));
      Value from = attention.getSumsIndex(query);
      Value to = e.mul(e.add(e.mul(token, kvHeads * group), head), headDim);
      e.vectors(0, headDim, [&](Value i, int64_t size) {
        e.store(e.divF(e.load(sums, e.add(from, i), size), total), out,
                e.add(to, i), size);
      });
    });
  };
  e.loopTiles([&](Value tile) {
    if (one)
      return runPass(tile, e.index(0), e.index(1));
    Value head = e.div(tile, parts), part = e.rem(tile, parts);
    Value share = e.div(e.add(e.getTokens(), parts - 1), parts);
    Value size = e.min(e.max(share, e.index(least)), e.index(most));
    Value runs = arith::CeilDivUIOp::create(e, e.getTokens(), size);
    // Later tokens see more: runs from the beginning and from the end take
    // turns, so that neighbouring tiles cost as much as any others.
    e.loop(part, runs, parts, [&](Value turn) {
      Value half = e.div(turn, 2);
      Value odd = arith::CmpIOp::create(e, arith::CmpIPredicate::ne,
                                        e.rem(turn, 2), e.index(0));
      Value run =
          arith::SelectOp::create(e, odd, e.sub(e.add(runs, -1), half), half);
      Value first = e.mul(run, size);
      runPass(head, first, e.min(size, e.sub(e.getTokens(), first)));
    });
  });
  int64_t tiles = kvHeads * parts;
  int64_t work = getTokenWork(cache, group);
  Extent tileWork =
      one ? Extent{work / tiles, 0} : Extent{0, (work + tiles - 1) / tiles};
  return {{tiles, 0}, tileWork, {attention.getScratchBytes(), 0}};
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

KernelInfo cpu::emitPartialAttention(KernelEmitter &e, PartialAttentionOp op) {
  AttentionEmitter attention(e, op.getCache(), op.getQuery(), {});
  KvCacheType cache = op.getCache().getType();
  int64_t kvHeads = cache.getHeads(), splits = op.getSplits();
  PartialRow row{kvHeads * attention.getGroup(), cache.getHeadDim(), splits};
  int64_t most = attention.getMostTokens();
  Buffer out = e.getResultBuffer(op.getResult());

  e.loopTiles([&](Value tile) {
    Value head = e.div(tile, splits), split = e.rem(tile, splits);
    e.loop(e.index(0), e.getTokens(), most, [&](Value first) {
      Value tokens = e.min(e.sub(e.getTokens(), first), e.index(most));
      auto [begin, end] = attention.getBlocks(first, tokens);
      Value blocks = e.sub(end, begin);
      // A whole number of the runs that attention goes in.
      Value share =
          e.div(e.add(blocks, splits * leastBlocks - 1), splits * leastBlocks);
      share = e.mul(share, leastBlocks);
      Value from = e.min(e.add(begin, e.mul(split, share)), end);
      AttentionPass pass{head, first, tokens, from,
                         e.min(e.add(from, share), end)};
      Value any = e.lessThan(pass.firstBlock, pass.endBlock);
      e.when(any, [&] { attention.run(pass); });
      Buffer sums = attention.getSums();
      attention.forQueries(pass, [&](Value query, Value token, Value head) {
        Value base = e.mul(token, row.getWidth());
        Value at = e.add(base, e.add(e.mul(head, splits), split));
        // The merge does not look at the sums of an empty part.
        Value nothing = arith::XOrIOp::create(
            e, any, arith::ConstantIntOp::create(e, 1, 1));
        e.when(nothing, [&] {
          e.storeScalar(e.constantF32(-std::numeric_limits<float>::infinity()),
                        out, e.add(at, row.getMaxima()));
          e.storeScalar(e.constantF32(0), out, e.add(at, row.getTotals()));
        });
        e.when(any, [&] {
          e.storeScalar(attention.loadMaximum(query), out,
                        e.add(at, row.getMaxima()));
          e.storeScalar(attention.loadTotal(query), out,
                        e.add(at, row.getTotals()));
          Value source = attention.getSumsIndex(query);
          Value target = e.add(
              base, e.mul(e.add(e.mul(split, row.heads), head), row.headDim));
          e.vectors(0, row.headDim, [&](Value i, int64_t size) {
            e.store(e.load(sums, e.add(source, i), size), out, e.add(target, i),
                    size);
          });
        });
      });
    });
  });
  int64_t tiles = kvHeads * splits;
  int64_t work = getTokenWork(cache, attention.getGroup());
  return {{tiles, 0},
          {0, (work + tiles - 1) / tiles},
          {attention.getScratchBytes(), 0}};
}

KernelInfo cpu::emitMergeAttention(KernelEmitter &e, MergeAttentionOp op) {
  int64_t heads = op.getHeads(), splits = op.getSplits();
  int64_t width =
      cast<RankedTensorType>(op.getResult().getType()).getDimSize(1);
  PartialRow row{heads, width / heads, splits};
  Buffer input = e.getBuffer(op.getInput());
  Buffer out = e.getResultBuffer(op.getResult());
  Buffer shares = e.getScratch(0);

  e.loopTiles([&](Value tile) {
    Value token = e.div(tile, heads), head = e.rem(tile, heads);
    Value base = e.mul(token, row.getWidth());
    Value to = e.mul(tile, row.headDim);
    Value at = e.add(base, e.mul(head, splits));
    Value minusInfinity = e.splat(-std::numeric_limits<float>::infinity());
    Value mask = vector::CreateMaskOp::create(
        e, VectorType::get({KernelEmitter::lanes}, e.getI1Type()),
        e.index(splits));
    Value maxima = arith::SelectOp::create(
        e, mask, e.load(input, e.add(at, row.getMaxima()), splits),
        minusInfinity);
    Value most =
        vector::ReductionOp::create(e, vector::CombiningKind::MAXNUMF, maxima);
    Value weights = e.exp(e.subF(maxima, e.broadcast(most)));
    Value totals = e.load(input, e.add(at, row.getTotals()), splits);
    Value total = e.sumLanes(e.mulF(weights, totals));
    e.store(e.divF(weights, e.broadcast(total)), shares, e.index(0));
    e.vectors(0, row.headDim, [&](Value i, int64_t size) {
      e.store(e.splat(0), out, e.add(to, i), size);
    });
    e.loop(e.index(0), e.index(splits), 1, [&](Value split) {
      Value share = e.loadScalar(shares, split);
      // True for NaN, which must stay.
      Value counts = arith::CmpFOp::create(e, arith::CmpFPredicate::UNE, share,
                                           e.constantF32(0));
      e.when(counts, [&] {
        Value factor = e.broadcast(share);
        Value from =
            e.add(base, e.mul(e.add(e.mul(split, heads), head), row.headDim));
        e.vectors(0, row.headDim, [&](Value i, int64_t size) {
          Value sum = e.load(out, e.add(to, i), size);
          sum = e.fma(factor, e.load(input, e.add(from, i), size), sum);
          e.store(sum, out, e.add(to, i), size);
        });
      });
    });
  });
  return {{0, heads},
          {row.headDim * splits, 0},
          {KernelEmitter::lanes * static_cast<int64_t>(sizeof(float)), 0}};
}
