// The sums of a linear kernel for many tokens by subgroups that multiply
// matrices of f16 with sums in f32.
//
// A workgroup has 128 rows as before, in 4 strips of 32, and tokens for 4
// matrices, 64 or 32. A subgroup has a strip: its sums stay in registers over
// all columns, and are stored once. How many subgroups there are is not known
// here. Where they are fewer than strips, they go over the columns several
// times; where they are more, some only help to decode. With 32 invocations
// each has one.
//
// Numbers: a sum over all columns leaves no place for scales of groups, so that
// weights are decoded to what they stand for and rounded to f16, and codes of
// inputs are multiplied with their scale's share of the token's largest. Both
// roundings are 2^-11 of a number, where inputs of 8 bits have been rounded by
// 2^-8 of the largest in a group; sums of a run of integers would be exact, but
// would take all sums out of their matrices every 32 columns. Inputs that are
// f32 are two f16 instead, which is as good as f32 for weights that an f16
// holds. f32 inputs of weights in a scheme, or in f32, are left to
// `addFloats`, as f16 weights would make the products less than what was asked
// for.
#include "targets/gpu/LinearEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <numeric>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

static constexpr int64_t quad = RowTileLayout::wordBytes;
static constexpr int64_t strips = 4, stripRows = 32;
/// Tokens whose sums are in the workgroup's memory at a time.
static constexpr int64_t storedTokens = 16;
/// Between rows, so that those of a matrix are in different banks: 16 bytes, to
/// which rows are aligned.
static constexpr int64_t padding = 4;

int64_t LinearEmitter::countMatrixWords(int64_t columnsAtOnce) const {
  int64_t rows =
      strips * stripRows + getMatrixTokens() * (splitsInputs ? 2 : 1);
  return std::max(rows * (columnsAtOnce / 2 + padding),
                  strips * stripRows * storedTokens);
}

bool LinearEmitter::usesMatrices() {
  static_assert(strips * stripRows == blockTiles * tileRows);
  splitsInputs = op.getActivations() == Activations::F32;
  for (Value weight : op.getWeights()) {
    auto type = dyn_cast<RankedTensorType>(weight.getType());
    if (splitsInputs && (!type || type.getElementType().isF32()))
      return false;
  }
  e.noteUse(Facts::usesMatrices);
  if (!e.getFacts().matrix)
    return false;
  int64_t room = KernelEmitter::mostSharedWords - e.getSharedWords() -
                 2 * getMatrixTokens();
  // Two matrices deep, or one of 16.
  constexpr int64_t least = 16;
  for (int64_t tried = 2 * e.getFacts().matrix; tried >= least; tried /= 2)
    if (countMatrixWords(tried) <= room) {
      depth = tried;
      return true;
    }
  return false;
}

void LinearEmitter::makeMatrixMemory() {
  depthStride = depth / 2 + padding;
  inputsAt = strips * stripRows * depthStride;
  halves = e.makeShared(countMatrixWords(depth), e.getI32Type());
  factors = e.makeShared(getMatrixTokens(), e.getF32Type());
  unscales = e.makeShared(getMatrixTokens(), e.getF32Type());
}

/// By which a token's inputs are multiplied, so that f16 holds the largest and
/// as much as may be of the smallest, and the number that undoes it.
void LinearEmitter::findFactors(Value firstToken) {
  int64_t tokens = getMatrixTokens();
  bool integers = readsCodes();
  int64_t count = columns, at = valuesAt;
  if (integers) {
    count = layout->scaleColumns
                ? llvm::divideCeil(columns, layout->scaleColumns)
                : 1;
    at = layout->scalesAt;
  }
  // 16 invocations have a token.
  constexpr int64_t lanes = 16, rows = KernelEmitter::threads / lanes;
  Value lane = e.rem(e.getThread(), lanes);
  e.loop(e.div(e.getThread(), lanes), e.index(tokens), rows, [&](Value token) {
    Value row = getTokenRow(e.add(firstToken, token));
    Value most = e.loop(lane, e.index(count), lanes, e.number(0),
                        [&](Value i, ValueRange found) -> SmallVector<Value> {
                          Value x = e.asFloat(loadInput(row, e.add(i, at)));
                          return {e.maxF(found[0], e.absF(x))};
                        })[0];
    e.storeWord(e.asWord(most), halves, e.add(e.mul(token, lanes), lane));
  });
  e.barrier();
  e.when(e.lessThan(e.getThread(), e.index(tokens)), [&] {
    Value most = e.number(0);
    for (int64_t i = 0; i < lanes; ++i) {
      Value at = e.add(e.mul(e.getThread(), lanes), i);
      most = e.maxF(most, e.asFloat(e.loadWord(halves, at)));
    }
    Value factor, unscale = most;
    if (integers) {
      Value isAny = arith::CmpFOp::create(e, arith::CmpFPredicate::OGT, most,
                                          e.number(0));
      factor = e.divF(e.number(1), e.select(isAny, most, e.number(1)));
    } else {
      // A power of two by which the largest is between 2^9 and 2^10.
      constexpr uint32_t mantissaBits = 23, bias = 127, target = 9;
      constexpr uint32_t least = 30, largest = 2 * bias - least;
      Value exponent = e.shiftRight(e.asWord(most), mantissaBits);
      exponent = arith::MaxUIOp::create(e, exponent, e.word(least));
      exponent = arith::MinUIOp::create(e, exponent, e.word(largest));
      auto power = [&](Value biased) {
        return e.asFloat(e.shiftLeft(biased, int64_t(mantissaBits)));
      };
      factor =
          power(arith::SubIOp::create(e, e.word(2 * bias + target), exponent));
      unscale = power(arith::SubIOp::create(e, exponent, e.word(target)));
    }
    e.store(factor, factors, e.getThread());
    e.store(unscale, unscales, e.getThread());
  });
  e.barrier();
}

/// `depth` columns of the rows that subgroups have in this round: an
/// invocation has one row, all of its columns.
void LinearEmitter::loadMatrixWeights(ArrayRef<Stream> streams, Value first,
                                      Value round, Value subgroups) {
  int64_t together = gated ? 2 : 1;
  Value lane = e.rem(e.getThread(), tileRows);
  Value part = e.div(e.getThread(), tileRows);
  Value tile = e.add(streams[0].tile, e.div(part, together));
  // A strip is two parts.
  static_assert(stripRows == 2 * tileRows);
  Value counts = e.equal(e.div(e.div(part, 2), subgroups), round);
  int64_t tiles = streams[0].matrix->reader.getLayout().tiles;
  if (tiles % (blockTiles / together))
    counts = e.both(counts, e.lessThan(tile, e.index(tiles)));
  for (int64_t number = 0; number < together; ++number) {
    Matrix &matrix = *streams[number].matrix;
    SchemeReader &reader = matrix.reader;
    Value condition = counts;
    if (gated)
      condition =
          e.both(counts, e.equal(e.rem(part, together), e.index(number)));
    e.when(condition, [&] {
      SchemeReader::Row row{matrix.words, getTileAt(matrix, tile), lane};
      int64_t group = reader.getGroupColumns();
      int64_t run = group ? std::gcd(group, depth) : depth;
      bool whole = columns % depth == 0;
      if (!whole)
        run = quad;
      Value to = e.mul(e.getThread(), depthStride);
      for (int64_t begin = 0; begin < depth; begin += run) {
        Value column = e.add(first, begin);
        if (!whole)
          column = e.min(column, e.index((columns - 1) / quad * quad));
        SmallVector<Value> values = reader.getWeights(
            row, reader.getGroup(row, column), column, run, run);
        for (int64_t i = 0; i < run; i += 2)
          e.storeWord(e.narrowHalves(values[i], values[i + 1]), halves,
                      e.add(to, (begin + i) / 2));
      }
    });
  }
}

void LinearEmitter::loadMatrixInputs(Value first, Value firstToken) {
  int64_t tokens = getMatrixTokens();
  bool whole = columns % depth == 0;
  if (readsCodes()) {
    int64_t words = depth / quad, last = llvm::divideCeil(columns, quad) - 1;
    e.forThread(tokens * words, [&](Value item) {
      Value token = e.div(item, words), own = e.rem(item, words);
      Value row = getTokenRow(e.add(firstToken, token));
      Value from = e.add(e.div(first, quad), own), there = from;
      if (!whole)
        there = e.min(from, e.index(last));
      Value bytes = loadInput(row, e.add(there, layout->codesAt));
      Value scaleAt = layout->scaleColumns
                          ? e.div(there, layout->scaleColumns / quad)
                          : e.index(0);
      Value scale = e.asFloat(loadInput(row, e.add(scaleAt, layout->scalesAt)));
      scale = e.mulF(scale, e.load(factors, token));
      if (!whole)
        scale =
            e.select(e.lessThan(from, e.index(last + 1)), scale, e.number(0));
      SmallVector<Value> values;
      for (int64_t byte = 0; byte < quad; ++byte) {
        Value code = arith::ShRSIOp::create(
            e, e.shiftLeft(bytes, 24 - 8 * byte), e.word(24));
        values.push_back(
            e.mulF(arith::SIToFPOp::create(e, e.getF32Type(), code), scale));
      }
      Value to =
          e.add(e.add(e.mul(token, depthStride), e.mul(own, 2)), inputsAt);
      e.storeWord(e.narrowHalves(values[0], values[1]), halves, to);
      e.storeWord(e.narrowHalves(values[2], values[3]), halves, e.add(to, 1));
    });
    return;
  }
  int64_t pairs = depth / 2;
  e.forThread(tokens * pairs, [&](Value item) {
    Value token = e.div(item, pairs), own = e.rem(item, pairs);
    Value row = getTokenRow(e.add(firstToken, token));
    Value factor = e.load(factors, token);
    SmallVector<Value> values;
    for (int64_t i = 0; i < 2; ++i) {
      Value column = e.add(e.add(first, e.mul(own, 2)), i), there = column;
      if (!whole)
        there = e.min(column, e.index(columns - 1));
      Value x = e.asFloat(loadInput(row, e.add(there, valuesAt)));
      x = e.mulF(x, factor);
      if (!whole)
        x = e.select(e.lessThan(column, e.index(columns)), x, e.number(0));
      values.push_back(x);
    }
    Value to = e.add(e.add(e.mul(token, depthStride), own), inputsAt);
    Value joined = e.narrowHalves(values[0], values[1]);
    e.storeWord(joined, halves, to);
    if (splitsInputs) {
      auto rounded = e.widenHalves(joined);
      Value rest = e.narrowHalves(e.subF(values[0], rounded.first),
                                  e.subF(values[1], rounded.second));
      e.storeWord(rest, halves, e.add(to, tokens * depthStride));
    }
  });
}

/// Adds the products of `depth` columns to the sums of a strip: tokens by rows,
/// those of the first tokens first.
SmallVector<Value> LinearEmitter::multiply(Value strip, ValueRange before) {
  int64_t size = e.getFacts().matrix, tokens = getMatrixTokens();
  auto getType = [&](StringRef use) {
    return gpu::MMAMatrixType::get({size, size}, e.getF16Type(), use);
  };
  auto load = [&](Value at, StringRef use, bool transposed) -> Value {
    return gpu::SubgroupMmaLoadMatrixOp::create(
        e, getType(use), halves.memref, at, e.getIndexAttr(depthStride),
        transposed ? e.getUnitAttr() : UnitAttr());
  };
  return e.loop(
      e.index(0), e.index(depth / 2), size / 2, before,
      [&](Value column, ValueRange carried) {
        SmallVector<Value> sums(carried), rows;
        Value from = e.add(e.mul(strip, stripRows * depthStride), column);
        for (int64_t row = 0; row < stripRows; row += size)
          rows.push_back(load(e.add(from, row * depthStride), "BOp",
                              /*transposed=*/true));
        auto add = [&](int64_t inputs) {
          for (int64_t token = 0; token < tokens; token += size) {
            Value own = load(e.add(column, inputs + token * depthStride), "AOp",
                             /*transposed=*/false);
            for (auto [r, row] : llvm::enumerate(rows)) {
              Value &sum = sums[token / size * rows.size() + r];
              sum = gpu::SubgroupMmaComputeOp::create(
                  e, sum.getType(), own, row, sum, UnitAttr(), UnitAttr());
            }
          }
        };
        add(inputsAt);
        if (splitsInputs)
          add(inputsAt + tokens * depthStride);
        return sums;
      });
}

/// Writes what this round's sums give, by way of the workgroup's memory.
void LinearEmitter::storeMatrices(ArrayRef<Stream> streams, Value strip,
                                  Value round, Value subgroups, ValueRange sums,
                                  Value firstToken, Buffer out, int64_t rows) {
  int64_t size = e.getFacts().matrix, across = stripRows / size;
  int64_t tokens = getMatrixTokens();
  int64_t together = gated ? 2 : 1, blockRows = strips * stripRows / together;
  auto at = [&](Value ownStrip, Value token, Value row) {
    constexpr int64_t stripWords = storedTokens * stripRows;
    return e.add(e.mul(ownStrip, stripWords),
                 e.add(e.mul(token, stripRows), row));
  };
  for (int64_t begin = 0; begin < tokens; begin += storedTokens) {
    e.when(e.lessThan(strip, e.index(strips)), [&] {
      for (int64_t token = 0; token < storedTokens; token += size)
        for (int64_t i = 0; i < across; ++i)
          gpu::SubgroupMmaStoreMatrixOp::create(
              e, sums[(begin + token) / size * across + i], halves.memref,
              at(strip, e.index(token), e.index(i * size)),
              e.getIndexAttr(stripRows), UnitAttr());
    });
    e.barrier();
    e.forThread(storedTokens * blockRows, [&](Value item) {
      Value ownToken = e.div(item, blockRows), number = e.rem(item, blockRows);
      Value tile = e.div(number, tileRows), lane = e.rem(number, tileRows);
      Value part = e.mul(tile, together), ownStrip = e.div(part, 2);
      Value inStrip = e.add(e.mul(e.rem(part, 2), tileRows), lane);
      Value row = e.add(e.mul(e.add(streams[0].tile, tile), tileRows), lane);
      Value place = e.add(ownToken, begin), token = e.add(firstToken, place);
      Value writes = e.both(e.lessThan(token, e.getTokens()),
                            e.lessThan(row, e.index(rows)));
      writes = e.both(writes, e.equal(e.div(ownStrip, subgroups), round));
      e.when(writes, [&] {
        Value unscale = e.load(unscales, place);
        SmallVector<Value> own;
        for (int64_t i = 0; i < together; ++i) {
          Value sum = e.asFloat(e.loadWord(
              halves, at(ownStrip, ownToken, e.add(inStrip, i * tileRows))));
          own.push_back(e.mulF(sum, unscale));
        }
        e.store(finish(own, row), out, e.add(e.mul(token, rows), row));
      });
    });
    e.barrier();
  }
}

void LinearEmitter::emitMatrices(ArrayRef<Stream> streams, Buffer out,
                                 int64_t rows) {
  // All variants are dispatched alike: the y behind has nothing left to do.
  int64_t tokens = getMatrixTokens(), tiles = tokens / blockTokens;
  Value tile = e.getTokenTile();
  e.when(e.equal(e.rem(tile, tiles), e.index(0)), [&] {
    Value firstToken = e.mul(tile, blockTokens);
    findFactors(firstToken);
    Value subgroup = gpu::SubgroupIdOp::create(e, IntegerAttr());
    Value subgroups = gpu::NumSubgroupsOp::create(e, IntegerAttr());
    Value rounds = e.div(e.add(subgroups, strips - 1), subgroups);
    e.loop(e.index(0), rounds, 1, [&](Value round) {
      Value strip = e.add(e.mul(round, subgroups), subgroup);
      int64_t size = e.getFacts().matrix;
      Value zero = gpu::SubgroupMmaConstantMatrixOp::create(
          e, gpu::MMAMatrixType::get({size, size}, e.getF32Type(), "COp"),
          e.number(0));
      SmallVector<Value> sums(tokens / size * (stripRows / size), zero);
      sums = e.loop(e.index(0), e.index(columns), depth, sums,
                    [&](Value first, ValueRange carried) {
                      loadMatrixWeights(streams, first, round, subgroups);
                      loadMatrixInputs(first, firstToken);
                      e.barrier();
                      auto branch =
                          scf::IfOp::create(e, carried.getTypes(),
                                            e.lessThan(strip, e.index(strips)),
                                            /*withElseRegion=*/true);
                      {
                        OpBuilder::InsertionGuard guard(e);
                        e.setInsertionPointToStart(branch.thenBlock());
                        scf::YieldOp::create(e, multiply(strip, carried));
                        e.setInsertionPointToStart(branch.elseBlock());
                        scf::YieldOp::create(e, carried);
                      }
                      e.barrier();
                      return SmallVector<Value>(branch.getResults());
                    });
      storeMatrices(streams, strip, round, subgroups, sums, firstToken, out,
                    rows);
    });
  });
}
