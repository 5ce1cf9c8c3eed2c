// Kernels whose tile is a token: embedding, residual + norm, two rows side by
// side, and the middle of the patch projection.
#include "targets/cpu/SchemeDecoder.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

FailureOr<KernelInfo> cpu::emitEmbed(KernelEmitter &e, EmbedOp op) {
  FailureOr<SchemeDecoder> decoder =
      SchemeDecoder::create(e, op.getTable().getType(), op);
  if (failed(decoder))
    return failure();
  const RowTileLayout &layout = decoder->getLayout();
  Buffer ids = e.getBuffer(op.getIds()), table = e.getBuffer(op.getTable());
  Buffer out = e.getResultBuffer(op.getResult());
  int64_t width = layout.columns;
  float scale = op.getScale().convertToFloat();
  int64_t span = decoder->getSpanColumns(8, 32);
  // A token's row lies in a lane of its tile's 16: the tile is decoded, some
  // columns at a time, into scratch memory, and the lane is taken from there.
  Buffer lines = e.getScratch();

  auto embedToken = [&](Value token) {
    Value id = e.loadIndex(ids, token);
    Value row = e.rem(id, RowTileLayout::tileRows);
    Value tileAt = e.mul(e.div(id, RowTileLayout::tileRows), layout.tileBytes);
    Stream stream{table, tileAt};
    Value outAt = e.mul(token, width);
    auto embedSpan = [&](const SchemeDecoder::Group &group, Value column,
                         int64_t count) {
      SmallVector<Value> values =
          decoder->getValues(stream, column, count, span);
      for (auto [i, value] : llvm::enumerate(values))
        e.store(decoder->getWeight(group, value), lines,
                e.index(i * KernelEmitter::lanes));
      for (int64_t i = 0; i < count; ++i) {
        Value lane = e.loadScalar(lines, e.add(row, i * KernelEmitter::lanes));
        e.storeScalar(e.mulF(lane, e.constantF32(scale)), out,
                      e.add(outAt, e.add(column, i)));
      }
    };
    decoder->walkGroups(
        stream, {},
        [&](ArrayRef<SchemeDecoder::Group> groups, Value first, int64_t count,
            ValueRange) {
          int64_t whole = count / span * span;
          e.loop(first, e.add(first, whole), span,
                 [&](Value at) { embedSpan(groups[0], at, span); });
          if (whole < count)
            embedSpan(groups[0], e.add(first, whole), count - whole);
          return SmallVector<Value>();
        });
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
  int64_t lineBytes = KernelEmitter::lanes * sizeof(float);
  return KernelInfo{{0, 1}, {32 * width, 0}, {span * lineBytes, 0}};
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

KernelInfo cpu::emitConcat(KernelEmitter &e, ConcatOp op) {
  Buffer lhs = e.getBuffer(op.getLhs()), rhs = e.getBuffer(op.getRhs());
  Buffer out = e.getResultBuffer(op.getResult());
  int64_t left = getWidth(op.getLhs()), right = getWidth(op.getRhs());
  e.loopTiles([&](Value token) {
    Value leftAt = e.mul(token, left), rightAt = e.mul(token, right);
    Value at = e.mul(token, left + right);
    e.vectors(0, left, [&](Value offset, int64_t size) {
      e.store(e.load(lhs, e.add(leftAt, offset), size), out, e.add(at, offset),
              size);
    });
    Value inverse;
    if (op.getNorm())
      inverse = e.inverseRms(rhs, rightAt, right, op.getEps().convertToFloat());
    e.vectors(0, right, [&](Value offset, int64_t size) {
      Value x = e.load(rhs, e.add(rightAt, offset), size);
      if (inverse)
        x = e.mulF(e.mulF(x, inverse),
                   e.load(e.getBuffer(op.getNorm()), offset, size));
      e.store(x, out, e.add(e.add(at, left), offset), size);
    });
  });
  return {{0, 1}, {left + 3 * right, 0}, {0, 0}};
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
