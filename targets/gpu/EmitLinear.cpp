// The linear kernels: workgroups, epilogues, and the sums for one token.
#include "targets/gpu/LinearEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <numeric>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

static constexpr int64_t quad = RowTileLayout::wordBytes;

LinearEmitter::LinearEmitter(KernelEmitter &e, FusedLinearOp op)
    : e(e), op(op), columns(op.getColumns()), single(e.getStaticTokens() == 1),
      gated(op.getEpilogue() == Epilogue::GatedGelu) {}

LogicalResult LinearEmitter::bind() {
  PackedAttr packing = op.getPacking();
  if (packing) {
    layout.emplace(packing);
    stride = layout->words;
    valuesAt = layout->valuesAt;
  } else {
    if (op.getNorm() != Norm::None || op.getActivations() != Activations::F32)
      return op.emitOpError("normalizes or rounds its input: expected one that "
                            "lap-pack-inputs has packed");
    stride = columns;
  }
  input = e.getBuffer(op.getInput());
  constexpr int64_t none = PackedInputLayout::none;
  for (Value weight : op.getWeights()) {
    FailureOr<SchemeReader> reader =
        SchemeReader::create(e, weight.getType(), op);
    FailureOr<LinearForm> form = LinearForm::create(op, weight);
    if (failed(reader) || failed(form))
      return failure();
    bool complete = !form->integers && valuesAt != none;
    if (form->integers) {
      reader->useIntegers();
      complete = layout && layout->codesAt != none &&
                 (!form->excess ||
                  layout->findCodeSums(form->run, form->excess) != none) &&
                 (!form->sumPeriod || layout->findSums(form->run) != none);
    }
    if (!complete)
      return op.emitOpError("lacks what it reads of its input: expected one "
                            "that lap-pack-inputs has packed for it");
    matrices.push_back({e.getBuffer(weight), std::move(*reader), *form});
  }
  return success();
}

/// A window of the matrix may be what is bound.
Value LinearEmitter::getTileAt(Matrix &matrix, Value tile) {
  int64_t words = matrix.reader.getLayout().tileBytes / quad;
  if (matrices.size() == 1 || gated) {
    int64_t block = single ? 1 : gated ? blockTiles / 2 : blockTiles;
    tile = e.sub(tile, e.mul(e.getWindowBegin(), block));
  }
  return e.mul(tile, words);
}

Value LinearEmitter::addBias(Value sum, Value row) {
  return op.getBias() ? e.addF(sum, e.load(e.getBuffer(op.getBias()), row))
                      : sum;
}

Value LinearEmitter::finish(ArrayRef<Value> sums, Value row) {
  if (gated)
    return e.mulF(e.gelu(sums[0]), sums[1]);
  Value sum = addBias(sums[0], row);
  return op.getEpilogue() == Epilogue::Softcap
             ? e.softcap(sum, op.getCap().convertToFloat())
             : sum;
}

/// Runs of columns share slope and scale. The part has every 8th of them.
SmallVector<Value> LinearEmitter::sumIntegers(ArrayRef<Stream> streams,
                                              ArrayRef<SchemeReader::Row> rows,
                                              Value part) {
  const LinearForm &form = streams[0].matrix->form;
  int64_t run = form.run, runs = llvm::divideCeil(columns, run);
  int64_t quads = llvm::divideCeil(columns, quad);
  auto addQuads = [&](Value firstQuad, int64_t count, int64_t aligned,
                      SmallVector<Value> dots) {
    SmallVector<Value> inputs;
    for (int64_t i = 0; i < count; ++i)
      inputs.push_back(
          e.loadWord(input, e.add(firstQuad, layout->codesAt + i)));
    for (auto [s, stream] : llvm::enumerate(streams)) {
      SchemeReader &reader = stream.matrix->reader;
      bool small = reader.hasSmallBytes();
      auto bytes = reader.getBytes(rows[s], e.mul(firstQuad, quad),
                                   count * quad, aligned);
      for (int64_t i = 0; i < count; ++i)
        dots[s] = e.addDot(dots[s], bytes[i], inputs[i], small);
    }
    return dots;
  };
  auto addRun = [&](Value number, ValueRange carried) {
    Value first = e.mul(number, run), firstQuad = e.div(first, quad);
    Value initial = e.word(0);
    if (form.excess)
      initial = e.loadWord(
          input, e.add(number, layout->findCodeSums(run, form.excess)));
    SmallVector<Value> dots(streams.size(), initial);
    constexpr int64_t unrolled = 8;
    if (columns % run == 0 && run / quad <= unrolled) {
      dots = addQuads(firstQuad, run / quad, run, dots);
    } else {
      Value end = e.min(e.add(firstQuad, run / quad), e.index(quads));
      dots = e.loop(firstQuad, end, 1, dots, [&](Value at, ValueRange before) {
        return addQuads(at, 1, quad, SmallVector<Value>(before));
      });
    }
    Value scaleAt =
        layout->scaleColumns ? e.div(first, layout->scaleColumns) : e.index(0);
    Value scale =
        e.asFloat(e.loadWord(input, e.add(scaleAt, layout->scalesAt)));
    Value inputs;
    if (form.sumPeriod)
      inputs =
          e.asFloat(e.loadWord(input, e.add(number, layout->findSums(run))));
    SmallVector<Value> sums;
    for (auto [s, stream] : llvm::enumerate(streams)) {
      auto group = stream.matrix->reader.getGroup(rows[s], first);
      Value value = arith::SIToFPOp::create(e, e.getF32Type(), dots[s]);
      if (group.slope)
        value = e.mulF(group.slope, value);
      Value sum = e.fma(value, scale, carried[s]);
      if (inputs)
        sum = e.fma(group.offset, inputs, sum);
      sums.push_back(sum);
    }
    return sums;
  };
  SmallVector<Value> zeros(streams.size(), e.number(0));
  return e.loop(part, e.index(runs), parts, zeros, addRun);
}

/// The part has every 8th run of up to 32 columns of a group.
SmallVector<Value> LinearEmitter::sumFloats(ArrayRef<Stream> streams,
                                            ArrayRef<SchemeReader::Row> rows,
                                            Value part) {
  constexpr int64_t most = 32;
  int64_t group = streams[0].matrix->reader.getGroupColumns();
  int64_t run = group ? std::gcd(group, most) : most;
  auto addRun = [&](Value first, int64_t count, ValueRange carried) {
    SmallVector<Value> sums(carried), inputs;
    for (int64_t i = 0; i < count; ++i)
      inputs.push_back(
          e.asFloat(e.loadWord(input, e.add(first, valuesAt + i))));
    for (auto [s, stream] : llvm::enumerate(streams)) {
      SchemeReader &reader = stream.matrix->reader;
      auto weights = reader.getWeights(rows[s], reader.getGroup(rows[s], first),
                                       first, count, run);
      for (int64_t i = 0; i < count; ++i)
        sums[s] = e.fma(inputs[i], weights[i], sums[s]);
    }
    return sums;
  };
  int64_t whole = columns / run;
  SmallVector<Value> sums(streams.size(), e.number(0));
  sums = e.loop(part, e.index(whole), parts, sums,
                [&](Value number, ValueRange carried) {
                  return addRun(e.mul(number, run), run, carried);
                });
  if (int64_t rest = columns - whole * run) {
    // Of one invocation a row: a loop of one round, or none.
    Value own = e.equal(part, e.index(whole % parts));
    Value end = e.select(own, e.index(1), e.index(0));
    sums = e.loop(e.index(0), end, 1, sums, [&](Value, ValueRange carried) {
      return addRun(e.index(whole * run), rest, carried);
    });
  }
  return sums;
}

void LinearEmitter::emitSingle(ArrayRef<Stream> streams, Buffer out,
                               int64_t rows) {
  Value row = e.rem(e.getThread(), tileRows);
  Value part = e.div(e.getThread(), tileRows);
  SmallVector<SchemeReader::Row> ownRows;
  for (const Stream &stream : streams)
    ownRows.push_back(
        {stream.matrix->words, getTileAt(*stream.matrix, stream.tile), row});
  SmallVector<Value> sums = streams[0].matrix->form.integers
                                ? sumIntegers(streams, ownRows, part)
                                : sumFloats(streams, ownRows, part);
  for (auto [i, sum] : llvm::enumerate(sums))
    e.store(sum, partial,
            e.add(e.getThread(), int64_t(i) * KernelEmitter::threads));
  e.barrier();
  Value outRow = e.add(e.mul(streams[0].tile, tileRows), row);
  Value writes = e.both(e.lessThan(e.getThread(), e.index(tileRows)),
                        e.lessThan(outRow, e.index(rows)));
  e.when(writes, [&] {
    SmallVector<Value> sums;
    for (size_t i = 0; i < streams.size(); ++i) {
      Value sum;
      for (int64_t part = 0; part < parts; ++part) {
        Value own =
            e.load(partial, e.add(row, int64_t(i) * KernelEmitter::threads +
                                           part * tileRows));
        sum = sum ? e.addF(sum, own) : own;
      }
      sums.push_back(sum);
    }
    e.store(finish(sums, outRow), out, outRow);
  });
}

FailureOr<KernelInfo> LinearEmitter::emit() {
  if (failed(bind()))
    return failure();
  if (single)
    partial =
        e.makeShared(KernelEmitter::threads * (gated ? 2 : 1), e.getF32Type());
  else if (usesMatrices())
    makeMatrixMemory();
  else
    makeBlockMemory();
  auto emitRows = [&](ArrayRef<Stream> streams, Buffer out, int64_t rows) {
    if (single)
      emitSingle(streams, out, rows);
    else if (depth)
      emitMatrices(streams, out, rows);
    else
      emitBlock(streams, out, rows);
  };
  // Row tiles of a matrix that a workgroup has.
  int64_t block = single ? 1 : gated ? blockTiles / 2 : blockTiles;
  KernelInfo info;
  if (gated) {
    int64_t tiles = matrices[0].reader.getLayout().tiles;
    SmallVector<Stream> streams;
    for (int64_t i = 0; i < block; ++i) {
      Value tile = e.add(e.mul(e.getTile(), block), i);
      Value exists;
      if (tiles % block)
        exists = e.lessThan(tile, e.index(tiles));
      streams.push_back({&matrices[0], tile, exists});
      streams.push_back({&matrices[1], tile, exists});
    }
    Buffer out = e.getResultBuffer(op.getResults()[0]);
    int64_t rows = matrices[0].reader.getLayout().rows;
    emitRows(streams, out, rows);
    info.tiles = {int64_t(llvm::divideCeil(tiles, block)), 0};
  } else {
    int64_t before = 0;
    for (auto [number, matrix] : llvm::enumerate(matrices)) {
      int64_t tiles = matrix.reader.getLayout().tiles;
      int64_t count = llvm::divideCeil(tiles, block);
      auto emitMatrix = [&] {
        SmallVector<Stream> streams;
        Value first = e.mul(e.add(e.getTile(), -before), block);
        for (int64_t i = 0; i < block; ++i) {
          Value tile = e.add(first, i), exists;
          if (tiles % block)
            exists = e.lessThan(tile, e.index(tiles));
          streams.push_back({&matrix, tile, exists});
        }
        Buffer out = e.getResultBuffer(op.getResults()[number]);
        int64_t rows = matrix.reader.getLayout().rows;
        emitRows(streams, out, rows);
      };
      if (matrices.size() == 1) {
        emitMatrix();
      } else {
        Value inside = e.both(e.lessThan(e.index(before - 1), e.getTile()),
                              e.lessThan(e.getTile(), e.index(before + count)));
        e.when(inside, emitMatrix);
      }
      before += count;
    }
    info.tiles = {before, 0};
  }
  int64_t work = tileRows * block * columns * (gated ? 2 : 1);
  info.tileWork = single ? Extent{work, 0} : Extent{0, work};
  if (!single)
    info.tokenTile = blockTokens;
  // Matrices with tiles of their own are small enough to be bound.
  if (matrices.size() == 1 || gated) {
    info.windowBytes.assign(e.getOperandCount(), 0);
    for (Matrix &matrix : matrices)
      info.windowBytes[e.getOperandNumber(matrix.words)] =
          block * matrix.reader.getLayout().tileBytes;
  }
  return info;
}

FailureOr<KernelInfo> simt::emitLinear(KernelEmitter &e, FusedLinearOp op) {
  return LinearEmitter(e, op).emit();
}
