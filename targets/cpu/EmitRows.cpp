// Kernels whose tile is a token: embedding, residual + norm, and the middle of
// the patch projection.
#include "targets/cpu/KernelEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

static int64_t getWidth(Value activation) {
  return cast<RankedTensorType>(activation.getType()).getDimSize(1);
}

/// `units` groups of row `row` in tile `tileAt` (bytes), from group `unit` on,
/// as values in column order. A row's groups lie 64 bytes apart.
static Value gatherRow(KernelEmitter &e, Buffer bytes,
                       const RowTileLayout &layout, Value tileAt, Value row,
                       Value unit, int64_t units) {
  Value first = e.add(tileAt, e.mul(e.add(e.mul(unit, 16), row), 4));
  auto i32 = e.getI32Type();
  // Each group is one 4-byte load: a gather instruction is no faster.
  Value gathered = arith::ConstantOp::create(
      e, DenseElementsAttr::get(VectorType::get({units}, i32),
                                e.getI32IntegerAttr(0)));
  for (int64_t i = 0; i < units; ++i) {
    Value word = vector::LoadOp::create(
        e, VectorType::get({4}, e.getI8Type()), bytes.memref,
        e.add(first, i * RowTileLayout::tileRows * RowTileLayout::groupBytes));
    word = vector::BitCastOp::create(e, VectorType::get({1}, i32), word);
    Value scalar = vector::ExtractOp::create(e, word, ArrayRef<int64_t>{0});
    gathered =
        vector::InsertOp::create(e, scalar, gathered, ArrayRef<int64_t>{i});
  }
  int64_t columns = units * layout.groupColumns;
  Value codes = vector::BitCastOp::create(
      e, VectorType::get({columns}, layout.codeType), gathered);
  if (layout.codeType.isF32())
    return codes;
  if (layout.codeType.isInteger())
    return arith::SIToFPOp::create(e, e.vectorType(columns), codes);
  return arith::ExtFOp::create(e, e.vectorType(columns), codes);
}

FailureOr<KernelInfo> cpu::emitEmbed(KernelEmitter &e, EmbedOp op) {
  FailureOr<RowTileLayout> layout =
      getRowTileLayout(op.getTable().getType(), op);
  if (failed(layout))
    return failure();
  Buffer ids = e.getBuffer(op.getIds()), table = e.getBuffer(op.getTable());
  Buffer out = e.getResultBuffer(op.getResult());
  int64_t width = layout->columns;
  float scale = op.getScale().convertToFloat();
  // A run is a whole block where there are scales, else a vector's worth.
  int64_t runColumns = layout->blockColumns
                           ? layout->blockColumns
                           : KernelEmitter::lanes * layout->groupColumns;

  auto embedToken = [&](Value token) {
    Value id = e.loadIndex(ids, token);
    Value tile = e.div(id, RowTileLayout::tileRows);
    Value row = e.rem(id, RowTileLayout::tileRows);
    Value tileAt = e.mul(tile, layout->tileBytes);
    auto run = [&](Value firstColumn, int64_t columns) {
      int64_t units = llvm::divideCeil(columns, layout->groupColumns);
      Value unit = e.div(firstColumn, layout->groupColumns);
      Value values = gatherRow(e, table, *layout, tileAt, row, unit, units);
      int64_t padded = units * layout->groupColumns;
      Value factor = e.constantF32(scale);
      if (layout->blockColumns) {
        int64_t scaleBytes = layout->scaleType.getIntOrFloatBitWidth() / 8;
        Value block = e.div(firstColumn, layout->blockColumns);
        Value at =
            e.add(tileAt,
                  e.add(e.mul(e.add(e.mul(block, RowTileLayout::tileRows), row),
                              scaleBytes),
                        layout->scaleOffset));
        Value bits = vector::LoadOp::create(
            e, VectorType::get({scaleBytes}, e.getI8Type()), table.memref, at);
        bits = vector::BitCastOp::create(
            e, VectorType::get({1}, layout->scaleType), bits);
        Value blockScale =
            vector::ExtractOp::create(e, bits, ArrayRef<int64_t>{0});
        if (!layout->scaleType.isF32())
          blockScale = arith::ExtFOp::create(e, e.getF32Type(), blockScale);
        factor = e.mulF(factor, blockScale);
      }
      values = e.mulF(values, e.broadcast(factor, padded));
      Value at = e.add(e.mul(token, width), firstColumn);
      if (padded != columns)
        values = vector::ExtractStridedSliceOp::create(
            e, values, ArrayRef<int64_t>{0}, ArrayRef<int64_t>{columns},
            ArrayRef<int64_t>{1});
      vector::StoreOp::create(e, values, out.memref, at);
    };
    int64_t whole = width / runColumns * runColumns;
    e.loop(e.index(0), e.index(whole), runColumns,
           [&](Value column) { run(column, runColumns); });
    if (whole < width)
      run(e.index(whole), width - whole);
  };

  e.loopTiles([&](Value token) {
    if (!op.getMedia()) {
      embedToken(token);
      return;
    }
    Buffer media = e.getBuffer(op.getMedia());
    Value row = e.loadIndex(e.getBuffer(op.getRows()), token);
    Value isText = e.lessThan(row, e.index(0));
    e.when(isText, [&] { embedToken(token); });
    Value isMedia = e.lessThan(e.index(-1), row);
    e.when(isMedia, [&] {
      e.vectors(0, width, [&](Value offset, int64_t size) {
        Value x = e.load(media, e.add(e.mul(row, width), offset), size);
        e.store(x, out, e.add(e.mul(token, width), offset), size);
      });
    });
  });
  return KernelInfo{{0, 1}, {2 * width, 0}, {0, 0}};
}

KernelInfo cpu::emitResidualNorm(KernelEmitter &e, ResidualNormOp op) {
  Buffer residual = e.getBuffer(op.getResidual());
  Buffer input = e.getBuffer(op.getInput());
  Buffer weight = e.getBuffer(op.getWeight());
  Buffer out = e.getResultBuffer(op.getResult());
  int64_t width = getWidth(op.getInput());
  e.loopTiles([&](Value token) {
    Value at = e.mul(token, width);
    Value inverse =
        e.inverseRms(input, at, width, op.getEps().convertToFloat());
    Value scalar;
    if (op.getScalar())
      scalar =
          e.broadcast(e.loadScalar(e.getBuffer(op.getScalar()), e.index(0)));
    e.vectors(0, width, [&](Value offset, int64_t size) {
      Value here = e.add(at, offset);
      Value x = e.mulF(e.load(input, here, size), inverse);
      Value sum =
          e.fma(x, e.load(weight, offset, size), e.load(residual, here, size));
      e.store(scalar ? e.mulF(sum, scalar) : sum, out, here, size);
    });
  });
  return {{0, 1}, {4 * width, 0}, {0, 0}};
}

KernelInfo cpu::emitPatchEmbedding(KernelEmitter &e, PatchEmbeddingOp op) {
  Buffer input = e.getBuffer(op.getInput());
  Buffer positions = e.getBuffer(op.getPositions());
  Buffer table = e.getBuffer(op.getTable());
  Buffer weight = e.getBuffer(op.getNormWeight());
  Buffer bias = e.getBuffer(op.getNormBias());
  Buffer weight2 = e.getBuffer(op.getPositionNormWeight());
  Buffer bias2 = e.getBuffer(op.getPositionNormBias());
  Buffer out = e.getResultBuffer(op.getResult());
  int64_t width = getWidth(op.getInput());
  float eps = op.getEps().convertToFloat();
  e.loopTiles([&](Value token) {
    Value at = e.mul(token, width);
    Value x = e.loadIndex(positions, e.mul(token, 2));
    Value y = e.loadIndex(positions, e.add(e.mul(token, 2), 1));
    Value columnAt = e.mul(x, 2 * width);
    Value rowAt = e.add(e.mul(y, 2 * width), width);
    // `finish` adds to the normalized values what comes between the norms.
    auto normalize = [&](Buffer source, Buffer scale, Buffer shift,
                         function_ref<Value(Value, Value, int64_t)> finish) {
      auto statistics = e.meanAndInverseDeviation(source, at, width, eps);
      e.vectors(0, width, [&](Value offset, int64_t size) {
        Value here = e.add(at, offset);
        Value v = e.subF(e.load(source, here, size), statistics.first);
        v = e.fma(e.mulF(v, statistics.second), e.load(scale, offset, size),
                  e.load(shift, offset, size));
        e.store(finish(v, offset, size), out, here, size);
      });
    };
    normalize(input, weight, bias, [&](Value v, Value offset, int64_t size) {
      return e.addF(v, e.addF(e.load(table, e.add(columnAt, offset), size),
                              e.load(table, e.add(rowAt, offset), size)));
    });
    normalize(out, weight2, bias2, [](Value v, Value, int64_t) { return v; });
  });
  return {{0, 1}, {12 * width, 0}, {0, 0}};
}
