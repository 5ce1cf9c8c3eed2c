// The loops of streaming attention (see the header). Scores are sums with a
// position a lane, outputs sums with an element a lane.
#include "targets/cpu/AttentionEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

static constexpr int64_t blockRows = KvCacheType::blockRows;
/// Blocks of positions whose weights are kept at once: running outputs are
/// loaded, scaled and stored once for all of them.
static constexpr int64_t blocksAtOnce = 4;
/// Queries of a pass over the positions: enough of them to make reads of the
/// cache cheap, few enough that they and their outputs stay in a core's
/// second-level cache.
static constexpr int64_t mostQueries = 128;
/// Queries that are not known when compiling are a multiple of this: what is
/// too many has no keys to see.
static constexpr int64_t queryMultiple = 4;
/// Vectors of sums that the registers of any variant hold: scratch memory is
/// the same for all of them.
static constexpr int64_t mostRegisters = 16;

static constexpr int64_t weightsStride = blocksAtOnce * blockRows;

AttentionEmitter::AttentionEmitter(KernelEmitter &e,
                                   TypedValue<KvCacheType> cacheValue,
                                   Value queryValue, Value visibleEndValue)
    : e(e), cache(e, cacheValue), query(e.getBuffer(queryValue)) {
  if (visibleEndValue)
    visibleEnd = e.getBuffer(visibleEndValue);
  KvCacheType type = cache.getType();
  kvHeads = type.getHeads();
  headDim = type.getHeadDim();
  group = getWidth(queryValue) / (kvHeads * headDim);
  mostTokens =
      e.getStaticTokens() == 1 ? 1 : std::max<int64_t>(1, mostQueries / group);
  allQueries = llvm::alignTo(mostTokens * group, blockRows);
  registers = e.getVariant().vectorBits >= 512 ? mostRegisters : 4;
  // A vector more than the head, so that the rows of several queries do not
  // compete for the same lines of a cache.
  queryStride = llvm::alignTo(cache.getQueryDim(), blockRows) + blockRows;
  sumsStride = llvm::alignTo(headDim, blockRows) + blockRows;
  queriesAt = 0;
  sumsAt = queriesAt + allQueries * queryStride;
  weightsAt = sumsAt + allQueries * sumsStride;
  maximaAt = weightsAt + mostRegisters * weightsStride;
  totalsAt = maximaAt + allQueries;
  scalesAt = totalsAt + allQueries;
  beginsAt = scalesAt + allQueries;
  endsAt = beginsAt + allQueries;
}

std::pair<Value, Value> AttentionEmitter::getBlocks(Value firstToken,
                                                    Value tokens) {
  int64_t window = cache.getType().getWindow();
  Value first = e.add(e.getPast(), firstToken);
  Value begin = e.index(0);
  if (window)
    begin = e.max(begin, e.add(first, 1 - window));
  Value end = e.add(first, tokens);
  if (visibleEnd.memref)
    end = e.loop(firstToken, e.add(firstToken, tokens), 1, e.index(0),
                 [&](Value token, ValueRange most) -> SmallVector<Value> {
                   return {e.max(most[0], e.loadIndex(visibleEnd, token))};
                 })[0];
  return {e.div(begin, blockRows), e.div(e.add(end, blockRows - 1), blockRows)};
}

void AttentionEmitter::forQueries(
    const AttentionPass &pass,
    function_ref<void(Value query, Value token, Value head)> body) {
  e.loop(e.index(0), pass.tokens, 1, [&](Value token) {
    e.loop(e.index(0), e.index(group), 1, [&](Value member) {
      body(e.add(e.mul(token, group), member), e.add(pass.firstToken, token),
           e.add(e.mul(pass.head, group), member));
    });
  });
}

/// Copies the queries, and says what each of them sees; what is beyond them
/// sees nothing.
void AttentionEmitter::prepare(const AttentionPass &pass) {
  KvCacheType type = cache.getType();
  Buffer queriesOut = scratch(queriesAt), sums = scratch(sumsAt);
  Buffer maxima = scratch(maximaAt), totals = scratch(totalsAt);
  Buffer begins = scratch(beginsAt, true), ends = scratch(endsAt, true);
  auto word = [&](Value number) -> Value {
    return arith::IndexCastOp::create(e, e.getI32Type(), number);
  };
  auto clear = [&](Value number) {
    e.storeScalar(e.constantF32(-std::numeric_limits<float>::infinity()),
                  maxima, number);
    e.storeScalar(e.constantF32(0), totals, number);
    Value at = e.mul(number, sumsStride);
    e.vectors(0, headDim, [&](Value i, int64_t size) {
      e.store(e.splat(0), sums, e.add(at, i), size);
    });
  };
  forQueries(pass, [&](Value number, Value token, Value head) {
    clear(number);
    Value position = e.add(e.getPast(), token);
    Value end =
        visibleEnd.memref ? e.loadIndex(visibleEnd, token) : e.add(position, 1);
    Value begin = e.index(0);
    if (type.getWindow())
      begin = e.max(begin, e.add(position, 1 - type.getWindow()));
    e.storeScalar(word(begin), begins, number);
    e.storeScalar(word(end), ends, number);
    Value from = e.mul(e.add(e.mul(token, kvHeads * group), head), headDim);
    Value to = e.mul(number, queryStride);
    auto copy = [&](int64_t source, int64_t count, int64_t target) {
      e.vectors(0, count, [&](Value i, int64_t size) {
        e.store(e.load(query, e.add(e.add(from, i), source), size), queriesOut,
                e.add(e.add(to, i), target), size);
      });
    };
    int64_t rotated = type.getRotated();
    if (!rotated)
      return copy(0, headDim, 0);
    copy(0, rotated, 0);
    copy(headDim / 2, rotated, rotated);
    copy(0, headDim, 2 * rotated);
    for (int64_t at : {int64_t(0), headDim / 2})
      e.vectors(0, rotated, [&](Value i, int64_t size) {
        e.store(e.splat(0), queriesOut, e.add(e.add(to, i), 2 * rotated + at),
                size);
      });
  });
  Value count = e.mul(pass.tokens, group);
  if (e.getStaticTokens() == 1) {
    queries = count;
    return;
  }
  queries = e.mul(e.div(e.add(count, queryMultiple - 1), queryMultiple),
                  queryMultiple);
  e.loop(count, queries, 1, [&](Value number) {
    clear(number);
    e.storeScalar(word(e.index(0)), begins, number);
    e.storeScalar(word(e.index(0)), ends, number);
    Value to = e.mul(number, queryStride);
    e.vectors(0, cache.getQueryDim(), [&](Value i, int64_t size) {
      e.store(e.splat(0), queriesOut, e.add(to, i), size);
    });
  });
}

void AttentionEmitter::forQueryRuns(
    function_ref<void(Value first, int64_t count)> body) {
  if (e.getStaticTokens() == 1) {
    int64_t whole = group / registers * registers;
    e.loop(e.index(0), e.index(whole), registers,
           [&](Value first) { body(first, registers); });
    if (whole < group)
      body(e.index(whole), group - whole);
    return;
  }
  Value whole = e.mul(e.div(queries, registers), registers);
  e.loop(e.index(0), whole, registers,
         [&](Value first) { body(first, registers); });
  if (registers > queryMultiple)
    e.loop(whole, queries, queryMultiple,
           [&](Value first) { body(first, queryMultiple); });
}

/// The scores of `count` queries on a block of 16 positions.
void AttentionEmitter::score(Value place, Value block, Value first,
                             int64_t count) {
  Buffer queriesIn = scratch(queriesAt), weights = scratch(weightsAt);
  // Several chains of sums hide the latency of additions.
  int64_t slots = std::max<int64_t>(1, std::min<int64_t>(registers, 8) / count);
  Value from = e.mul(first, queryStride);
  SmallVector<Value> zeros(slots * count, e.splat(0));
  SmallVector<Value> sums = cache.forKeys(
      place, slots, zeros,
      [&](Value number, Value vector, int64_t slot,
          SmallVectorImpl<Value> &next) {
        for (int64_t q = 0; q < count; ++q) {
          Value factor = e.loadScalar(
              queriesIn, e.add(e.add(from, number), q * queryStride));
          Value &sum = next[slot * count + q];
          sum = e.fma(e.broadcast(factor), vector, sum);
        }
      });
  for (int64_t q = 0; q < count; ++q) {
    Value sum = sums[q];
    for (int64_t slot = 1; slot < slots; ++slot)
      sum = e.addF(sum, sums[slot * count + q]);
    e.store(sum, weights, e.add(e.mul(block, blockRows), q * weightsStride));
  }
}

/// Scores become weights, by a new maximum; what was summed up before is to be
/// scaled by that.
void AttentionEmitter::weigh(Value firstPosition, Value blocks, Value first,
                             int64_t count) {
  Buffer weights = scratch(weightsAt), maxima = scratch(maximaAt);
  Buffer totals = scratch(totalsAt), scales = scratch(scalesAt);
  Buffer begins = scratch(beginsAt, true), ends = scratch(endsAt, true);
  Value minusInfinity = e.splat(-std::numeric_limits<float>::infinity());
  auto laneType = VectorType::get({blockRows}, e.getI32Type());
  SmallVector<int32_t> numbers = llvm::to_vector(llvm::seq<int32_t>(blockRows));
  Value laneNumbers = arith::ConstantOp::create(
      e, DenseElementsAttr::get(laneType, ArrayRef<int32_t>(numbers)));
  auto spread = [&](Value scalar) -> Value {
    return vector::BroadcastOp::create(e, laneType, scalar);
  };
  e.loop(e.index(0), e.index(count), 1, [&](Value q) {
    Value number = e.add(first, q), row = e.mul(q, weightsStride);
    Value begin = spread(memref::LoadOp::create(e, begins.memref, number));
    Value end = spread(memref::LoadOp::create(e, ends.memref, number));
    Value top = e.loop(
        e.index(0), blocks, 1, minusInfinity,
        [&](Value block, ValueRange carried) -> SmallVector<Value> {
          Value at = e.add(row, e.mul(block, blockRows));
          Value position = arith::IndexCastOp::create(
              e, e.getI32Type(), e.add(firstPosition, e.mul(block, blockRows)));
          Value positions =
              arith::AddIOp::create(e, spread(position), laneNumbers);
          using Predicate = arith::CmpIPredicate;
          Value visible = arith::AndIOp::create(
              e, arith::CmpIOp::create(e, Predicate::sge, positions, begin),
              arith::CmpIOp::create(e, Predicate::slt, positions, end));
          Value score = arith::SelectOp::create(e, visible, e.load(weights, at),
                                                minusInfinity);
          e.store(score, weights, at);
          return {arith::MaxNumFOp::create(e, carried[0], score)};
        })[0];
    auto storeFirst = [&](Value vector, Buffer buffer) {
      e.storeScalar(vector::ExtractOp::create(e, vector, ArrayRef<int64_t>{0}),
                    buffer, number);
    };
    Value before = e.broadcast(e.loadScalar(maxima, number));
    Value maximum =
        arith::MaxNumFOp::create(e, before,
                                 e.broadcast(vector::ReductionOp::create(
                                     e, vector::CombiningKind::MAXNUMF, top)));
    storeFirst(maximum, maxima);
    // Of a query that saw nothing yet weights are 0, not exp(-inf + inf).
    Value any = arith::CmpFOp::create(e, arith::CmpFPredicate::OGT, maximum,
                                      minusInfinity);
    Value bound = arith::SelectOp::create(e, any, maximum, e.splat(0));
    Value sum =
        e.loop(e.index(0), blocks, 1, e.splat(0),
               [&](Value block, ValueRange carried) -> SmallVector<Value> {
                 Value at = e.add(row, e.mul(block, blockRows));
                 Value weight = e.exp(e.subF(e.load(weights, at), bound));
                 e.store(weight, weights, at);
                 return {e.addF(carried[0], weight)};
               })[0];
    Value scale = e.exp(e.subF(before, bound));
    storeFirst(scale, scales);
    Value total = e.broadcast(e.loadScalar(totals, number));
    storeFirst(e.fma(total, scale, e.broadcast(e.sumLanes(sum))), totals);
  });
}

/// Adds the weighted values of some blocks to the sums.
void AttentionEmitter::accumulate(const AttentionPass &pass, Value firstBlock,
                                  Value blocks, Value first, int64_t count) {
  Buffer sums = scratch(sumsAt), weights = scratch(weightsAt);
  Buffer scales = scratch(scalesAt);
  int64_t most = std::max<int64_t>(1, std::min<int64_t>(registers, 8) / count);
  auto run = [&](Value element, int64_t vectors, int64_t size) {
    auto getAt = [&](int64_t q, int64_t v) {
      return e.add(e.add(e.mul(e.add(first, q), sumsStride), element),
                   v * KernelEmitter::lanes);
    };
    SmallVector<Value> initial;
    for (int64_t q = 0; q < count; ++q) {
      Value scale = e.broadcast(e.loadScalar(scales, e.add(first, q)));
      for (int64_t v = 0; v < vectors; ++v)
        initial.push_back(e.mulF(e.load(sums, getAt(q, v), size), scale));
    }
    SmallVector<Value> result = e.loop(
        e.index(0), blocks, 1, initial, [&](Value block, ValueRange carried) {
          Value place = cache.getPlace(e.add(firstBlock, block), pass.head);
          Value weightsIn = e.mul(block, blockRows);
          return e.loop(
              e.index(0), e.index(blockRows), 1, carried,
              [&](Value position, ValueRange carried) {
                SmallVector<Value> values, next;
                for (int64_t v = 0; v < vectors; ++v)
                  values.push_back(cache.loadValue(
                      place, position, e.add(element, v * KernelEmitter::lanes),
                      size));
                for (int64_t q = 0; q < count; ++q) {
                  Value weight = e.broadcast(
                      e.loadScalar(weights, e.add(e.add(weightsIn, position),
                                                  q * weightsStride)));
                  for (int64_t v = 0; v < vectors; ++v)
                    next.push_back(
                        e.fma(weight, values[v], carried[q * vectors + v]));
                }
                return next;
              });
        });
    for (int64_t q = 0; q < count; ++q)
      for (int64_t v = 0; v < vectors; ++v)
        e.store(result[q * vectors + v], sums, getAt(q, v), size);
  };
  int64_t wide = most * KernelEmitter::lanes;
  int64_t whole = headDim / wide * wide;
  e.loop(e.index(0), e.index(whole), wide,
         [&](Value element) { run(element, most, KernelEmitter::lanes); });
  e.vectors(whole, headDim,
            [&](Value element, int64_t size) { run(element, 1, size); });
}

void AttentionEmitter::run(const AttentionPass &pass) {
  prepare(pass);
  e.loop(pass.firstBlock, pass.endBlock, blocksAtOnce, [&](Value firstBlock) {
    Value blocks =
        e.min(e.sub(pass.endBlock, firstBlock), e.index(blocksAtOnce));
    forQueryRuns([&](Value first, int64_t count) {
      e.loop(e.index(0), blocks, 1, [&](Value block) {
        score(cache.getPlace(e.add(firstBlock, block), pass.head), block, first,
              count);
      });
      weigh(e.mul(firstBlock, blockRows), blocks, first, count);
      accumulate(pass, firstBlock, blocks, first, count);
    });
  });
}
