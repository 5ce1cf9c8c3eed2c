// Says how KV caches store what they hold: the format of elements, and which of
// them are stored at all.
#include "compiler/Passes.h"
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-assign-caches"

namespace mlir::lap {
#define GEN_PASS_DEF_ASSIGNCACHESPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

namespace {

/// What uses one cache, in all entry points.
struct CacheUses {
  SmallVector<GetCacheOp> reads;
  SmallVector<RopeKvUpdateOp> updates;
  /// Queries of entry points that only read it.
  SmallVector<RopeQueryOp> queries;
  /// Whether an op that is neither an update nor an attention uses it.
  bool others = false;
};

} // namespace

/// The pairs of elements that turn in keys which are otherwise their values
/// times a weight: rope(v * w) with v as the value. 0 where it is not so, or
/// where nothing would be left out.
static int64_t getRotated(KvCacheType type, const CacheUses &uses) {
  if (uses.others || uses.updates.empty())
    return 0;
  RopeKvUpdateOp first = uses.updates.front();
  int64_t row =
      cast<RankedTensorType>(first.getTable().getType()).getDimSize(1);
  for (RopeKvUpdateOp update : uses.updates)
    // Queries are multiplied with what keys of any entry point would have been
    // multiplied with: it must be one weight.
    if (update.getKeys() != update.getValues() ||
        !isSameValue(update.getKeyNorm(), first.getKeyNorm()) ||
        !isSameValue(update.getTable(), first.getTable()))
      return 0;
  // Where the norm of keys is read by name, other entry points can read it too.
  if (!uses.queries.empty() && !first.getKeyNorm().getDefiningOp<GetWeightOp>())
    return 0;
  for (RopeQueryOp query : uses.queries)
    if (!isSameValue(query.getTable(), first.getTable()))
      return 0;
  return row < type.getHeadDim() ? row / 2 : 0;
}

/// Gives a query what keys would have been multiplied with.
static void addKeyNorm(RopeQueryOp query, Value keyNorm) {
  OpBuilder builder(query);
  Operation *read = builder.clone(*keyNorm.getDefiningOp());
  query.getKeyNormMutable().assign(read->getResult(0));
}

namespace {

/// Whether `user` is attention whose queries were turned for the same cache:
/// only they are multiplied with what shared keys lack.
static bool readsOwnQueries(Operation *user) {
  auto attention = dyn_cast<AttentionOp>(user);
  if (!attention)
    return false;
  Value cache;
  if (auto update = attention.getQuery().getDefiningOp<RopeKvUpdateOp>())
    cache = update.getCache();
  else if (auto query = attention.getQuery().getDefiningOp<RopeQueryOp>())
    cache = query.getCache();
  auto cacheOf = [](Value handle) {
    auto read = handle.getDefiningOp<GetCacheOp>();
    return read ? read.getCacheAttr() : FlatSymbolRefAttr();
  };
  return cache && cacheOf(cache) == cacheOf(attention.getCache());
}

class AssignCachesPass
    : public lap::impl::AssignCachesPassBase<AssignCachesPass> {
public:
  using AssignCachesPassBase::AssignCachesPassBase;

  void runOnOperation() override {
    std::optional<KvFormat> chosen = symbolizeKvFormat(format);
    if (!chosen) {
      getOperation().emitError("unknown cache format '")
          << format.getValue() << "': known are f32, f16, bf16 and q8_0";
      return signalPassFailure();
    }
    llvm::MapVector<StringAttr, CacheUses> caches;
    getOperation().walk([&](GetCacheOp read) {
      CacheUses &uses = caches[read.getCacheAttr().getAttr()];
      uses.reads.push_back(read);
      for (Operation *user : read->getUsers()) {
        if (auto update = dyn_cast<RopeKvUpdateOp>(user))
          uses.updates.push_back(update);
        else if (auto query = dyn_cast<RopeQueryOp>(user))
          uses.queries.push_back(query);
        else
          uses.others |= !readsOwnQueries(user);
      }
    });
    for (auto cache : getOperation().getOps<KvCacheOp>()) {
      auto type = cast<KvCacheType>(cache.getType());
      const CacheUses &uses = caches[cache.getSymNameAttr()];
      int64_t rotated = getRotated(type, uses);
      shared += rotated > 0;
      auto assigned =
          KvCacheType::get(&getContext(), type.getHeads(), type.getHeadDim(),
                           type.getWindow(), *chosen, rotated);
      cache.setTypeAttr(TypeAttr::get(assigned));
      for (GetCacheOp read : uses.reads)
        read.getResult().setType(assigned);
      for (RopeQueryOp query : uses.queries)
        if (rotated > 0)
          addKeyNorm(query, RopeKvUpdateOp(uses.updates.front()).getKeyNorm());
    }
  }
};

} // namespace
