// Addresses of a KV cache's elements, and their conversion (see the header).
#include "targets/gpu/KvCacheAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

static constexpr int64_t blockRows = KvCacheType::blockRows;
static constexpr int64_t group = KvCacheType::scaleGroup;
/// A head's f32 take a quarter of a workgroup's memory, a query's sums some
/// registers of each invocation.
static constexpr int64_t mostHeadDim = 1024;

LogicalResult KvCacheAccess::check(Operation *op, KvCacheType type) {
  int64_t headDim = type.getHeadDim();
  if (headDim % 2 == 0 && headDim <= mostHeadDim)
    return success();
  return op->emitOpError("has no GPU kernel: head_dim is ")
         << headDim << ", but must be even and at most " << mostHeadDim;
}

KvCacheAccess::KvCacheAccess(KernelEmitter &e, TypedValue<KvCacheType> cache)
    : e(e), type(cache.getType()), heads(type.getHeads()),
      headDim(type.getHeadDim()), size(type.getFormat() == KvFormat::Q8_0  ? 1
                                       : type.getFormat() == KvFormat::F32 ? 4
                                                                           : 2),
      scaled(type.getFormat() == KvFormat::Q8_0) {
  auto [keyMemory, valueMemory] = e.getCache(cache);
  keys = makePart(keyMemory, type.getKeyDim());
  values = makePart(valueMemory, headDim);
}

KvCacheAccess::Part KvCacheAccess::makePart(Value memref, int64_t elements) {
  return {elements, {memref, e.getI32Type()}, {memref, e.getF16Type()}};
}

/// A ring has round_up(window, 16) + chunk rows: what the oldest query of a
/// step sees and what the step writes never share a row.
Value KvCacheAccess::getPlace(Value block, Value head) {
  if (type.getWindow()) {
    int64_t windowBlocks = llvm::divideCeil(type.getWindow(), blockRows);
    block = e.rem(block, e.add(e.div(e.getChunk(), blockRows), windowBlocks));
  }
  return e.add(e.mul(block, heads), head);
}

Value KvCacheAccess::getWords(const Part &part, Value place) {
  return e.mul(place, blockRows / 4 * type.getStoredBytes(part.elements));
}

Value KvCacheAccess::getScales(const Part &part, Value place) {
  Value at = e.mul(place, blockRows / 2 * type.getStoredBytes(part.elements));
  return e.add(at, blockRows / 2 * part.elements);
}

SmallVector<Value> KvCacheAccess::widen(Value word) {
  switch (type.getFormat()) {
  case KvFormat::F32:
    return {e.asFloat(word)};
  case KvFormat::F16: {
    auto [low, high] = e.widenHalves(word);
    return {low, high};
  }
  case KvFormat::BF16:
    return {e.asFloat(e.shiftLeft(word, 16)),
            e.asFloat(e.andWord(word, 0xffff0000))};
  case KvFormat::Q8_0:
    break;
  }
  SmallVector<Value> codes;
  for (int64_t byte = 0; byte < 4; ++byte) {
    Value code =
        arith::ShRSIOp::create(e, e.shiftLeft(word, 24 - 8 * byte), e.word(24));
    codes.push_back(arith::SIToFPOp::create(e, e.getF32Type(), code));
  }
  return codes;
}

Value KvCacheAccess::getKeyColumn(Value place, Value word) {
  // Scales are as many words into the block as elements, and those before.
  return e.add(getWords(keys, place), word);
}

SmallVector<Value> KvCacheAccess::loadKeys(Value column, Value first,
                                           int64_t count) {
  int64_t rowWords = blockRows / getWordPositions();
  SmallVector<Value> result, scales;
  Value at = e.add(column, e.mul(first, rowWords));
  if (scaled) {
    // The scales of a group at 16 positions are 8 words, and those of the
    // column's 4 positions 2 of them.
    Value word = e.rem(column, rowWords);
    Value scaleAt = e.add(e.add(column, word), keys.elements * rowWords);
    scaleAt = e.add(scaleAt, e.mul(e.div(first, group), blockRows / 2));
    for (int64_t i = 0; i < 2; ++i) {
      auto [low, high] =
          e.widenHalves(e.loadWord(keys.words, e.add(scaleAt, i)));
      scales.append({low, high});
    }
  }
  for (int64_t i = 0; i < count; ++i)
    for (auto [position, key] : llvm::enumerate(
             widen(e.loadWord(keys.words, e.add(at, i * rowWords)))))
      result.push_back(scaled ? e.mulF(key, scales[position]) : key);
  return result;
}

SmallVector<Value> KvCacheAccess::loadValues(Value place, Value position,
                                             Value first, int64_t count) {
  // In elements of the block.
  Value at = e.add(e.mul(position, headDim), first);
  int64_t perWord = 4 / size;
  Value block = getWords(values, place);
  SmallVector<Value> result;
  for (int64_t i = 0; i < count; i += perWord) {
    Value word = e.loadWord(
        values.words, e.add(block, e.add(e.div(at, perWord), i / perWord)));
    // Less than a word: what is asked for moves to its low bits.
    if (count < perWord)
      word = e.shiftRight(word, e.toWord(e.mul(e.rem(at, perWord), 8 * size)));
    SmallVector<Value> elements = widen(word);
    elements.truncate(std::min(count, perWord));
    llvm::append_range(result, elements);
  }
  if (!scaled)
    return result;
  int64_t groups = llvm::divideCeil(headDim, group);
  Value scale =
      e.load(values.scales,
             e.add(e.add(getScales(values, place), e.mul(position, groups)),
                   e.div(first, group)));
  for (Value &value : result)
    value = e.mulF(value, scale);
  return result;
}

Value KvCacheAccess::narrow(Value number) {
  switch (type.getFormat()) {
  case KvFormat::F32:
    return e.asWord(number);
  case KvFormat::F16:
    return e.narrowHalf(number);
  case KvFormat::BF16:
    return e.narrowBFloat(number);
  case KvFormat::Q8_0:
    break;
  }
  llvm_unreachable("codes come from quantize");
}

std::pair<Value, Value> KvCacheAccess::quantize(Buffer source, int64_t elements,
                                                Value element) {
  constexpr float levels = 127;
  Value first = e.mul(e.div(element, group), group);
  Value end = e.add(first, group);
  if (elements % group)
    end = e.min(end, e.index(elements));
  Value most = e.loop(first, end, 1, e.number(0),
                      [&](Value i, ValueRange most) -> SmallVector<Value> {
                        return {e.maxF(most[0], e.absF(e.load(source, i)))};
                      })[0];
  Value half = e.narrowHalf(e.divF(most, e.number(levels)));
  Value scale = e.widenHalf(half);
  Value isPositive =
      arith::CmpFOp::create(e, arith::CmpFPredicate::OGT, scale, e.number(0));
  Value level =
      e.divF(e.load(source, element), e.select(isPositive, scale, e.number(1)));
  // The scale's rounding may leave a little more than 127.
  auto clamp = [&](arith::CmpFPredicate predicate, float bound) {
    Value beyond = arith::CmpFOp::create(e, predicate, level, e.number(bound));
    level = e.select(beyond, e.number(bound), level);
  };
  clamp(arith::CmpFPredicate::OGT, levels);
  clamp(arith::CmpFPredicate::OLT, -levels);
  level = e.select(isPositive, level, e.number(0));
  Value code = arith::FPToSIOp::create(e, e.getI32Type(),
                                       math::RoundEvenOp::create(e, level));
  return {e.andWord(code, 0xff), half};
}

void KvCacheAccess::storeKey(Value place, Value position, Buffer source) {
  // In elements, from the cache's beginning.
  Value data = e.mul(getWords(keys, place), 4 / size);
  e.forThread(keys.elements, [&](Value element) {
    Value at = e.add(e.add(data, e.mul(element, blockRows)), position);
    if (size == 4)
      return e.storeWord(narrow(e.load(source, element)), keys.words, at);
    if (!scaled)
      return e.storePart(narrow(e.load(source, element)), keys.words.memref, at,
                         8 * size);
    auto [code, scale] = quantize(source, keys.elements, element);
    e.storePart(code, keys.words.memref, at, 8);
    e.when(e.equal(e.rem(element, group), e.index(0)), [&] {
      Value scaleAt = e.add(getScales(keys, place),
                            e.mul(e.div(element, group), blockRows));
      e.storePart(scale, keys.words.memref, e.add(scaleAt, position), 16);
    });
  });
}

void KvCacheAccess::storeValue(Value place, Value position, Buffer source) {
  Value data =
      e.add(e.mul(getWords(values, place), 4 / size), e.mul(position, headDim));
  // An even number of halves: words are this position's own.
  int64_t step = size == 2 ? 2 : 1;
  e.forThread(headDim / step, [&](Value number) {
    if (size == 4)
      return e.storeWord(narrow(e.load(source, number)), values.words,
                         e.add(data, number));
    if (!scaled) {
      Value first = e.mul(number, 2);
      Value low = narrow(e.load(source, first));
      Value high = narrow(e.load(source, e.add(first, 1)));
      return e.storeWord(e.orWord(low, e.shiftLeft(high, 16)), values.words,
                         e.add(e.div(data, 2), number));
    }
    auto [code, scale] = quantize(source, headDim, number);
    e.storePart(code, values.words.memref, e.add(data, number), 8);
    e.when(e.equal(e.rem(number, group), e.index(0)), [&] {
      int64_t groups = llvm::divideCeil(headDim, group);
      Value scaleAt = e.add(getScales(values, place), e.mul(position, groups));
      e.storePart(scale, values.words.memref,
                  e.add(scaleAt, e.div(number, group)), 16);
    });
  });
}
