// The linear kernels: tiles, epilogues, and what a call needs.
#include "targets/cpu/LinearEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

LinearEmitter::LinearEmitter(KernelEmitter &e, FusedLinearOp op)
    : e(e), op(op) {
  input = e.getBuffer(op.getInput());
  columns = cast<RankedTensorType>(op.getInput().getType()).getDimSize(1);
  single = e.getStaticTokens() == 1;
  tokenBlock = single ? 1 : e.getVariant().tokenBlock;
}

void LinearEmitter::emitTiles(ArrayRef<Stream> streams, Write write) {
  int64_t streamCount = streams.size();
  auto writeToken = [&](ArrayRef<Value> sums, int64_t number, Value token) {
    SmallVector<Value> own;
    for (int64_t s = 0; s < streamCount; ++s)
      own.push_back(sums[s * tokenBlock + number]);
    write(own, token);
  };
  if (single) {
    writeToken(emitSums(streams, e.index(0)), 0, e.index(0));
    return;
  }
  e.loop(e.index(0), e.getTokens(), tokenBlock, [&](Value first) {
    SmallVector<Value> sums = emitSums(streams, e.mul(first, slotCount));
    for (int64_t number = 0; number < tokenBlock; ++number) {
      Value token = e.add(first, number);
      if (number == 0)
        writeToken(sums, number, token);
      else
        e.when(e.lessThan(token, e.getTokens()),
               [&] { writeToken(sums, number, token); });
    }
  });
}

void LinearEmitter::storeRows(Value sums, Buffer out, int64_t rows, Value token,
                              Value tile) {
  Value row = e.mul(tile, RowTileLayout::tileRows);
  Value at = e.add(e.mul(token, rows), row);
  if (rows % RowTileLayout::tileRows == 0) {
    e.store(sums, out, at);
    return;
  }
  Value left = e.min(e.sub(e.index(rows), row), e.index(KernelEmitter::lanes));
  e.storeLanes(sums, out, at, left);
}

/// Tiles of weight `number`, which are the kernel's tiles from `firstTile` on.
void LinearEmitter::emitWeight(int64_t number, int64_t firstTile) {
  Buffer bytes = e.getBuffer(op.getWeights()[number]);
  Buffer out = e.getResultBuffer(op.getResults()[number]);
  Buffer bias;
  if (op.getBias())
    bias = e.getBuffer(op.getBias());
  const RowTileLayout &layout = decoder->getLayout();
  auto compute = [&](Value tile, int64_t tiles) {
    SmallVector<Stream> streams;
    for (int64_t i = 0; i < tiles; ++i)
      streams.push_back({bytes, e.mul(e.add(tile, i), layout.tileBytes)});
    emitTiles(streams, [&](ArrayRef<Value> sums, Value token) {
      for (int64_t i = 0; i < tiles; ++i) {
        Value sum = sums[i];
        Value own = e.add(tile, i);
        if (bias.memref) {
          Value row = e.mul(own, RowTileLayout::tileRows);
          Value left = e.min(e.sub(e.index(layout.rows), row),
                             e.index(KernelEmitter::lanes));
          Value added = e.loadLanes(bias, row, left);
          sum = e.addF(sum, added);
        }
        if (op.getEpilogue() == Epilogue::Softcap)
          sum = e.softcap(sum, op.getCap().convertToFloat());
        storeRows(sum, out, layout.rows, token, own);
      }
    });
  };
  Value zero = e.index(0);
  Value begin = e.max(e.add(e.getTileBegin(), -firstTile), zero);
  Value end = e.min(e.add(e.getTileEnd(), -firstTile), e.index(layout.tiles));
  // Sums of integers take as many registers as the sums of what they make.
  int64_t step = single || decoder->isInteger() ? 1 : e.getVariant().rowTiles;
  if (step == 1) {
    e.loop(begin, end, 1, [&](Value tile) { compute(tile, 1); });
    return;
  }
  // Whole groups of row tiles, then what is left.
  Value count = e.max(e.sub(end, begin), zero);
  Value wholeEnd = e.add(begin, e.mul(e.div(count, step), step));
  e.loop(begin, wholeEnd, step, [&](Value tile) { compute(tile, step); });
  e.loop(wholeEnd, end, 1, [&](Value tile) { compute(tile, 1); });
}

void LinearEmitter::emitGated() {
  Buffer gate = e.getBuffer(op.getWeights()[0]);
  Buffer up = e.getBuffer(op.getWeights()[1]);
  Buffer out = e.getResultBuffer(op.getResults()[0]);
  const RowTileLayout &layout = decoder->getLayout();
  e.loopTiles([&](Value tile) {
    Value at = e.mul(tile, layout.tileBytes);
    emitTiles({{gate, at}, {up, at}}, [&](ArrayRef<Value> sums, Value token) {
      storeRows(e.mulF(e.gelu(sums[0]), sums[1]), out, layout.rows, token,
                tile);
    });
  });
}

FailureOr<KernelInfo> LinearEmitter::emit() {
  for (Value weight : op.getWeights()) {
    FailureOr<SchemeDecoder> own =
        SchemeDecoder::create(e, weight.getType(), op);
    if (failed(own))
      return failure();
    decoders.push_back(std::move(*own));
  }
  planInput();
  packInput();
  int64_t tiles = 0;
  bool gated = op.getEpilogue() == Epilogue::GatedGelu;
  for (auto [number, own] : llvm::enumerate(decoders)) {
    decoder = &own;
    int64_t firstTile = std::exchange(tiles, tiles + own.getLayout().tiles);
    if (gated) {
      emitGated();
      break;
    }
    emitWeight(number, firstTile);
  }
  int64_t work = RowTileLayout::tileRows * columns * (gated ? 2 : 1);
  KernelInfo info;
  info.tiles = {tiles, 0};
  info.tileWork = single ? Extent{work, 0} : Extent{0, work};
  int64_t rowBytes = rowElements * sizeof(float);
  int64_t tokenBytes = slotCount * sizeof(float);
  // The last block may be partly empty: one block more than the tokens need.
  constexpr int64_t largestBlock = 16;
  info.scratch = single
                     ? Extent{rowBytes + tokenBytes, 0}
                     : Extent{rowBytes + largestBlock * tokenBytes, tokenBytes};
  return info;
}

FailureOr<KernelInfo> cpu::emitLinear(KernelEmitter &e, FusedLinearOp op) {
  return LinearEmitter(e, op).emit();
}
