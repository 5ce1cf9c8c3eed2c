// Arithmetic on vectors of words (see the header).
#include "targets/cpu/VectorWords.h"
#include "targets/cpu/NeonWords.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;
using lapidary::FieldKind;

static constexpr int64_t lanes = KernelEmitter::lanes;

VectorType cpu::getWordsType(OpBuilder &builder) {
  return VectorType::get({lanes}, builder.getI32Type());
}

Value cpu::splatWord(KernelEmitter &e, uint32_t word) {
  return constantWords(e, ArrayRef<uint32_t>(word));
}

Value cpu::constantWords(KernelEmitter &e, ArrayRef<uint32_t> words) {
  SmallVector<APInt> values;
  for (uint32_t word : words)
    values.emplace_back(32, word);
  return arith::ConstantOp::create(
      e, DenseElementsAttr::get(getWordsType(e), values));
}

Value cpu::shiftLeft(KernelEmitter &e, Value words, int64_t bits) {
  return bits ? arith::ShLIOp::create(e, words, splatWord(e, bits)).getResult()
              : words;
}
Value cpu::shiftRight(KernelEmitter &e, Value words, int64_t bits) {
  return bits ? arith::ShRUIOp::create(e, words, splatWord(e, bits)).getResult()
              : words;
}
Value cpu::andWords(KernelEmitter &e, Value words, uint32_t mask) {
  return arith::AndIOp::create(e, words, splatWord(e, mask));
}
Value cpu::orWords(KernelEmitter &e, Value lhs, Value rhs) {
  return arith::OrIOp::create(e, lhs, rhs);
}
Value cpu::asFloats(KernelEmitter &e, Value words) {
  return vector::BitCastOp::create(e, e.vectorType(), words);
}
Value cpu::asWords(KernelEmitter &e, Value floats) {
  return vector::BitCastOp::create(e, getWordsType(e), floats);
}

Value cpu::loadRaw(KernelEmitter &e, Buffer buffer, Value at, int64_t bytes,
                   Type element) {
  Value raw = vector::LoadOp::create(e, VectorType::get({bytes}, e.getI8Type()),
                                     buffer.memref, at);
  if (element.isInteger(8))
    return raw;
  int64_t count = bytes * 8 / element.getIntOrFloatBitWidth();
  return vector::BitCastOp::create(e, VectorType::get({count}, element), raw);
}

Value cpu::loadPacked(KernelEmitter &e, Buffer buffer, Value at, int64_t bits) {
  int64_t bytes = lanes * bits / 8;
  Value raw = loadRaw(
      e, buffer, at, bytes,
      e.getIntegerType(bits >= 8 ? bits : std::min<int64_t>(8 * bytes, 32)));
  if (bits == 32)
    return raw;
  if (bits >= 8)
    return arith::ExtUIOp::create(e, getWordsType(e), raw);
  // Every lane gets the word that holds its value, and shifts it down.
  if (bits == 1)
    raw = arith::ExtUIOp::create(e, VectorType::get({1}, e.getI32Type()), raw);
  int64_t perWord = std::min(lanes, 32 / bits);
  SmallVector<int64_t> sources;
  SmallVector<uint32_t> shifts;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    sources.push_back(lane / perWord);
    shifts.push_back(lane % perWord * bits);
  }
  Value spread = vector::ShuffleOp::create(e, raw, raw, sources);
  Value shifted = arith::ShRUIOp::create(e, spread, constantWords(e, shifts));
  return andWords(e, shifted, (1u << bits) - 1);
}

/// The low 16 bits of each word, an f16.
static Value widenHalf(KernelEmitter &e, Value words) {
  Value halves = arith::TruncIOp::create(
      e, VectorType::get({lanes}, e.getIntegerType(16)), words);
  Value floats = vector::BitCastOp::create(
      e, VectorType::get({lanes}, e.getF16Type()), halves);
  return arith::ExtFOp::create(e, e.vectorType(), floats);
}

/// A small float by way of f16: sign and magnitude are moved to where an f16
/// has them, and a power of two makes up for the exponents' biases. No f32 is
/// denormal on the way.
static Value widenSmall(KernelEmitter &e, Value words, int64_t exponentBits,
                        int64_t mantissaBits) {
  constexpr int64_t halfMantissa = 10, halfBias = 15, halfSign = 15;
  int64_t sign = exponentBits + mantissaBits;
  Value magnitude = shiftLeft(e, andWords(e, words, (1u << sign) - 1),
                              halfMantissa - mantissaBits);
  Value signs = shiftLeft(e, andWords(e, words, 1u << sign), halfSign - sign);
  int64_t bias = (1 << (exponentBits - 1)) - 1;
  return e.mulF(widenHalf(e, orWords(e, magnitude, signs)),
                e.splat(std::ldexp(1.0f, halfBias - bias)));
}

static Value equals(KernelEmitter &e, Value words, uint32_t word) {
  return arith::CmpIOp::create(e, arith::CmpIPredicate::eq, words,
                               splatWord(e, word));
}

Value cpu::widenWords(KernelEmitter &e, const lapidary::SchemeField &field,
                      Value words) {
  constexpr uint32_t nan = 0x7fc00000;
  auto select = [&](Value condition, uint32_t word, Value otherwise) -> Value {
    return arith::SelectOp::create(e, condition, splatWord(e, word), otherwise);
  };
  switch (field.kind) {
  case FieldKind::Unsigned:
    return words;
  case FieldKind::Signed: {
    int64_t unused = 32 - field.bits;
    return arith::ShRSIOp::create(e, shiftLeft(e, words, unused),
                                  splatWord(e, unused));
  }
  case FieldKind::F32:
    return asFloats(e, words);
  case FieldKind::F16:
    return widenHalf(e, words);
  case FieldKind::BF16:
    return asFloats(e, shiftLeft(e, words, 16));
  case FieldKind::F8E4M3: {
    constexpr uint32_t magnitude = 0x7f;
    Value isNan = equals(e, andWords(e, words, magnitude), magnitude);
    Value value = widenSmall(e, words, 4, 3);
    return asFloats(e, select(isNan, nan, asWords(e, value)));
  }
  case FieldKind::F8E5M2: // The upper half of an f16.
    return widenHalf(e, shiftLeft(e, words, 8));
  case FieldKind::F8E8M0: {
    constexpr uint32_t smallest = 0x00400000, nanCode = 255;
    Value value = shiftLeft(e, words, 23);
    value = select(equals(e, words, 0), smallest, value);
    return asFloats(e, select(equals(e, words, nanCode), nan, value));
  }
  case FieldKind::F4E2M1:
    return widenSmall(e, words, 2, 1);
  }
  llvm_unreachable("unknown field kind");
}

Value cpu::callIntrinsic(KernelEmitter &e, StringRef name, Type result,
                         ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(e, result, e.getStringAttr(name),
                                       operands)
      .getResult(0);
}

/// 16 entries in one register of 512 bits: the index is taken mod 16.
static Value permute16(KernelEmitter &e, ArrayRef<uint32_t> table,
                       Value words) {
  SmallVector<uint32_t> entries;
  for (int64_t i = 0; i < lanes; ++i)
    entries.push_back(table[i % table.size()]);
  return callIntrinsic(e, "llvm.x86.avx512.permvar.si.512", getWordsType(e),
                       {constantWords(e, entries), words});
}

/// With registers of 256 bits, indices mod 8 for each half of the lanes, and
/// bit 3 chooses between two results.
static Value permute8(KernelEmitter &e, ArrayRef<uint32_t> table, Value words) {
  constexpr int64_t half = 8;
  auto words8 = VectorType::get({half}, e.getI32Type());
  auto floats8 = e.vectorType(half);
  auto entries = [&](size_t first) -> Value {
    SmallVector<APInt> values;
    for (size_t i = 0; i < half; ++i)
      values.emplace_back(32, table[(first + i) % table.size()]);
    Value constant =
        arith::ConstantOp::create(e, DenseElementsAttr::get(words8, values));
    return vector::BitCastOp::create(e, floats8, constant);
  };
  Value result = splatWord(e, 0);
  for (int64_t at = 0; at < lanes; at += half) {
    Value index = vector::ExtractStridedSliceOp::create(
        e, words, ArrayRef<int64_t>{at}, ArrayRef<int64_t>{half},
        ArrayRef<int64_t>{1});
    auto permute = [&](size_t first) {
      Value value = callIntrinsic(e, "llvm.x86.avx2.permps", floats8,
                                  {entries(first), index});
      return vector::BitCastOp::create(e, words8, value).getResult();
    };
    Value value = permute(0);
    if (table.size() > size_t(half)) {
      auto splat = [&](int32_t word) -> Value {
        return arith::ConstantOp::create(
            e, DenseElementsAttr::get(words8, e.getI32IntegerAttr(word)));
      };
      // The sign is what a blend looks at.
      Value sign = arith::ShLIOp::create(e, index, splat(28));
      Value upper =
          arith::CmpIOp::create(e, arith::CmpIPredicate::slt, sign, splat(0));
      value = arith::SelectOp::create(e, upper, permute(half), value);
    }
    result = vector::InsertStridedSliceOp::create(
        e, value, result, ArrayRef<int64_t>{at}, ArrayRef<int64_t>{1});
  }
  return result;
}

/// A constant of the module with these words; one for equal tables.
static Value getGlobalTable(KernelEmitter &e, ArrayRef<uint32_t> table) {
  auto module = e.getFunction()->getParentOfType<ModuleOp>();
  SmallVector<APInt> values;
  for (uint32_t word : table)
    values.emplace_back(32, word);
  auto size = static_cast<int64_t>(table.size());
  auto value =
      DenseElementsAttr::get(VectorType::get({size}, e.getI32Type()), values);
  auto initial = DenseElementsAttr::getFromRawBuffer(
      RankedTensorType::get({size}, e.getI32Type()), value.getRawData());
  auto type = MemRefType::get({size}, e.getI32Type());
  memref::GlobalOp global;
  int64_t count = 0;
  for (auto other : module.getOps<memref::GlobalOp>()) {
    ++count;
    if (other.getInitialValueAttr() == initial)
      global = other;
  }
  if (!global) {
    OpBuilder::InsertionGuard guard(e);
    e.setInsertionPointToStart(module.getBody());
    global = memref::GlobalOp::create(
        e, "lookup_table_" + std::to_string(count), e.getStringAttr("private"),
        type, initial, /*constant=*/true,
        /*alignment=*/e.getI64IntegerAttr(64));
  }
  return memref::GetGlobalOp::create(e, type, global.getSymName());
}

Value cpu::lookupWords(KernelEmitter &e, ArrayRef<uint32_t> table,
                       Value words) {
  if (table.size() <= size_t(lanes) && isNeon(e.getVariant()))
    return lookupNeon(e, table, words);
  if (table.size() <= size_t(lanes))
    return e.getVariant().vectorBits == 512 ? permute16(e, table, words)
                                            : permute8(e, table, words);
  Value memory = getGlobalTable(e, table);
  Value inside = andWords(e, words, static_cast<uint32_t>(table.size() - 1));
  Value all = vector::ConstantMaskOp::create(
      e, VectorType::get({lanes}, e.getI1Type()), ArrayRef<int64_t>{lanes});
  return vector::GatherOp::create(e, getWordsType(e), memory,
                                  ValueRange{e.index(0)}, inside, all,
                                  splatWord(e, 0));
}

Value cpu::roundToBFloat(KernelEmitter &e, Value floats) {
  constexpr uint32_t half = 0x7fff, kept = 0xffff0000;
  Value words = asWords(e, floats);
  Value odd = andWords(e, shiftRight(e, words, 16), 1);
  Value up = arith::AddIOp::create(e, odd, splatWord(e, half));
  return asFloats(e, andWords(e, arith::AddIOp::create(e, words, up), kept));
}

DotKind cpu::getDotKind(const Variant &variant, bool isSigned, unsigned bits) {
  // Two products of bytes, 2 x 127 x 127, fit into 16 bits.
  constexpr unsigned exactBits = 7;
  if (isNeon(variant))
    return bits <= exactBits    ? DotKind::Bytes4
           : isSigned           ? DotKind::SignedBytes4
           : variant.mixedSigns ? DotKind::Bytes4
                                : DotKind::SplitBytes4;
  return variant.dotProducts ? DotKind::Bytes4
         : bits <= exactBits ? DotKind::Bytes2
         : isSigned          ? DotKind::SignedBytes2
                             : DotKind::Halves;
}

Value cpu::packBytes(KernelEmitter &e, Value words) {
  Value bytes = arith::TruncIOp::create(
      e, VectorType::get({lanes}, e.getI8Type()), words);
  return vector::BitCastOp::create(
      e, VectorType::get({lanes / 4}, e.getI32Type()), bytes);
}

/// Calls an intrinsic of two operands, whose elements have so many bits, on
/// words, register by register.
static Value callOnWords(KernelEmitter &e, StringRef name512, StringRef name256,
                         int64_t operandBits, int64_t resultBits, Value lhs,
                         Value rhs) {
  bool wide = e.getVariant().vectorBits == 512;
  int64_t count = wide ? lanes : lanes / 2;
  auto type = [&](int64_t bits) {
    return VectorType::get({count * 32 / bits}, e.getIntegerType(bits));
  };
  auto part = [&](Value value, int64_t at) -> Value {
    if (!wide)
      value = vector::ExtractStridedSliceOp::create(
          e, value, ArrayRef<int64_t>{at}, ArrayRef<int64_t>{count},
          ArrayRef<int64_t>{1});
    return vector::BitCastOp::create(e, type(operandBits), value);
  };
  Value result;
  for (int64_t at = 0; at < lanes; at += count) {
    Value value = callIntrinsic(e, wide ? name512 : name256, type(resultBits),
                                {part(lhs, at), part(rhs, at)});
    value = vector::BitCastOp::create(e, type(32), value);
    if (wide)
      return value;
    if (!result)
      result = splatWord(e, 0);
    result = vector::InsertStridedSliceOp::create(
        e, value, result, ArrayRef<int64_t>{at}, ArrayRef<int64_t>{1});
  }
  return result;
}

Value cpu::lookupBytes(KernelEmitter &e, ArrayRef<uint8_t> table, Value words) {
  if (isNeon(e.getVariant()))
    return lookupBytesNeon(e, table, words);
  // Each 16 bytes of a register have a table of their own.
  SmallVector<uint32_t> entries(lanes, 0);
  for (int64_t lane = 0; lane < lanes; ++lane)
    for (int64_t byte = 0; byte < 4; ++byte)
      entries[lane] |= uint32_t(table[(lane % 4 * 4 + byte) % table.size()])
                       << (8 * byte);
  return callOnWords(e, "llvm.x86.avx512.pshuf.b.512", "llvm.x86.avx2.pshuf.b",
                     8, 8, constantWords(e, entries), words);
}

/// Sums of two products of signed 16 bits.
static Value multiplyHalves(KernelEmitter &e, Value lhs, Value rhs) {
  return callOnWords(e, "llvm.x86.avx512.pmaddw.d.512",
                     "llvm.x86.avx2.pmadd.wd", 16, 32, lhs, rhs);
}

/// Words as vector<64xi8> or vector<32xi16>, and back.
static Value asLanes(KernelEmitter &e, Value words, int64_t bits) {
  auto type = VectorType::get({lanes * 32 / bits}, e.getIntegerType(bits));
  return vector::BitCastOp::create(e, type, words);
}
static Value splatLanes(KernelEmitter &e, int64_t bits, int64_t value) {
  auto type = VectorType::get({lanes * 32 / bits}, e.getIntegerType(bits));
  return arith::ConstantOp::create(
      e, DenseElementsAttr::get(
             type, e.getIntegerAttr(type.getElementType(), value)));
}

/// Sums of two products of unsigned and signed bytes in 16 bits, then of four.
static Value multiplyBytes(KernelEmitter &e, Value bytes, Value input) {
  constexpr uint32_t ones = 0x00010001;
  Value halves = callOnWords(e, "llvm.x86.avx512.pmaddubs.w.512",
                             "llvm.x86.avx2.pmadd.ub.sw", 8, 16, bytes, input);
  return multiplyHalves(e, halves, splatWord(e, ones));
}

SmallVector<Value, 2> cpu::prepareDot(KernelEmitter &e, DotKind kind,
                                      Value bytes) {
  switch (kind) {
  case DotKind::Bytes4:
  case DotKind::SignedBytes4:
  case DotKind::Bytes2:
    return {bytes};
  case DotKind::SplitBytes4:
    return {andWords(e, bytes, 0x7f7f7f7f),
            andWords(e, shiftRight(e, bytes, 1), 0x40404040)};
  case DotKind::SignedBytes2: {
    // -128 becomes 128, which is a byte without a sign.
    Value own = asLanes(e, bytes, 8);
    Value magnitude = math::AbsIOp::create(e, own);
    return {bytes, vector::BitCastOp::create(e, getWordsType(e), magnitude)};
  }
  case DotKind::Halves: {
    constexpr uint32_t evenBytes = 0x00ff00ff;
    return {andWords(e, bytes, evenBytes),
            andWords(e, shiftRight(e, bytes, 8), evenBytes)};
  }
  }
  llvm_unreachable("unknown kind of dot product");
}

Value cpu::addDot(KernelEmitter &e, DotKind kind, Value sum, ValueRange weights,
                  Value input) {
  if (isNeon(e.getVariant()))
    return addDotNeon(e, kind, sum, weights, input);
  auto add = [&](Value part) { sum = arith::AddIOp::create(e, sum, part); };
  auto asWord = [&](Value value) -> Value {
    return vector::BitCastOp::create(e, getWordsType(e), value);
  };
  switch (kind) {
  case DotKind::SignedBytes4:
  case DotKind::SplitBytes4:
    llvm_unreachable("for instructions of aarch64");
  case DotKind::Bytes4:
    return callIntrinsic(
        e, "llvm.x86.avx512.vpdpbusd.512", getWordsType(e),
        {sum, asLanes(e, weights[0], 8), asLanes(e, input, 8)});
  case DotKind::Bytes2:
    add(multiplyBytes(e, weights[0], input));
    break;
  case DotKind::SignedBytes2: {
    Value own = asLanes(e, input, 8), zero = splatLanes(e, 8, 0);
    Value negative = arith::CmpIOp::create(e, arith::CmpIPredicate::slt,
                                           asLanes(e, weights[0], 8), zero);
    own = arith::SelectOp::create(e, negative,
                                  arith::SubIOp::create(e, zero, own), own);
    add(multiplyBytes(e, weights[1], asWord(own)));
    break;
  }
  case DotKind::Halves: {
    Value halves = asLanes(e, input, 16), eight = splatLanes(e, 16, 8);
    Value odd = arith::ShRSIOp::create(e, halves, eight);
    Value even = arith::ShRSIOp::create(
        e, arith::ShLIOp::create(e, halves, eight).getResult(), eight);
    add(multiplyHalves(e, weights[0], asWord(even)));
    add(multiplyHalves(e, weights[1], asWord(odd)));
    break;
  }
  }
  return sum;
}

Value cpu::addPairProducts(KernelEmitter &e, Value sum, Value weights,
                           Value input) {
  auto type = VectorType::get({2 * lanes}, e.getBF16Type());
  auto asPairs = [&](Value words) -> Value {
    return vector::BitCastOp::create(e, type, words);
  };
  return callIntrinsic(e, "llvm.x86.avx512bf16.dpbf16ps.512", e.vectorType(),
                       {sum, asPairs(weights), asPairs(input)});
}
