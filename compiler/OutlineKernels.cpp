// Gives each kernel level op a kernel, and each use of it a dispatch.
#include "compiler/KernelNames.h"
#include "compiler/Passes.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/IRMapping.h"

#define DEBUG_TYPE "lap-outline-kernels"

namespace mlir::lap {
#define GEN_PASS_DEF_OUTLINEKERNELSPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// The attribute that tells the layout of the weight behind a kernel argument.
static constexpr StringLiteral layoutName = "lap.layout";

/// The layout of the weight that `value` reads; plain for any other value.
static Layout getLayout(Value value, SymbolTable &symbols) {
  auto read = value.getDefiningOp<GetWeightOp>();
  auto weight = read ? symbols.lookup<WeightOp>(read.getWeight()) : WeightOp();
  return weight ? weight.getLayout() : Layout::Plain;
}

namespace {

/// How an op uses its operands: each value once, and what each operand is.
struct Signature {
  SmallVector<Value> values;
  SmallVector<Layout> layouts;
  /// For each operand its index in `values`.
  SmallVector<int64_t> indices;
};

} // namespace

static Signature getSignature(Operation *op, SymbolTable &symbols) {
  Signature signature;
  for (Value operand : op->getOperands()) {
    auto *known = llvm::find(signature.values, operand);
    signature.indices.push_back(known - signature.values.begin());
    if (known != signature.values.end())
      continue;
    signature.values.push_back(operand);
    signature.layouts.push_back(getLayout(operand, symbols));
  }
  return signature;
}

/// Equal for two ops exactly when one kernel serves both.
static Attribute getKey(Operation *op, const Signature &signature) {
  Builder builder(op->getContext());
  SmallVector<int64_t> layouts;
  for (Layout layout : signature.layouts)
    layouts.push_back(static_cast<int64_t>(layout));
  Type types =
      builder.getFunctionType(op->getOperandTypes(), op->getResultTypes());
  return builder.getArrayAttr(
      {builder.getStringAttr(op->getName().getStringRef()),
       op->getAttrDictionary(), TypeAttr::get(types),
       builder.getDenseI64ArrayAttr(signature.indices),
       builder.getDenseI64ArrayAttr(layouts)});
}

/// Makes the kernel of an op: its arguments are the op's operands, each value
/// once, its body the op.
static KernelOp createKernel(Operation *op, const Signature &signature) {
  auto module = op->getParentOfType<ModuleOp>();
  auto builder = OpBuilder::atBlockEnd(module.getBody());
  auto type = builder.getFunctionType(ValueRange(signature.values).getTypes(),
                                      op->getResultTypes());
  auto kernel =
      KernelOp::create(builder, op->getLoc(), getKernelName(op), type);
  Block *body = kernel.addEntryBlock();
  IRMapping mapping;
  for (auto [index, value] : llvm::enumerate(signature.values)) {
    mapping.map(value, body->getArgument(index));
    Layout layout = signature.layouts[index];
    if (layout != Layout::Plain)
      kernel.setArgAttr(index, layoutName,
                        LayoutAttr::get(op->getContext(), layout));
  }
  builder.setInsertionPointToStart(body);
  Operation *inner = builder.clone(*op, mapping);
  lap::ReturnOp::create(builder, op->getLoc(), inner->getResults());
  return kernel;
}

namespace {

class OutlineKernelsPass
    : public lap::impl::OutlineKernelsPassBase<OutlineKernelsPass> {
public:
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    DenseMap<Attribute, KernelOp> known;
    for (auto entry : getOperation().getOps<func::FuncOp>())
      if (failed(outline(entry, symbols, known)))
        signalPassFailure();
  }

private:
  /// Outlines all of an entry point, or names each op that has no kernel.
  LogicalResult outline(func::FuncOp entry, SymbolTable &symbols,
                        DenseMap<Attribute, KernelOp> &known) {
    if (!entry.getBody().hasOneBlock())
      return entry.emitError("expected an entry point of one block");
    bool complete = true;
    for (Operation &op :
         llvm::make_early_inc_range(entry.getBody().front().getOperations())) {
      if (isKernelLevel(&op)) {
        dispatch(&op, symbols, known);
      } else if (!isa<GetWeightOp, GetCacheOp, DispatchOp, func::ReturnOp>(
                     op)) {
        op.emitOpError("is left at model level: no pass made a kernel of it");
        complete = false;
      }
    }
    return success(complete);
  }

  /// Replaces an op with a dispatch of its kernel.
  void dispatch(Operation *op, SymbolTable &symbols,
                DenseMap<Attribute, KernelOp> &known) {
    Signature signature = getSignature(op, symbols);
    KernelOp &kernel = known[getKey(op, signature)];
    if (!kernel) {
      kernel = createKernel(op, signature);
      makeUnique(kernel, symbols);
      ++kernels;
    }
    OpBuilder builder(op);
    auto use = DispatchOp::create(
        builder, op->getLoc(), op->getResultTypes(),
        FlatSymbolRefAttr::get(kernel.getSymNameAttr()), signature.values);
    op->replaceAllUsesWith(use.getResults());
    op->erase();
    ++dispatches;
  }

  /// Adds the kernel to the symbols, with a number if its name is taken.
  static void makeUnique(KernelOp kernel, SymbolTable &symbols) {
    std::string base = kernel.getName().str();
    std::string name = base;
    for (int64_t number = 2; symbols.lookup(name); ++number)
      name = base + "_" + std::to_string(number);
    kernel.setName(name);
    symbols.insert(kernel);
  }
};

} // namespace
