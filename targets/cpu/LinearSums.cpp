// The sums of a linear kernel in f32.
#include "targets/cpu/LinearEmitter.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

Value LinearEmitter::broadcastSlot(Buffer buffer, const Block &block,
                                   Value slot, int64_t token) {
  Value at = e.add(block.rows[token], slot);
  return e.broadcast(e.loadScalar(buffer, at));
}

/// One token: the sums of a group's products come first; a scale that the
/// weights of a group share multiplies their sum.
SmallVector<Value> LinearEmitter::addGroupForOne(ArrayRef<Stream> streams,
                                                 ArrayRef<Group> groups,
                                                 Value first, int64_t count,
                                                 ValueRange sums) {
  // FMA takes 4 cycles and two start each cycle: 8 sums must be in flight. Of
  // short groups, several are. In registers of 128 bits a sum is four.
  constexpr int64_t columnsASum = 8, unrolled = 64;
  int64_t inFlight = e.getVariant().vectorBits == 128 ? 2 : 8;
  int64_t streamCount = streams.size();
  int64_t slots =
      std::clamp<int64_t>(count / columnsASum, 1, inFlight / streamCount);
  int64_t span = decoder->getSpanColumns(16, 32);
  const Block block = makeBlock(e.index(0), 1);
  SmallVector<Value> parts(streamCount * slots);
  bool linear = decoder->isLinear();
  auto addSpan = [&](SmallVector<Value> own, Value at, int64_t size,
                     int64_t firstSlot) {
    SmallVector<SmallVector<Value>> values;
    for (const Stream &stream : streams)
      values.push_back(decoder->getValues(stream, at, size, span));
    for (int64_t i = 0; i < size; ++i) {
      Value broadcast =
          broadcastSlot(floats, block, e.add(e.add(at, valuesAt), i), 0);
      for (int64_t s = 0; s < streamCount; ++s) {
        Value &sum = own[s * slots + (firstSlot + i) % slots];
        Value weight = values[s][i];
        if (!linear)
          weight = decoder->getWeight(groups[s], weight);
        sum = sum ? e.fma(broadcast, weight, sum) : e.mulF(broadcast, weight);
      }
    }
    return own;
  };
  int64_t begin = 0;
  if (count > unrolled) {
    begin = count / span * span;
    SmallVector<Value> zeros(parts.size(), e.splat(0));
    parts = e.loop(first, e.add(first, begin), span, zeros,
                   [&](Value at, ValueRange carried) {
                     return addSpan(SmallVector<Value>(carried), at, span, 0);
                   });
  }
  for (int64_t at = begin; at < count; at += span)
    parts = addSpan(parts, e.add(first, at), std::min(span, count - at), at);

  SmallVector<Value> result(sums);
  for (int64_t s = 0; s < streamCount; ++s) {
    Value &sum = result[s];
    Value part = parts[s * slots];
    for (int64_t slot = 1; slot < slots; ++slot)
      if (Value other = parts[s * slots + slot])
        part = e.addF(part, other);
    const Group &group = groups[s];
    sum = linear && group.slope ? e.fma(group.slope, part, sum)
                                : e.addF(sum, part);
    if (linear && group.offset) {
      int64_t period = *form->sumPeriod;
      Value number = period ? e.div(first, period) : e.index(0);
      Value slot = e.add(number, layout->findSums(period));
      sum = e.fma(group.offset, broadcastSlot(floats, block, slot, 0), sum);
    }
  }
  return result;
}

/// Many tokens: a weight is made once and multiplied with the activations of
/// the block.
SmallVector<Value> LinearEmitter::addGroupForMany(ArrayRef<Stream> streams,
                                                  ArrayRef<Group> groups,
                                                  const Block &block,
                                                  Value first, int64_t count,
                                                  ValueRange sums) {
  int64_t tokens = block.size();
  int64_t span = decoder->getSpanColumns(4, 8);
  int64_t streamCount = streams.size();
  auto addSpan = [&](SmallVector<Value> own, Value at, int64_t size) {
    SmallVector<SmallVector<Value>> weights;
    for (auto [stream, group] : llvm::zip(streams, groups)) {
      weights.push_back(decoder->getValues(stream, at, size, span));
      for (Value &weight : weights.back())
        weight = decoder->getWeight(group, weight);
    }
    for (int64_t i = 0; i < size; ++i)
      for (int64_t token = 0; token < tokens; ++token) {
        Value broadcast =
            broadcastSlot(floats, block, e.add(e.add(at, valuesAt), i), token);
        for (int64_t s = 0; s < streamCount; ++s) {
          Value &sum = own[s * tokens + token];
          sum = e.fma(broadcast, weights[s][i], sum);
        }
      }
    return own;
  };
  SmallVector<Value> result(sums);
  int64_t whole = count / span * span;
  if (whole == span)
    result = addSpan(result, first, span);
  else if (whole)
    result = e.loop(first, e.add(first, whole), span, result,
                    [&](Value at, ValueRange carried) {
                      return addSpan(SmallVector<Value>(carried), at, span);
                    });
  if (whole < count)
    result = addSpan(result, e.add(first, whole), count - whole);
  return result;
}

/// Two columns a word, on both sides, as they lie in memory.
SmallVector<Value> LinearEmitter::addPairs(ArrayRef<Stream> streams,
                                           const Block &block, Value first,
                                           int64_t count, ValueRange sums) {
  // Alone, a token's sums wait for each other: as many as hide that.
  constexpr int64_t inFlight = 8, span = 32, pair = 2;
  int64_t tokens = block.size(), streamCount = streams.size();
  int64_t parts = std::max<int64_t>(1, inFlight / (tokens * streamCount));
  auto addSpan = [&](SmallVector<Value> own, Value at, int64_t size) {
    SmallVector<SmallVector<Value>> weights;
    for (const Stream &stream : streams)
      weights.push_back(decoder->getPairs(stream, at, size, span));
    Value slot = e.add(e.div(at, pair), layout->halvesAt);
    for (size_t i = 0; i < weights[0].size(); ++i)
      for (int64_t token = 0; token < tokens; ++token) {
        Value input = broadcastSlot(words, block, e.add(slot, i), token);
        for (int64_t s = 0; s < streamCount; ++s) {
          Value &sum = own[(s * tokens + token) * parts + i % parts];
          sum = addPairProducts(e, sum, weights[s][i], input);
        }
      }
    return own;
  };
  SmallVector<Value> own(streamCount * tokens * parts, e.splat(0));
  for (auto [i, sum] : llvm::enumerate(sums))
    own[i * parts] = sum;
  int64_t whole = count / span * span;
  if (whole)
    own = e.loop(first, e.add(first, whole), span, own,
                 [&](Value at, ValueRange carried) {
                   return addSpan(SmallVector<Value>(carried), at, span);
                 });
  if (whole < count)
    own = addSpan(own, e.add(first, whole), count - whole);
  SmallVector<Value> result;
  for (size_t i = 0; i < sums.size(); ++i) {
    Value sum = own[i * parts];
    for (int64_t part = 1; part < parts; ++part)
      sum = e.addF(sum, own[i * parts + part]);
    result.push_back(sum);
  }
  return result;
}

SmallVector<Value> LinearEmitter::emitSums(ArrayRef<Stream> streams,
                                           const Block &block) {
  SmallVector<Value> zeros(streams.size() * block.tokens.size(), e.splat(0));
  return decoder->walkGroups(
      streams, zeros,
      [&](ArrayRef<Group> groups, Value first, int64_t count, ValueRange sums) {
        if (decoder->isInteger())
          return addGroupOfIntegers(streams, groups, block, first, count, sums);
        if (multipliesPairs())
          return addPairs(streams, block, first, count, sums);
        if (single)
          return addGroupForOne(streams, groups, first, count, sums);
        return addGroupForMany(streams, groups, block, first, count, sums);
      });
}
