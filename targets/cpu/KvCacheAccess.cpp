// Addresses of a KV cache's elements, and their conversion (see the header).
#include "targets/cpu/KvCacheAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

static constexpr int64_t blockRows = KvCacheType::blockRows;
static constexpr int64_t group = KvCacheType::scaleGroup;
static_assert(blockRows == KernelEmitter::lanes,
              "a vector holds an element of each position of a block");

KvCacheAccess::KvCacheAccess(KernelEmitter &e, TypedValue<KvCacheType> cache)
    : e(e), type(cache.getType()), heads(type.getHeads()),
      headDim(type.getHeadDim()), shared(type.getRotated() > 0),
      scaled(type.getFormat() == KvFormat::Q8_0) {
  auto [keyPointer, valuePointer] = e.getCache(cache);
  keys = makePart(keyPointer, type.getKeyDim());
  values = makePart(valuePointer, headDim);
}

KvCacheAccess::Part KvCacheAccess::makePart(Value pointer, int64_t elements) {
  auto getElement = [&]() -> Type {
    switch (type.getFormat()) {
    case KvFormat::F32:
      return e.getF32Type();
    case KvFormat::F16:
      return e.getF16Type();
    case KvFormat::BF16:
      return e.getBF16Type();
    case KvFormat::Q8_0:
      return e.getI8Type();
    }
    llvm_unreachable("unknown format");
  };
  Part part{elements, e.makeBuffer(pointer, getElement()), {}};
  if (scaled)
    part.scales = e.makeBuffer(pointer, e.getF16Type());
  return part;
}

/// A ring has round_up(window, 16) + chunk rows: what the oldest query of a
/// step sees and what the step writes never share a row.
Value KvCacheAccess::getPlace(Value block, Value head) {
  if (type.getWindow()) {
    int64_t windowBlocks = llvm::divideCeil(type.getWindow(), blockRows);
    Value blocks = e.add(e.div(e.getChunk(), blockRows), windowBlocks);
    block = arith::RemUIOp::create(e, block, blocks);
  }
  return e.add(e.mul(block, heads), head);
}

Value KvCacheAccess::getData(const Part &part, Value place) {
  // Elements of one byte, or of a size that is the whole block's.
  return e.mul(place, scaled ? blockRows * type.getStoredBytes(part.elements)
                             : blockRows * part.elements);
}

Value KvCacheAccess::getScales(const Part &part, Value place) {
  Value at = e.mul(place, blockRows / 2 * type.getStoredBytes(part.elements));
  return e.add(at, blockRows / 2 * part.elements);
}

/// Rows that are read a vector at a time are no stream that the processor would
/// see: without this, attention waits for memory (an eighth of its time).
void KvCacheAccess::prefetchValues(Value place, Value first, int64_t count) {
  constexpr int64_t lineBytes = 64;
  int64_t blockBytes = blockRows * type.getStoredBytes(headDim);
  int64_t size = scaled ? 1 : type.getStoredBytes(1);
  Value next = e.add(getData(values, place), heads * blockBytes / size);
  for (int64_t at = 0; at < count; at += lineBytes / size)
    memref::PrefetchOp::create(e, values.data.memref,
                               ValueRange{e.add(e.add(next, first), at)},
                               /*isWrite=*/false, /*localityHint=*/2,
                               /*isDataCache=*/true);
}

SmallVector<Value> KvCacheAccess::forKeys(Value place, int64_t slots,
                                          ValueRange sums, KeyBody body) {
  SmallVector<Value> result = forStoredKeys(place, slots, sums, body);
  return shared ? forSharedKeys(place, slots, result, body) : result;
}

SmallVector<Value> KvCacheAccess::forStoredKeys(Value place, int64_t slots,
                                                ValueRange sums, KeyBody body) {
  Value data = getData(keys, place);
  // A run of elements with one scale vector, if any.
  auto run = [&](Value first, int64_t count, Value scales, ValueRange carried) {
    auto step = [&](Value number, int64_t slot, SmallVectorImpl<Value> &next) {
      Value vector = e.load(keys.data, e.add(data, e.mul(number, blockRows)));
      if (scales)
        vector = e.mulF(vector, scales);
      body(number, vector, slot, next);
    };
    int64_t whole = count / slots * slots;
    SmallVector<Value> result =
        e.loop(first, e.add(first, whole), slots, carried,
               [&](Value number, ValueRange carried) {
                 SmallVector<Value> next(carried);
                 for (int64_t slot = 0; slot < slots; ++slot)
                   step(e.add(number, slot), slot, next);
                 return next;
               });
    for (int64_t rest = whole; rest < count; ++rest)
      step(e.add(first, rest), rest % slots, result);
    return result;
  };
  if (!scaled)
    return run(e.index(0), keys.elements, {}, sums);
  Value scales = getScales(keys, place);
  auto runGroup = [&](Value number, int64_t count, ValueRange carried) {
    Value vector = e.load(keys.scales, e.add(scales, e.mul(number, blockRows)));
    return run(e.mul(number, group), count, vector, carried);
  };
  int64_t whole = keys.elements / group;
  SmallVector<Value> result = e.loop(e.index(0), e.index(whole), 1, sums,
                                     [&](Value number, ValueRange carried) {
                                       return runGroup(number, group, carried);
                                     });
  if (int64_t rest = keys.elements % group)
    result = runGroup(e.index(whole), rest, result);
  return result;
}

/// Rows of 16 elements at 16 positions become vectors of 16 positions: each of
/// four rounds turns the bits of (vector, lane) by one place.
static void transpose(KernelEmitter &e, MutableArrayRef<Value> vectors) {
  constexpr int64_t count = KernelEmitter::lanes, half = count / 2;
  SmallVector<int64_t> low, high;
  for (int64_t i = 0; i < half; ++i) {
    low.append({i, count + i});
    high.append({half + i, count + half + i});
  }
  for (int64_t round = 1; round < count; round *= 2) {
    SmallVector<Value> next;
    for (int64_t i = 0; i < half; ++i)
      for (const SmallVector<int64_t> &lanes : {low, high})
        next.push_back(
            vector::ShuffleOp::create(e, vectors[i], vectors[i + half], lanes));
    llvm::copy(next, vectors.begin());
  }
}

/// Values as keys: 16 positions by 16 elements at a time. Of elements that turn
/// the query has zeros.
SmallVector<Value> KvCacheAccess::forSharedKeys(Value place, int64_t slots,
                                                ValueRange sums, KeyBody body) {
  auto run = [&](Value first, int64_t size, ValueRange carried) {
    SmallVector<Value> vectors, next(carried);
    prefetchValues(place, e.mul(first, blockRows), blockRows * blockRows);
    for (int64_t position = 0; position < blockRows; ++position)
      vectors.push_back(loadValue(place, e.index(position), first, size));
    transpose(e, vectors);
    for (int64_t i = 0; i < size; ++i)
      body(e.add(e.add(first, i), keys.elements), vectors[i], i % slots, next);
    return next;
  };
  // Vectors in which all elements turn are left out.
  int64_t turned = type.getRotated() / blockRows * blockRows;
  int64_t half = headDim / 2;
  int64_t secondBegin = half, secondEnd = half;
  if (half % blockRows == 0)
    secondEnd += turned;
  SmallVector<Value> result(sums);
  for (auto [begin, end] :
       {std::pair(turned, secondBegin - secondBegin % blockRows),
        std::pair(secondEnd - secondEnd % blockRows, headDim)})
    result = e.vectors(begin, end, result, run);
  return result;
}

Value KvCacheAccess::loadValue(Value place, Value position, Value element,
                               int64_t size) {
  Value at = e.add(e.mul(position, values.elements), element);
  Value vector = e.load(values.data, e.add(getData(values, place), at), size);
  if (!scaled)
    return vector;
  int64_t groups = llvm::divideCeil(values.elements, group);
  Value scale = e.loadScalar(
      values.scales,
      e.add(e.add(getScales(values, place), e.mul(position, groups)),
            e.div(element, group)));
  return e.mulF(vector, e.broadcast(scale));
}

/// Integers of each 32 elements and their scale.
void KvCacheAccess::quantize(
    Buffer source, int64_t elements, WriteVector write,
    function_ref<void(Value scale, Value group)> writeScale) {
  auto run = [&](Value number, int64_t count) {
    Value first = e.mul(number, group);
    Value largest = e.splat(0);
    for (int64_t i = 0; i < count; i += blockRows) {
      int64_t size = std::min(blockRows, count - i);
      Value vector = e.load(source, e.add(first, i), size);
      largest = arith::MaxNumFOp::create(
          e, largest, math::AbsFOp::create(e, vector).getResult());
    }
    Value most =
        vector::ReductionOp::create(e, vector::CombiningKind::MAXNUMF, largest);
    constexpr float levels = 127;
    Value scale =
        e.roundTo(e.divF(most, e.constantF32(levels)), e.getF16Type());
    writeScale(scale, number);
    Value positive = arith::CmpFOp::create(e, arith::CmpFPredicate::OGT, scale,
                                           e.constantF32(0));
    Value inverse = arith::SelectOp::create(
        e, positive, e.divF(e.constantF32(1), scale), e.constantF32(0));
    for (int64_t i = 0; i < count; i += blockRows) {
      int64_t size = std::min(blockRows, count - i);
      Value vector =
          e.mulF(e.load(source, e.add(first, i), size), e.broadcast(inverse));
      // The scale's rounding may leave a little more than 127.
      vector = arith::MinNumFOp::create(e, vector, e.splat(levels));
      vector = arith::MaxNumFOp::create(e, vector, e.splat(-levels));
      write(vector, e.add(first, i), size);
    }
  };
  e.loop(e.index(0), e.index(elements / group), 1,
         [&](Value number) { run(number, group); });
  if (int64_t rest = elements % group)
    run(e.index(elements / group), rest);
}

void KvCacheAccess::storeKey(Value place, Value position, Buffer source) {
  Value data = e.add(getData(keys, place), position);
  auto write = [&](Value vector, Value at, int64_t size) {
    Value first = e.add(data, e.mul(at, blockRows));
    for (int64_t i = 0; i < size; ++i)
      e.storeScalar(vector::ExtractOp::create(e, vector, ArrayRef<int64_t>{i}),
                    keys.data, e.add(first, i * blockRows));
  };
  if (!scaled)
    return e.vectors(0, keys.elements, [&](Value at, int64_t size) {
      write(e.load(source, at, size), at, size);
    });
  Value scales = e.add(getScales(keys, place), position);
  quantize(source, keys.elements, write, [&](Value scale, Value number) {
    e.storeScalar(scale, keys.scales, e.add(scales, e.mul(number, blockRows)));
  });
}

void KvCacheAccess::storeValue(Value place, Value position, Buffer source) {
  Value data = e.add(getData(values, place), e.mul(position, values.elements));
  auto write = [&](Value vector, Value at, int64_t size) {
    e.store(vector, values.data, e.add(data, at), size);
  };
  if (!scaled)
    return e.vectors(0, values.elements, [&](Value at, int64_t size) {
      write(e.load(source, at, size), at, size);
    });
  int64_t groups = llvm::divideCeil(values.elements, group);
  Value scales = e.add(getScales(values, place), e.mul(position, groups));
  quantize(source, values.elements, write, [&](Value scale, Value number) {
    e.storeScalar(scale, values.scales, e.add(scales, number));
  });
}
