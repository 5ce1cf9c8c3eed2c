// The kernels that put keys and values into the KV cache and turn queries: a
// workgroup has a head of one token.
#include "targets/gpu/KvCacheAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

namespace {

using Write = function_ref<void(Value number, Value element)>;

/// Normalizes heads and turns them.
struct HeadTurner {
  KernelEmitter &e;
  Buffer table;
  int64_t headDim, rotated;
  float eps;
  /// See KernelBuilder::getRopeRows.
  Value low, high;

  void setPosition(Value position) {
    std::tie(low, high) = e.getRopeRows(position, rotated);
  }

  /// The head at `at`; what does not turn goes to `writeRest`, if that is
  /// wanted.
  void turn(Buffer source, Value at, Buffer norm, Write write,
            Write writeRest) const {
    int64_t half = headDim / 2;
    Value inverse = e.inverseRms(source, at, headDim, eps);
    auto normalized = [&](Value element) {
      Value x = e.mulF(e.load(source, e.add(at, element)), inverse);
      return e.mulF(x, e.load(norm, element));
    };
    e.forThread(rotated, [&](Value i) {
      Value x1 = normalized(i), x2 = normalized(e.add(i, half));
      Value cosLow = e.load(table, e.add(low, i));
      Value sinLow = e.load(table, e.add(e.add(low, rotated), i));
      Value cosHigh = e.load(table, e.add(high, i));
      Value sinHigh = e.load(table, e.add(e.add(high, rotated), i));
      Value cos = e.subF(e.mulF(cosLow, cosHigh), e.mulF(sinLow, sinHigh));
      Value sin = e.fma(sinLow, cosHigh, e.mulF(cosLow, sinHigh));
      write(e.subF(e.mulF(x1, cos), e.mulF(x2, sin)), i);
      write(e.fma(x2, cos, e.mulF(x1, sin)), e.add(i, half));
    });
    if (!writeRest || rotated == half)
      return;
    e.forThread(half - rotated, [&](Value number) {
      Value i = e.add(number, rotated), other = e.add(i, half);
      writeRest(normalized(i), i);
      writeRest(normalized(other), other);
    });
  }

  /// The query head at `at` into `out`; `keyNorm` is that of keys which are
  /// stored only where they turn, else null.
  void turnQuery(Buffer query, Value at, Buffer norm, const Buffer *keyNorm,
                 Buffer out) const {
    auto write = [&](Value number, Value element) {
      e.store(number, out, e.add(at, element));
    };
    // The value stands for this element of the key: (q w) v is q (w v).
    auto writeScaled = [&](Value number, Value element) {
      write(e.mulF(number, e.load(*keyNorm, element)), element);
    };
    turn(query, at, norm, write, keyNorm ? Write(writeScaled) : Write(write));
  }
};

} // namespace

KernelInfo simt::emitRopeQuery(KernelEmitter &e, RopeQueryOp op) {
  KvCacheType type = op.getCache().getType();
  int64_t headDim = type.getHeadDim();
  int64_t heads = getWidth(op.getQuery()) / headDim;
  HeadTurner turner{e,
                    e.getBuffer(op.getTable()),
                    headDim,
                    getWidth(op.getTable()) / 2,
                    op.getEps().convertToFloat(),
                    {},
                    {}};
  std::optional<Buffer> keyNorm;
  if (op.getKeyNorm())
    keyNorm = e.getBuffer(op.getKeyNorm());
  Value token = e.div(e.getTile(), heads);
  turner.setPosition(
      e.add(e.add(e.getPast(), token), static_cast<int64_t>(op.getAhead())));
  Value at =
      e.mul(e.add(e.mul(e.getFirstToken(), heads), e.getTile()), headDim);
  turner.turnQuery(
      e.getBuffer(op.getQuery()), at, e.getBuffer(op.getQueryNorm()),
      keyNorm ? &*keyNorm : nullptr, e.getResultBuffer(op.getResult()));
  KernelInfo info;
  info.tiles = {0, heads};
  info.tileWork = {8 * headDim, 0};
  return info;
}

FailureOr<KernelInfo> simt::emitRopeKvUpdate(KernelEmitter &e,
                                             RopeKvUpdateOp op) {
  KvCacheType type = op.getCache().getType();
  if (failed(KvCacheAccess::check(op, type)))
    return failure();
  KvCacheAccess cache(e, op.getCache());
  int64_t kvHeads = type.getHeads(), headDim = type.getHeadDim();
  int64_t half = headDim / 2, heads = getWidth(op.getQuery()) / headDim;
  int64_t rotated = getWidth(op.getTable()) / 2;
  bool shared = type.getRotated() > 0;
  Buffer keys = e.getBuffer(op.getKeys()), values = e.getBuffer(op.getValues());
  Buffer keyNorm = e.getBuffer(op.getKeyNorm());
  float eps = op.getEps().convertToFloat();
  HeadTurner turner{e, e.getBuffer(op.getTable()), headDim, rotated, eps, {},
                    {}};
  // A key or a value before it is stored.
  Buffer row = e.makeShared(headDim, e.getF32Type());

  // A token's tiles: query heads, keys, values.
  int64_t tiles = heads + 2 * kvHeads;
  Value token = e.div(e.getTile(), tiles), number = e.rem(e.getTile(), tiles);
  Value position = e.add(e.getPast(), token);
  Value activation = e.add(e.getFirstToken(), token);
  turner.setPosition(position);
  auto between = [&](int64_t begin, int64_t end) {
    return e.both(e.lessThan(e.index(begin - 1), number),
                  e.lessThan(number, e.index(end)));
  };
  /// The head of a key or value: where its row and its place in the cache are.
  auto getHead = [&](int64_t first) {
    Value head = e.sub(number, e.index(first));
    Value block = e.div(position, KvCacheType::blockRows);
    return std::pair{e.mul(e.add(e.mul(activation, kvHeads), head), headDim),
                     cache.getPlace(block, head)};
  };
  Value lane = e.rem(position, KvCacheType::blockRows);
  e.when(between(0, heads), [&] {
    Value at = e.mul(e.add(e.mul(activation, heads), number), headDim);
    turner.turnQuery(
        e.getBuffer(op.getQuery()), at, e.getBuffer(op.getQueryNorm()),
        shared ? &keyNorm : nullptr, e.getResultBuffer(op.getResult()));
  });
  e.when(between(heads, heads + kvHeads), [&] {
    auto [at, place] = getHead(heads);
    auto write = [&](Value number, Value element) {
      e.store(number, row, element);
    };
    // Elements that turn stand side by side where there are no others.
    auto writeTurned = [&](Value number, Value element) {
      Value isFirst = e.lessThan(element, e.index(half));
      write(number, e.select(isFirst, element,
                             e.sub(element, e.index(half - rotated))));
    };
    if (shared)
      turner.turn(keys, at, keyNorm, writeTurned, nullptr);
    else
      turner.turn(keys, at, keyNorm, write, write);
    e.barrier();
    cache.storeKey(place, lane, row);
  });
  e.when(between(heads + kvHeads, tiles), [&] {
    auto [at, place] = getHead(heads + kvHeads);
    Value inverse = e.inverseRms(values, at, headDim, eps);
    e.forThread(headDim, [&](Value i) {
      e.store(e.mulF(e.load(values, e.add(at, i)), inverse), row, i);
    });
    e.barrier();
    cache.storeValue(place, lane, row);
  });
  KernelInfo info;
  info.tiles = {0, tiles};
  info.tileWork = {8 * headDim, 0};
  return info;
}
