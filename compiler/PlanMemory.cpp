// Places an entry point's buffers in one arena. The order and the fit are those
// of "greedy by size" in arXiv:2001.03288: the largest buffers are the hardest
// to place, so they come first.
#include "compiler/Passes.h"

#include "dialects/lap/LapDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/MathExtras.h"

#define DEBUG_TYPE "lap-plan-memory"

namespace mlir::lap {
#define GEN_PASS_DEF_PLANMEMORYPASS
#include "compiler/Passes.h.inc"
} // namespace mlir::lap

using namespace mlir;
using namespace mlir::lap;

/// At least a cache line, so that no buffer shares one with another, and what
/// GPUs may ask of an offset.
static constexpr int64_t alignment = 256;

/// More than any step needs, and so small that sums of a function's buffers
/// cannot overflow.
static constexpr int64_t maxBufferBytes = int64_t(1) << 40;

namespace {

/// A buffer, from the first to the last dispatch that takes it.
struct Buffer {
  memref::AllocOp alloc;
  int64_t bytes = 0;
  int64_t first = 0;
  int64_t last = 0;
  int64_t offset = 0;

  bool livesWith(const Buffer &other) const {
    return first <= other.last && other.first <= last;
  }
};

} // namespace

/// The most bytes that a buffer takes, rounded up to whole lines.
static FailureOr<int64_t> getBytes(memref::AllocOp alloc, int64_t maxTokens) {
  MemRefType type = alloc.getType();
  int64_t bytes = llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  for (int64_t size : type.getShape()) {
    if (ShapedType::isDynamic(size)) {
      if (maxTokens <= 0)
        return alloc->getParentOp()->emitError(
            "expected a positive lap.max_tokens, which sizes its buffers");
      size = maxTokens;
    }
    if (size && bytes > maxBufferBytes / size)
      return alloc.emitOpError("of ")
             << type << " takes more than 2^40 bytes at " << maxTokens
             << " tokens";
    bytes *= size;
  }
  return llvm::alignTo(bytes, alignment);
}

/// The buffers of an entry point in the order they are made.
static FailureOr<SmallVector<Buffer>> getBuffers(func::FuncOp entry) {
  auto attribute = entry->getAttrOfType<IntegerAttr>("lap.max_tokens");
  int64_t maxTokens = attribute ? attribute.getInt() : 0;
  DenseMap<Operation *, int64_t> order;
  for (Operation &op : entry.getBody().front())
    order[&op] = order.size();
  SmallVector<Buffer> buffers;
  for (auto alloc : entry.getOps<memref::AllocOp>()) {
    FailureOr<int64_t> bytes = getBytes(alloc, maxTokens);
    if (failed(bytes))
      return failure();
    // A buffer that nobody takes lives where it is made.
    Buffer buffer{alloc, *bytes, order[alloc], order[alloc]};
    bool used = false;
    for (Operation *user : alloc->getUsers()) {
      if (!isa<DispatchOp>(user))
        return user->emitOpError("takes a buffer, expected a dispatch");
      buffer.first = used ? std::min(buffer.first, order[user]) : order[user];
      buffer.last = used ? std::max(buffer.last, order[user]) : order[user];
      used = true;
    }
    buffers.push_back(buffer);
  }
  return buffers;
}

/// The offset of the smallest gap that fits `buffer` between those of `placed`
/// that live with it; behind all of them if none does.
static int64_t findOffset(const Buffer &buffer, ArrayRef<Buffer *> placed) {
  SmallVector<const Buffer *> neighbours;
  for (const Buffer *other : placed)
    if (other->livesWith(buffer))
      neighbours.push_back(other);
  llvm::sort(neighbours, [](const Buffer *a, const Buffer *b) {
    return std::tie(a->offset, a->bytes) < std::tie(b->offset, b->bytes);
  });
  int64_t end = 0, best = -1, bestGap = 0;
  for (const Buffer *other : neighbours) {
    int64_t gap = other->offset - end;
    if (gap >= buffer.bytes && (best < 0 || gap < bestGap)) {
      best = end;
      bestGap = gap;
    }
    end = std::max(end, other->offset + other->bytes);
  }
  return best < 0 ? end : best;
}

/// Gives each buffer its offset and returns the arena's size.
static int64_t placeBuffers(MutableArrayRef<Buffer> buffers) {
  SmallVector<Buffer *> order =
      llvm::map_to_vector(buffers, [](Buffer &buffer) { return &buffer; });
  // Among equals the earlier one, which stands first in `buffers`.
  llvm::sort(order, [](const Buffer *a, const Buffer *b) {
    return std::tie(b->bytes, a) < std::tie(a->bytes, b);
  });
  int64_t end = 0;
  for (auto [index, buffer] : llvm::enumerate(order)) {
    buffer->offset = findOffset(*buffer, ArrayRef(order).take_front(index));
    end = std::max(end, buffer->offset + buffer->bytes);
  }
  return end;
}

namespace {

class PlanMemoryPass : public lap::impl::PlanMemoryPassBase<PlanMemoryPass> {
public:
  void runOnOperation() override {
    for (auto entry : getOperation().getOps<func::FuncOp>()) {
      if (!entry.getBody().hasOneBlock()) {
        entry.emitError("expected an entry point of one block");
        return signalPassFailure();
      }
      if (failed(plan(entry)))
        return signalPassFailure();
    }
  }

private:
  LogicalResult plan(func::FuncOp entry) {
    FailureOr<SmallVector<Buffer>> buffers = getBuffers(entry);
    if (failed(buffers))
      return failure();
    int64_t size = placeBuffers(*buffers);
    for (const Buffer &buffer : *buffers)
      unsharedBytes += buffer.bytes;
    arenaBytes += size;
    auto builder = OpBuilder::atBlockBegin(&entry.getBody().front());
    entry->setAttr("lap.arena_bytes", builder.getI64IntegerAttr(size));
    if (buffers->empty())
      return success();
    Value arena = ArenaOp::create(builder, entry.getLoc(),
                                  MemRefType::get({size}, builder.getI8Type()));
    for (Buffer &buffer : *buffers) {
      builder.setInsertionPoint(buffer.alloc);
      Location loc = buffer.alloc.getLoc();
      Value offset =
          arith::ConstantIndexOp::create(builder, loc, buffer.offset);
      auto view =
          memref::ViewOp::create(builder, loc, buffer.alloc.getType(), arena,
                                 offset, buffer.alloc.getDynamicSizes());
      buffer.alloc.replaceAllUsesWith(view.getResult());
      buffer.alloc.erase();
    }
    return success();
  }
};

} // namespace
