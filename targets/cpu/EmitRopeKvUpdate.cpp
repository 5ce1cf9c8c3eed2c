// The kernel that puts keys and values into the KV cache and turns queries.
#include "targets/cpu/KvCacheAccess.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

static int64_t getWidth(Value activation) {
  return cast<RankedTensorType>(activation.getType()).getDimSize(1);
}

KernelInfo cpu::emitRopeKvUpdate(KernelEmitter &e, RopeKvUpdateOp op) {
  KvCacheAccess cache(e, op.getCache());
  KvCacheType type = cache.getType();
  int64_t kvHeads = type.getHeads(), headDim = type.getHeadDim();
  int64_t half = headDim / 2;
  int64_t group = getWidth(op.getQuery()) / (kvHeads * headDim);
  int64_t rotated = getWidth(op.getTable()) / 2;
  bool shared = type.getRotated() > 0;
  float eps = op.getEps().convertToFloat();
  Buffer query = e.getBuffer(op.getQuery()), keys = e.getBuffer(op.getKeys());
  Buffer values = e.getBuffer(op.getValues());
  Buffer queryNorm = e.getBuffer(op.getQueryNorm());
  Buffer keyNorm = e.getBuffer(op.getKeyNorm());
  Buffer table = e.getBuffer(op.getTable());
  Buffer out = e.getResultBuffer(op.getResult());
  // A key or a value before it is stored.
  Buffer row = e.getScratch(0);

  using Write = function_ref<void(Value vector, Value element, int64_t size)>;
  // Turns the normalized head by the angles of the table rows at `low` and
  // `high` (angles add up: see lap.rope_table); what does not turn goes to
  // `writeRest`, if that is wanted.
  auto normAndTurn = [&](Buffer source, Value at, Buffer norm, Value low,
                         Value high, Write write, Write writeRest) {
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
  };

  // A tile is one key head of one token with the query heads that read it.
  e.loopTiles([&](Value tile) {
    Value token = e.div(tile, kvHeads), head = e.rem(tile, kvHeads);
    Value position = e.add(e.getPast(), token);
    Value low = e.mul(e.rem(position, RopeTableOp::lowRows), 2 * rotated);
    Value high = e.mul(
        e.add(e.div(position, RopeTableOp::lowRows), RopeTableOp::lowRows),
        2 * rotated);
    e.loop(e.index(0), e.index(group), 1, [&](Value member) {
      Value at =
          e.mul(e.add(e.mul(e.add(e.mul(token, kvHeads), head), group), member),
                headDim);
      auto write = [&](Value vector, Value element, int64_t size) {
        e.store(vector, out, e.add(at, element), size);
      };
      // The value stands for this element of the key: (q w) v is q (w v).
      auto writeScaled = [&](Value vector, Value element, int64_t size) {
        write(e.mulF(vector, e.load(keyNorm, element, size)), element, size);
      };
      normAndTurn(query, at, queryNorm, low, high, write,
                  shared ? Write(writeScaled) : Write(write));
    });
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
      normAndTurn(keys, source, keyNorm, low, high, writeTurned, nullptr);
    else
      normAndTurn(keys, source, keyNorm, low, high, writeKey, writeKey);
    cache.storeKey(place, lane, row);
    Value inverse = e.inverseRms(values, source, headDim, eps);
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
