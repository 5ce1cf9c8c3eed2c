// Writes the kernel that packs the input of linear kernels: normalized, rounded
// as the packing says, a row of words a token (dialects/lap/PackedInput.h). A
// tile is a token.
#include "dialects/lap/PackedInput.h"
#include "targets/cpu/VectorWords.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

namespace {

class InputPacker {
public:
  InputPacker(KernelEmitter &e, PackInputOp op)
      : e(e), op(op), packing(op.getPacking()), layout(packing),
        columns(packing.getColumns()), input(e.getBuffer(op.getInput())),
        out(e.getResultBuffer(op.getResult())),
        outFloats(e.getView(out, e.getF32Type())) {
    row = e.getScratch();
    codes = e.getScratch(columns * int64_t(sizeof(float)));
  }

  KernelInfo emit();

private:
  using Put = function_ref<void(Value vector, Value column, int64_t size)>;
  /// Gives the token's values, a vector at a time.
  void normalize(Value token, Put put);
  void quantize(Value at);
  /// Rounds columns that share a scale.
  void quantizeBlock(Value at, Value first, int64_t count, Value slot);
  /// Stores for each `period` columns (0: the row) the sum of their values.
  void sumRuns(Buffer from, int64_t period,
               function_ref<void(Value number, Value sum)> store);
  void storeSums(Value at, Buffer from);
  void storeHalves(Value vector, Value slot);

  KernelEmitter &e;
  PackInputOp op;
  PackedAttr packing;
  PackedInputLayout layout;
  int64_t columns;
  Buffer input, out, outFloats;
  /// A token's values, normalized and then rounded, and what multiples of
  /// their scales they are.
  Buffer row, codes;
};

} // namespace

void InputPacker::normalize(Value token, Put put) {
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
    if (packing.getActivations() == Activations::BF16)
      value = roundToBFloat(e, value);
    put(value, column, size);
  });
}

/// 16 values of bf16 as f32.
void InputPacker::storeHalves(Value vector, Value slot) {
  Value words = shiftRight(e, asWords(e, vector), 16);
  constexpr int64_t lanes = KernelEmitter::lanes;
  Value halves = arith::TruncIOp::create(
      e, VectorType::get({lanes}, e.getIntegerType(16)), words);
  Value packed = vector::BitCastOp::create(
      e, VectorType::get({lanes / 2}, e.getI32Type()), halves);
  vector::StoreOp::create(e, packed, out.memref, slot);
}

void InputPacker::quantizeBlock(Value at, Value first, int64_t count,
                                Value slot) {
  constexpr float largestCode = 127;
  Value most = e.vectors(
      0, count, e.splat(0), [&](Value column, int64_t size, ValueRange found) {
        Value value = e.load(row, e.add(first, column), size);
        Value magnitude = math::AbsFOp::create(e, value);
        return SmallVector<Value>{
            arith::MaximumFOp::create(e, magnitude, found[0])}; // keeps NaN
      })[0];
  Value largest =
      vector::ReductionOp::create(e, vector::CombiningKind::MAXIMUMF, most);
  // What is far below any activation is 0: its inverse would be infinite.
  constexpr float smallest = 0x1p-100F;
  Value zero = e.constantF32(0);
  // Of NaN the scale is NaN.
  Value counts = arith::CmpFOp::create(e, arith::CmpFPredicate::UGT, largest,
                                       e.constantF32(smallest));
  auto where = [&](Value value) -> Value {
    return arith::SelectOp::create(e, counts, value, zero);
  };
  Value scale = where(e.divF(largest, e.constantF32(largestCode)));
  Value inverse = where(e.divF(e.constantF32(largestCode), largest));
  if (packing.getCodes())
    e.storeScalar(scale, outFloats, slot);
  e.vectors(0, count, [&](Value offset, int64_t size) {
    Value column = e.add(first, offset);
    Value value = e.mulF(e.load(row, column, size), e.broadcast(inverse));
    value = math::RoundEvenOp::create(e, value);
    Value rounded = e.mulF(value, e.broadcast(scale));
    e.store(rounded, row, column, size);
    if (packing.getValues())
      e.store(rounded, outFloats, e.add(e.add(at, layout.valuesAt), column));
    if (!packing.getCodes())
      return;
    if (!layout.codeSums.empty())
      e.store(value, codes, column, size);
    Value words = arith::FPToSIOp::create(e, getWordsType(e), value);
    vector::StoreOp::create(e, packBytes(e, words), out.memref,
                            e.add(e.add(at, layout.codesAt), e.div(column, 4)));
  });
}

void InputPacker::quantize(Value at) {
  int64_t block = packing.getActivations() == Activations::Int8Block
                      ? PackedInputLayout::blockColumns
                      : columns;
  Value scales = e.add(at, std::max<int64_t>(layout.scalesAt, 0));
  int64_t whole = columns / block * block;
  e.loop(e.index(0), e.index(whole), block, [&](Value first) {
    quantizeBlock(at, first, block, e.add(scales, e.div(first, block)));
  });
  if (whole < columns)
    quantizeBlock(at, e.index(whole), columns - whole,
                  e.add(scales, whole / block));
}

void InputPacker::sumRuns(Buffer from, int64_t period,
                          function_ref<void(Value, Value)> store) {
  auto sumRun = [&](Value first, Value number, int64_t count) {
    Value sum = e.vectors(0, count, e.splat(0),
                          [&](Value at, int64_t size, ValueRange carried) {
                            Value own = e.load(from, e.add(first, at), size);
                            return SmallVector<Value>{e.addF(own, carried[0])};
                          })[0];
    store(number, e.sumLanes(sum));
  };
  int64_t group = period ? period : columns;
  int64_t whole = columns / group * group;
  e.loop(e.index(0), e.index(whole), group,
         [&](Value first) { sumRun(first, e.div(first, group), group); });
  if (whole < columns)
    sumRun(e.index(whole), e.index(whole / group), columns - whole);
}

void InputPacker::storeSums(Value at, Buffer from) {
  for (const PackedInputLayout::Sums &sums : layout.sums)
    sumRuns(from, sums.period, [&](Value number, Value sum) {
      e.storeScalar(sum, outFloats, e.add(e.add(at, sums.at), number));
    });
  for (const PackedInputLayout::CodeSums &sums : layout.codeSums)
    sumRuns(codes, sums.period, [&](Value number, Value sum) {
      // Exact in f32: runs are short.
      Value whole = arith::FPToSIOp::create(e, e.getI32Type(), sum);
      Value factor =
          arith::ConstantOp::create(e, e.getI32IntegerAttr(-sums.excess));
      e.storeScalar(arith::MulIOp::create(e, whole, factor), out,
                    e.add(e.add(at, sums.at), number));
    });
}

KernelInfo InputPacker::emit() {
  bool bytes = packing.getActivations() == Activations::Int8Block ||
               packing.getActivations() == Activations::Int8Token;
  bool summed = !layout.sums.empty();
  e.loopTiles([&](Value token) {
    Value at = e.mul(token, layout.words);
    normalize(token, [&](Value value, Value column, int64_t size) {
      if (bytes || summed)
        e.store(value, row, column, size);
      if (bytes)
        return;
      if (packing.getValues())
        e.store(value, outFloats, e.add(e.add(at, layout.valuesAt), column));
      if (packing.getHalves())
        storeHalves(value, e.add(e.add(at, layout.halvesAt), e.div(column, 2)));
    });
    if (bytes)
      quantize(at);
    storeSums(at, row);
  });
  KernelInfo info;
  info.tiles = e.getTiles();
  info.tileWork = {columns * 8, 0};
  info.scratch = {columns * 2 * int64_t(sizeof(float)), 0};
  return info;
}

FailureOr<KernelInfo> cpu::emitPackInput(KernelEmitter &e, PackInputOp op) {
  return InputPacker(e, op).emit();
}
