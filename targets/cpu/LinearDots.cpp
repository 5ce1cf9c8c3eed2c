// The sums of a linear kernel as integers: codes of a scheme that is affine in
// them, times 8-bit activations. A run of columns shares slope and scale; its
// sum is exact.
#include "targets/cpu/LinearEmitter.h"
#include "targets/cpu/NeonWords.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <numeric>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

bool cpu::usesIntegers(FusedLinearOp op, Value weight) {
  if (op.getActivations() != Activations::Int8Block &&
      op.getActivations() != Activations::Int8Token)
    return false;
  FailureOr<SchemeOp> scheme = getSchemeOp(weight.getType(), op);
  return succeeded(scheme) && *scheme && isAffine(*scheme);
}

int64_t LinearEmitter::getRunColumns(const SchemeDecoder &own) const {
  // 255 x 127 x 32768 fits into 31 bits.
  constexpr int64_t most = 32768;
  int64_t group = own.getGroupColumns();
  bool ofRow = scaleColumns == columns;
  if (!group)
    return ofRow ? most : scaleColumns;
  return std::gcd(group, ofRow ? most : scaleColumns);
}

Value LinearEmitter::loadSlot(Buffer buffer, Value xAt, Value slot,
                              int64_t token) {
  return e.loadScalar(buffer,
                      e.add(e.add(xAt, e.mul(slot, tokenBlock)), token));
}

Value LinearEmitter::broadcastSlot(Buffer buffer, Value xAt, Value slot,
                                   int64_t token) {
  return e.broadcast(loadSlot(buffer, xAt, slot, token));
}

Value LinearEmitter::broadcastGroupSum(Value xAt, Value first, int64_t token) {
  int64_t period = decoder->getGroupColumns();
  Value number = period ? e.div(first, period) : e.index(0);
  return broadcastSlot(slots, xAt, e.add(number, sumSlots.at(period)), token);
}

/// `dots` are of pairs of tokens, [stream][pair]; `bytes` are words of four
/// columns, [stream][word].
void LinearEmitter::addPairs(ArrayRef<SmallVector<Value>> bytes, Value xAt,
                             Value firstSlot, MutableArrayRef<Value> dots) {
  int64_t pairCount = tokenBlock / 2;
  auto count = static_cast<int64_t>(bytes[0].size());
  for (int64_t i = 0; i < count; i += 2) {
    // The last word has no second: bytes of 0 times whatever.
    bool last = i + 1 == count;
    SmallVector<Value, 2> weights;
    for (const SmallVector<Value> &own : bytes)
      weights.push_back(
          pairWords(e, own[i], last ? splatWord(e, 0) : own[i + 1]));
    for (int64_t pair = 0; pair < pairCount; ++pair) {
      SmallVector<Value, 4> input;
      for (int64_t token : {2 * pair, 2 * pair + 1})
        for (int64_t word : {i, last ? i : i + 1})
          input.push_back(loadSlot(words, xAt, e.add(firstSlot, word), token));
      Value four = vector::FromElementsOp::create(
          e, VectorType::get({4}, e.getI32Type()), input);
      for (auto [stream, own] : llvm::enumerate(weights)) {
        Value &dot = dots[stream * pairCount + pair];
        dot = addMatrix(e, dotKind, dot, own, four);
      }
    }
  }
}

SmallVector<Value> LinearEmitter::addRun(ArrayRef<Stream> streams,
                                         ArrayRef<Group> groups, Value xAt,
                                         Value first, int64_t count,
                                         ValueRange sums) {
  constexpr int64_t quad = RowTileLayout::wordBytes, unrolled = 32;
  int64_t run = getRunColumns(*decoder);
  int64_t span = std::gcd(decoder->getSpanColumns(8, 32), run);
  int64_t streamCount = streams.size(), quadWords = getDotWords(dotKind);
  bool pairs = hasMatrices(e.getVariant()) && tokenBlock % 2 == 0;
  auto addSpan = [&](SmallVector<Value> dots, Value at, int64_t size) {
    SmallVector<SmallVector<Value>> bytes;
    for (const Stream &stream : streams)
      bytes.push_back(decoder->getBytes(stream, at, size, span));
    Value firstSlot = e.add(e.mul(e.div(at, quad), quadWords), wordSlots);
    if (pairs) {
      addPairs(bytes, xAt, firstSlot, dots);
      return dots;
    }
    for (size_t i = 0; i < bytes[0].size(); ++i)
      for (int64_t token = 0; token < tokenBlock; ++token) {
        SmallVector<Value, 2> broadcast;
        for (int64_t w = 0; w < quadWords; ++w)
          broadcast.push_back(broadcastSlot(
              words, xAt, e.add(firstSlot, i * quadWords + w), token));
        for (int64_t s = 0; s < streamCount; ++s) {
          Value &dot = dots[s * tokenBlock + token];
          dot = addDot(e, dotKind, dot, bytes[s][i], broadcast);
        }
      }
    return dots;
  };
  SmallVector<Value> dots(streamCount * tokenBlock, splatWord(e, 0));
  if (int64_t excess = getExcess(*decoder)) {
    Value slot = e.add(e.div(first, run), excessSlots.at({run, excess}));
    for (auto [i, dot] : llvm::enumerate(dots))
      dot = broadcastSlot(words, xAt, slot, int64_t(i) % tokenBlock);
  }
  if (pairs) {
    for (size_t i = 0; i < dots.size() / 2; ++i)
      dots[i] = joinTokens(e, dots[2 * i], dots[2 * i + 1]);
    dots.resize(dots.size() / 2);
  }
  int64_t begin = 0;
  if (count > unrolled) {
    begin = count / span * span;
    dots = e.loop(first, e.add(first, begin), span, dots,
                  [&](Value at, ValueRange carried) {
                    return addSpan(SmallVector<Value>(carried), at, span);
                  });
  }
  for (int64_t at = begin; at < count; at += span)
    dots = addSpan(dots, e.add(first, at), std::min(span, count - at));

  if (pairs) {
    SmallVector<Value> single;
    for (Value pair : dots) {
      auto [first, second] = splitTokens(e, pair);
      single.append({first, second});
    }
    dots = single;
  }
  SmallVector<Value> result(sums);
  Value scaleSlot = e.add(e.div(first, scaleColumns), scaleSlots);
  for (int64_t token = 0; token < tokenBlock; ++token) {
    Value scale = broadcastSlot(slots, xAt, scaleSlot, token);
    for (int64_t s = 0; s < streamCount; ++s) {
      int64_t number = s * tokenBlock + token;
      Value dot = arith::SIToFPOp::create(e, e.vectorType(), dots[number]);
      Value slope = groups[s].slope;
      result[number] =
          e.fma(dot, slope ? e.mulF(slope, scale) : scale, result[number]);
    }
  }
  return result;
}

SmallVector<Value> LinearEmitter::addGroupOfIntegers(ArrayRef<Stream> streams,
                                                     ArrayRef<Group> groups,
                                                     Value xAt, Value first,
                                                     int64_t count,
                                                     ValueRange sums) {
  int64_t run = getRunColumns(*decoder);
  int64_t whole = count / run * run;
  SmallVector<Value> result(sums);
  if (whole == run)
    result = addRun(streams, groups, xAt, first, run, result);
  else if (whole)
    result = e.loop(first, e.add(first, whole), run, result,
                    [&](Value at, ValueRange carried) {
                      return addRun(streams, groups, xAt, at, run, carried);
                    });
  if (whole < count)
    result = addRun(streams, groups, xAt, e.add(first, whole), count - whole,
                    result);
  if (!decoder->hasOffset())
    return result;
  for (int64_t token = 0; token < tokenBlock; ++token) {
    Value sum = broadcastGroupSum(xAt, first, token);
    for (size_t s = 0; s < streams.size(); ++s) {
      Value &own = result[s * tokenBlock + token];
      own = e.fma(groups[s].offset, sum, own);
    }
  }
  return result;
}
