// The attention kernels: what goes into the KV cache, and streaming attention
// over it. See `!lap.kv_cache` for how keys and values lie in memory.
#include "targets/cpu/KernelEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

/// Positions in a block of keys.
static constexpr int64_t blockRows = KernelEmitter::lanes;

static int64_t getWidth(Value activation) {
  return cast<RankedTensorType>(activation.getType()).getDimSize(1);
}

/// The block of the cache that holds block `block` of the sequence. A ring has
/// round_up(window, 16) + chunk rows: what the oldest query of a step sees and
/// what the step writes never share a row.
static Value getCacheBlock(KernelEmitter &e, KvCacheType cache, Value block) {
  if (!cache.getWindow())
    return block;
  int64_t windowBlocks = llvm::divideCeil(cache.getWindow(), blockRows);
  Value blocks = e.add(e.div(e.getChunk(), blockRows), windowBlocks);
  return arith::RemUIOp::create(e, block, blocks);
}

KernelInfo cpu::emitRopeKvUpdate(KernelEmitter &e, RopeKvUpdateOp op) {
  KvCacheType cache = op.getCache().getType();
  int64_t kvHeads = cache.getHeads(), headDim = cache.getHeadDim();
  int64_t half = headDim / 2;
  int64_t group = getWidth(op.getQuery()) / (kvHeads * headDim);
  int64_t rotated = getWidth(op.getTable()) / 2;
  float eps = op.getEps().convertToFloat();
  Buffer query = e.getBuffer(op.getQuery()), keys = e.getBuffer(op.getKeys());
  Buffer values = e.getBuffer(op.getValues());
  Buffer queryNorm = e.getBuffer(op.getQueryNorm());
  Buffer keyNorm = e.getBuffer(op.getKeyNorm());
  Buffer table = e.getBuffer(op.getTable());
  Buffer out = e.getResultBuffer(op.getResult());
  auto [cacheKeys, cacheValues] = e.getCache(op.getCache());

  using Write = function_ref<void(Value vector, Value element, int64_t size)>;
  // Normalizes the head at `at` and turns it by the angles of the table rows
  // at `low` and `high` (angles add up: see lap.rope_table).
  auto normAndTurn = [&](Buffer source, Value at, Buffer norm, Value low,
                         Value high, Write write) {
    Value inverse = e.inverseRms(source, at, headDim, eps);
    auto normalized = [&](Value element, int64_t size) {
      Value x = e.mulF(e.load(source, e.add(at, element), size), inverse);
      return e.mulF(x, e.load(norm, element, size));
    };
    e.vectors(0, rotated, [&](Value i, int64_t size) {
      Value x1 = normalized(i, size);
      Value x2 = normalized(e.add(i, half), size);
      Value cosLow = e.load(table, e.add(low, i), size);
      Value sinLow = e.load(table, e.add(e.add(low, rotated), i), size);
      Value cosHigh = e.load(table, e.add(high, i), size);
      Value sinHigh = e.load(table, e.add(e.add(high, rotated), i), size);
      Value cos = e.subF(e.mulF(cosLow, cosHigh), e.mulF(sinLow, sinHigh));
      Value sin = e.fma(sinLow, cosHigh, e.mulF(cosLow, sinHigh));
      write(e.subF(e.mulF(x1, cos), e.mulF(x2, sin)), i, size);
      write(e.fma(x2, cos, e.mulF(x1, sin)), e.add(i, half), size);
    });
    e.vectors(rotated, half, [&](Value i, int64_t size) {
      write(normalized(i, size), i, size);
      write(normalized(e.add(i, half), size), e.add(i, half), size);
    });
  };

  // A tile is one key head of one token with the query heads that read it.
  e.loopTiles([&](Value tile) {
    Value token = e.div(tile, kvHeads), head = e.rem(tile, kvHeads);
    Value position = e.add(e.getPast(), token);
    Value low = e.mul(e.rem(position, RopeTableOp::lowRows), 2 * rotated);
    Value high = e.mul(
        e.add(e.div(position, RopeTableOp::lowRows), RopeTableOp::lowRows),
        2 * rotated);
    e.loop(e.index(0), e.index(group), 1, [&](Value member) {
      Value at =
          e.mul(e.add(e.mul(e.add(e.mul(token, kvHeads), head), group), member),
                headDim);
      normAndTurn(query, at, queryNorm, low, high,
                  [&](Value vector, Value element, int64_t size) {
                    e.store(vector, out, e.add(at, element), size);
                  });
    });
    Value source = e.mul(e.add(e.mul(token, kvHeads), head), headDim);
    Value block = getCacheBlock(e, cache, e.div(position, blockRows));
    Value lane = e.rem(position, blockRows);
    Value keyAt = e.add(
        e.mul(e.add(e.mul(block, kvHeads), head), headDim * blockRows), lane);
    normAndTurn(keys, source, keyNorm, low, high,
                [&](Value vector, Value element, int64_t size) {
                  Value first = e.add(keyAt, e.mul(element, blockRows));
                  for (int64_t i = 0; i < size; ++i)
                    e.storeScalar(vector::ExtractOp::create(
                                      e, vector, ArrayRef<int64_t>{i}),
                                  cacheKeys, e.add(first, i * blockRows));
                });
    Value row = e.add(e.mul(block, blockRows), lane);
    Value valueAt = e.mul(e.add(e.mul(row, kvHeads), head), headDim);
    Value inverse = e.inverseRms(values, source, headDim, eps);
    e.vectors(0, headDim, [&](Value i, int64_t size) {
      Value x = e.mulF(e.load(values, e.add(source, i), size), inverse);
      e.store(x, cacheValues, e.add(valueAt, i), size);
    });
  });
  return {{0, kvHeads}, {8 * headDim * (group + 2), 0}, {0, 0}};
}

/// Query heads that one tile computes: all that share a key head, at most 8, so
/// that a key is loaded once for all of them and accumulators stay in
/// registers.
static int64_t getHeadsPerTile(int64_t group) {
  int64_t heads = 8;
  while (group % heads)
    --heads;
  return heads;
}

KernelInfo cpu::emitAttention(KernelEmitter &e, AttentionOp op) {
  KvCacheType cache = op.getCache().getType();
  int64_t kvHeads = cache.getHeads(), headDim = cache.getHeadDim();
  int64_t group = getWidth(op.getQuery()) / (kvHeads * headDim);
  int64_t heads = getHeadsPerTile(group), parts = group / heads;
  Buffer query = e.getBuffer(op.getQuery());
  Buffer out = e.getResultBuffer(op.getResult());
  auto [keys, values] = e.getCache(op.getCache());
  Buffer visibleEnd;
  if (op.getVisibleEnd())
    visibleEnd = e.getBuffer(op.getVisibleEnd());
  // Scratch: 16 weights a head, then the running outputs.
  Buffer weights = e.getScratch(0);
  Buffer sums = e.getScratch(heads * blockRows * sizeof(float));
  Value minusInfinity = e.splat(-std::numeric_limits<float>::infinity());
  auto laneType = VectorType::get({blockRows}, e.getIndexType());
  Value laneNumbers = vector::StepOp::create(e, laneType);

  e.loopTiles([&](Value tile) {
    Value part = e.rem(tile, parts), rest = e.div(tile, parts);
    Value head = e.rem(rest, kvHeads), token = e.div(rest, kvHeads);
    Value position = e.add(e.getPast(), token);
    Value end =
        visibleEnd.memref ? e.loadIndex(visibleEnd, token) : e.add(position, 1);
    Value begin = e.index(0);
    if (cache.getWindow())
      begin = e.max(begin, e.add(position, 1 - cache.getWindow()));
    Value queryAt =
        e.mul(e.add(e.mul(e.add(e.mul(token, kvHeads), head), group),
                    e.mul(part, heads)),
              headDim);
    for (int64_t h = 0; h < heads; ++h)
      e.vectors(0, headDim, [&](Value i, int64_t size) {
        e.store(e.splat(0), sums, e.add(i, h * headDim), size);
      });

    // Running maximum and sum of each head, the same in every lane.
    SmallVector<Value> initial(heads, minusInfinity);
    initial.append(heads, e.splat(0));
    Value firstBlock = e.div(begin, blockRows);
    Value lastBlock = e.div(e.add(end, blockRows - 1), blockRows);
    SmallVector<Value> state = e.loop(
        firstBlock, lastBlock, 1, initial,
        [&](Value block, ValueRange carried) -> SmallVector<Value> {
          Value cacheBlock = getCacheBlock(e, cache, block);
          Value keyAt = e.mul(e.add(e.mul(cacheBlock, kvHeads), head),
                              headDim * blockRows);
          SmallVector<Value> zeros(heads, e.splat(0));
          SmallVector<Value> scores = e.loop(
              e.index(0), e.index(headDim), 1, zeros,
              [&](Value i, ValueRange accumulated) {
                Value key = e.load(keys, e.add(keyAt, e.mul(i, blockRows)));
                SmallVector<Value> next;
                for (int64_t h = 0; h < heads; ++h) {
                  Value q = e.loadScalar(query,
                                         e.add(e.add(queryAt, i), h * headDim));
                  next.push_back(e.fma(e.broadcast(q), key, accumulated[h]));
                }
                return next;
              });
          Value blockPosition = e.mul(block, blockRows);
          Value positions = arith::AddIOp::create(
              e, vector::BroadcastOp::create(e, laneType, blockPosition),
              laneNumbers);
          auto compare = [&](arith::CmpIPredicate predicate, Value bound) {
            return arith::CmpIOp::create(
                e, predicate, positions,
                vector::BroadcastOp::create(e, laneType, bound));
          };
          Value visible = arith::AndIOp::create(
              e, compare(arith::CmpIPredicate::sge, begin),
              compare(arith::CmpIPredicate::slt, end));
          SmallVector<Value> maxima, totals, scales;
          for (int64_t h = 0; h < heads; ++h) {
            Value score =
                arith::SelectOp::create(e, visible, scores[h], minusInfinity);
            Value top = e.broadcast(vector::ReductionOp::create(
                e, vector::CombiningKind::MAXNUMF, score));
            Value maximum = arith::MaxNumFOp::create(e, carried[h], top);
            Value weight = e.exp(e.subF(score, maximum));
            Value scale = e.exp(e.subF(carried[h], maximum));
            Value total = e.fma(carried[heads + h], scale,
                                e.broadcast(e.sumLanes(weight)));
            e.store(weight, weights, e.index(h * blockRows));
            maxima.push_back(maximum);
            totals.push_back(total);
            scales.push_back(scale);
          }
          Value valueAt = e.mul(
              e.add(e.mul(cacheBlock, blockRows * kvHeads), head), headDim);
          e.vectors(0, headDim, [&](Value i, int64_t size) {
            SmallVector<Value> sum;
            for (int64_t h = 0; h < heads; ++h)
              sum.push_back(
                  e.mulF(e.load(sums, e.add(i, h * headDim), size), scales[h]));
            for (int64_t row = 0; row < blockRows; ++row) {
              Value value = e.load(
                  values, e.add(e.add(valueAt, i), row * kvHeads * headDim),
                  size);
              for (int64_t h = 0; h < heads; ++h) {
                Value weight =
                    e.loadScalar(weights, e.index(h * blockRows + row));
                sum[h] = e.fma(e.broadcast(weight), value, sum[h]);
              }
            }
            for (int64_t h = 0; h < heads; ++h)
              e.store(sum[h], sums, e.add(i, h * headDim), size);
          });
          maxima.append(totals);
          return maxima;
        });
    for (int64_t h = 0; h < heads; ++h) {
      Value total = state[heads + h];
      e.vectors(0, headDim, [&](Value i, int64_t size) {
        Value sum = e.load(sums, e.add(i, h * headDim), size);
        e.store(e.divF(sum, total), out, e.add(e.add(queryAt, i), h * headDim),
                size);
      });
    }
  });
  // A tile's cost grows with the context: count on a typical window.
  int64_t typicalContext = cache.getWindow() ? cache.getWindow() : 1024;
  int64_t scratch =
      heads * (blockRows + llvm::alignTo(headDim, blockRows)) * sizeof(float);
  return {{0, kvHeads * parts},
          {heads * headDim * 2 * typicalContext, 0},
          {scratch, 0}};
}
