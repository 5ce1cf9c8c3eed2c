// What the fusion passes share.
#include "compiler/Rewrites.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace mlir::lap;

LogicalResult mlir::lap::applyFusions(Operation *op,
                                      RewritePatternSet patterns) {
  GreedyRewriteConfig config;
  config.enableFolding(false).enableConstantCSE(false);
  config.setRegionSimplificationLevel(GreedySimplifyRegionLevel::Disabled);
  // Each rewrite consumes an op, so the number of them is bounded already.
  config.setMaxIterations(GreedyRewriteConfig::kNoLimit);
  return applyPatternsGreedily(op, std::move(patterns), config);
}

bool mlir::lap::isSameValue(Value a, Value b) {
  if (a == b)
    return true;
  auto weightA = a.getDefiningOp<GetWeightOp>();
  auto weightB = b.getDefiningOp<GetWeightOp>();
  if (weightA && weightB)
    return weightA.getWeightAttr() == weightB.getWeightAttr();
  auto cacheA = a.getDefiningOp<GetCacheOp>();
  auto cacheB = b.getDefiningOp<GetCacheOp>();
  return cacheA && cacheB && cacheA.getCacheAttr() == cacheB.getCacheAttr();
}

/// True when `value` is the result of an op behind `op` in the same block.
static bool isBehind(Value value, Operation *op) {
  Operation *producer = value.getDefiningOp();
  return producer && producer->getBlock() == op->getBlock() &&
         !producer->isBeforeInBlock(op);
}

bool mlir::lap::isAvailable(Value value, Operation *op) {
  return !isBehind(value, op) || value.getDefiningOp<GetWeightOp>();
}

void mlir::lap::makeAvailable(ValueRange values, Operation *op,
                              PatternRewriter &rewriter) {
  for (Value value : values)
    if (value && isBehind(value, op))
      rewriter.moveOpBefore(value.getDefiningOp(), op);
}
