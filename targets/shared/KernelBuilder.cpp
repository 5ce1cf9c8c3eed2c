// The emitters' shared vocabulary (see the header).
#include "targets/shared/KernelBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::lap;

FailureOr<Operation *> mlir::lap::getKernelOp(KernelOp kernel) {
  Operation *found = nullptr;
  for (Operation &op : kernel.getBody().front()) {
    if (isa<bufferization::ToTensorOp, UnpackOp, ReturnOp,
            bufferization::MaterializeInDestinationOp>(op))
      continue;
    if (found)
      return op.emitOpError("is a second op in one kernel");
    found = &op;
  }
  if (!found)
    return kernel.emitOpError("has nothing to compute");
  return found;
}

int64_t mlir::lap::getStaticTokens(KernelOp kernel) {
  for (Type type : llvm::reverse(kernel.getArgumentTypes()))
    if (auto memref = dyn_cast<MemRefType>(type);
        memref && memref.getRank() > 1)
      return memref.isDynamicDim(0) ? 0 : memref.getDimSize(0);
  return 0;
}

int64_t mlir::lap::getWidth(Value activation) {
  return cast<RankedTensorType>(activation.getType()).getDimSize(1);
}

/// The kernel argument that a tensor in the body stands for.
static Value getArgument(Value value) {
  if (auto toTensor = value.getDefiningOp<bufferization::ToTensorOp>())
    return toTensor.getBuffer();
  if (auto unpack = value.getDefiningOp<UnpackOp>())
    return unpack.getBytes();
  return value;
}

Buffer KernelBuilder::getBuffer(Value value) const {
  auto found = buffers.find(getArgument(value));
  assert(found != buffers.end() && "kernel operand without a buffer");
  return found->second;
}

Buffer KernelBuilder::getResultBuffer(Value result) const {
  for (Operation *user : result.getUsers())
    if (auto write = dyn_cast<bufferization::MaterializeInDestinationOp>(user))
      return getBuffer(write.getDest());
  llvm_unreachable("kernel result without a destination");
}

std::pair<Value, Value> KernelBuilder::getCache(Value cache) const {
  auto found = caches.find(cache);
  assert(found != caches.end() && "cache that is no kernel argument");
  return found->second;
}

Value KernelBuilder::index(int64_t value) {
  return arith::ConstantIndexOp::create(*this, value);
}
Value KernelBuilder::add(Value lhs, Value rhs) {
  return arith::AddIOp::create(*this, lhs, rhs);
}
Value KernelBuilder::add(Value lhs, int64_t rhs) {
  return rhs ? add(lhs, index(rhs)) : lhs;
}
Value KernelBuilder::sub(Value lhs, Value rhs) {
  return arith::SubIOp::create(*this, lhs, rhs);
}
Value KernelBuilder::mul(Value lhs, Value rhs) {
  return arith::MulIOp::create(*this, lhs, rhs);
}
Value KernelBuilder::mul(Value lhs, int64_t rhs) {
  return rhs == 1 ? lhs : mul(lhs, index(rhs));
}
Value KernelBuilder::div(Value lhs, Value rhs) {
  return arith::DivUIOp::create(*this, lhs, rhs);
}
Value KernelBuilder::div(Value lhs, int64_t rhs) {
  return rhs == 1 ? lhs : div(lhs, index(rhs));
}
Value KernelBuilder::rem(Value lhs, Value rhs) {
  return arith::RemUIOp::create(*this, lhs, rhs);
}
Value KernelBuilder::rem(Value lhs, int64_t rhs) {
  return rem(lhs, index(rhs));
}
Value KernelBuilder::min(Value lhs, Value rhs) {
  return arith::MinSIOp::create(*this, lhs, rhs);
}
Value KernelBuilder::max(Value lhs, Value rhs) {
  return arith::MaxSIOp::create(*this, lhs, rhs);
}
Value KernelBuilder::lessThan(Value lhs, Value rhs) {
  return arith::CmpIOp::create(*this, arith::CmpIPredicate::slt, lhs, rhs);
}
Value KernelBuilder::select(Value condition, Value yes, Value no) {
  return arith::SelectOp::create(*this, condition, yes, no);
}

std::pair<Value, Value> KernelBuilder::getRopeRows(Value position,
                                                   int64_t rotated) {
  constexpr int64_t lowRows = RopeTableOp::lowRows;
  Value low = mul(rem(position, lowRows), 2 * rotated);
  return {low, mul(add(div(position, lowRows), lowRows), 2 * rotated)};
}

Value KernelBuilder::constantF32(float value) {
  return arith::ConstantOp::create(*this, getF32FloatAttr(value));
}
Value KernelBuilder::addF(Value lhs, Value rhs) {
  return arith::AddFOp::create(*this, lhs, rhs);
}
Value KernelBuilder::subF(Value lhs, Value rhs) {
  return arith::SubFOp::create(*this, lhs, rhs);
}
Value KernelBuilder::mulF(Value lhs, Value rhs) {
  return arith::MulFOp::create(*this, lhs, rhs);
}
Value KernelBuilder::divF(Value lhs, Value rhs) {
  return arith::DivFOp::create(*this, lhs, rhs);
}
Value KernelBuilder::fma(Value a, Value b, Value c) {
  return math::FmaOp::create(*this, a, b, c);
}
Value KernelBuilder::exp(Value x) { return math::ExpOp::create(*this, x); }

SmallVector<Value> KernelBuilder::loop(Value begin, Value end, int64_t step,
                                       ValueRange initial, LoopBody body) {
  auto loop = scf::ForOp::create(*this, begin, end, index(step), initial);
  OpBuilder::InsertionGuard guard(*this);
  // Without values to carry the loop has an end already.
  setInsertionPointToStart(loop.getBody());
  SmallVector<Value> next =
      body(loop.getInductionVar(), loop.getRegionIterArgs());
  if (!initial.empty())
    scf::YieldOp::create(*this, next);
  return llvm::to_vector_of<Value>(loop.getResults());
}

void KernelBuilder::loop(Value begin, Value end, int64_t step,
                         function_ref<void(Value)> body) {
  loop(begin, end, step, {}, [&](Value at, ValueRange) {
    body(at);
    return SmallVector<Value>();
  });
}

void KernelBuilder::when(Value condition, function_ref<void()> body) {
  auto branch = scf::IfOp::create(*this, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(branch.thenBlock());
  body();
}
