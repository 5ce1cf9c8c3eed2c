// The checkpoint's tensors as `lap.weight` symbols: found by name, checked, and
// accounted for.
#pragma once

#include "dialects/lap/LapDialect.h"
#include "frontends/formats/Safetensors.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

namespace mlir::lap {

class WeightSymbols {
public:
  WeightSymbols(ModuleOp module, const lapidary::Checkpoint &checkpoint)
      : checkpoint(checkpoint),
        symbols(OpBuilder::atBlockBegin(module.getBody())) {}

  /// The symbol of the tensor that has one of these names (which are the names
  /// that its releases gave it). A missing tensor, another shape and a type
  /// that is no plain float are errors.
  FailureOr<WeightOp> get(ArrayRef<std::string> names, ArrayRef<int64_t> shape);

  /// An error if the checkpoint has a tensor that nothing asked for: the model
  /// would silently be another one.
  LogicalResult checkAllUsed(Location location) const;

  /// Where symbols are made, in the order of first use.
  OpBuilder &builder() { return symbols; }

private:
  const lapidary::Checkpoint &checkpoint;
  OpBuilder symbols;
  llvm::StringMap<WeightOp> made;
};

} // namespace mlir::lap
