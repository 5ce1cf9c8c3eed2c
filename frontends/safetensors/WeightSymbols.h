// The checkpoint's tensors as `lap.weight` symbols: found by name, checked, and
// accounted for.
#pragma once

#include "dialects/lap/LapDialect.h"
#include "frontends/formats/Safetensors.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace mlir::lap {

class WeightSymbols {
public:
  WeightSymbols(ModuleOp module, const lapidary::Checkpoint &checkpoint)
      : module(module), checkpoint(checkpoint),
        symbols(OpBuilder::atBlockBegin(module.getBody())) {}

  /// The symbol of the tensor that has one of these names (which are the names
  /// that its releases gave it). A missing tensor, another shape and a type
  /// that is no plain float are errors. A matrix that the checkpoint has
  /// quantized is stored in the scheme that holds it as it is.
  FailureOr<WeightOp> get(ArrayRef<std::string> names, ArrayRef<int64_t> shape);

  /// The tensor is used otherwise than as a symbol.
  void markUsed(StringRef name) { used.insert(name); }

  /// An error if the checkpoint has a tensor that nothing asked for: the model
  /// would silently be another one.
  LogicalResult checkAllUsed(Location location) const;

  /// Where symbols are made, in the order of first use.
  OpBuilder &builder() { return symbols; }

  const lapidary::Checkpoint &getCheckpoint() const { return checkpoint; }

private:
  /// The scheme of a tensor with an encoding, in the module.
  FailureOr<SchemeOp> addEncodedScheme(const lapidary::TensorInfo &tensor,
                                       Location location);

  ModuleOp module;
  const lapidary::Checkpoint &checkpoint;
  OpBuilder symbols;
  llvm::StringMap<WeightOp> made;
  llvm::StringSet<> used;
};

} // namespace mlir::lap
