// The linear kernels: tiles, epilogues, and what a call needs.
#include "targets/cpu/LinearEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

LinearEmitter::LinearEmitter(KernelEmitter &e, FusedLinearOp op)
    : e(e), op(op), columns(op.getColumns()), single(e.getStaticTokens() == 1),
      gated(op.getEpilogue() == Epilogue::GatedGelu) {}

LogicalResult LinearEmitter::bindInput() {
  for (Value weight : op.getWeights()) {
    FailureOr<SchemeDecoder> own =
        SchemeDecoder::create(e, weight.getType(), op);
    FailureOr<LinearForm> form = LinearForm::create(op, weight);
    if (failed(own) || failed(form))
      return failure();
    if (form->integers)
      own->useIntegers();
    decoders.push_back(std::move(*own));
    forms.push_back(*form);
  }
  Buffer input = e.getBuffer(op.getInput());
  PackedAttr packing = op.getPacking();
  if (packing) {
    layout.emplace(packing);
    stride = layout->words;
    valuesAt = layout->valuesAt;
    words = input;
    floats = e.getView(input, e.getF32Type());
  } else {
    if (op.getNorm() != Norm::None || op.getActivations() != Activations::F32)
      return op.emitOpError("normalizes or rounds its input: expected one that "
                            "lap-pack-inputs has packed");
    stride = columns;
    floats = input;
  }
  constexpr int64_t none = PackedInputLayout::none;
  for (const LinearForm &own : forms) {
    bool complete =
        own.integers ? layout && layout->codesAt != none &&
                           (!own.excess ||
                            layout->findCodeSums(own.run, own.excess) != none)
                     : valuesAt != none;
    if (own.halves)
      complete &= layout && layout->halvesAt != none;
    if (own.sumPeriod)
      complete &= layout && layout->findSums(*own.sumPeriod) != none;
    if (!complete)
      return op.emitOpError("lacks what it reads of its input: expected one "
                            "that lap-pack-inputs has packed for it");
  }
  return success();
}

void LinearEmitter::forBlocks(Value begin, Value end, int64_t most,
                              function_ref<void(Value, int64_t)> body) {
  Value left = e.sub(end, begin);
  Value whole = e.mul(e.div(left, most), most);
  Value wholeEnd = e.add(begin, whole);
  e.loop(begin, wholeEnd, most, [&](Value first) { body(first, most); });
  Value rest = e.sub(left, whole);
  int64_t largest = 8;
  while (largest >= most)
    largest /= 2;
  for (int64_t block = largest; block; block /= 2) {
    // The larger blocks that the rest has come before.
    Value before = e.mul(e.div(rest, 2 * block), 2 * block);
    if (block == largest)
      before = e.index(0);
    e.when(e.lessThan(e.index(block - 1), e.sub(rest, before)),
           [&] { body(e.add(wholeEnd, before), block); });
  }
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

void LinearEmitter::forTiles(Value begin, Value end, int64_t count,
                             function_ref<void(ArrayRef<Value>)> body) {
  e.loop(begin, end, count, [&](Value tile) {
    SmallVector<Value> tiles = {tile};
    for (int64_t i = 1; i < count; ++i)
      tiles.push_back(e.min(e.add(tile, i), e.add(end, -1)));
    body(tiles);
  });
}

void LinearEmitter::emitTiles(Value begin, Value end, GetStreams getStreams,
                              Write write) {
  // Some times what memory gives a core in its latency, as measured best.
  constexpr int64_t bytesAhead = 8192;
  decoder->setPrefetch(decoder->getColumnsOfBytes(bytesAhead));
  auto computeBlocks = [&](ArrayRef<Value> tiles, int64_t most) {
    SmallVector<Stream> streams = getStreams(tiles);
    auto compute = [&](Value first, int64_t block) {
      SmallVector<Value> sums =
          emitSums(streams, {block, e.mul(first, stride)});
      for (int64_t token = 0; token < block; ++token) {
        SmallVector<Value> own;
        for (size_t s = 0; s < streams.size(); ++s)
          own.push_back(sums[s * block + token]);
        write(tiles, own, e.add(first, token));
      }
    };
    if (single)
      compute(e.index(0), 1);
    else
      forBlocks(e.index(0), e.getTokens(), most, compute);
  };
  const Variant &variant = e.getVariant();
  if (single || !form->integers) {
    // Gate and up take the registers of two row tiles.
    int64_t tiles = single || gated ? 1 : variant.rowTiles;
    int64_t most = variant.tokenBlock;
    if (gated && variant.rowTiles == 1)
      most /= 2;
    forTiles(begin, end, tiles,
             [&](ArrayRef<Value> own) { computeBlocks(own, most); });
    return;
  }
  // Few tokens: weights are decoded in registers, for all of them at once.
  constexpr int64_t few = 8;
  int64_t most = variant.vectorBits == 512 ? few : few / 2;
  if (gated)
    most /= 2;
  e.when(e.lessThan(e.getTokens(), e.index(few + 1)), [&] {
    forTiles(begin, end, 1,
             [&](ArrayRef<Value> own) { computeBlocks(own, most); });
  });
  e.when(e.lessThan(e.index(few), e.getTokens()),
         [&] { emitPanels(begin, end, getStreams, write); });
}

/// Tiles of weight `number`, which are the kernel's tiles from `firstTile` on.
void LinearEmitter::emitWeight(int64_t number, int64_t firstTile) {
  Buffer bytes = e.getBuffer(op.getWeights()[number]);
  Buffer out = e.getResultBuffer(op.getResults()[number]);
  Buffer bias;
  if (op.getBias())
    bias = e.getBuffer(op.getBias());
  const RowTileLayout &rows = decoder->getLayout();
  auto getStreams = [&](ArrayRef<Value> tiles) {
    SmallVector<Stream> streams;
    for (Value tile : tiles)
      streams.push_back({bytes, e.mul(tile, rows.tileBytes)});
    return streams;
  };
  auto write = [&](ArrayRef<Value> tiles, ArrayRef<Value> sums, Value token) {
    for (auto [tile, sum] : llvm::zip(tiles, sums)) {
      Value value = sum;
      if (bias.memref) {
        Value row = e.mul(tile, RowTileLayout::tileRows);
        Value left = e.min(e.sub(e.index(rows.rows), row),
                           e.index(KernelEmitter::lanes));
        value = e.addF(value, e.loadLanes(bias, row, left));
      }
      if (op.getEpilogue() == Epilogue::Softcap)
        value = e.softcap(value, op.getCap().convertToFloat());
      storeRows(value, out, rows.rows, token, tile);
    }
  };
  Value begin = e.max(e.add(e.getTileBegin(), -firstTile), e.index(0));
  Value end = e.min(e.add(e.getTileEnd(), -firstTile), e.index(rows.tiles));
  emitTiles(begin, end, getStreams, write);
}

void LinearEmitter::emitGated() {
  Buffer gate = e.getBuffer(op.getWeights()[0]);
  Buffer up = e.getBuffer(op.getWeights()[1]);
  Buffer out = e.getResultBuffer(op.getResults()[0]);
  const RowTileLayout &rows = decoder->getLayout();
  emitTiles(
      e.getTileBegin(), e.getTileEnd(),
      [&](ArrayRef<Value> tiles) -> SmallVector<Stream> {
        Value at = e.mul(tiles[0], rows.tileBytes);
        return {{gate, at}, {up, at}};
      },
      [&](ArrayRef<Value> tiles, ArrayRef<Value> sums, Value token) {
        storeRows(e.mulF(e.gelu(sums[0]), sums[1]), out, rows.rows, token,
                  tiles[0]);
      });
}

FailureOr<KernelInfo> LinearEmitter::emit() {
  if (failed(bindInput()))
    return failure();
  int64_t tiles = 0;
  for (size_t number = 0; number < decoders.size(); ++number) {
    decoder = &decoders[number];
    form = &forms[number];
    int64_t firstTile = tiles;
    tiles += decoder->getLayout().tiles;
    if (gated) {
      emitGated();
      break;
    }
    emitWeight(static_cast<int64_t>(number), firstTile);
  }
  int64_t work = RowTileLayout::tileRows * columns * (gated ? 2 : 1);
  KernelInfo info;
  info.tiles = {tiles, 0};
  info.tileWork = single ? Extent{work, 0} : Extent{0, work};
  info.scratch = {scratchBytes, 0};
  return info;
}

FailureOr<KernelInfo> cpu::emitLinear(KernelEmitter &e, FusedLinearOp op) {
  return LinearEmitter(e, op).emit();
}
