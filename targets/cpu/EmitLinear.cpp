// The linear kernels. A tile is 16 output rows; weights are streamed once in
// the `rows16` layout (dialects/lap/WeightLayout.h), decoded in registers, and
// multiplied with broadcast activations, so that each lane sums its own row.
//
// Kernels for one token split the sum over several accumulators to hide the
// latency of FMA. Kernels for many tokens first pack the (normalized)
// activations as [token block][column][token], then keep token block x row
// tiles accumulators in registers.
#include "targets/cpu/KernelEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

namespace {

/// A weight matrix at a row tile.
struct Stream {
  Buffer bytes;
  /// Byte offset of the tile.
  Value tileAt;
};

class LinearEmitter {
public:
  LinearEmitter(KernelEmitter &e, FusedLinearOp op) : e(e), op(op) {
    input = e.getBuffer(op.getInput());
    columns = cast<RankedTensorType>(op.getInput().getType()).getDimSize(1);
    single = e.getStaticTokens() == 1;
    tokenBlock = single ? 1 : e.getVariant().tokenBlock;
  }

  FailureOr<KernelInfo> emit();

private:
  void packInput();
  void emitWeight(int64_t number, int64_t firstTile);
  void emitGated();
  /// Computes `streams.size()` row tiles for all tokens; `write` gets the sums
  /// of a stream for a token.
  using Write = function_ref<void(ArrayRef<Value> sums, Value token)>;
  void emitTiles(ArrayRef<Stream> streams, Write write);
  SmallVector<Value> emitSums(ArrayRef<Stream> streams, Value xAt);
  /// 16 rows x `count` columns as `count` vectors; `group` counts groups from
  /// the tile's start.
  SmallVector<Value> decodeGroup(const Stream &stream, Value group);
  Value loadScale(const Stream &stream, Value block);
  Value loadX(Value xAt, Value column, int64_t token);
  void storeRows(Value sums, Buffer out, int64_t rows, Value token, Value tile);

  KernelEmitter &e;
  FusedLinearOp op;
  RowTileLayout layout;
  Buffer input, x;
  int64_t columns, tokenBlock;
  bool single;
};

} // namespace

/// Normalizes and packs the input into scratch memory, where that is needed.
void LinearEmitter::packInput() {
  if (single && op.getNorm() == Norm::None) {
    x = input;
    return;
  }
  x = e.getScratch();
  Buffer weight, bias;
  if (op.getNormWeight())
    weight = e.getBuffer(op.getNormWeight());
  if (op.getNormBias())
    bias = e.getBuffer(op.getNormBias());
  float eps = op.getEps().convertToFloat();
  e.loop(e.index(0), e.getTokens(), 1, [&](Value token) {
    Value at = e.mul(token, columns);
    Value mean, inverse;
    if (op.getNorm() == Norm::Rms)
      inverse = e.inverseRms(input, at, columns, eps);
    else if (op.getNorm() == Norm::Layer)
      std::tie(mean, inverse) =
          e.meanAndInverseDeviation(input, at, columns, eps);
    Value blockAt = e.mul(e.div(token, tokenBlock), columns * tokenBlock);
    Value packedAt =
        single ? e.index(0) : e.add(blockAt, e.rem(token, tokenBlock));
    e.vectors(0, columns, [&](Value column, int64_t size) {
      Value value = e.load(input, e.add(at, column), size);
      if (mean)
        value = e.subF(value, mean);
      if (inverse)
        value = e.mulF(value, inverse);
      if (weight.memref)
        value = e.mulF(value, e.load(weight, column, size));
      if (bias.memref)
        value = e.addF(value, e.load(bias, column, size));
      if (single) {
        e.store(value, x, column, size);
        return;
      }
      Value first = e.add(packedAt, e.mul(column, tokenBlock));
      for (int64_t i = 0; i < size; ++i)
        e.storeScalar(vector::ExtractOp::create(e, value, ArrayRef<int64_t>{i}),
                      x, e.add(first, i * tokenBlock));
    });
  });
}

Value LinearEmitter::loadX(Value xAt, Value column, int64_t token) {
  Value at = e.add(e.add(xAt, e.mul(column, tokenBlock)), token);
  return e.broadcast(e.loadScalar(x, at));
}

SmallVector<Value> LinearEmitter::decodeGroup(const Stream &stream,
                                              Value group) {
  constexpr int64_t bytes = RowTileLayout::tileRows * RowTileLayout::groupBytes;
  Value raw = vector::LoadOp::create(e, VectorType::get({bytes}, e.getI8Type()),
                                     stream.bytes.memref,
                                     e.add(stream.tileAt, e.mul(group, bytes)));
  auto words = VectorType::get({KernelEmitter::lanes}, e.getI32Type());
  auto constant = [&](int32_t value) -> Value {
    return arith::ConstantOp::create(
        e, DenseElementsAttr::get(words, e.getI32IntegerAttr(value)));
  };
  if (layout.codeType.isF32())
    return {vector::BitCastOp::create(e, e.vectorType(), raw)};
  Value word = vector::BitCastOp::create(e, words, raw);
  SmallVector<Value> values;
  if (layout.codeType.isBF16()) { // bf16 is the upper half of an f32.
    Value even = arith::ShLIOp::create(e, word, constant(16));
    Value odd = arith::AndIOp::create(e, word, constant(0xffff0000));
    for (Value half : {even, odd})
      values.push_back(vector::BitCastOp::create(e, e.vectorType(), half));
  } else if (layout.codeType.isF16()) {
    auto halves = VectorType::get({KernelEmitter::lanes}, e.getIntegerType(16));
    auto f16 = VectorType::get({KernelEmitter::lanes}, e.getF16Type());
    Value shifted = arith::ShRUIOp::create(e, word, constant(16));
    for (Value half : {word, shifted}) {
      Value bits = arith::TruncIOp::create(e, halves, half);
      Value value = vector::BitCastOp::create(e, f16, bits);
      values.push_back(arith::ExtFOp::create(e, e.vectorType(), value));
    }
  } else {
    for (int64_t i = 0; i < 4; ++i) {
      Value up = i == 3 ? word
                        : arith::ShLIOp::create(e, word, constant(24 - 8 * i))
                              .getResult();
      Value code = arith::ShRSIOp::create(e, up, constant(24));
      values.push_back(arith::SIToFPOp::create(e, e.vectorType(), code));
    }
  }
  return values;
}

Value LinearEmitter::loadScale(const Stream &stream, Value block) {
  int64_t bytes =
      layout.scaleType.getIntOrFloatBitWidth() / 8 * RowTileLayout::tileRows;
  Value at =
      e.add(e.add(stream.tileAt, e.mul(block, bytes)), layout.scaleOffset);
  Value raw = vector::LoadOp::create(e, VectorType::get({bytes}, e.getI8Type()),
                                     stream.bytes.memref, at);
  Value scale = vector::BitCastOp::create(
      e, VectorType::get({KernelEmitter::lanes}, layout.scaleType), raw);
  return layout.scaleType.isF32()
             ? scale
             : arith::ExtFOp::create(e, e.vectorType(), scale).getResult();
}

/// The sums over all columns, [stream][token] for one token block.
SmallVector<Value> LinearEmitter::emitSums(ArrayRef<Stream> streams,
                                           Value xAt) {
  int64_t streamCount = streams.size();
  int64_t group = layout.groupColumns;
  // FMA takes 4 cycles and two start each cycle: 8 sums must be in flight.
  int64_t slots = std::max<int64_t>(
      1, 8 / (streamCount * std::min<int64_t>(tokenBlock, 8)));
  int64_t sumCount = streamCount * tokenBlock;
  auto at = [&](int64_t stream, int64_t token, int64_t slot) {
    return (stream * tokenBlock + token) * slots + slot;
  };

  // Adds `count` columns of the group at `groupAt` to the sums.
  auto addGroup = [&](MutableArrayRef<Value> sums, Value groupAt,
                      int64_t firstSlot, int64_t count,
                      ArrayRef<Value> scales) {
    Value column = e.mul(groupAt, group);
    SmallVector<SmallVector<Value>> decoded;
    for (auto [number, stream] : llvm::enumerate(streams)) {
      decoded.push_back(decodeGroup(stream, groupAt));
      if (!scales.empty())
        for (Value &value : decoded.back())
          value = e.mulF(value, scales[number]);
    }
    for (int64_t i = 0; i < count; ++i)
      for (int64_t token = 0; token < tokenBlock; ++token) {
        Value broadcast = loadX(xAt, e.add(column, i), token);
        for (int64_t s = 0; s < streamCount; ++s) {
          Value &sum = sums[at(s, token, (firstSlot + i) % slots)];
          sum = e.fma(broadcast, decoded[s][i], sum);
        }
      }
  };
  // Adds the columns [begin, end), of which all groups but the last are whole.
  auto addColumns = [&](SmallVector<Value> sums, Value beginGroup,
                        int64_t count, ArrayRef<Value> scales) {
    int64_t unroll = single ? std::max<int64_t>(1, 8 / group) : 1;
    int64_t groups = count / group, whole = groups / unroll * unroll;
    if (whole)
      sums = e.loop(beginGroup, e.add(beginGroup, whole), unroll, sums,
                    [&](Value groupAt, ValueRange carried) {
                      SmallVector<Value> next(carried);
                      for (int64_t u = 0; u < unroll; ++u)
                        addGroup(next, e.add(groupAt, u), u * group, group,
                                 scales);
                      return next;
                    });
    for (int64_t g = whole; g < groups; ++g)
      addGroup(sums, e.add(beginGroup, g), g * group, group, scales);
    if (count % group)
      addGroup(sums, e.add(beginGroup, groups), 0, count % group, scales);
    return sums;
  };
  auto addBlock = [&](SmallVector<Value> sums, Value block, int64_t count) {
    Value beginGroup = e.mul(block, layout.blockColumns / group);
    SmallVector<Value> scales;
    for (const Stream &stream : streams)
      scales.push_back(loadScale(stream, block));
    if (!single)
      return addColumns(sums, beginGroup, count, scales);
    // One token: scale the block's sum instead of every weight.
    SmallVector<Value> zeros(sums.size(), e.splat(0));
    SmallVector<Value> part = addColumns(zeros, beginGroup, count, {});
    for (int64_t s = 0; s < streamCount; ++s)
      for (int64_t slot = 0; slot < slots; ++slot)
        sums[at(s, 0, slot)] =
            e.fma(part[at(s, 0, slot)], scales[s], sums[at(s, 0, slot)]);
    return sums;
  };

  SmallVector<Value> sums(sumCount * slots, e.splat(0));
  if (layout.blockColumns) {
    int64_t blocks = columns / layout.blockColumns;
    if (blocks)
      sums = e.loop(e.index(0), e.index(blocks), 1, sums,
                    [&](Value block, ValueRange carried) {
                      return addBlock(SmallVector<Value>(carried), block,
                                      layout.blockColumns);
                    });
    if (columns % layout.blockColumns)
      sums = addBlock(sums, e.index(blocks), columns % layout.blockColumns);
  } else {
    sums = addColumns(sums, e.index(0), columns, {});
  }
  SmallVector<Value> result;
  for (int64_t i = 0; i < sumCount; ++i) {
    Value sum = sums[i * slots];
    for (int64_t slot = 1; slot < slots; ++slot)
      sum = e.addF(sum, sums[i * slots + slot]);
    result.push_back(sum);
  }
  return result;
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
    SmallVector<Value> sums = emitSums(streams, e.mul(first, columns));
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
  int64_t step = single ? 1 : e.getVariant().rowTiles;
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
  e.loopTiles([&](Value tile) {
    Value at = e.mul(tile, layout.tileBytes);
    emitTiles({{gate, at}, {up, at}}, [&](ArrayRef<Value> sums, Value token) {
      storeRows(e.mulF(e.gelu(sums[0]), sums[1]), out, layout.rows, token,
                tile);
    });
  });
}

FailureOr<KernelInfo> LinearEmitter::emit() {
  packInput();
  int64_t tiles = 0;
  bool gated = op.getEpilogue() == Epilogue::GatedGelu;
  for (auto [number, weight] : llvm::enumerate(op.getWeights())) {
    FailureOr<RowTileLayout> own = getRowTileLayout(weight.getType(), op);
    if (failed(own))
      return failure();
    layout = *own;
    if (gated) {
      tiles = layout.tiles;
      emitGated();
      break;
    }
    emitWeight(number, tiles);
    tiles += layout.tiles;
  }
  int64_t work = RowTileLayout::tileRows * columns * (gated ? 2 : 1);
  KernelInfo info;
  info.tiles = {tiles, 0};
  info.tileWork = single ? Extent{work, 0} : Extent{0, work};
  bool needsScratch = !single || op.getNorm() != Norm::None;
  int64_t rowBytes = columns * sizeof(float);
  // The last block may be partly empty: one block more than the tokens need.
  constexpr int64_t largestBlock = 16;
  if (needsScratch)
    info.scratch = single ? Extent{rowBytes, 0}
                          : Extent{largestBlock * rowBytes, rowBytes};
  return info;
}

FailureOr<KernelInfo> cpu::emitLinear(KernelEmitter &e, FusedLinearOp op) {
  return LinearEmitter(e, op).emit();
}
