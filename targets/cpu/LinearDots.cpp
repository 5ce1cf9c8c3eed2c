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

int64_t LinearEmitter::getByteSpan() const {
  return std::gcd(decoder->getSpanColumns(8, 32), form->run);
}

void LinearEmitter::addTokenPairs(ArrayRef<SmallVector<Value>> bytes,
                                  const Block &block, Value slot, DotKind kind,
                                  MutableArrayRef<Value> dots) {
  int64_t pairCount = block.size() / 2;
  auto count = static_cast<int64_t>(bytes[0].size());
  auto two = VectorType::get({2}, e.getI32Type());
  for (int64_t i = 0; i < count; i += 2) {
    // The last word has no second: bytes of 0 times whatever.
    bool last = i + 1 == count;
    SmallVector<Value, 2> weights;
    for (const SmallVector<Value> &own : bytes)
      weights.push_back(
          pairWords(e, own[i], last ? splatWord(e, 0) : own[i + 1]));
    auto loadInput = [&](int64_t token) -> Value {
      Value at = e.add(block.rows[token], e.add(slot, i));
      if (last)
        return e.broadcast(e.loadScalar(words, at), 2);
      return vector::LoadOp::create(e, two, words.memref, at);
    };
    for (int64_t pair = 0; pair < pairCount; ++pair) {
      Value input = vector::ShuffleOp::create(e, loadInput(2 * pair),
                                              loadInput(2 * pair + 1),
                                              ArrayRef<int64_t>{0, 1, 2, 3});
      for (auto [stream, own] : llvm::enumerate(weights)) {
        Value &dot = dots[stream * pairCount + pair];
        dot = addMatrix(e, kind, dot, own, input);
      }
    }
  }
}

SmallVector<Value> LinearEmitter::addRun(ArrayRef<Group> groups,
                                         const Block &block, Value first,
                                         int64_t count, ValueRange sums,
                                         GetBytes getBytes) {
  constexpr int64_t quad = RowTileLayout::wordBytes, unrolled = 64;
  int64_t tokens = block.size(), streamCount = groups.size();
  int64_t span = getByteSpan();
  DotKind kind = decoder->getDotKind();
  bool pairs = hasMatrices(e.getVariant()) && tokens % 2 == 0;
  Value codesAt = e.add(e.div(first, quad), layout->codesAt);
  auto addSpan = [&](SmallVector<Value> dots, Value at, int64_t size) {
    SmallVector<SmallVector<Value>> bytes;
    for (int64_t s = 0; s < streamCount; ++s)
      bytes.push_back(getBytes(s, at, size));
    Value slot = e.add(codesAt, e.div(at, quad));
    if (pairs) {
      addTokenPairs(bytes, block, slot, kind, dots);
      return dots;
    }
    for (size_t i = 0; i < bytes[0].size(); ++i) {
      SmallVector<SmallVector<Value, 2>, 2> weights;
      for (int64_t s = 0; s < streamCount; ++s)
        weights.push_back(prepareDot(e, kind, bytes[s][i]));
      for (int64_t token = 0; token < tokens; ++token) {
        Value input = broadcastSlot(words, block, e.add(slot, i), token);
        for (int64_t s = 0; s < streamCount; ++s) {
          Value &dot = dots[s * tokens + token];
          dot = addDot(e, kind, dot, weights[s], input);
        }
      }
    }
    return dots;
  };
  SmallVector<Value> dots(streamCount * tokens, splatWord(e, 0));
  Value number = e.div(first, form->run);
  if (form->excess && !takesSignedBytes(kind)) {
    Value slot = e.add(number, layout->findCodeSums(form->run, form->excess));
    for (auto [i, dot] : llvm::enumerate(dots))
      dot = broadcastSlot(words, block, slot, int64_t(i) % tokens);
  }
  if (pairs) {
    for (size_t i = 0; i < dots.size() / 2; ++i)
      dots[i] = joinTokens(e, dots[2 * i], dots[2 * i + 1]);
    dots.resize(dots.size() / 2);
  }
  int64_t begin = 0;
  if (count > unrolled) {
    begin = count / span * span;
    dots = e.loop(e.index(0), e.index(begin), span, dots,
                  [&](Value at, ValueRange carried) {
                    return addSpan(SmallVector<Value>(carried), at, span);
                  });
  }
  for (int64_t at = begin; at < count; at += span)
    dots = addSpan(dots, e.index(at), std::min(span, count - at));

  if (pairs) {
    SmallVector<Value> single;
    for (Value pair : dots) {
      auto [even, odd] = splitTokens(e, pair);
      single.append({even, odd});
    }
    dots = single;
  }
  return scaleRun(groups, block, first, dots, sums);
}

SmallVector<Value> LinearEmitter::scaleRun(ArrayRef<Group> groups,
                                           const Block &block, Value first,
                                           ArrayRef<Value> dots,
                                           ValueRange sums) {
  int64_t tokens = block.size(), streamCount = groups.size();
  SmallVector<Value> result(sums);
  int64_t scaleColumns = layout->scaleColumns;
  Value scaleSlot = e.add(
      scaleColumns ? e.div(first, scaleColumns) : e.index(0), layout->scalesAt);
  for (int64_t token = 0; token < tokens; ++token) {
    Value scale = broadcastSlot(floats, block, scaleSlot, token);
    for (int64_t s = 0; s < streamCount; ++s) {
      int64_t at = s * tokens + token;
      Value dot = arith::SIToFPOp::create(e, e.vectorType(), dots[at]);
      if (groups[s].slope)
        dot = e.mulF(groups[s].slope, dot);
      result[at] = e.fma(dot, scale, result[at]);
    }
  }
  if (!form->sumPeriod)
    return result;
  Value sumSlot = e.add(e.div(first, form->run), layout->findSums(form->run));
  for (int64_t token = 0; token < tokens; ++token) {
    Value sum = broadcastSlot(floats, block, sumSlot, token);
    for (int64_t s = 0; s < streamCount; ++s) {
      Value &own = result[s * tokens + token];
      own = e.fma(groups[s].offset, sum, own);
    }
  }
  return result;
}

SmallVector<Value> LinearEmitter::addGroupOfIntegers(ArrayRef<Stream> streams,
                                                     ArrayRef<Group> groups,
                                                     const Block &block,
                                                     Value first, int64_t count,
                                                     ValueRange sums) {
  int64_t run = form->run, span = getByteSpan();
  auto add = [&](Value at, int64_t size, ValueRange carried) {
    return addRun(groups, block, at, size, carried,
                  [&](int64_t stream, Value offset, int64_t bytes) {
                    return decoder->getBytes(streams[stream], e.add(at, offset),
                                             bytes, span);
                  });
  };
  int64_t whole = count / run * run;
  SmallVector<Value> result(sums);
  if (whole == run)
    result = add(first, run, result);
  else if (whole)
    result = e.loop(
        first, e.add(first, whole), run, result,
        [&](Value at, ValueRange carried) { return add(at, run, carried); });
  if (whole < count)
    result = add(e.add(first, whole), count - whole, result);
  return result;
}
