// The network is bitonic (Batcher, "Sorting networks and their applications",
// 1968). Values are compared as integers that are in the same order: devices
// need not know infinities and NaNs.
#include "targets/shared/TopKEmitter.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::lap;
using Predicate = arith::CmpIPredicate;

/// Of f32: its sign, and the least magnitude that is not finite.
static constexpr uint32_t signBit = 0x80000000, infinity = 0x7f800000;
/// The key and the token of a column that is not there: no value has that key.
static constexpr uint32_t noKey = 0, noToken = ~0U;

int64_t TopKEmitter::getSorted(TopKOp op) {
  int64_t columns = std::min(getWidth(op.getInput()), TopKOp::blockColumns);
  return static_cast<int64_t>(llvm::PowerOf2Ceil(static_cast<uint64_t>(
      std::max(columns, static_cast<int64_t>(op.getCount())))));
}

int64_t TopKEmitter::getWork(TopKOp op) {
  int64_t sorted = getSorted(op), rounds = llvm::Log2_64(sorted);
  constexpr int64_t exchangeWork = 8;
  return sorted / 2 * rounds * (rounds + 1) / 2 * exchangeWork + sorted;
}

Value TopKEmitter::word(uint32_t value) {
  return arith::ConstantOp::create(
      b, b.getI32IntegerAttr(static_cast<int32_t>(value)));
}
Value TopKEmitter::compare(Predicate predicate, Value lhs, Value rhs) {
  return arith::CmpIOp::create(b, predicate, lhs, rhs);
}
Value TopKEmitter::load(Value memref, Value at) {
  return memref::LoadOp::create(b, memref, at);
}
void TopKEmitter::store(Value word, Value memref, Value at) {
  memref::StoreOp::create(b, word, memref, at);
}

/// Of a larger value a larger unsigned number; both zeros have one.
Value TopKEmitter::toKey(Value bits) {
  Value positive = arith::OrIOp::create(b, bits, word(signBit));
  Value negative = arith::XOrIOp::create(b, bits, word(~0U));
  Value magnitude = arith::AndIOp::create(b, bits, word(~signBit));
  // 1 to infinity - 1, by one comparison.
  Value isNumber = compare(
      Predicate::ult, arith::SubIOp::create(b, magnitude, word(1)).getResult(),
      word(infinity - 1));
  Value isBelow = compare(Predicate::slt, bits, word(0));
  Value isNegative = arith::AndIOp::create(b, isBelow, isNumber);
  return b.select(isNegative, negative, positive);
}

Value TopKEmitter::toValue(Value key) {
  Value flipped = arith::XOrIOp::create(b, key, word(~0U));
  Value positive = arith::AndIOp::create(b, key, word(~signBit));
  Value value =
      b.select(compare(Predicate::slt, key, word(0)), positive, flipped);
  return b.select(compare(Predicate::eq, key, word(noKey)), word(0), value);
}

/// One of a step's pairs: the elements stand `distance` from each other, in
/// `run` elements that are sorted by the merges up to this one, to the largest
/// first and to the smallest first in turn.
void TopKEmitter::exchange(const Memory &memory, Value pair, Value run,
                           Value distance) {
  // Both are powers of two.
  auto both = [&](Value lhs, Value rhs) -> Value {
    return arith::AndIOp::create(b, lhs, rhs);
  };
  Value low = both(pair, b.add(distance, -1));
  Value first = b.add(b.mul(b.sub(pair, low), 2), low);
  Value second = b.add(first, distance);
  Value keys[] = {load(memory.keys, first), load(memory.keys, second)};
  Value places[] = {load(memory.places, first), load(memory.places, second)};
  Value isLess = compare(Predicate::ult, keys[0], keys[1]);
  Value isEqual = compare(Predicate::eq, keys[0], keys[1]);
  Value isLater = compare(Predicate::ugt, places[0], places[1]);
  Value isBehind =
      arith::OrIOp::create(b, isLess, both(isEqual, isLater)).getResult();
  Value isRising = compare(Predicate::ne, both(first, run), b.index(0));
  Value isWrong = compare(Predicate::ne, isBehind, isRising);
  b.when(isWrong, [&] {
    store(keys[1], memory.keys, first);
    store(keys[0], memory.keys, second);
    store(places[1], memory.places, first);
    store(places[0], memory.places, second);
  });
}

void TopKEmitter::emit(const Memory &memory, Value tile, ForEach forEach) {
  const int64_t width = getWidth(op.getInput()), blocks = op.getBlocks(),
                sorted = getSorted(op),
                count = static_cast<int64_t>(op.getCount());
  Value row = b.div(tile, blocks);
  Value begin = b.mul(b.rem(tile, blocks), TopKOp::blockColumns);
  Value rowAt = b.mul(row, width);
  forEach(sorted, [&](Value i) {
    Value column = b.add(begin, i);
    Value isThere = b.lessThan(column, b.index(width));
    Value at = b.add(rowAt, b.min(column, b.index(width - 1)));
    Value token =
        memory.ids
            ? load(memory.ids, at)
            : arith::IndexCastOp::create(b, b.getI32Type(), column).getResult();
    isThere = arith::AndIOp::create(b, isThere,
                                    compare(Predicate::sge, token, word(0)));
    store(b.select(isThere, toKey(load(memory.input, at)), word(noKey)),
          memory.keys, i);
    store(b.select(isThere, token, word(noToken)), memory.places, i);
  });
  // Of all merges, then of all steps of a merge: to its half, its quarter, ...
  const int64_t rounds = llvm::Log2_64(static_cast<uint64_t>(sorted));
  Value one = b.index(1);
  b.loop(b.index(0), b.index(rounds), 1, [&](Value merge) {
    Value run = arith::ShLIOp::create(b, b.index(2), merge);
    b.loop(b.index(0), b.add(merge, 1), 1, [&](Value step) {
      Value distance = arith::ShLIOp::create(b, one, b.sub(merge, step));
      forEach(sorted / 2,
              [&](Value pair) { exchange(memory, pair, run, distance); });
    });
  });
  Value outAt = b.mul(tile, count);
  forEach(count, [&](Value i) {
    Value at = b.add(outAt, i);
    store(toValue(load(memory.keys, i)), memory.values, at);
    store(load(memory.places, i), memory.tokens, at);
  });
}
