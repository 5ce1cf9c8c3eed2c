// The `lap` dialect: types, attributes and ops of all three levels.
#pragma once

#include "dialects/scheme/Scheme.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::lap {

/// What ops on KV caches read and write: keeps updates and attention in order.
struct CacheResource : SideEffects::Resource::Base<CacheResource> {
  StringRef getName() final { return "<KvCache>"; }
};

} // namespace mlir::lap

#include "dialects/lap/LapDialect.h.inc"
#include "dialects/lap/LapEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/lap/LapAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/lap/LapTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/lap/LapOps.h.inc"

namespace mlir::lap {

/// Bounds a weight, so that sums over its bytes cannot overflow.
constexpr int64_t maxWeightElements = int64_t(1) << 40;

/// Rows and columns of a weight matrix: a 2-D tensor or a `!lap.quantized`.
ArrayRef<int64_t> getMatrixShape(Type type);

} // namespace mlir::lap
