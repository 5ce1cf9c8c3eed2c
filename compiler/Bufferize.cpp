// Moves entry points and kernels from tensors to memory.
#include "compiler/Passes.h"

#include "dialects/lap/LapDialect.h"
#include "dialects/lap/WeightLayout.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

#define DEBUG_TYPE "lap-bufferize"

namespace mlir::lap {
#define GEN_PASS_DEF_BUFFERIZEPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// The memref of a tensor type.
static MemRefType getBufferType(Type tensor) {
  auto type = cast<RankedTensorType>(tensor);
  return MemRefType::get(type.getShape(), type.getElementType());
}

/// The layout that an argument's attribute names; plain without one.
static Layout getLayout(FunctionOpInterface function, unsigned index) {
  auto layout = function.getArgAttrOfType<LayoutAttr>(index, "lap.layout");
  return layout ? layout.getValue() : Layout::Plain;
}

/// Turns the results of a function into memref arguments at the end, which get
/// the results' attributes. The body's terminator is the caller's matter.
static FailureOr<SmallVector<BlockArgument>>
moveResultsToArguments(FunctionOpInterface function) {
  SmallVector<BlockArgument> arguments;
  Block &body = function.getFunctionBody().front();
  for (auto [index, type] : llvm::enumerate(function.getResultTypes())) {
    if (!isa<RankedTensorType>(type))
      return function.emitError("result ")
             << index << " is a " << type << ", expected a tensor";
    if (failed(function.insertArgument(
            function.getNumArguments(), getBufferType(type),
            function.getResultAttrDict(index), function.getLoc())))
      return failure();
    arguments.push_back(body.getArguments().back());
  }
  if (failed(function.eraseResults(
          BitVector(function.getNumResults(), /*t=*/true))))
    return failure();
  return arguments;
}

/// Makes the function's type that of its body's arguments.
static void updateType(FunctionOpInterface function) {
  function.setType(FunctionType::get(
      function.getContext(),
      function.getFunctionBody().front().getArgumentTypes(), {}));
}

/// Makes `argument` a memref and gives its readers the tensor in it.
static LogicalResult bufferizeArgument(KernelOp kernel, BlockArgument argument,
                                       OpBuilder &builder) {
  Type type = argument.getType();
  if (!isa<RankedTensorType, QuantizedType>(type))
    return success();
  Layout layout = getLayout(kernel, argument.getArgNumber());
  FailureOr<MemRefType> buffer = getStoredType(type, layout, kernel);
  if (failed(buffer))
    return failure();
  argument.setType(*buffer);
  Value tensor;
  if (layout == Layout::Plain)
    tensor = bufferization::ToTensorOp::create(builder, kernel.getLoc(), type,
                                               argument, /*restrict=*/true);
  else
    tensor = UnpackOp::create(builder, kernel.getLoc(), type, argument,
                              LayoutAttr::get(kernel.getContext(), layout));
  argument.replaceAllUsesExcept(tensor, tensor.getDefiningOp());
  return success();
}

/// Kernels read tensors from memrefs and write their results to the last ones.
static LogicalResult bufferizeKernel(KernelOp kernel) {
  if (!kernel.getBody().hasOneBlock())
    return kernel.emitError("expected a kernel of one block");
  Block &body = kernel.getBody().front();
  auto builder = OpBuilder::atBlockBegin(&body);
  for (BlockArgument argument : body.getArguments())
    if (failed(bufferizeArgument(kernel, argument, builder)))
      return failure();
  FailureOr<SmallVector<BlockArgument>> outputs =
      moveResultsToArguments(kernel);
  if (failed(outputs))
    return failure();
  auto end = cast<lap::ReturnOp>(body.getTerminator());
  builder.setInsertionPoint(end);
  for (auto [value, output] : llvm::zip(end.getOperands(), *outputs))
    bufferization::MaterializeInDestinationOp::create(
        builder, end.getLoc(), /*result=*/Type(), value, output,
        /*restrict=*/true, /*writable=*/true);
  end.getOperandsMutable().clear();
  updateType(kernel);
  return success();
}

namespace {

/// Moves one entry point to memory.
class EntryPoint {
public:
  EntryPoint(func::FuncOp entry, Pass::Statistic &buffers)
      : entry(entry), body(entry.getBody().front()), buffers(buffers) {}

  LogicalResult bufferize() {
    if (failed(checkBody()))
      return failure();
    SmallVector<Value> returned(body.getTerminator()->getOperands());
    FailureOr<SmallVector<BlockArgument>> outputs =
        moveResultsToArguments(entry);
    if (failed(outputs))
      return failure();
    for (BlockArgument output : *outputs)
      entry.setArgAttr(output.getArgNumber(), "lap.result",
                       UnitAttr::get(entry.getContext()));
    for (auto [index, value] : llvm::enumerate(returned)) {
      if (!value.getDefiningOp<DispatchOp>() ||
          !outputOf.try_emplace(value, (*outputs)[index]).second)
        return entry.emitError("result ")
               << index << " is not a dispatch's result of its own";
    }
    body.getTerminator()->setOperands({});
    for (BlockArgument argument : body.getArguments())
      if (isa<RankedTensorType>(argument.getType()))
        argument.setType(getBufferType(argument.getType()));
    for (Operation &op : llvm::make_early_inc_range(body))
      if (failed(bufferizeOp(op)))
        return failure();
    updateType(entry);
    return success();
  }

private:
  /// Entry points hold reads of symbols and dispatches alone.
  LogicalResult checkBody() {
    for (Operation &op : body)
      if (!isa<GetWeightOp, GetCacheOp, DispatchOp, func::ReturnOp>(op))
        return op.emitOpError("has no form on memory: kernels come first");
    return success();
  }

  LogicalResult bufferizeOp(Operation &op) {
    if (auto read = dyn_cast<GetWeightOp>(op))
      return bufferizeRead(read);
    if (auto dispatch = dyn_cast<DispatchOp>(op))
      return bufferizeDispatch(dispatch);
    return success();
  }

  LogicalResult bufferizeRead(GetWeightOp read) {
    Layout layout = Layout::Plain;
    if (auto weight = SymbolTable::lookupNearestSymbolFrom<WeightOp>(
            read, read.getWeightAttr()))
      layout = weight.getLayout();
    FailureOr<MemRefType> type =
        getStoredType(read.getResult().getType(), layout, read);
    if (failed(type))
      return failure();
    read.getResult().setType(*type);
    return success();
  }

  LogicalResult bufferizeDispatch(DispatchOp dispatch) {
    OpBuilder builder(dispatch);
    SmallVector<Value> operands(dispatch.getOperands());
    for (OpResult result : dispatch->getResults()) {
      FailureOr<Value> buffer = getBuffer(result, builder);
      if (failed(buffer))
        return failure();
      operands.push_back(*buffer);
      result.replaceAllUsesWith(*buffer);
    }
    DispatchOp::create(builder, dispatch.getLoc(), TypeRange(),
                       dispatch.getKernelAttr(), operands);
    dispatch.erase();
    return success();
  }

  /// Where a dispatch writes a result: the caller's memory if the entry point
  /// returns it, else a new buffer.
  FailureOr<Value> getBuffer(OpResult result, OpBuilder &builder) {
    if (Value output = outputOf.lookup(result))
      return output;
    auto tensor = dyn_cast<RankedTensorType>(result.getType());
    if (!tensor || llvm::is_contained(tensor.getShape().drop_front(),
                                      ShapedType::kDynamic))
      return result.getOwner()->emitOpError("gives a ")
             << result.getType() << ", expected a tensor of fixed rows";
    SmallVector<Value> sizes;
    if (tensor.isDynamicDim(0)) {
      if (!tokens && failed(findTokens()))
        return failure();
      sizes.push_back(tokens);
    }
    ++buffers;
    return memref::AllocOp::create(builder, result.getLoc(),
                                   getBufferType(tensor), sizes)
        .getResult();
  }

  /// The tokens of the step are the rows of the first dynamic argument.
  LogicalResult findTokens() {
    for (BlockArgument argument : body.getArguments()) {
      auto type = dyn_cast<MemRefType>(argument.getType());
      if (!type || !type.getRank() || !type.isDynamicDim(0))
        continue;
      auto builder = OpBuilder::atBlockBegin(&body);
      tokens = memref::DimOp::create(builder, entry.getLoc(), argument, 0);
      return success();
    }
    return entry.emitError(
        "no argument tells the number of tokens of its dynamic buffers");
  }

  func::FuncOp entry;
  Block &body;
  Pass::Statistic &buffers;
  DenseMap<Value, Value> outputOf;
  Value tokens;
};

class BufferizePass : public lap::impl::BufferizePassBase<BufferizePass> {
public:
  void runOnOperation() override {
    for (auto kernel : getOperation().getOps<KernelOp>())
      if (failed(bufferizeKernel(kernel)))
        return signalPassFailure();
    for (auto entry : getOperation().getOps<func::FuncOp>()) {
      if (!entry.getBody().hasOneBlock()) {
        entry.emitError("expected an entry point of one block");
        return signalPassFailure();
      }
      if (failed(EntryPoint(entry, buffers).bufferize()))
        return signalPassFailure();
    }
  }
};

} // namespace
