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

LinearEmitter::Block LinearEmitter::makeBlock(Value first, int64_t count) {
  Block block;
  Value at = e.mul(first, stride);
  for (int64_t token = 0; token < count; ++token) {
    block.tokens.push_back(e.add(first, token));
    block.rows.push_back(e.add(at, token * stride));
  }
  return block;
}

void LinearEmitter::forPaddedBlocks(Value begin, Value end, int64_t count,
                                    function_ref<void(const Block &)> body) {
  Value last = e.add(end, -1);
  e.loop(begin, end, count, [&](Value first) {
    Block block;
    for (int64_t token = 0; token < count; ++token) {
      Value own = e.min(e.add(first, token), last);
      block.tokens.push_back(own);
      block.rows.push_back(e.mul(own, stride));
    }
    body(block);
  });
}

void LinearEmitter::storeRows(Value sums, const Target &target, Value token) {
  Value at = e.add(e.mul(token, target.rows), target.row);
  if (target.whole) {
    e.store(sums, target.out, at);
    return;
  }
  Value left =
      e.min(e.sub(target.rows, target.row), e.index(KernelEmitter::lanes));
  e.storeLanes(sums, target.out, at, left);
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

void LinearEmitter::emitTiles(Value begin, Value end, BindTiles bind,
                              Write write) {
  // Some times what memory gives a core in its latency, as measured best.
  constexpr int64_t bytesAhead = 8192;
  decoder->setPrefetch(decoder->getColumnsOfBytes(bytesAhead));
  auto compute = [&](const Tiles &tiles, const Block &block) {
    SmallVector<Value> sums = emitSums(tiles.streams, block);
    int64_t tokens = block.size();
    for (int64_t token = 0; token < tokens; ++token) {
      SmallVector<Value> own;
      for (size_t s = 0; s < tiles.streams.size(); ++s)
        own.push_back(sums[s * tokens + token]);
      write(tiles, own, block.tokens[token]);
    }
  };
  const Variant &variant = e.getVariant();
  if (single) {
    forTiles(begin, end, 1, [&](ArrayRef<Value> own) {
      compute(bind(own), makeBlock(e.index(0), 1));
    });
    return;
  }
  constexpr int64_t few = 8;
  auto whenTokens = [&](int64_t above, int64_t upTo,
                        function_ref<void()> body) {
    e.when(e.lessThan(e.index(above), e.getTokens()),
           [&] { e.when(e.lessThan(e.getTokens(), e.index(upTo + 1)), body); });
  };
  if (!form->integers) {
    // Gate and up take the registers of two row tiles.
    int64_t most = variant.tokenBlock;
    if (gated && variant.rowTiles == 1)
      most /= 2;
    auto emitBlocks = [&](int64_t most) {
      forTiles(begin, end, gated ? 1 : variant.rowTiles,
               [&](ArrayRef<Value> own) {
                 Tiles tiles = bind(own);
                 forBlocks(e.index(0), e.getTokens(), most,
                           [&](Value first, int64_t block) {
                             compute(tiles, makeBlock(first, block));
                           });
               });
    };
    if (!usesTilesForPairs())
      return emitBlocks(most);
    e.when(e.lessThan(e.getTokens(), e.index(few + 1)),
           [&] { emitBlocks(std::min(most, few)); });
    e.when(e.lessThan(e.index(few), e.getTokens()),
           [&] { emitPairTiles(begin, end, bind, write); });
    return;
  }
  // Few tokens: weights are decoded in registers, for all of them at once.
  int64_t most = variant.vectorBits == 512 ? few : few / 2;
  if (gated)
    most /= 2;
  for (int64_t block = 2, above = 0; block <= most; above = block, block *= 2)
    whenTokens(above, block == most ? few : block, [&] {
      forTiles(begin, end, 1, [&](ArrayRef<Value> own) {
        Tiles tiles = bind(own);
        forPaddedBlocks(e.index(0), e.getTokens(), block,
                        [&](const Block &block) { compute(tiles, block); });
      });
    });
  e.when(e.lessThan(e.index(few), e.getTokens()),
         [&] { emitPanels(begin, end, bind, write); });
}

void LinearEmitter::emitWeights(int64_t first, int64_t end, int64_t firstTile) {
  struct Matrix {
    Buffer bytes, out;
    int64_t rows, endTile;
  };
  SmallVector<Matrix> matrices;
  int64_t tileCount = 0;
  for (int64_t number = first; number < end; ++number) {
    const RowTileLayout &rows = decoders[number].getLayout();
    tileCount += rows.tiles;
    matrices.push_back({e.getBuffer(op.getWeights()[number]),
                        e.getResultBuffer(op.getResults()[number]), rows.rows,
                        tileCount});
  }
  Buffer bias;
  if (op.getBias())
    bias = e.getBuffer(op.getBias());
  auto bind = [&](ArrayRef<Value> tiles) {
    Tiles bound;
    for (Value tile : tiles) {
      // The matrix that the tile is of.
      Buffer bytes = matrices[0].bytes, out = matrices[0].out;
      Value rows = e.index(matrices[0].rows), begin = e.index(0);
      bool whole = true;
      for (const Matrix &matrix : matrices)
        whole &= matrix.rows % RowTileLayout::tileRows == 0;
      for (size_t i = 1; i < matrices.size(); ++i) {
        Value before = e.lessThan(tile, e.index(matrices[i - 1].endTile));
        bytes = e.select(before, bytes, matrices[i].bytes);
        out = e.select(before, out, matrices[i].out);
        rows = e.select(before, rows, e.index(matrices[i].rows));
        begin = e.select(before, begin, e.index(matrices[i - 1].endTile));
      }
      Value own = e.sub(tile, begin);
      bound.streams.push_back(
          {bytes, e.mul(own, decoder->getLayout().tileBytes)});
      bound.targets.push_back(
          {out, e.mul(own, RowTileLayout::tileRows), rows, whole});
    }
    return bound;
  };
  auto write = [&](const Tiles &tiles, ArrayRef<Value> sums, Value token) {
    for (auto [target, sum] : llvm::zip(tiles.targets, sums)) {
      Value value = sum;
      if (bias.memref) {
        Value left = e.min(e.sub(target.rows, target.row),
                           e.index(KernelEmitter::lanes));
        value = e.addF(value, e.loadLanes(bias, target.row, left));
      }
      if (op.getEpilogue() == Epilogue::Softcap)
        value = e.softcap(value, op.getCap().convertToFloat());
      storeRows(value, target, token);
    }
  };
  Value beginTile = e.max(e.add(e.getTileBegin(), -firstTile), e.index(0));
  Value endTile = e.min(e.add(e.getTileEnd(), -firstTile), e.index(tileCount));
  emitTiles(beginTile, endTile, bind, write);
}

void LinearEmitter::emitGated() {
  Buffer gate = e.getBuffer(op.getWeights()[0]);
  Buffer up = e.getBuffer(op.getWeights()[1]);
  Buffer out = e.getResultBuffer(op.getResults()[0]);
  const RowTileLayout &rows = decoder->getLayout();
  emitTiles(
      e.getTileBegin(), e.getTileEnd(),
      [&](ArrayRef<Value> tiles) -> Tiles {
        Value at = e.mul(tiles[0], rows.tileBytes);
        Value row = e.mul(tiles[0], RowTileLayout::tileRows);
        return {{{gate, at}, {up, at}},
                {{out, row, e.index(rows.rows),
                  rows.rows % RowTileLayout::tileRows == 0}}};
      },
      [&](const Tiles &tiles, ArrayRef<Value> sums, Value token) {
        storeRows(e.mulF(e.gelu(sums[0]), sums[1]), tiles.targets[0], token);
      });
}

static bool haveOneScheme(Type lhs, Type rhs) {
  auto left = dyn_cast<QuantizedType>(lhs),
       right = dyn_cast<QuantizedType>(rhs);
  if (left && right)
    return left.getScheme() == right.getScheme();
  return !left && !right &&
         cast<TensorType>(lhs).getElementType() ==
             cast<TensorType>(rhs).getElementType();
}

FailureOr<KernelInfo> LinearEmitter::emit() {
  if (failed(bindInput()))
    return failure();
  int64_t tiles = 0;
  auto count = static_cast<int64_t>(decoders.size());
  for (int64_t number = 0, end = 0; number < count; number = end) {
    decoder = &decoders[number];
    form = &forms[number];
    int64_t firstTile = tiles;
    tiles += decoder->getLayout().tiles;
    if (gated) {
      emitGated();
      break;
    }
    for (end = number + 1;
         end < count && haveOneScheme(op.getWeights()[number].getType(),
                                      op.getWeights()[end].getType());
         ++end)
      tiles += decoders[end].getLayout().tiles;
    emitWeights(number, end, firstTile);
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
