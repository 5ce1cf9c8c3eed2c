// The kernels that put keys and values into the KV cache and turn queries.
#include "targets/cpu/KvCacheAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

namespace {

using Write = function_ref<void(Value vector, Value element, int64_t size)>;

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
    auto normalized = [&](Value element, int64_t size) {
      Value x = e.mulF(e.load(source, e.add(at, element), size), inverse);
      return e.mulF(x, e.load(norm, element, size));
    };
    e.vectors(0, rotated, [&](Value i, int64_t size) {
      Value x1 = normalized(i, size);
      Value x2 = normalized(e.add(i, half), size);
      Value cosLow = e.load(table, e.add(low, i), size);
      Value sinLow = e.load(table, e.add(e.add(low, rotated), i), size);
      Value cosHigh = e.load(table, e.add(high, i), size);
      Value sinHigh = e.load(table, e.add(e.add(high, rotated), i), size);
      Value cos = e.subF(e.mulF(cosLow, cosHigh), e.mulF(sinLow, sinHigh));
      Value sin = e.fma(sinLow, cosHigh, e.mulF(cosLow, sinHigh));
      write(e.subF(e.mulF(x1, cos), e.mulF(x2, sin)), i, size);
      write(e.fma(x2, cos, e.mulF(x1, sin)), e.add(i, half), size);
    });
    if (!writeRest)
      return;
    e.vectors(rotated, half, [&](Value i, int64_t size) {
      writeRest(normalized(i, size), i, size);
      writeRest(normalized(e.add(i, half), size), e.add(i, half), size);
    });
  }

  /// The query heads `first` to `first + count` into `out`; `keyNorm` is that
  /// of keys which are stored only where they turn, else null.
  void turnQueries(Buffer query, Buffer norm, const Buffer *keyNorm, Buffer out,
                   Value first, int64_t count) const {
    e.loop(e.index(0), e.index(count), 1, [&](Value member) {
      Value at = e.mul(e.add(first, member), headDim);
      auto write = [&](Value vector, Value element, int64_t size) {
        e.store(vector, out, e.add(at, element), size);
      };
      // The value stands for this element of the key: (q w) v is q (w v).
      auto writeScaled = [&](Value vector, Value element, int64_t size) {
        write(e.mulF(vector, e.load(*keyNorm, element, size)), element, size);
      };
      turn(query, at, norm, write, keyNorm ? Write(writeScaled) : Write(write));
    });
  }
};

} // namespace

KernelInfo cpu::emitRopeQuery(KernelEmitter &e, RopeQueryOp op) {
  KvCacheType type = op.getCache().getType();
  int64_t heads = getWidth(op.getQuery()) / type.getHeadDim();
  HeadTurner turner{e,
                    e.getBuffer(op.getTable()),
                    type.getHeadDim(),
                    getWidth(op.getTable()) / 2,
                    op.getEps().convertToFloat(),
                    {},
                    {}};
  Buffer query = e.getBuffer(op.getQuery());
  Buffer norm = e.getBuffer(op.getQueryNorm());
  Buffer out = e.getResultBuffer(op.getResult());
  std::optional<Buffer> keyNorm;
  if (op.getKeyNorm())
    keyNorm = e.getBuffer(op.getKeyNorm());
  e.loopTiles([&](Value token) {
    turner.setPosition(
        e.add(e.add(e.getPast(), token), static_cast<int64_t>(op.getAhead())));
    turner.turnQueries(query, norm, keyNorm ? &*keyNorm : nullptr, out,
                       e.mul(token, heads), heads);
  });
  return {{0, 1}, {8 * type.getHeadDim() * heads, 0}, {0, 0}};
}

KernelInfo cpu::emitRopeKvUpdate(KernelEmitter &e, RopeKvUpdateOp op) {
  KvCacheAccess cache(e, op.getCache());
  KvCacheType type = cache.getType();
  int64_t kvHeads = type.getHeads(), headDim = type.getHeadDim();
  int64_t half = headDim / 2;
  int64_t group = getWidth(op.getQuery()) / (kvHeads * headDim);
  int64_t rotated = getWidth(op.getTable()) / 2;
  bool shared = type.getRotated() > 0;
  Buffer query = e.getBuffer(op.getQuery()), keys = e.getBuffer(op.getKeys());
  Buffer values = e.getBuffer(op.getValues());
  Buffer queryNorm = e.getBuffer(op.getQueryNorm());
  Buffer keyNorm = e.getBuffer(op.getKeyNorm());
  HeadTurner turner{e,       e.getBuffer(op.getTable()),   headDim,
                    rotated, op.getEps().convertToFloat(), {},
                    {}};
  Buffer out = e.getResultBuffer(op.getResult());
  // A key or a value before it is stored.
  Buffer row = e.getScratch(0);

  // A tile is one key head of one token with the query heads that read it.
  e.loopTiles([&](Value tile) {
    Value token = e.div(tile, kvHeads), head = e.rem(tile, kvHeads);
    Value position = e.add(e.getPast(), token);
    turner.setPosition(position);
    turner.turnQueries(query, queryNorm, shared ? &keyNorm : nullptr, out,
                       e.mul(e.add(e.mul(token, kvHeads), head), group), group);
    Value source = e.mul(e.add(e.mul(token, kvHeads), head), headDim);
    Value place = cache.getPlace(e.div(position, KvCacheType::blockRows), head);
    Value lane = e.rem(position, KvCacheType::blockRows);
    auto writeKey = [&](Value vector, Value element, int64_t size) {
      e.store(vector, row, element, size);
    };
    // Elements that turn stand side by side where there are no others.
    auto writeTurned = [&](Value vector, Value element, int64_t size) {
      Value second = e.lessThan(element, e.index(half));
      Value at = arith::SelectOp::create(
          e, second, element, e.sub(element, e.index(half - rotated)));
      e.store(vector, row, at, size);
    };
    if (shared)
      turner.turn(keys, source, keyNorm, writeTurned, nullptr);
    else
      turner.turn(keys, source, keyNorm, writeKey, writeKey);
    cache.storeKey(place, lane, row);
    Value inverse =
        e.inverseRms(values, source, headDim, op.getEps().convertToFloat());
    e.vectors(0, headDim, [&](Value i, int64_t size) {
      Value x = e.mulF(e.load(values, e.add(source, i), size), inverse);
      e.store(x, row, i, size);
    });
    cache.storeValue(place, lane, row);
  });
  return {{0, kvHeads},
          {8 * headDim * (group + 2), 0},
          {headDim * static_cast<int64_t>(sizeof(float)), 0}};
}
