// What the fusion passes share.
#pragma once

#include "mlir/IR/PatternMatch.h"

namespace mlir::lap {

/// Applies patterns until none matches. Folds and canonicalizations stay out of
/// it: a fusion pass does what its description says and nothing else.
LogicalResult applyFusions(Operation *op, RewritePatternSet patterns);

/// True when two values are one, or are two reads of one weight or cache.
bool isSameValue(Value a, Value b);

/// True when `value` is there at `op`, or is the read of a weight and can be
/// moved up to it.
bool isAvailable(Value value, Operation *op);

/// Moves the reads of weights among `values` up to `op`, where they stand
/// behind it. All must be available there.
void makeAvailable(ValueRange values, Operation *op, PatternRewriter &rewriter);

} // namespace mlir::lap
