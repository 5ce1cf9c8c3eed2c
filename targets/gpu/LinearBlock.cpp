// The sums of a linear kernel for many tokens: a block of rows times tokens by
// way of the workgroup's memory.
#include "targets/gpu/LinearEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <numeric>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

static constexpr int64_t quad = RowTileLayout::wordBytes;

void LinearEmitter::makeBlockMemory() {
  constexpr int64_t rows = blockTiles * tileRows;
  bool integers = llvm::any_of(
      matrices, [](const Matrix &matrix) { return matrix.form.integers; });
  bool floats = llvm::any_of(
      matrices, [](const Matrix &matrix) { return !matrix.form.integers; });
  // A word a column, or four columns of bytes.
  int64_t words = floats ? floatColumns : byteColumns / quad;
  Type i32 = e.getI32Type(), f32 = e.getF32Type();
  weights = e.makeShared(rows * words, i32);
  inputs = e.makeShared(blockTokens * words, i32);
  if (!integers)
    return;
  slopes = e.makeShared(rows, f32);
  offsets = e.makeShared(rows, f32);
  scales = e.makeShared(blockTokens, f32);
  sums = e.makeShared(blockTokens, f32);
  codeSums = e.makeShared(blockTokens, i32);
}

/// Tokens that are not there are the last one again.
Value LinearEmitter::getTokenRow(Value token) {
  return e.mul(e.min(token, e.add(e.getTokens(), -1)), stride);
}

/// The sums of 8 streams x 4 tokens: those of the first stream first. Row
/// `thread mod 16` of each stream's tile, tokens from `thread / 16 * 4` on.
SmallVector<Value> LinearEmitter::addIntegers(ArrayRef<Stream> streams,
                                              Value firstToken) {
  const LinearForm &form = streams[0].matrix->form;
  bool small = llvm::all_of(streams, [](const Stream &stream) {
    return stream.matrix->reader.hasSmallBytes();
  });
  int64_t run = form.run, step = std::gcd(run, byteColumns);
  int64_t runs = llvm::divideCeil(columns, run), words = step / quad;
  int64_t lastQuad = llvm::divideCeil(columns, quad) - 1;
  bool whole = columns % run == 0;
  Value thread = e.getThread(), lane = e.rem(thread, tileRows);
  Value part = e.div(thread, tileRows);
  auto own = [&](const Stream &stream) {
    return SchemeReader::Row{stream.matrix->words,
                             getTileAt(*stream.matrix, stream.tile), lane};
  };
  auto whenExists = [&](const Stream &stream, Value also,
                        function_ref<void()> body) {
    Value condition = also && stream.exists ? e.both(also, stream.exists)
                      : also                ? also
                                            : stream.exists;
    condition ? e.when(condition, body) : body();
  };
  // Weights of a step: each invocation has one word in each row tile.
  auto loadWeights = [&](Value firstQuad) {
    auto load = [&] {
      Value at = e.add(firstQuad, part);
      if (!whole)
        at = e.min(at, e.index(lastQuad));
      for (auto [i, stream] : llvm::enumerate(streams))
        whenExists(stream, {}, [&, i = int64_t(i), &stream = stream] {
          Value bytes = stream.matrix->reader.getBytes(
              own(stream), e.mul(at, quad), quad, quad)[0];
          Value to =
              e.add(e.add(e.mul(part, tileRows), lane), i * tileRows * words);
          e.storeWord(bytes, weights, to);
        });
    };
    words == KernelEmitter::threads / tileRows
        ? load()
        : e.when(e.lessThan(part, e.index(words)), load);
  };
  // Of the tokens' inputs every 128th.
  auto loadInputs = [&](Value firstQuad) {
    e.forThread(blockTokens * words, [&](Value at) {
      Value token = e.div(at, words),
            column = e.add(firstQuad, e.rem(at, words));
      Value row = getTokenRow(e.add(firstToken, token));
      Value bytes = loadInput(
          row, e.add(e.min(column, e.index(lastQuad)), layout->codesAt));
      if (!whole)
        bytes = e.select(e.lessThan(column, e.index(lastQuad + 1)), bytes,
                         e.word(0));
      e.storeWord(bytes, inputs, at);
    });
  };
  auto loadRun = [&](Value number) {
    Value first = e.mul(number, run);
    for (auto [i, stream] : llvm::enumerate(streams))
      whenExists(
          stream, e.equal(part, e.index(i)),
          [&, i = int64_t(i), &stream = stream] {
            auto group = stream.matrix->reader.getGroup(own(stream), first);
            Value to = e.add(lane, i * tileRows);
            e.store(group.slope ? group.slope : e.number(1), slopes, to);
            if (form.sumPeriod)
              e.store(group.offset ? group.offset : e.number(0), offsets, to);
          });
    // Other invocations than those that have the last rows' fields.
    Value token = e.add(thread, -(KernelEmitter::threads - blockTokens));
    e.when(e.lessThan(e.index(-1), token), [&] {
      Value row = getTokenRow(e.add(firstToken, token));
      Value scaleAt = layout->scaleColumns ? e.div(first, layout->scaleColumns)
                                           : e.index(0);
      e.storeWord(loadInput(row, e.add(scaleAt, layout->scalesAt)), scales,
                  token);
      if (form.sumPeriod)
        e.storeWord(loadInput(row, e.add(number, layout->findSums(run))), sums,
                    token);
      if (form.excess)
        e.storeWord(loadInput(row, e.add(number, layout->findCodeSums(
                                                     run, form.excess))),
                    codeSums, token);
    });
  };

  auto streamCount = static_cast<int64_t>(streams.size());
  Value ownToken = e.mul(part, ownTokens);
  SmallVector<Value> zeros(streamCount * ownTokens, e.number(0));
  auto addRun = [&](Value number, ValueRange carried) {
    Value runQuad = e.mul(number, run / quad);
    SmallVector<Value> dots(streamCount * ownTokens, e.word(0));
    auto addStep = [&](Value firstQuad, ValueRange before) {
      SmallVector<Value> next(before);
      loadWeights(firstQuad);
      loadInputs(firstQuad);
      e.barrier();
      for (int64_t word = 0; word < words; ++word) {
        SmallVector<Value> bytes;
        for (int64_t token = 0; token < ownTokens; ++token)
          bytes.push_back(e.loadWord(
              inputs, e.add(e.mul(e.add(ownToken, token), words), word)));
        for (int64_t s = 0; s < streamCount; ++s) {
          Value own = e.loadWord(
              weights, e.add(lane, s * tileRows * words + word * tileRows));
          for (int64_t token = 0; token < ownTokens; ++token) {
            Value &dot = next[s * ownTokens + token];
            dot = e.addDot(dot, own, bytes[token], small);
          }
        }
      }
      e.barrier();
      return next;
    };
    loadRun(number);
    if (run == step)
      dots = addStep(runQuad, dots);
    else
      dots = e.loop(runQuad, e.add(runQuad, run / quad), words, dots, addStep);
    // What loadRun wrote is there: a barrier came since, and another comes
    // before it writes again.
    SmallVector<Value> result(carried);
    for (int64_t s = 0; s < streamCount; ++s) {
      Value slope = e.load(slopes, e.add(lane, s * tileRows));
      Value offset;
      if (form.sumPeriod)
        offset = e.load(offsets, e.add(lane, s * tileRows));
      for (int64_t token = 0; token < ownTokens; ++token) {
        Value at = e.add(ownToken, token);
        Value dot = dots[s * ownTokens + token];
        if (form.excess)
          dot = arith::AddIOp::create(e, dot, e.loadWord(codeSums, at));
        Value value = arith::SIToFPOp::create(e, e.getF32Type(), dot);
        Value &sum = result[s * ownTokens + token];
        sum = e.fma(e.mulF(slope, value), e.load(scales, at), sum);
        if (offset)
          sum = e.fma(offset, e.load(sums, at), sum);
      }
    }
    e.barrier();
    return result;
  };
  return e.loop(e.index(0), e.index(runs), 1, zeros, addRun);
}

SmallVector<Value> LinearEmitter::addFloats(ArrayRef<Stream> streams,
                                            Value firstToken) {
  Value thread = e.getThread(), lane = e.rem(thread, tileRows);
  Value part = e.div(thread, tileRows);
  bool whole = columns % floatColumns == 0;
  // An invocation decodes four columns of half of the row tiles: stream i and
  // that which is half of them behind it are of one matrix.
  constexpr int64_t quads = floatColumns / quad;
  static_assert(quads * 2 == KernelEmitter::threads / tileRows);
  auto streamCount = static_cast<int64_t>(streams.size());
  int64_t half = streamCount / 2;
  Value isSecond = e.lessThan(e.index(quads - 1), part);
  Value ownQuad = e.rem(part, quads);
  auto loadWeights = [&](Value first) {
    Value column = e.add(first, e.mul(ownQuad, quad));
    if (!whole)
      column = e.min(column, e.index((columns - 1) / quad * quad));
    for (int64_t i = 0; i < half; ++i) {
      const Stream &stream = streams[i], &other = streams[i + half];
      auto load = [&] {
        SchemeReader &reader = stream.matrix->reader;
        Value tile = e.select(isSecond, other.tile, stream.tile);
        SchemeReader::Row row{stream.matrix->words,
                              getTileAt(*stream.matrix, tile), lane};
        auto group = reader.getGroup(row, column);
        SmallVector<Value> values =
            reader.getWeights(row, group, column, quad, quad);
        Value number = e.select(isSecond, e.index(i + half), e.index(i));
        Value to = e.add(
            e.mul(e.add(e.mul(number, floatColumns), e.mul(ownQuad, quad)),
                  tileRows),
            lane);
        for (int64_t j = 0; j < quad; ++j)
          e.storeWord(e.asWord(values[j]), weights, e.add(to, j * tileRows));
      };
      stream.exists
          ? e.when(e.select(isSecond, other.exists, stream.exists), load)
          : load();
    }
  };
  auto loadInputs = [&](Value first) {
    e.forThread(blockTokens * floatColumns, [&](Value at) {
      Value column = e.add(first, e.rem(at, floatColumns));
      Value row = getTokenRow(e.add(firstToken, e.div(at, floatColumns)));
      Value x;
      if (whole) {
        x = loadInput(row, e.add(column, valuesAt));
      } else {
        x = loadInput(row,
                      e.add(e.min(column, e.index(columns - 1)), valuesAt));
        x = e.select(e.lessThan(column, e.index(columns)), x, e.word(0));
      }
      e.storeWord(x, inputs, at);
    });
  };
  Value ownToken = e.mul(part, ownTokens);
  SmallVector<Value> zeros(streamCount * ownTokens, e.number(0));
  return e.loop(
      e.index(0), e.index(columns), floatColumns, zeros,
      [&](Value first, ValueRange carried) {
        loadWeights(first);
        loadInputs(first);
        e.barrier();
        SmallVector<Value> result = e.loop(
            e.index(0), e.index(floatColumns), 1, carried,
            [&](Value column, ValueRange carried) {
              SmallVector<Value> next(carried), x;
              for (int64_t token = 0; token < ownTokens; ++token)
                x.push_back(e.asFloat(e.loadWord(
                    inputs, e.add(e.mul(e.add(ownToken, token), floatColumns),
                                  column))));
              for (int64_t s = 0; s < streamCount; ++s) {
                Value own = e.asFloat(e.loadWord(
                    weights,
                    e.add(e.mul(e.add(column, s * floatColumns), tileRows),
                          lane)));
                for (int64_t token = 0; token < ownTokens; ++token) {
                  Value &sum = next[s * ownTokens + token];
                  sum = e.fma(own, x[token], sum);
                }
              }
              return next;
            });
        e.barrier();
        return result;
      });
}

void LinearEmitter::emitBlock(ArrayRef<Stream> streams, Buffer out,
                              int64_t rows) {
  Value lane = e.rem(e.getThread(), tileRows);
  Value ownToken = e.mul(e.div(e.getThread(), tileRows), ownTokens);
  Value firstToken = e.mul(e.getTokenTile(), blockTokens);
  SmallVector<Value> sums = streams[0].matrix->form.integers
                                ? addIntegers(streams, firstToken)
                                : addFloats(streams, firstToken);
  int64_t together = gated ? 2 : 1;
  for (size_t s = 0; s < streams.size(); s += together) {
    Value row = e.add(e.mul(streams[s].tile, tileRows), lane);
    for (int64_t i = 0; i < ownTokens; ++i) {
      Value token = e.add(firstToken, e.add(ownToken, i));
      Value writes = e.both(e.lessThan(token, e.getTokens()),
                            e.lessThan(row, e.index(rows)));
      e.when(writes, [&] {
        SmallVector<Value> own;
        for (int64_t j = 0; j < together; ++j)
          own.push_back(sums[(s + j) * ownTokens + i]);
        e.store(finish(own, row), out, e.add(e.mul(token, rows), row));
      });
    }
  }
}
