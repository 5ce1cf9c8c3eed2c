// Runs a function op by op: binds arguments, calls an op's meaning, and drops
// tensors after their last use.
#include "compiler/Reference.h"

using namespace mlir;
using namespace mlir::lap;

ReferenceTensor ReferenceTensor::ofValues(ArrayRef<int64_t> shape,
                                          std::vector<float> values) {
  return {SmallVector<int64_t>(shape), std::move(values), {}};
}

ReferenceTensor ReferenceTensor::ofIndices(ArrayRef<int64_t> shape,
                                           std::vector<int32_t> indices) {
  return {SmallVector<int64_t>(shape), {}, std::move(indices)};
}

/// Whether the tensor has the type, up to dynamic dimensions, and as many
/// elements as its shape says.
static bool fits(const ReferenceTensor &tensor, RankedTensorType type) {
  if (tensor.shape.size() != size_t(type.getRank()))
    return false;
  uint64_t elements = 1;
  for (auto [found, expected] :
       llvm::zip_equal(tensor.shape, type.getShape())) {
    if (found < 0 || (expected != ShapedType::kDynamic && found != expected) ||
        __builtin_mul_overflow(elements, uint64_t(found), &elements))
      return false;
  }
  return type.getElementType().isF32()
             ? tensor.values.size() == elements && tensor.indices.empty()
             : tensor.indices.size() == elements && tensor.values.empty();
}

FailureOr<ReferenceTensor>
ReferenceInterpreter::run(StringRef name, const Inputs &inputs, int64_t past) {
  FailureOr<std::vector<ReferenceTensor>> results = runAll(name, inputs, past);
  if (failed(results))
    return failure();
  return std::move(results->front());
}

FailureOr<std::vector<ReferenceTensor>>
ReferenceInterpreter::runAll(StringRef name, const Inputs &inputs,
                             int64_t past) {
  auto function = module.lookupSymbol<func::FuncOp>(name);
  if (!function || function.isExternal() || !function.getBody().hasOneBlock() ||
      function.getNumResults() == 0)
    return module.emitOpError("expected a function @")
           << name << " of one block with a result";
  slots.clear();
  if (failed(bindArguments(function, inputs, past)))
    return failure();

  llvm::DenseMap<Value, unsigned> usesLeft;
  for (Operation &op : function.getBody().front()) {
    if (auto end = dyn_cast<func::ReturnOp>(op)) {
      std::vector<ReferenceTensor> results;
      for (Value operand : end.getOperands()) {
        Slot result = slots.lookup(operand);
        if (!result.tensor)
          return end.emitOpError("expected a tensor");
        results.push_back(*result.tensor);
      }
      slots.clear();
      return results;
    }
    if (failed(runOp(&op)))
      return failure();
    for (Value result : op.getResults())
      usesLeft[result] = unsigned(llvm::range_size(result.getUses()));
    for (Value operand : op.getOperands()) {
      auto left = usesLeft.find(operand);
      if (left != usesLeft.end() && --left->second == 0)
        slots.erase(operand);
    }
  }
  return function.emitOpError("expected a return");
}

LogicalResult ReferenceInterpreter::bindArguments(func::FuncOp function,
                                                  const Inputs &inputs,
                                                  int64_t past) {
  // Everything with a dynamic first dimension has a row a token, but for the
  // media.
  std::optional<int64_t> tokens;
  for (BlockArgument argument : function.getArguments()) {
    auto name = function.getArgAttrOfType<StringAttr>(argument.getArgNumber(),
                                                      "lap.name");
    if (!name)
      return function.emitOpError("expected a lap.name on argument ")
             << argument.getArgNumber();
    if (argument.getType().isIndex()) {
      if (past < 0)
        return function.emitOpError("expected past of 0 or more, found ")
               << past;
      slots[argument].index = past;
      continue;
    }
    auto type = cast<RankedTensorType>(argument.getType());
    auto input = inputs.find(name.getValue());
    if (input == inputs.end() || !fits(input->second, type))
      return function.emitOpError("expected an input ")
             << name << " of type " << type;
    if (name.getValue() != "media") {
      int64_t rows = input->second.shape[0];
      if (rows == 0 || (tokens && *tokens != rows))
        return function.emitOpError("expected ")
               << (tokens ? *tokens : 1) << " or more rows of " << name
               << ", as many as of the others, found " << rows;
      tokens = rows;
    }
    slots[argument].tensor = std::make_shared<ReferenceTensor>(input->second);
  }
  if (inputs.size() + 1 < function.getNumArguments())
    return function.emitOpError("expected ")
           << function.getNumArguments() << " inputs";
  return success();
}

LogicalResult ReferenceInterpreter::runOp(Operation *op) {
  if (isa<GetWeightOp, GetCacheOp>(op)) {
    auto symbol = isa<GetWeightOp>(op) ? cast<GetWeightOp>(op).getWeightAttr()
                                       : cast<GetCacheOp>(op).getCacheAttr();
    slots[op->getResult(0)].symbol = module.lookupSymbol(symbol);
    return success();
  }
  // Values are decoded where they are read.
  if (auto dequantize = dyn_cast<DequantizeOp>(op)) {
    slots[dequantize.getResult()].symbol =
        slots.lookup(dequantize.getInput()).symbol;
    return success();
  }
  if (auto kvUpdate = dyn_cast<KvUpdateOp>(op))
    return update(kvUpdate);
  TensorResult result = compute(op);
  if (failed(result))
    return failure();
  auto tensor = std::make_shared<ReferenceTensor>(std::move(*result));
  if (observer)
    observer(op, *tensor);
  slots[op->getResult(0)].tensor = std::move(tensor);
  return success();
}

FailureOr<ReferenceTensor> ReferenceInterpreter::compute(Operation *op) {
  return llvm::TypeSwitch<Operation *, TensorResult>(op)
      .Case<EmbeddingOp, ScatterEmbeddingsOp, RmsNormOp, LayerNormOp, LinearOp,
            RopeOp, AttentionOp, GeluOp, AddOp, MultiplyOp, ConcatOp, ScaleOp,
            SoftcapOp, PositionEmbeddingOp>(
          [&](auto known) { return compute(known); })
      .Default([](Operation *unknown) {
        return unknown->emitOpError(
            "is not a model level op on unquantized weights");
      });
}
