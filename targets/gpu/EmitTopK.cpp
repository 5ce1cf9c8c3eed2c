// Candidates: a workgroup sorts a block in its own memory.
#include "targets/gpu/KernelEmitter.h"
#include "targets/shared/TopKEmitter.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

KernelInfo simt::emitTopK(KernelEmitter &e, TopKOp op) {
  const int64_t sorted = TopKEmitter::getSorted(op);
  static_assert(2 * TopKOp::blockColumns <= KernelEmitter::mostSharedWords);
  TopKEmitter::Memory memory;
  memory.input = e.getBuffer(op.getInput()).memref;
  if (op.getIds())
    memory.ids = e.getBuffer(op.getIds()).memref;
  memory.keys = e.makeShared(sorted, e.getI32Type()).memref;
  memory.places = e.makeShared(sorted, e.getI32Type()).memref;
  memory.values = e.getResultBuffer(op.getValues()).memref;
  memory.tokens = e.getResultBuffer(op.getValueIds()).memref;
  TopKEmitter(e, op).emit(memory, e.getTile(),
                          [&](Value count, function_ref<void(Value)> body) {
                            e.forThread(count, body);
                            e.barrier();
                          });
  KernelInfo info;
  info.tiles = e.getTiles(op.getBlocks());
  info.tileWork = {TopKEmitter::getWork(op), 0};
  return info;
}
