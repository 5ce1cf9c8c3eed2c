// The emitters' shared vocabulary (see the header).
#include "targets/gpu/KernelEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVOps.h"

#include <cmath>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::simt;

static MemRefType getWordsType(MLIRContext *context, int64_t words,
                               mlir::gpu::AddressSpace space) {
  return MemRefType::get({words}, IntegerType::get(context, 32), AffineMap(),
                         mlir::gpu::AddressSpaceAttr::get(context, space));
}

KernelEmitter::KernelEmitter(KernelOp kernel, ModuleOp target,
                             const Facts &facts)
    : KernelBuilder(kernel), facts(facts) {
  setInsertionPointToEnd(target.getBody());
  auto module = mlir::gpu::GPUModuleOp::create(*this, kernel.getName());
  setInsertionPointToStart(module.getBody());
  Type words = getWordsType(getContext(), ShapedType::kDynamic,
                            mlir::gpu::AddressSpace::Global);
  SmallVector<Type> types = {words};
  for (Type type : kernel.getArgumentTypes()) {
    if (isa<KvCacheType>(type))
      types.append(2, words);
    else if (isa<MemRefType>(type))
      types.push_back(words);
  }
  types.append(4, getI32Type());
  function = mlir::gpu::GPUFuncOp::create(*this, kernel.getName(),
                                          getFunctionType(types, {}));
  function->setAttr(mlir::gpu::GPUDialect::getKernelFuncAttrName(),
                    getUnitAttr());
  function.setKnownBlockSizeAttr(
      getDenseI32ArrayAttr({static_cast<int32_t>(threads), 1, 1}));
  Block &entry = function.getBody().front();
  setInsertionPointToStart(&entry);
  unsigned next = 1;
  for (BlockArgument argument : kernel.getBody().getArguments()) {
    if (isa<KvCacheType>(argument.getType())) {
      caches[argument] = {entry.getArgument(next), entry.getArgument(next + 1)};
      next += 2;
    } else if (auto memref = dyn_cast<MemRefType>(argument.getType())) {
      buffers[argument] = {entry.getArgument(next++), memref.getElementType()};
    }
  }
  thread = mlir::gpu::ThreadIdOp::create(*this, mlir::gpu::Dimension::x);
  Value block = mlir::gpu::BlockIdOp::create(*this, mlir::gpu::Dimension::x);
  Value row = mul(toIndex(entry.getArgument(next)), 4);
  tile = add(toIndex(entry.getArgument(next + 1)), block);
  windowBegin = toIndex(entry.getArgument(next + 2));
  windowEnd = toIndex(entry.getArgument(next + 3));
  Buffer sizes{entry.getArgument(0), getI32Type()};
  tokens = getStaticTokens() ? index(getStaticTokens()) : loadIndex(sizes, row);
  past = loadIndex(sizes, add(row, 1));
  firstToken = loadIndex(sizes, add(row, 2));
  chunk = loadIndex(sizes, add(row, 3));
}

Value KernelEmitter::getTokenTile() {
  return mlir::gpu::BlockIdOp::create(*this, mlir::gpu::Dimension::y);
}

int64_t KernelEmitter::getOperandCount() {
  // Before them the sizes, behind them four numbers.
  return static_cast<int64_t>(function.getNumArguments()) - 5;
}

int64_t KernelEmitter::getOperandNumber(Buffer buffer) const {
  return static_cast<int64_t>(
             cast<BlockArgument>(buffer.memref).getArgNumber()) -
         1;
}

Buffer KernelEmitter::makeShared(int64_t words, Type elementType) {
  auto type =
      getWordsType(getContext(), words, mlir::gpu::AddressSpace::Workgroup);
  sharedWords += words;
  return {function.addWorkgroupAttribution(type, getLoc()), elementType};
}

Value KernelEmitter::equal(Value lhs, Value rhs) {
  return arith::CmpIOp::create(*this, arith::CmpIPredicate::eq, lhs, rhs);
}
Value KernelEmitter::both(Value lhs, Value rhs) {
  return arith::AndIOp::create(*this, lhs, rhs);
}
Value KernelEmitter::toIndex(Value word) {
  return arith::IndexCastOp::create(*this, getIndexType(), word);
}
Value KernelEmitter::toWord(Value index) {
  return arith::IndexCastOp::create(*this, getI32Type(), index);
}

Value KernelEmitter::word(uint32_t value) {
  return arith::ConstantOp::create(
      *this, getI32IntegerAttr(static_cast<int32_t>(value)));
}
Value KernelEmitter::shiftLeft(Value own, Value bits) {
  return arith::ShLIOp::create(*this, own, bits);
}
Value KernelEmitter::shiftLeft(Value own, int64_t bits) {
  return bits ? shiftLeft(own, word(bits)) : own;
}
Value KernelEmitter::shiftRight(Value own, Value bits) {
  return arith::ShRUIOp::create(*this, own, bits);
}
Value KernelEmitter::shiftRight(Value own, int64_t bits) {
  return bits ? shiftRight(own, word(bits)) : own;
}
Value KernelEmitter::andWord(Value own, uint32_t mask) {
  return arith::AndIOp::create(*this, own, word(mask));
}
Value KernelEmitter::orWord(Value lhs, Value rhs) {
  return arith::OrIOp::create(*this, lhs, rhs);
}
Value KernelEmitter::asFloat(Value own) {
  return arith::BitcastOp::create(*this, getF32Type(), own);
}
Value KernelEmitter::asWord(Value number) {
  return arith::BitcastOp::create(*this, getI32Type(), number);
}

Value KernelEmitter::maxF(Value lhs, Value rhs) {
  return arith::SelectOp::create(
      *this,
      arith::CmpFOp::create(*this, arith::CmpFPredicate::OGT, rhs, lhs)
          .getResult(),
      rhs, lhs);
}
Value KernelEmitter::absF(Value x) { return math::AbsFOp::create(*this, x); }
Value KernelEmitter::inverseSqrt(Value x) {
  return math::RsqrtOp::create(*this, x);
}

Value KernelEmitter::gelu(Value x) {
  constexpr float cubic = 0.044715F, factor = -1.5957691216057308F;
  Value square = mulF(x, x);
  Value inner = mulF(x, fma(square, number(cubic), number(1)));
  // What is far below 0 has an exponential that f32 cannot hold.
  constexpr float most = 80;
  Value power = mulF(inner, number(factor));
  power = select(arith::CmpFOp::create(*this, arith::CmpFPredicate::OGT, power,
                                       number(most)),
                 number(most), power);
  return divF(x, addF(number(1), exp(power)));
}

Value KernelEmitter::softcap(Value x, float cap) {
  return mulF(math::TanhOp::create(*this, mulF(x, number(1 / cap))),
              number(cap));
}

Value KernelEmitter::loadWord(Buffer buffer, Value at) {
  return memref::LoadOp::create(*this, buffer.memref, at);
}
void KernelEmitter::storeWord(Value own, Buffer buffer, Value at) {
  memref::StoreOp::create(*this, own, buffer.memref, at);
}

Value KernelEmitter::load(Buffer buffer, Value at) {
  Type type = buffer.elementType;
  if (type.isF32())
    return asFloat(loadWord(buffer, at));
  assert((type.isF16() || type.isBF16()) && "no float");
  Value both = loadWord(buffer, div(at, 2));
  Value bits =
      andWord(shiftRight(both, shiftLeft(toWord(rem(at, 2)), 4)), 0xffff);
  return type.isF16() ? widenHalf(bits) : asFloat(shiftLeft(bits, 16));
}

void KernelEmitter::store(Value number, Buffer buffer, Value at) {
  assert(buffer.elementType.isF32() && "a buffer of f32 is written");
  storeWord(asWord(number), buffer, at);
}

Value KernelEmitter::loadIndex(Buffer buffer, Value at) {
  assert(buffer.elementType.isInteger(32) && "a buffer of i32");
  return toIndex(loadWord(buffer, at));
}

void KernelEmitter::storePart(Value value, Value memref, Value element,
                              int64_t bits) {
  int64_t perWord = 32 / bits;
  Value at = div(element, perWord);
  Value shift = toWord(mul(rem(element, perWord), bits));
  Value kept = arith::XOrIOp::create(
      *this, shiftLeft(word((1U << bits) - 1), shift), word(~0U));
  memref::AtomicRMWOp::create(*this, arith::AtomicRMWKind::andi, kept, memref,
                              ValueRange{at});
  memref::AtomicRMWOp::create(*this, arith::AtomicRMWKind::ori,
                              shiftLeft(value, shift), memref, ValueRange{at});
}

Value KernelEmitter::widenHalf(Value bits) {
  constexpr uint32_t magnitudeMask = 0x7fff, signMask = 0x8000;
  constexpr uint32_t exponentMask = 0x7c00, least = 0x0400;
  // Between the exponents' biases, and from the largest to that of infinity.
  constexpr uint32_t rebias = (127 - 15) << 23;
  constexpr float unit = 0x1p-24F;
  Value magnitude = andWord(bits, magnitudeMask);
  Value sign = shiftLeft(andWord(bits, signMask), 16);
  Value normal =
      arith::AddIOp::create(*this, shiftLeft(magnitude, 13), word(rebias));
  Value isLarge = arith::CmpIOp::create(*this, arith::CmpIPredicate::uge,
                                        magnitude, word(exponentMask));
  Value large = arith::AddIOp::create(*this, normal, word(rebias));
  Value isSmall = arith::CmpIOp::create(*this, arith::CmpIPredicate::ult,
                                        magnitude, word(least));
  Value small = asWord(mulF(
      arith::SIToFPOp::create(*this, getF32Type(), magnitude), number(unit)));
  return asFloat(
      orWord(sign, select(isSmall, small, select(isLarge, large, normal))));
}

std::pair<Value, Value> KernelEmitter::widenHalves(Value word) {
  Value both = spirv::GLUnpackHalf2x16Op::create(
      *this, VectorType::get({2}, getF32Type()), word);
  auto extract = [&](int32_t i) -> Value {
    return spirv::CompositeExtractOp::create(*this, both, {i});
  };
  return {extract(0), extract(1)};
}

Value KernelEmitter::narrowHalves(Value first, Value second) {
  Value both = spirv::CompositeConstructOp::create(
      *this, VectorType::get({2}, getF32Type()), ValueRange{first, second});
  return spirv::GLPackHalf2x16Op::create(*this, getI32Type(), both);
}

Value KernelEmitter::narrowHalf(Value value) {
  constexpr uint32_t magnitudeMask = 0x7fffffff, infinity = 0x7c00;
  // The f32 from which on f16 is infinite, the least normal f16, and a number
  // whose last bit is worth what an f16's is that is less than that.
  constexpr uint32_t overflow = 0x47800000, leastNormal = 0x38800000;
  constexpr uint32_t rebias = (127 - 15) << 23;
  constexpr float denormal = 0.5F;
  Value bits = asWord(value);
  Value magnitude = andWord(bits, magnitudeMask);
  Value sign = andWord(shiftRight(bits, 16), 0x8000);
  Value odd = andWord(shiftRight(magnitude, 13), 1);
  Value rounded = arith::AddIOp::create(
      *this,
      arith::AddIOp::create(*this, magnitude, word(0xfffU - rebias))
          .getResult(),
      odd);
  Value normal = shiftRight(rounded, 13);
  Value small = arith::SubIOp::create(
      *this, asWord(addF(asFloat(magnitude), number(denormal))),
      word(llvm::bit_cast<uint32_t>(denormal)));
  auto below = [&](uint32_t bound) -> Value {
    return arith::CmpIOp::create(*this, arith::CmpIPredicate::ult, magnitude,
                                 word(bound));
  };
  Value result = select(below(leastNormal), small, normal);
  return orWord(sign, select(below(overflow), result, word(infinity)));
}

Value KernelEmitter::narrowBFloat(Value value) {
  Value bits = asWord(value);
  Value odd = andWord(shiftRight(bits, 16), 1);
  Value up = arith::AddIOp::create(*this, odd, word(0x7fff));
  return shiftRight(arith::AddIOp::create(*this, bits, up), 16);
}

Value KernelEmitter::addDot(Value sum, Value weights, Value inputs,
                            bool small) {
  noteUse(Facts::usesDots);
  if (facts.dotProducts) {
    auto format = spirv::PackedVectorFormatAttr::get(
        getContext(), spirv::PackedVectorFormat::PackedVectorFormat4x8Bit);
    Value dot;
    if (small)
      dot = spirv::SDotOp::create(*this, getI32Type(), inputs, weights, format);
    else
      dot =
          spirv::SUDotOp::create(*this, getI32Type(), inputs, weights, format);
    return arith::AddIOp::create(*this, sum, dot);
  }
  for (int64_t byte = 0; byte < 4; ++byte) {
    Value own = andWord(shiftRight(weights, 8 * byte), 0xff);
    Value input = arith::ShRSIOp::create(
        *this, shiftLeft(inputs, 24 - 8 * byte), word(24));
    sum = arith::AddIOp::create(
        *this, sum, arith::MulIOp::create(*this, own, input).getResult());
  }
  return sum;
}

void KernelEmitter::forThread(Value count, function_ref<void(Value)> body) {
  loop(thread, count, threads, body);
}

void KernelEmitter::forThread(int64_t count, function_ref<void(Value)> body) {
  forThread(index(count), body);
}

SmallVector<Value> KernelEmitter::forThread(Value count, ValueRange initial,
                                            LoopBody body) {
  return loop(thread, count, threads, initial, body);
}

void KernelEmitter::barrier() { mlir::gpu::BarrierOp::create(*this); }

Value KernelEmitter::reduce(Value number,
                            mlir::gpu::AllReduceOperation operation,
                            Combine combine) {
  noteUse(Facts::usesSubgroups);
  if (facts.subgroups)
    return reduceSubgroups(number, operation, combine);
  // Two rounds, which need fewer barriers than a tree: all of the workgroup
  // make sums of some, and each invocation the sum of these.
  constexpr int64_t groups = 16;
  if (!partial.memref)
    partial = makeShared(threads + groups, getF32Type());
  auto sum = [&](Value first, int64_t step, int64_t count) {
    Value result = load(partial, first);
    for (int64_t i = 1; i < count; ++i)
      result = combine(result, load(partial, add(first, i * step)));
    return result;
  };
  store(number, partial, thread);
  barrier();
  when(lessThan(thread, index(groups)), [&] {
    store(sum(thread, groups, threads / groups), partial, add(thread, threads));
  });
  barrier();
  // Nobody writes these before all have read them: the next one has a barrier
  // in between.
  return sum(index(threads), 1, groups);
}

/// One barrier: each subgroup finds its own, and each invocation brings these
/// together. There may be any number of them.
Value KernelEmitter::reduceSubgroups(Value value,
                                     mlir::gpu::AllReduceOperation operation,
                                     Combine combine) {
  // Two places in turn: whoever comes to write to one has passed the barrier
  // of the other, which comes after all reads of what is overwritten.
  if (!partial.memref)
    partial = makeShared(2 * threads, getF32Type());
  int64_t place = (reductions++ % 2) * threads;
  Value own = mlir::gpu::SubgroupReduceOp::create(*this, value, operation,
                                                  /*uniform=*/false);
  Value number = mlir::gpu::SubgroupIdOp::create(*this, IntegerAttr());
  Value lane = mlir::gpu::LaneIdOp::create(*this, IntegerAttr());
  when(equal(lane, index(0)), [&] { store(own, partial, add(number, place)); });
  barrier();
  Value count = mlir::gpu::NumSubgroupsOp::create(*this, IntegerAttr());
  Value first = load(partial, index(place));
  return loop(index(1), count, 1, first,
              [&](Value i, ValueRange carried) -> SmallVector<Value> {
                return {combine(carried[0], load(partial, add(i, place)))};
              })[0];
}

Value KernelEmitter::sumAll(Value number) {
  return reduce(number, mlir::gpu::AllReduceOperation::ADD,
                [&](Value lhs, Value rhs) { return addF(lhs, rhs); });
}
Value KernelEmitter::maxAll(Value number) {
  return reduce(number, mlir::gpu::AllReduceOperation::MAXNUMF,
                [&](Value lhs, Value rhs) { return maxF(lhs, rhs); });
}

Value KernelEmitter::inverseRms(Buffer buffer, Value at, int64_t width,
                                float eps) {
  Value sum = forThread(index(width), number(0),
                        [&](Value i, ValueRange carried) -> SmallVector<Value> {
                          Value x = load(buffer, add(at, i));
                          return {fma(x, x, carried[0])};
                        })[0];
  Value mean = mulF(sumAll(sum), number(1.0F / static_cast<float>(width)));
  return inverseSqrt(addF(mean, number(eps)));
}

std::pair<Value, Value> KernelEmitter::meanAndInverseDeviation(Buffer buffer,
                                                               Value at,
                                                               int64_t width,
                                                               float eps) {
  Value scale = number(1.0F / static_cast<float>(width));
  Value sum = forThread(index(width), number(0),
                        [&](Value i, ValueRange carried) -> SmallVector<Value> {
                          return {addF(load(buffer, add(at, i)), carried[0])};
                        })[0];
  Value mean = mulF(sumAll(sum), scale);
  Value squares =
      forThread(index(width), number(0),
                [&](Value i, ValueRange carried) -> SmallVector<Value> {
                  Value x = subF(load(buffer, add(at, i)), mean);
                  return {fma(x, x, carried[0])};
                })[0];
  Value variance = mulF(sumAll(squares), scale);
  return {mean, inverseSqrt(addF(variance, number(eps)))};
}

void KernelEmitter::finish() { mlir::gpu::ReturnOp::create(*this); }
