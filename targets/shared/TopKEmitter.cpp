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
  const int64_t sorted = getSorted(op),
                rounds = llvm::Log2_64_Ceil(op.getCount());
  // Of the runs' merges, then of halves that become half as many each time.
  constexpr int64_t exchangeWork = 8;
  return sorted / 2 * exchangeWork * (rounds * (rounds + 1) / 2 + rounds + 2) +
         sorted;
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

int64_t TopKEmitter::getRun() {
  return static_cast<int64_t>(
      llvm::PowerOf2Ceil(static_cast<uint64_t>(op.getCount())));
}
int64_t TopKEmitter::getRunBits() {
  return llvm::Log2_64(static_cast<uint64_t>(getRun()));
}

Value TopKEmitter::isBehind(const Memory &memory, Value first, Value second) {
  Value key = load(memory.keys, first), otherKey = load(memory.keys, second);
  Value isLess = compare(Predicate::ult, key, otherKey);
  Value isEqual = compare(Predicate::eq, key, otherKey);
  Value isLater = compare(Predicate::ugt, load(memory.places, first),
                          load(memory.places, second));
  return arith::OrIOp::create(
      b, isLess, arith::AndIOp::create(b, isEqual, isLater).getResult());
}

/// Puts two elements into the order that their run is to have.
void TopKEmitter::exchange(const Memory &memory, Value first, Value second,
                           Value isRising) {
  Value isWrong =
      compare(Predicate::ne, isBehind(memory, first, second), isRising);
  b.when(isWrong, [&] {
    for (Value words : {memory.keys, memory.places}) {
      Value own = load(words, first), other = load(words, second);
      store(other, words, first);
      store(own, words, second);
    }
  });
}

/// One of the pairs of a merge's step: elements that stand `distance` from each
/// other. Runs of `run` elements are to be sorted to the largest first and to
/// the smallest first in turn. Of 2^level runs of getRun() elements only the
/// first is still there.
void TopKEmitter::mergeRun(const Memory &memory, Value pair, Value run,
                           Value distance, Value level) {
  // All are powers of two.
  auto both = [&](Value lhs, Value rhs) -> Value {
    return arith::AndIOp::create(b, lhs, rhs);
  };
  Value low = both(pair, b.add(distance, -1));
  Value at = b.add(b.mul(b.sub(pair, low), 2), low);
  Value isRising = compare(Predicate::ne, both(at, run), b.index(0));
  Value inside = both(at, b.index(getRun() - 1));
  Value first = b.add(
      arith::ShLIOp::create(b, b.sub(at, inside), level).getResult(), inside);
  exchange(memory, first, b.add(first, distance), isRising);
}

/// Of two neighbouring runs, one to the largest and one to the smallest first,
/// the better of each two elements at the same place: the best of both runs,
/// which are as many as a run has.
void TopKEmitter::keepBetter(const Memory &memory, Value place, Value level) {
  Value inside = arith::AndIOp::create(b, place, b.index(getRun() - 1));
  Value before = b.mul(b.sub(place, inside), 2);
  Value first =
      b.add(arith::ShLIOp::create(b, before, level).getResult(), inside);
  Value second = b.add(
      first, arith::ShLIOp::create(b, b.index(getRun()), level).getResult());
  b.when(isBehind(memory, first, second), [&] {
    store(load(memory.keys, second), memory.keys, first);
    store(load(memory.places, second), memory.places, first);
  });
}

void TopKEmitter::emit(const Memory &memory, Value tile, ForEach forEach) {
  const int64_t width = getWidth(op.getInput()), blocks = op.getBlocks(),
                sorted = getSorted(op),
                count = static_cast<int64_t>(op.getCount());
  Value row = b.div(tile, blocks);
  Value begin = b.mul(b.rem(tile, blocks), TopKOp::blockColumns);
  Value rowAt = b.mul(row, width);
  forEach(b.index(sorted), [&](Value i) {
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
  // Runs as long as the result are sorted: by all merges, in the steps of a
  // merge to its half, its quarter, ... Then each two become one.
  const int64_t rounds = getRunBits(), pairs = sorted / 2;
  Value zero = b.index(0);
  b.loop(zero, b.index(rounds), 1, [&](Value merge) {
    Value run = arith::ShLIOp::create(b, b.index(2), merge);
    b.loop(zero, b.add(merge, 1), 1, [&](Value step) {
      Value distance = arith::ShLIOp::create(b, b.index(1), b.sub(merge, step));
      forEach(b.index(pairs),
              [&](Value pair) { mergeRun(memory, pair, run, distance, zero); });
    });
  });
  auto halve = [&](Value number, Value times) -> Value {
    return arith::ShRUIOp::create(b, number, times);
  };
  const int64_t levels = llvm::Log2_64(static_cast<uint64_t>(sorted)) - rounds;
  b.loop(zero, b.index(levels), 1, [&](Value level) {
    forEach(halve(b.index(pairs), level),
            [&](Value place) { keepBetter(memory, place, level); });
    Value next = b.add(level, 1), left = halve(b.index(pairs), next);
    b.loop(zero, b.index(rounds), 1, [&](Value step) {
      Value distance = halve(b.index(getRun() / 2), step);
      forEach(left, [&](Value pair) {
        mergeRun(memory, pair, b.index(getRun()), distance, next);
      });
    });
  });
  Value outAt = b.mul(tile, count);
  forEach(b.index(count), [&](Value i) {
    Value at = b.add(outAt, i);
    store(toValue(load(memory.keys, i)), memory.values, at);
    store(load(memory.places, i), memory.tokens, at);
  });
}
