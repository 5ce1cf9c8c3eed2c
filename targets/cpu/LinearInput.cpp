// The input of a linear kernel: normalized, rounded as `activations` says, and
// packed into scratch memory.
#include "targets/cpu/LinearEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

/// Decides which slots there are.
void LinearEmitter::planInput() {
  constexpr int64_t blockColumns = 32;
  Activations activations = op.getActivations();
  if (activations == Activations::Int8Block)
    scaleColumns = std::min(blockColumns, columns);
  else if (activations == Activations::Int8Token)
    scaleColumns = columns;
  bool integers = false, floats = false;
  unsigned codeBits = 0;
  for (auto [own, weight] : llvm::zip(decoders, op.getWeights())) {
    if (!usesIntegers(op, weight)) {
      floats = true;
      continue;
    }
    integers = true;
    own.useIntegers();
    codeBits = std::max(codeBits, own.getLayout().getCode().field.bits);
  }
  bool asItIs =
      single && op.getNorm() == Norm::None && activations == Activations::F32;
  if (scaleColumns)
    rowElements = columns;
  // One token's row is in order already.
  if (floats && !asItIs && !(single && scaleColumns))
    slotCount = columns;
  if (integers) {
    dotKind = getDotKind(e.getVariant(), codeBits);
    wordSlots = slotCount;
    scaleSlots =
        wordSlots + llvm::divideCeil(columns, 4) * getDotWords(dotKind);
    slotCount = scaleSlots + llvm::divideCeil(columns, scaleColumns);
  }
  for (const SchemeDecoder &own : decoders) {
    int64_t period = own.getGroupColumns();
    bool summed = (single || own.isInteger()) && own.isLinear() &&
                  own.hasOffset() && !sumSlots.count(period);
    if (!summed)
      continue;
    sumSlots[period] = slotCount;
    slotCount += llvm::divideCeil(columns, period ? period : columns);
  }
  for (const SchemeDecoder &own : decoders) {
    if (!own.isInteger() || !getExcess(own))
      continue;
    int64_t run = getRunColumns(own);
    auto [place, isNew] =
        excessSlots.insert({{run, getExcess(own)}, slotCount});
    if (isNew)
      slotCount += llvm::divideCeil(columns, run);
  }
  if (!excessSlots.empty()) {
    codes = e.getScratch(rowElements * int64_t(sizeof(float)));
    rowElements += columns;
  }
  int64_t slotsAt = rowElements * int64_t(sizeof(float));
  slots = e.getScratch(slotsAt);
  words = e.getScratch(slotsAt, /*words=*/true);
  row = e.getScratch();
  x = asItIs ? input : single && scaleColumns ? row : slots;
}

Value LinearEmitter::getSlot(Value token, Value slot) {
  if (single)
    return slot;
  Value first = e.mul(e.div(token, tokenBlock), tokenBlock * slotCount);
  return e.add(e.add(first, e.rem(token, tokenBlock)), e.mul(slot, tokenBlock));
}

/// `put` gets a token's values: a vector, its first column, its size.
void LinearEmitter::normalize(Value token,
                              function_ref<void(Value, Value, int64_t)> put) {
  Buffer weight, bias;
  if (op.getNormWeight())
    weight = e.getBuffer(op.getNormWeight());
  if (op.getNormBias())
    bias = e.getBuffer(op.getNormBias());
  float eps = op.getEps().convertToFloat();
  Value at = e.mul(token, columns);
  Value mean, inverse;
  if (op.getNorm() == Norm::Rms)
    inverse = e.inverseRms(input, at, columns, eps);
  else if (op.getNorm() == Norm::Layer)
    std::tie(mean, inverse) =
        e.meanAndInverseDeviation(input, at, columns, eps);
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
    if (op.getActivations() == Activations::BF16)
      value = roundToBFloat(e, value);
    put(value, column, size);
  });
}

static Value extract(KernelEmitter &e, Value vector, int64_t lane) {
  return vector::ExtractOp::create(e, vector, ArrayRef<int64_t>{lane});
}

/// Rounds the row to multiples of its scales, and packs the multiples.
void LinearEmitter::quantize(Value token) {
  bool integers = llvm::any_of(
      decoders, [](const SchemeDecoder &own) { return own.isInteger(); });
  int64_t quadWords = getDotWords(dotKind);
  auto quantizeBlock = [&](Value first, int64_t count) {
    constexpr float largestCode = 127;
    Value most = e.vectors(
        0, count, e.splat(0), [&](Value at, int64_t size, ValueRange carried) {
          Value value = e.load(row, e.add(first, at), size);
          Value magnitude = math::AbsFOp::create(e, value);
          return SmallVector<Value>{
              arith::MaxNumFOp::create(e, magnitude, carried[0])};
        })[0];
    Value largest =
        vector::ReductionOp::create(e, vector::CombiningKind::MAXNUMF, most);
    // What is far below any activation is 0: its inverse would be infinite.
    constexpr float smallest = 0x1p-100F;
    Value zero = e.constantF32(0);
    Value counts = arith::CmpFOp::create(e, arith::CmpFPredicate::OGT, largest,
                                         e.constantF32(smallest));
    auto where = [&](Value value) -> Value {
      return arith::SelectOp::create(e, counts, value, zero);
    };
    Value scale = where(e.divF(largest, e.constantF32(largestCode)));
    Value inverse = where(e.divF(e.constantF32(largestCode), largest));
    if (integers) {
      Value slot = e.add(e.div(first, scaleColumns), scaleSlots);
      e.storeScalar(scale, slots, getSlot(token, slot));
    }
    e.vectors(0, count, [&](Value at, int64_t size) {
      Value column = e.add(first, at);
      Value value = e.mulF(e.load(row, column, size), e.broadcast(inverse));
      value = math::RoundEvenOp::create(e, value);
      e.store(e.mulF(value, e.broadcast(scale)), row, column, size);
      if (!integers)
        return;
      if (codes.memref)
        e.store(value, codes, column, size);
      Value wholes = arith::FPToSIOp::create(e, getWordsType(e), value);
      Value packed = packDotInput(e, dotKind, wholes);
      Value slot = e.add(e.mul(e.div(column, 4), quadWords), wordSlots);
      int64_t packedWords = llvm::divideCeil(size, 4) * quadWords;
      for (int64_t i = 0; i < packedWords; ++i)
        e.storeScalar(extract(e, packed, i), words,
                      getSlot(token, e.add(slot, i)));
    });
  };
  int64_t whole = columns / scaleColumns * scaleColumns;
  e.loop(e.index(0), e.index(whole), scaleColumns,
         [&](Value first) { quantizeBlock(first, scaleColumns); });
  if (whole < columns)
    quantizeBlock(e.index(whole), columns - whole);
}

void LinearEmitter::sumRuns(Buffer from, int64_t group,
                            function_ref<void(Value, Value)> store) {
  auto sumRun = [&](Value first, int64_t count) {
    Value sum = e.vectors(0, count, e.splat(0),
                          [&](Value at, int64_t size, ValueRange carried) {
                            Value own = e.load(from, e.add(first, at), size);
                            return SmallVector<Value>{e.addF(own, carried[0])};
                          })[0];
    store(first, e.sumLanes(sum));
  };
  int64_t whole = columns / group * group;
  e.loop(e.index(0), e.index(whole), group,
         [&](Value first) { sumRun(first, group); });
  if (whole < columns)
    sumRun(e.index(whole), columns - whole);
}

/// What a weight adds that does not depend on its code is multiplied with the
/// sum of the group's inputs.
void LinearEmitter::sumGroups(Value token, Buffer from) {
  for (const auto &sums : sumSlots) {
    int64_t group = sums.first ? sums.first : columns;
    sumRuns(from, group, [&](Value first, Value sum) {
      Value slot = e.add(e.div(first, group), sums.second);
      e.storeScalar(sum, slots, getSlot(token, slot));
    });
  }
}

/// Where bytes exceed the codes, sums of products begin with what they will
/// have too much.
void LinearEmitter::sumCodes(Value token) {
  for (const auto &sums : excessSlots) {
    auto [run, excess] = sums.first;
    int64_t group = run, factor = -excess;
    sumRuns(codes, group, [&](Value first, Value sum) {
      // At most 127 x 32768: exact in f32.
      Value whole = arith::FPToSIOp::create(e, e.getI32Type(), sum);
      Value times = arith::ConstantOp::create(e, e.getI32IntegerAttr(factor));
      Value slot = e.add(e.div(first, group), sums.second);
      e.storeScalar(arith::MulIOp::create(e, whole, times), words,
                    getSlot(token, slot));
    });
  }
}

void LinearEmitter::packInput() {
  if (slotCount == 0 && rowElements == 0)
    return;
  // Values by column: one token's row as it is, of many one after another.
  auto putSlots = [&](Value token, Value value, Value column, int64_t size) {
    if (single) {
      e.store(value, slots, column, size);
      return;
    }
    for (int64_t i = 0; i < size; ++i)
      e.storeScalar(extract(e, value, i), slots,
                    getSlot(token, e.add(column, i)));
  };
  bool floats = llvm::any_of(
      decoders, [](const SchemeDecoder &own) { return !own.isInteger(); });
  e.loop(e.index(0), e.getTokens(), 1, [&](Value token) {
    if (scaleColumns) {
      normalize(token, [&](Value value, Value column, int64_t size) {
        e.store(value, row, column, size);
      });
      quantize(token);
      sumGroups(token, row);
      sumCodes(token);
      if (floats && !single)
        e.vectors(0, columns, [&](Value column, int64_t size) {
          putSlots(token, e.load(row, column, size), column, size);
        });
      return;
    }
    if (x.memref != input.memref)
      normalize(token, [&](Value value, Value column, int64_t size) {
        putSlots(token, value, column, size);
      });
    // Here only one token has sums.
    sumGroups(token, x);
  });
}
