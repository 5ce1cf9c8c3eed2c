// The loops of streaming attention (see the header).
#include "targets/gpu/AttentionEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

static constexpr int64_t blockRows = KvCacheType::blockRows;
static constexpr int64_t threads = KernelEmitter::threads;
/// Queries of a workgroup in steps of one token: these have few workgroups, and
/// what several of them read of the cache comes from memory once.
static constexpr int64_t mostOfOneToken = 8;
/// Elements or positions that are loaded at once, at most.
static constexpr int64_t mostLoads = 16;
/// Products of keys that are written out for that. Steps of many tokens have
/// enough workgroups to wait for memory with; drivers take long to compile what
/// is more.
static int64_t getMostProducts(KernelEmitter &e) {
  return e.getStaticTokens() == 1 ? 128 : 64;
}

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
  runs = llvm::divideCeil(group, e.getStaticTokens() == 1 ? mostOfOneToken
                                                          : mostQueries);
  members = llvm::divideCeil(group, runs);
  tokens = e.getStaticTokens() == 1 ? 1 : mostQueries / members;
  queries = tokens * members;
  positions = cache.getWordPositions();
  lanes = tileRows / positions;
  slices = threads / lanes;
  unit = type.getFormat() == KvFormat::F32 ? 1 : 2;
  if (type.getFormat() == KvFormat::Q8_0 && headDim % (4 * threads) == 0)
    unit = 4;
  units = llvm::divideCeil(headDim / unit, threads);
  scores = e.makeShared(queries * scoreStride, e.getF32Type());
  partial = e.makeShared(threads, e.getF32Type());
  factors = e.makeShared(mostQueries, e.getF32Type());
  if (type.getRotated())
    staged = e.makeShared(tileRows * stagedStride, e.getF32Type());
}

Value AttentionEmitter::isReal(Value token, Value member) {
  Value real;
  if (tokens > 1)
    real = e.lessThan(token, e.getTokens());
  if (members * runs > group) {
    Value isMember = e.lessThan(member, e.index(group));
    real = real ? e.both(real, isMember) : isMember;
  }
  return real;
}

void AttentionEmitter::setQueries(Value ownHead, Value run) {
  head = ownHead;
  firstMember = e.mul(run, members);
  firstToken = getTokenTile() ? e.mul(e.getTokenTile(), tokens) : e.index(0);
  int64_t width = kvHeads * group * headDim;
  for (int64_t q = 0; q < queries; ++q) {
    // What does not exist is another's, and nobody looks at it.
    Value token = e.add(firstToken, q / members), member = getMember(q);
    if (tokens > 1)
      token = e.min(token, e.sub(e.getTokens(), e.index(1)));
    if (members * runs > group)
      member = e.min(member, e.index(group - 1));
    Value row = e.add(e.getFirstToken(), token);
    Value headAt = e.mul(e.add(e.mul(head, group), member), headDim);
    queryAt.push_back(e.add(e.mul(row, width), headAt));
  }
  Value number = e.div(e.getThread(), queryThreads);
  isActive = e.lessThan(number, e.index(queries));
  ownQuery = e.min(number, e.index(queries - 1));
  ownPart = e.rem(e.getThread(), queryThreads);
  ownToken = e.add(firstToken, e.div(ownQuery, members));
  ownMember = e.add(firstMember, e.rem(ownQuery, members));
  Value token = ownToken;
  if (tokens > 1)
    token = e.min(token, e.sub(e.getTokens(), e.index(1)));
  Value position = e.add(e.getPast(), token);
  int64_t window = cache.getType().getWindow();
  ownBegin =
      window ? e.max(e.index(0), e.add(position, 1 - window)) : e.index(0);
  ownEnd = visibleEnd.memref
               ? e.loadIndex(visibleEnd, e.add(e.getFirstToken(), token))
               : e.add(position, 1);
}

std::pair<Value, Value> AttentionEmitter::getBlocks() {
  int64_t window = cache.getType().getWindow();
  Value first = e.add(e.getPast(), firstToken);
  Value begin = e.index(0);
  if (window)
    begin = e.max(begin, e.add(first, 1 - window));
  Value endToken = e.add(firstToken, tokens);
  if (tokens > 1)
    endToken = e.min(endToken, e.getTokens());
  Value end = e.add(e.getPast(), endToken);
  if (visibleEnd.memref)
    end = e.loop(firstToken, endToken, 1, e.index(0),
                 [&](Value token, ValueRange most) -> SmallVector<Value> {
                   Value row = e.add(e.getFirstToken(), token);
                   return {e.max(most[0], e.loadIndex(visibleEnd, row))};
                 })[0];
  return {e.div(begin, blockRows), e.div(e.add(end, blockRows - 1), blockRows)};
}

/// Of blocks behind the last one nothing is visible, but read the last instead:
/// they may have no memory.
Value AttentionEmitter::getBlock(Value first, Value offset) {
  return e.min(e.add(first, offset), lastBlock);
}

SmallVector<Value> AttentionEmitter::loadQueries(Value element) {
  SmallVector<Value> numbers;
  for (Value at : queryAt)
    numbers.push_back(e.load(query, e.add(at, element)));
  return numbers;
}

/// Adds the products of an element of the queries and that of some positions'
/// keys.
void AttentionEmitter::multiply(ArrayRef<Value> keys, Value element,
                                SmallVectorImpl<Value> &sums) {
  for (auto [q, number] : llvm::enumerate(loadQueries(element)))
    for (int64_t i = 0; i < positions; ++i) {
      Value &sum = sums[q * positions + i];
      sum = e.fma(number, keys[i], sum);
    }
}

/// The invocation's sums over its slice of the stored keys.
SmallVector<Value> AttentionEmitter::scoreKeys(Value firstBlock) {
  Value lane = e.rem(e.getThread(), lanes), slice = e.div(e.getThread(), lanes);
  int64_t blockLanes = blockRows / positions;
  Value block = getBlock(firstBlock, e.div(lane, blockLanes));
  Value column =
      cache.getKeyColumn(cache.getPlace(block, head), e.rem(lane, blockLanes));
  KvCacheType type = cache.getType();
  int64_t elements = type.getKeyDim(), rotated = type.getRotated();
  int64_t share = llvm::divideCeil(elements, slices), step = 1;
  if (elements % slices == 0)
    while (step < mostLoads && share % (2 * step) == 0 &&
           2 * step * queries * positions <= getMostProducts(e))
      step *= 2;
  Value begin = e.mul(slice, share), end = e.add(begin, share);
  if (elements % slices != 0)
    end = e.min(end, e.index(elements));
  SmallVector<Value> zeros(queries * positions, e.number(0));
  return e.loop(begin, end, step, zeros, [&](Value first, ValueRange carried) {
    SmallVector<Value> sums(carried);
    SmallVector<Value> keys = cache.loadKeys(column, first, step);
    for (int64_t i = 0; i < step; ++i) {
      Value element = e.add(first, i);
      // What turns of a head is stored side by side.
      if (rotated)
        element = e.select(e.lessThan(element, e.index(rotated)), element,
                           e.add(element, headDim / 2 - rotated));
      multiply(ArrayRef(keys).slice(i * positions, positions), element, sums);
    }
    return sums;
  });
}

/// Adds what the values' elements that do not turn are to the scores: some of
/// all positions at a time, by way of shared memory.
SmallVector<Value> AttentionEmitter::scoreValues(Value firstBlock,
                                                 ValueRange sums) {
  constexpr int64_t pairs = stagedElements / 2;
  Value lane = e.rem(e.getThread(), lanes), slice = e.div(e.getThread(), lanes);
  Value ownPosition = e.div(e.getThread(), pairs);
  Value ownPair = e.mul(e.rem(e.getThread(), pairs), 2);
  Value zero = e.number(0);
  // They are at the end of each half of a head. Pairs of elements are read,
  // from an even one on.
  int64_t half = headDim / 2, rotated = cache.getType().getRotated();
  int64_t count = half - rotated;
  bool isEven = half % 2 == 0 && rotated % 2 == 0;
  bool isWhole = isEven && count % stagedElements == 0;
  int64_t rounds = llvm::divideCeil(count + (isEven ? 0 : 1), stagedElements);
  int64_t share = stagedElements / slices, step = 1;
  while (step < share && 2 * step * queries * positions <= getMostProducts(e))
    step *= 2;
  // An invocation's positions are in rows that are `lanes` apart, those of its
  // neighbours next to them.
  auto getRow = [&](Value position) {
    return e.mul(e.add(e.div(position, positions),
                       e.mul(e.rem(position, positions), lanes)),
                 stagedStride);
  };
  auto stage = [&](Value begin, Value first) {
    Value element = e.add(first, ownPair);
    Value source = isWhole ? element : e.min(element, e.index(headDim - 2));
    constexpr int64_t rows = threads / pairs;
    SmallVector<SmallVector<Value>> loaded;
    for (int64_t i = 0; i < tileRows; i += rows) {
      Value block = getBlock(firstBlock, e.index(i / blockRows));
      loaded.push_back(cache.loadValues(cache.getPlace(block, head),
                                        e.add(ownPosition, i % blockRows),
                                        source, 2));
    }
    for (auto [number, values] : llvm::enumerate(loaded)) {
      Value row = getRow(e.add(ownPosition, int64_t(number) * rows));
      for (int64_t i = 0; i < 2; ++i) {
        Value at = e.add(element, i), value = values[i];
        if (!isWhole) {
          Value counts = e.both(e.lessThan(e.add(begin, -1), at),
                                e.lessThan(at, e.add(begin, count)));
          value = e.select(counts, value, zero);
        }
        e.store(value, staged, e.add(e.add(row, ownPair), i));
      }
    }
  };
  return e.loop(
      e.index(0), e.index(2 * rounds), 1, sums,
      [&](Value round, ValueRange carried) {
        Value begin = e.add(e.mul(e.div(round, rounds), half), rotated);
        Value first = isEven ? begin : e.mul(e.div(begin, 2), 2);
        first = e.add(first, e.mul(e.rem(round, rounds), stagedElements));
        // What was staged before was read.
        e.barrier();
        stage(begin, first);
        e.barrier();
        Value ownBegin = e.mul(slice, share);
        return e.loop(
            ownBegin, e.add(ownBegin, share), step, carried,
            [&](Value own, ValueRange carried) {
              SmallVector<Value> next(carried);
              for (int64_t i = 0; i < step; ++i) {
                Value from = e.add(e.mul(lane, stagedStride), own);
                SmallVector<Value> keys;
                for (int64_t p = 0; p < positions; ++p)
                  keys.push_back(e.load(
                      staged, e.add(from, p * lanes * stagedStride + i)));
                Value at = e.add(e.add(first, own), i);
                multiply(keys, isWhole ? at : e.min(at, e.index(headDim - 1)),
                         next);
              }
              return next;
            });
      });
}

/// Leaves the scores of all queries on a tile of positions in shared memory.
void AttentionEmitter::score(Value firstBlock) {
  SmallVector<Value> sums = scoreKeys(firstBlock);
  if (cache.getType().getRotated())
    sums = scoreValues(firstBlock, sums);
  Value lane = e.rem(e.getThread(), lanes), slice = e.div(e.getThread(), lanes);
  e.loop(e.index(0), e.index(slices), 1, [&](Value turn) {
    e.when(e.equal(slice, turn), [&] {
      Value isFirst = e.equal(turn, e.index(0));
      for (int64_t q = 0; q < queries; ++q)
        for (int64_t i = 0; i < positions; ++i) {
          Value at = e.add(e.mul(lane, positions), q * scoreStride + i);
          Value before = e.select(isFirst, e.number(0), e.load(scores, at));
          e.store(e.addF(before, sums[q * positions + i]), scores, at);
        }
    });
    e.barrier();
  });
}

/// Scores become weights, by a new maximum; what was summed up before is to be
/// scaled by the factor of its query.
std::pair<Value, Value> AttentionEmitter::weigh(Value firstBlock, Value before,
                                                Value total) {
  constexpr int64_t share = tileRows / queryThreads;
  Value lowest = e.number(KernelEmitter::lowest);
  Value row = e.add(e.mul(ownQuery, scoreStride), ownPart);
  SmallVector<Value> own;
  Value top = before;
  for (int64_t i = 0; i < share; ++i) {
    Value position =
        e.add(e.add(e.mul(firstBlock, blockRows), ownPart), i * queryThreads);
    Value begins =
        arith::CmpIOp::create(e, arith::CmpIPredicate::sge, position, ownBegin);
    Value visible = e.both(begins, e.lessThan(position, ownEnd));
    Value score = e.load(scores, e.add(row, i * queryThreads));
    own.push_back(e.select(visible, score, lowest));
    top = e.maxF(top, own.back());
  }
  e.store(top, partial, e.getThread());
  e.barrier();
  Value maximum = before, first = e.mul(ownQuery, queryThreads);
  for (int64_t i = 0; i < queryThreads; ++i)
    maximum = e.maxF(maximum, e.load(partial, e.add(first, i)));
  auto isAny = [&](Value number) -> Value {
    // True for NaN, which must stay.
    return arith::CmpFOp::create(e, arith::CmpFPredicate::UGT, number, lowest);
  };
  Value sum = e.number(0);
  SmallVector<Value> weights;
  for (Value score : own) {
    Value weight = e.exp(e.subF(score, maximum));
    weights.push_back(e.select(isAny(score), weight, e.number(0)));
    sum = e.addF(sum, weights.back());
  }
  // Without any before there is nothing to scale.
  Value factor =
      e.select(isAny(before), e.exp(e.subF(before, maximum)), e.number(1));
  e.when(isActive, [&] {
    for (auto [i, weight] : llvm::enumerate(weights))
      e.store(weight, scores, e.add(row, i * queryThreads));
    e.when(e.equal(ownPart, e.index(0)),
           [&] { e.store(factor, factors, ownQuery); });
  });
  e.barrier();
  return {maximum, e.fma(total, factor, sum)};
}

/// Adds the weighted values of a tile of positions to the sums.
SmallVector<Value> AttentionEmitter::accumulate(Value firstBlock,
                                                ValueRange before) {
  int64_t own = units * unit, step = 1;
  while (step < mostLoads && step * queries * own <= getMostProducts(e))
    step *= 2;
  SmallVector<Value> initial, firsts;
  for (int64_t q = 0; q < queries; ++q) {
    Value factor = e.load(factors, e.index(q));
    for (int64_t i = 0; i < own; ++i)
      initial.push_back(e.mulF(before[q * own + i], factor));
  }
  for (int64_t u = 0; u < units; ++u) {
    Value first = e.add(e.getThread(), u * threads);
    if (headDim % (unit * threads))
      first = e.min(first, e.index(headDim / unit - 1));
    firsts.push_back(e.mul(first, unit));
  }
  Value blocks = e.sub(e.add(lastBlock, 1), firstBlock);
  Value rows = e.mul(e.min(blocks, e.index(tileBlocks)), blockRows);
  return e.loop(
      e.index(0), rows, step, initial, [&](Value position, ValueRange carried) {
        SmallVector<Value> next(carried);
        Value block = e.add(firstBlock, e.div(position, blockRows));
        Value place = cache.getPlace(block, head);
        SmallVector<SmallVector<Value>> values(step);
        for (int64_t i = 0; i < step; ++i)
          for (Value first : firsts)
            llvm::append_range(
                values[i],
                cache.loadValues(place, e.add(e.rem(position, blockRows), i),
                                 first, unit));
        for (int64_t q = 0; q < queries; ++q)
          for (int64_t i = 0; i < step; ++i) {
            Value weight = e.load(scores, e.add(position, q * scoreStride + i));
            for (int64_t v = 0; v < own; ++v) {
              Value &sum = next[q * own + v];
              sum = e.fma(weight, values[i][v], sum);
            }
          }
        return next;
      });
}

void AttentionEmitter::run(Value firstBlock, Value endBlock) {
  lastBlock = e.sub(endBlock, e.index(1));
  SmallVector<Value> state(2 + queries * units * unit, e.number(0));
  state[0] = e.number(KernelEmitter::lowest);
  state = e.loop(firstBlock, endBlock, tileBlocks, state,
                 [&](Value block, ValueRange carried) {
                   score(block);
                   auto [most, weights] = weigh(block, carried[0], carried[1]);
                   SmallVector<Value> next = {most, weights};
                   llvm::append_range(next,
                                      accumulate(block, carried.drop_front(2)));
                   // The weights were read; the next scores may come.
                   e.barrier();
                   return next;
                 });
  maximum = state[0];
  sums.assign(state.begin() + 2, state.end());
  e.store(state[1], partial, e.getThread());
  e.barrier();
  total = e.number(0);
  for (int64_t i = 0; i < queryThreads; ++i)
    total =
        e.addF(total, e.load(partial, e.add(e.mul(ownQuery, queryThreads), i)));
}

void AttentionEmitter::forTotals(
    function_ref<void(Value row, Value head, Value maximum, Value total)>
        body) {
  Value counts = e.both(isActive, e.equal(ownPart, e.index(0)));
  if (Value real = isReal(ownToken, ownMember))
    counts = e.both(counts, real);
  e.when(counts, [&] {
    body(e.add(e.getFirstToken(), ownToken),
         e.add(e.mul(head, group), ownMember), maximum, total);
  });
}

void AttentionEmitter::forSums(
    bool divide,
    function_ref<void(Value row, Value head, Value element, Value sum)> body) {
  if (divide) {
    e.when(e.both(isActive, e.equal(ownPart, e.index(0))),
           [&] { e.store(total, factors, ownQuery); });
    e.barrier();
  }
  int64_t own = units * unit;
  for (int64_t q = 0; q < queries; ++q) {
    Value token = e.add(firstToken, q / members), member = getMember(q);
    Value allTotal = divide ? e.load(factors, e.index(q)) : Value();
    auto write = [&] {
      for (int64_t u = 0; u < units; ++u) {
        Value number = e.add(e.getThread(), u * threads);
        auto writeUnit = [&] {
          for (int64_t i = 0; i < unit; ++i) {
            Value sum = sums[q * own + u * unit + i];
            body(e.add(e.getFirstToken(), token),
                 e.add(e.mul(head, group), member),
                 e.add(e.mul(number, unit), i),
                 divide ? e.divF(sum, allTotal) : sum);
          }
        };
        if (headDim % (unit * threads))
          e.when(e.lessThan(number, e.index(headDim / unit)), writeUnit);
        else
          writeUnit();
      }
    };
    if (Value real = isReal(token, member))
      e.when(real, write);
    else
      write();
  }
}
