// Candidates: what a GPU chooses from, so that its choice can be checked. The
// CPU's own logits are where the sampler is.
#include "targets/cpu/KernelEmitter.h"
#include "targets/shared/TopKEmitter.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

KernelInfo cpu::emitTopK(KernelEmitter &e, TopKOp op) {
  const int64_t sorted = TopKEmitter::getSorted(op),
                bytes = sorted * static_cast<int64_t>(sizeof(int32_t));
  auto words = [&](Buffer buffer) {
    return e.getView(buffer, e.getI32Type()).memref;
  };
  TopKEmitter::Memory memory;
  memory.input = words(e.getBuffer(op.getInput()));
  if (op.getIds())
    memory.ids = e.getBuffer(op.getIds()).memref;
  memory.keys = e.getScratch(0, /*words=*/true).memref;
  memory.places = e.getScratch(bytes, /*words=*/true).memref;
  memory.values = words(e.getResultBuffer(op.getValues()));
  memory.tokens = e.getResultBuffer(op.getValueIds()).memref;
  e.loopTiles([&](Value tile) {
    TopKEmitter(e, op).emit(memory, tile,
                            [&](Value count, function_ref<void(Value)> body) {
                              e.loop(e.index(0), count, 1, body);
                            });
  });
  return {e.getTiles(op.getBlocks()),
          {TopKEmitter::getWork(op), 0},
          {2 * bytes, 0}};
}
