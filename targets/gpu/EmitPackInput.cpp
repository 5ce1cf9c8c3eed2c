// Writes the kernel that packs the input of linear kernels: normalized, rounded
// as the packing says, a row of words a token (dialects/lap/PackedInput.h). A
// tile is a token. Invocations do not read what others write to memory: values
// are computed again where sums need them.
#include "dialects/lap/PackedInput.h"
#include "targets/gpu/KernelEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

namespace {

class InputPacker {
public:
  InputPacker(KernelEmitter &e, PackInputOp op)
      : e(e), op(op), packing(op.getPacking()), layout(packing),
        columns(packing.getColumns()), input(e.getBuffer(op.getInput())),
        out(e.getResultBuffer(op.getResult())) {
    bytes = packing.getActivations() == Activations::Int8Block ||
            packing.getActivations() == Activations::Int8Token;
    blockColumns = packing.getActivations() == Activations::Int8Block
                       ? PackedInputLayout::blockColumns
                       : columns;
  }

  FailureOr<KernelInfo> emit();

private:
  void findStatistics();
  /// The normalized value of a column.
  Value getValue(Value column);
  void findScales();
  /// What multiple of its block's scale a column's value is, a whole f32.
  Value getCode(Value column);
  Value getScale(Value column);
  void storeRow();
  void storeSums();
  Value getFactor(Value largest, bool inverse);
  void storeAt(Value word, int64_t part, Value slot) {
    e.storeWord(word, out, e.add(e.add(rowAt, part), slot));
  }
  /// Columns that are not there are 0.
  Value where(Value column, function_ref<Value()> value);

  KernelEmitter &e;
  PackInputOp op;
  PackedAttr packing;
  PackedInputLayout layout;
  int64_t columns, blockColumns;
  bool bytes;
  Buffer input, out;
  /// The largest magnitude of each block.
  Buffer largest;
  /// Where the token begins in the input and the result.
  Value at, rowAt;
  Value mean, inverse;
};

} // namespace

void InputPacker::findStatistics() {
  float eps = op.getEps().convertToFloat();
  if (op.getNorm() == Norm::Rms)
    inverse = e.inverseRms(input, at, columns, eps);
  else if (op.getNorm() == Norm::Layer)
    std::tie(mean, inverse) =
        e.meanAndInverseDeviation(input, at, columns, eps);
}

Value InputPacker::getValue(Value column) {
  Value value = e.load(input, e.add(at, column));
  if (mean)
    value = e.subF(value, mean);
  if (inverse)
    value = e.mulF(value, inverse);
  if (op.getNormWeight())
    value = e.mulF(value, e.load(e.getBuffer(op.getNormWeight()), column));
  if (op.getNormBias())
    value = e.addF(value, e.load(e.getBuffer(op.getNormBias()), column));
  if (packing.getActivations() == Activations::BF16)
    value = e.asFloat(e.shiftLeft(e.narrowBFloat(value), 16));
  return value;
}

Value InputPacker::where(Value column, function_ref<Value()> value) {
  auto branch =
      scf::IfOp::create(e, e.getF32Type(), e.lessThan(column, e.index(columns)),
                        /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(e);
  e.setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(e, value());
  e.setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(e, e.number(0));
  return branch.getResult(0);
}

/// The scale, or 1 / it, of a block; both 0 where all is as good as 0.
Value InputPacker::getFactor(Value most, bool inverse) {
  constexpr float largestCode = 127, smallest = 0x1p-100F;
  Value counts = arith::CmpFOp::create(e, arith::CmpFPredicate::UGT, most,
                                       e.number(smallest));
  Value divisor = e.select(counts, most, e.number(1));
  Value factor = inverse ? e.divF(e.number(largestCode), divisor)
                         : e.divF(most, e.number(largestCode));
  return e.select(counts, factor, e.number(0));
}

void InputPacker::findScales() {
  int64_t blocks = llvm::divideCeil(columns, blockColumns);
  auto getMost = [&](Value begin, Value end, int64_t step) {
    return e.loop(begin, end, step, e.number(0),
                  [&](Value column, ValueRange found) -> SmallVector<Value> {
                    Value own = math::AbsFOp::create(e, getValue(column));
                    return {e.maxF(found[0], own)};
                  })[0];
  };
  auto store = [&](Value most, Value block) {
    e.store(most, largest, block);
    if (packing.getCodes())
      storeAt(e.asWord(getFactor(most, /*inverse=*/false)), layout.scalesAt,
              block);
  };
  if (blocks == 1) {
    Value most = e.maxAll(
        getMost(e.getThread(), e.index(columns), KernelEmitter::threads));
    e.when(e.equal(e.getThread(), e.index(0)),
           [&] { store(most, e.index(0)); });
  } else {
    e.forThread(blocks, [&](Value block) {
      Value first = e.mul(block, blockColumns);
      Value end = e.min(e.add(first, blockColumns), e.index(columns));
      store(getMost(first, end, 1), block);
    });
  }
  e.barrier();
}

Value InputPacker::getCode(Value column) {
  Value most = e.load(largest, e.div(column, blockColumns));
  Value code = e.mulF(getValue(column), getFactor(most, /*inverse=*/true));
  return math::RoundEvenOp::create(e, code);
}

Value InputPacker::getScale(Value column) {
  Value most = e.load(largest, e.div(column, blockColumns));
  return getFactor(most, /*inverse=*/false);
}

/// Values, halves and codes. What is behind the last column up to a part's end
/// is 0 as far as the columns' words go.
void InputPacker::storeRow() {
  if (packing.getValues())
    e.forThread(columns, [&](Value column) {
      Value value =
          bytes ? e.mulF(getCode(column), getScale(column)) : getValue(column);
      storeAt(e.asWord(value), layout.valuesAt, column);
    });
  if (packing.getHalves())
    e.forThread(llvm::divideCeil(columns, 2), [&](Value pair) {
      Value joined;
      for (int64_t i = 0; i < 2; ++i) {
        Value column = e.add(e.mul(pair, 2), i);
        Value value = where(column, [&] { return getValue(column); });
        Value bits = e.shiftRight(e.asWord(value), 16);
        joined = joined ? e.orWord(joined, e.shiftLeft(bits, 16)) : bits;
      }
      storeAt(joined, layout.halvesAt, pair);
    });
  if (packing.getCodes())
    e.forThread(llvm::divideCeil(columns, 4), [&](Value four) {
      Value joined;
      for (int64_t i = 0; i < 4; ++i) {
        Value column = e.add(e.mul(four, 4), i);
        Value code = where(column, [&] { return getCode(column); });
        Value whole = arith::FPToSIOp::create(e, e.getI32Type(), code);
        Value byte = e.shiftLeft(e.andWord(whole, 0xff), 8 * i);
        joined = joined ? e.orWord(joined, byte) : byte;
      }
      storeAt(joined, layout.codesAt, four);
    });
}

void InputPacker::storeSums() {
  auto sumRuns = [&](int64_t period, function_ref<Value(Value column)> get,
                     function_ref<void(Value number, Value sum)> store) {
    auto add = [&](Value column, ValueRange carried) -> SmallVector<Value> {
      return {e.addF(get(column), carried[0])};
    };
    int64_t run = period ? period : columns;
    if (int64_t runs = llvm::divideCeil(columns, run); runs > 1)
      return e.forThread(runs, [&](Value number) {
        Value first = e.mul(number, run);
        Value end = e.min(e.add(first, run), e.index(columns));
        store(number, e.loop(first, end, 1, e.number(0), add)[0]);
      });
    Value sum = e.sumAll(e.forThread(e.index(columns), e.number(0), add)[0]);
    e.when(e.equal(e.getThread(), e.index(0)), [&] { store(e.index(0), sum); });
  };
  for (const PackedInputLayout::Sums &sums : layout.sums)
    sumRuns(
        sums.period,
        [&](Value column) -> Value {
          return bytes ? e.mulF(getCode(column), getScale(column))
                       : getValue(column);
        },
        [&](Value number, Value sum) {
          storeAt(e.asWord(sum), sums.at, number);
        });
  for (const PackedInputLayout::CodeSums &sums : layout.codeSums)
    sumRuns(
        sums.period, [&](Value column) { return getCode(column); },
        [&](Value number, Value sum) {
          // Exact in f32: runs are short.
          Value whole = arith::FPToSIOp::create(e, e.getI32Type(), sum);
          Value factor = e.word(static_cast<uint32_t>(-sums.excess));
          storeAt(arith::MulIOp::create(e, whole, factor), sums.at, number);
        });
}

FailureOr<KernelInfo> InputPacker::emit() {
  int64_t blocks = bytes ? llvm::divideCeil(columns, blockColumns) : 0;
  if (blocks > KernelEmitter::mostSharedWords / 2)
    return op.emitOpError("has ")
           << blocks << " blocks of inputs, but a GPU kernel has room for "
           << KernelEmitter::mostSharedWords / 2;
  if (blocks)
    largest = e.makeShared(blocks, e.getF32Type());
  at = e.mul(e.getTile(), columns);
  rowAt = e.mul(e.getTile(), layout.words);
  findStatistics();
  if (bytes)
    findScales();
  storeRow();
  storeSums();
  KernelInfo info;
  info.tiles = e.getTiles();
  info.tileWork = {columns * 8, 0};
  return info;
}

FailureOr<KernelInfo> simt::emitPackInput(KernelEmitter &e, PackInputOp op) {
  return InputPacker(e, op).emit();
}
