// Kernels whose tile is a token: embedding, residual + norm, two rows side by
// side, and the middle of the patch projection.
#include "targets/gpu/SchemeReader.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

static KernelInfo makeInfo(KernelEmitter &e, int64_t work) {
  KernelInfo info;
  info.tiles = e.getTiles();
  info.tileWork = {work, 0};
  return info;
}

FailureOr<KernelInfo> simt::emitEmbed(KernelEmitter &e, EmbedOp op) {
  FailureOr<SchemeReader> reader =
      SchemeReader::create(e, op.getTable().getType(), op);
  if (failed(reader))
    return failure();
  const RowTileLayout &layout = reader->getLayout();
  Buffer ids = e.getBuffer(op.getIds()), table = e.getBuffer(op.getTable());
  Buffer out = e.getResultBuffer(op.getResult());
  int64_t width = layout.columns;
  constexpr int64_t quad = RowTileLayout::wordBytes;
  Value scale = e.number(op.getScale().convertToFloat());
  Value token = e.getTile(), outAt = e.mul(token, width);

  auto embedToken = [&] {
    Value id = e.loadIndex(ids, token);
    Value tile = e.div(id, RowTileLayout::tileRows);
    // The window that is bound may be another part of the table.
    Value inside = e.both(e.lessThan(e.add(e.getWindowBegin(), -1), tile),
                          e.lessThan(tile, e.getWindowEnd()));
    e.when(inside, [&] {
      Value tileAt =
          e.mul(e.sub(tile, e.getWindowBegin()), layout.tileBytes / quad);
      SchemeReader::Row row{table, tileAt, e.rem(id, RowTileLayout::tileRows)};
      e.forThread(llvm::divideCeil(width, quad), [&](Value four) {
        Value column = e.mul(four, quad);
        SmallVector<Value> weights = reader->getWeights(
            row, reader->getGroup(row, column), column, quad, quad);
        for (int64_t i = 0; i < quad; ++i) {
          auto write = [&] {
            e.store(e.mulF(weights[i], scale), out,
                    e.add(outAt, e.add(column, i)));
          };
          width % quad
              ? e.when(e.lessThan(e.add(column, i), e.index(width)), write)
              : write();
        }
      });
    });
  };

  if (op.getMedia()) {
    Buffer media = e.getBuffer(op.getMedia());
    Value row = e.loadIndex(e.getBuffer(op.getRows()), token);
    Value isText = e.lessThan(row, e.index(0));
    e.when(isText, embedToken);
    e.when(e.lessThan(e.index(-1), row), [&] {
      e.forThread(width, [&](Value i) {
        e.store(e.load(media, e.add(e.mul(row, width), i)), out,
                e.add(outAt, i));
      });
    });
  } else {
    embedToken();
  }
  KernelInfo info = makeInfo(e, 32 * width);
  info.windowBytes.assign(e.getOperandCount(), 0);
  info.windowBytes[e.getOperandNumber(table)] = layout.tileBytes;
  info.windowsRepeat = true;
  return info;
}

KernelInfo simt::emitResidualNorm(KernelEmitter &e, ResidualNormOp op) {
  Buffer residual = e.getBuffer(op.getResidual());
  Buffer input = e.getBuffer(op.getInput());
  Buffer weight = e.getBuffer(op.getWeight());
  Buffer out = e.getResultBuffer(op.getResult());
  int64_t width = getWidth(op.getInput());
  Value at = e.mul(e.getTile(), width);
  Value inverse = e.inverseRms(input, at, width, op.getEps().convertToFloat());
  Value scalar;
  if (op.getScalar())
    scalar = e.load(e.getBuffer(op.getScalar()), e.index(0));
  e.forThread(width, [&](Value i) {
    Value here = e.add(at, i);
    Value x = e.mulF(e.load(input, here), inverse);
    Value sum = e.fma(x, e.load(weight, i), e.load(residual, here));
    e.store(scalar ? e.mulF(sum, scalar) : sum, out, here);
  });
  return makeInfo(e, 4 * width);
}

KernelInfo simt::emitConcat(KernelEmitter &e, ConcatOp op) {
  Buffer lhs = e.getBuffer(op.getLhs()), rhs = e.getBuffer(op.getRhs());
  Buffer out = e.getResultBuffer(op.getResult());
  int64_t left = getWidth(op.getLhs()), right = getWidth(op.getRhs());
  Value leftAt = e.mul(e.getTile(), left), rightAt = e.mul(e.getTile(), right);
  Value at = e.mul(e.getTile(), left + right);
  e.forThread(left, [&](Value i) {
    e.store(e.load(lhs, e.add(leftAt, i)), out, e.add(at, i));
  });
  Value inverse;
  if (op.getNorm())
    inverse = e.inverseRms(rhs, rightAt, right, op.getEps().convertToFloat());
  e.forThread(right, [&](Value i) {
    Value x = e.load(rhs, e.add(rightAt, i));
    if (inverse)
      x = e.mulF(e.mulF(x, inverse), e.load(e.getBuffer(op.getNorm()), i));
    e.store(x, out, e.add(e.add(at, left), i));
  });
  return makeInfo(e, left + 3 * right);
}

KernelInfo simt::emitPatchEmbedding(KernelEmitter &e, PatchEmbeddingOp op) {
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
  Value token = e.getTile(), at = e.mul(token, width);
  Value x = e.loadIndex(positions, e.mul(token, 2));
  Value y = e.loadIndex(positions, e.add(e.mul(token, 2), 1));
  Value columnAt = e.mul(x, 2 * width);
  Value rowAt = e.add(e.mul(y, 2 * width), width);
  // `finish` adds to the normalized values what comes between the norms. An
  // invocation reads again what it has written, and nothing else.
  auto normalize = [&](Buffer source, Buffer scale, Buffer shift,
                       function_ref<Value(Value, Value)> finish) {
    auto statistics = e.meanAndInverseDeviation(source, at, width, eps);
    e.forThread(width, [&](Value i) {
      Value here = e.add(at, i);
      Value v = e.subF(e.load(source, here), statistics.first);
      v = e.fma(e.mulF(v, statistics.second), e.load(scale, i),
                e.load(shift, i));
      e.store(finish(v, i), out, here);
    });
  };
  normalize(input, weight, bias, [&](Value v, Value i) {
    return e.addF(v, e.addF(e.load(table, e.add(columnAt, i)),
                            e.load(table, e.add(rowAt, i))));
  });
  normalize(out, weight2, bias2, [](Value v, Value) { return v; });
  return makeInfo(e, 12 * width);
}
