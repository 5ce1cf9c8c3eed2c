// The emitters' shared vocabulary (see the header), and the function that
// wraps a kernel in the runtime's C signature.
#include "targets/cpu/KernelEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

KernelEmitter::KernelEmitter(KernelOp kernel, ModuleOp target,
                             const Variant &variant)
    : KernelBuilder(kernel), variant(variant) {
  setInsertionPointToEnd(target.getBody());
  auto pointer = LLVM::LLVMPointerType::get(getContext());
  // void kernel(void *const *buffers, const int64_t *sizes, void *scratch,
  //             int64_t tileBegin, int64_t tileEnd)
  function = func::FuncOp::create(
      *this, kernel.getName(),
      getFunctionType({pointer, pointer, pointer, getI64Type(), getI64Type()},
                      {}));
  Block *entry = function.addEntryBlock();
  setInsertionPointToStart(entry);
  auto loadSize = [&](int64_t at) -> Value {
    Value address =
        LLVM::GEPOp::create(*this, pointer, getI64Type(), entry->getArgument(1),
                            ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(at)});
    Value size = LLVM::LoadOp::create(*this, getI64Type(), address);
    return arith::IndexCastOp::create(*this, getIndexType(), size);
  };
  int32_t slot = 0;
  auto loadPointer = [&]() -> Value {
    Value address =
        LLVM::GEPOp::create(*this, pointer, pointer, entry->getArgument(0),
                            ArrayRef<LLVM::GEPArg>{slot++});
    return LLVM::LoadOp::create(*this, pointer, address);
  };
  tokens = getStaticTokens() ? index(getStaticTokens()) : loadSize(0);
  past = loadSize(1);
  chunk = loadSize(2);
  scratchPointer = entry->getArgument(2);
  tileBegin =
      arith::IndexCastOp::create(*this, getIndexType(), entry->getArgument(3));
  tileEnd =
      arith::IndexCastOp::create(*this, getIndexType(), entry->getArgument(4));
  for (BlockArgument argument : kernel.getBody().getArguments()) {
    if (isa<KvCacheType>(argument.getType())) {
      Value keys = loadPointer();
      caches[argument] = {keys, loadPointer()};
    } else if (auto memref = dyn_cast<MemRefType>(argument.getType())) {
      Value operand = loadPointer();
      Buffer buffer = makeBuffer(operand, memref.getElementType());
      operandPointers[buffer.memref] = operand;
      buffers[argument] = buffer;
    }
  }
}

/// A memref<?xT> over raw memory: a descriptor that the lowering to LLVM will
/// meet as its own form.
Buffer KernelEmitter::makeBuffer(Value pointer, Type elementType) {
  auto i64 = getI64Type();
  auto array = LLVM::LLVMArrayType::get(i64, 1);
  auto type = LLVM::LLVMStructType::getLiteral(
      getContext(), {pointer.getType(), pointer.getType(), i64, array, array});
  auto constant = [&](int64_t value) -> Value {
    return LLVM::ConstantOp::create(*this, i64, getI64IntegerAttr(value));
  };
  Value descriptor = LLVM::PoisonOp::create(*this, type);
  auto insert = [&](Value value, ArrayRef<int64_t> at) {
    descriptor = LLVM::InsertValueOp::create(*this, descriptor, value, at);
  };
  insert(pointer, {0});
  insert(pointer, {1});
  insert(constant(0), {2});
  insert(constant(INT64_MAX), {3, 0});
  insert(constant(1), {4, 0});
  bool half = elementType.isF16() || elementType.isBF16();
  auto memref = MemRefType::get({ShapedType::kDynamic},
                                half ? getIntegerType(16) : elementType);
  auto cast =
      UnrealizedConversionCastOp::create(*this, TypeRange(memref), descriptor);
  return {cast.getResult(0), elementType};
}

Buffer KernelEmitter::getView(Buffer buffer, Type elementType) {
  Value pointer = operandPointers.at(buffer.memref);
  Buffer view = makeBuffer(pointer, elementType);
  operandPointers[view.memref] = pointer;
  return view;
}

Buffer KernelEmitter::getScratch(int64_t byteOffset, bool words) {
  Value at = LLVM::GEPOp::create(
      *this, scratchPointer.getType(), getI8Type(), scratchPointer,
      ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(byteOffset)});
  Buffer buffer =
      makeBuffer(at, words ? Type(getI32Type()) : Type(getF32Type()));
  operandPointers[buffer.memref] = at;
  return buffer;
}

Value KernelEmitter::getAddress(Buffer buffer, Value at) {
  Value index = arith::IndexCastOp::create(*this, getI64Type(), at);
  Value pointer = operandPointers.at(buffer.memref);
  return LLVM::GEPOp::create(*this, pointer.getType(), buffer.elementType,
                             pointer, ArrayRef<LLVM::GEPArg>{index});
}

VectorType KernelEmitter::vectorType(int64_t size) {
  return VectorType::get({size}, getF32Type());
}
Value KernelEmitter::splat(float value, int64_t size) {
  return arith::ConstantOp::create(
      *this, DenseElementsAttr::get(vectorType(size), value));
}
Value KernelEmitter::broadcast(Value scalar, int64_t size) {
  return vector::BroadcastOp::create(
      *this, VectorType::get({size}, scalar.getType()), scalar);
}
Value KernelEmitter::sumLanes(Value vector) {
  return vector::ReductionOp::create(*this, vector::CombiningKind::ADD, vector,
                                     arith::FastMathFlags::reassoc);
}

/// `type` with another element type.
static Type withElement(Type type, Type element) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.clone(element);
  return element;
}

Value KernelEmitter::widen(Value bits, Type element) {
  Type f32 = withElement(bits.getType(), getF32Type());
  if (element.isF32() || element.isInteger(32))
    return bits;
  if (element.isF16()) {
    Value half = arith::BitcastOp::create(
        *this, withElement(bits.getType(), element), bits);
    return arith::ExtFOp::create(*this, f32, half);
  }
  Type i32 = withElement(bits.getType(), getI32Type());
  if (element.isInteger(8))
    return arith::SIToFPOp::create(
        *this, f32, arith::ExtSIOp::create(*this, i32, bits).getResult());
  Value word = arith::ExtUIOp::create(*this, i32, bits);
  Value sixteen = arith::ConstantOp::create(*this, getI32IntegerAttr(16));
  if (auto vector = dyn_cast<VectorType>(i32))
    sixteen = vector::BroadcastOp::create(*this, vector, sixteen);
  return arith::BitcastOp::create(
      *this, f32, arith::ShLIOp::create(*this, word, sixteen).getResult());
}

Value KernelEmitter::narrow(Value value, Type element) {
  if (element.isF32() || element.isInteger(32))
    return value;
  Type i32 = withElement(value.getType(), getI32Type());
  if (element.isInteger(8)) {
    Value whole = arith::FPToSIOp::create(
        *this, i32, math::RoundEvenOp::create(*this, value).getResult());
    return arith::TruncIOp::create(*this, withElement(value.getType(), element),
                                   whole);
  }
  Type i16 = withElement(value.getType(), getIntegerType(16));
  if (element.isBF16()) {
    auto word = [&](int32_t bits) -> Value {
      Value scalar = arith::ConstantOp::create(*this, getI32IntegerAttr(bits));
      if (auto vector = dyn_cast<VectorType>(i32))
        return vector::BroadcastOp::create(*this, vector, scalar);
      return scalar;
    };
    // Half of the last place, less a bit where the result is even already.
    Value bits = arith::BitcastOp::create(*this, i32, value);
    Value odd = arith::AndIOp::create(
        *this, arith::ShRUIOp::create(*this, bits, word(16)).getResult(),
        word(1));
    Value up = arith::AddIOp::create(*this, odd, word(0x7fff));
    Value rounded = arith::AddIOp::create(*this, bits, up);
    return arith::TruncIOp::create(
        *this, i16,
        arith::ShRUIOp::create(*this, rounded, word(16)).getResult());
  }
  assert(element.isF16() && "only f32, i32, i8 and 16-bit floats are written");
  Value half = arith::TruncFOp::create(
      *this, withElement(value.getType(), element), value);
  return arith::BitcastOp::create(*this, i16, half);
}

Value KernelEmitter::roundTo(Value value, Type element) {
  return widen(narrow(value, element), element);
}

static Type getStoredElement(Buffer buffer) {
  return cast<MemRefType>(buffer.memref.getType()).getElementType();
}

Value KernelEmitter::load(Buffer buffer, Value at, int64_t size) {
  if (size < lanes)
    return loadLanes(buffer, at, index(size));
  auto type = VectorType::get({lanes}, getStoredElement(buffer));
  return widen(vector::LoadOp::create(*this, type, buffer.memref, at),
               buffer.elementType);
}

void KernelEmitter::store(Value vector, Buffer buffer, Value at, int64_t size) {
  if (size < lanes)
    return storeLanes(vector, buffer, at, index(size));
  vector::StoreOp::create(*this, narrow(vector, buffer.elementType),
                          buffer.memref, at);
}

Value KernelEmitter::loadLanes(Buffer buffer, Value at, Value count) {
  auto type = VectorType::get({lanes}, getStoredElement(buffer));
  Value mask = vector::CreateMaskOp::create(
      *this, VectorType::get({lanes}, getI1Type()), count);
  Value zero = arith::ConstantOp::create(
      *this, DenseElementsAttr::get(type, getZeroAttr(type.getElementType())));
  return widen(
      vector::MaskedLoadOp::create(*this, type, buffer.memref, at, mask, zero),
      buffer.elementType);
}

void KernelEmitter::storeLanes(Value vector, Buffer buffer, Value at,
                               Value count) {
  Value mask = vector::CreateMaskOp::create(
      *this, VectorType::get({lanes}, getI1Type()), count);
  vector::MaskedStoreOp::create(*this, buffer.memref, at, mask,
                                narrow(vector, buffer.elementType));
}

Value KernelEmitter::loadScalar(Buffer buffer, Value at) {
  return widen(memref::LoadOp::create(*this, buffer.memref, at),
               buffer.elementType);
}

void KernelEmitter::storeScalar(Value scalar, Buffer buffer, Value at) {
  memref::StoreOp::create(*this, narrow(scalar, buffer.elementType),
                          buffer.memref, at);
}

Value KernelEmitter::loadIndex(Buffer buffer, Value at) {
  Value value = memref::LoadOp::create(*this, buffer.memref, at);
  return arith::IndexCastOp::create(*this, getIndexType(), value);
}

void KernelEmitter::loopTiles(function_ref<void(Value)> body) {
  loop(tileBegin, tileEnd, 1, body);
}

Buffer KernelEmitter::select(Value condition, Buffer yes, Buffer no) {
  assert(yes.elementType == no.elementType && "operands of two types");
  Value pointer = select(condition, operandPointers.at(yes.memref),
                         operandPointers.at(no.memref));
  Buffer chosen = makeBuffer(pointer, yes.elementType);
  operandPointers[chosen.memref] = pointer;
  return chosen;
}

SmallVector<Value> KernelEmitter::vectors(int64_t begin, int64_t end,
                                          ValueRange initial, VectorBody body) {
  int64_t whole = begin + (end - begin) / lanes * lanes;
  SmallVector<Value> values(initial);
  if (whole - begin == lanes)
    values = body(index(begin), lanes, values);
  else if (whole > begin)
    values = loop(
        index(begin), index(whole), lanes, values,
        [&](Value at, ValueRange carried) { return body(at, lanes, carried); });
  if (whole < end)
    values = body(index(whole), end - whole, values);
  return values;
}

void KernelEmitter::vectors(int64_t begin, int64_t end,
                            function_ref<void(Value, int64_t)> body) {
  vectors(begin, end, {}, [&](Value at, int64_t size, ValueRange) {
    body(at, size);
    return SmallVector<Value>();
  });
}

Value KernelEmitter::inverseSqrt(Value mean, float eps) {
  Value root = math::SqrtOp::create(*this, addF(mean, constantF32(eps)));
  return broadcast(divF(constantF32(1), root));
}

Value KernelEmitter::inverseRms(Buffer buffer, Value at, int64_t width,
                                float eps) {
  Value sum = vectors(0, width, splat(0),
                      [&](Value offset, int64_t size, ValueRange carried) {
                        Value x = load(buffer, add(at, offset), size);
                        return SmallVector<Value>{fma(x, x, carried[0])};
                      })[0];
  return inverseSqrt(divF(sumLanes(sum), constantF32(width)), eps);
}

std::pair<Value, Value> KernelEmitter::meanAndInverseDeviation(Buffer buffer,
                                                               Value at,
                                                               int64_t width,
                                                               float eps) {
  Value sum = vectors(0, width, splat(0),
                      [&](Value offset, int64_t size, ValueRange carried) {
                        Value x = load(buffer, add(at, offset), size);
                        return SmallVector<Value>{addF(x, carried[0])};
                      })[0];
  Value mean = broadcast(divF(sumLanes(sum), constantF32(width)));
  // A second pass over the differences: E[x^2] - E[x]^2 would cancel.
  Value squares = vectors(
      0, width, splat(0), [&](Value offset, int64_t size, ValueRange carried) {
        Value d = subF(load(buffer, add(at, offset), size), mean);
        if (size < lanes) { // Lanes past the row hold -mean: leave them out.
          Value mask = vector::ConstantMaskOp::create(
              *this, VectorType::get({lanes}, getI1Type()),
              ArrayRef<int64_t>{size});
          d = arith::SelectOp::create(*this, mask, d, splat(0));
        }
        return SmallVector<Value>{fma(d, d, carried[0])};
      })[0];
  return {mean, inverseSqrt(divF(sumLanes(squares), constantF32(width)), eps)};
}

Value KernelEmitter::gelu(Value x) {
  // 0.5 (1 + tanh(u)) = 1 / (1 + exp(-2u)).
  Value cube = mulF(mulF(x, x), x);
  Value inner = fma(splat(0.044715f), cube, x);
  Value power = exp(mulF(inner, splat(-2.0f * 0.7978845608028654f)));
  return divF(x, addF(splat(1), power));
}

Value KernelEmitter::softcap(Value x, float cap) {
  // tanh(y) = 1 - 2 / (exp(2y) + 1).
  Value power = exp(mulF(x, splat(2 / cap)));
  Value tanh = subF(splat(1), divF(splat(2), addF(power, splat(1))));
  return mulF(tanh, splat(cap));
}

void KernelEmitter::finish() { func::ReturnOp::create(*this); }
