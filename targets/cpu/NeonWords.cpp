// Words in NEON registers (see the header): 16 lanes are four of them.
#include "targets/cpu/NeonWords.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

static constexpr int64_t lanes = KernelEmitter::lanes;
static constexpr int64_t registerWords = 4, registerBytes = 16;

/// A register's type, or a part of one.
static VectorType vectorOf(KernelEmitter &e, int64_t count, int64_t bits) {
  return VectorType::get({count}, e.getIntegerType(bits));
}

static Value slice(KernelEmitter &e, Value vector, int64_t at, int64_t count) {
  return vector::ExtractStridedSliceOp::create(e, vector, ArrayRef<int64_t>{at},
                                               ArrayRef<int64_t>{count},
                                               ArrayRef<int64_t>{1});
}

/// Calls `body` with the first word of each register, and joins the words that
/// it gives.
static Value mapRegisters(KernelEmitter &e,
                          function_ref<Value(int64_t first)> body) {
  Value result = splatWord(e, 0);
  for (int64_t first = 0; first < lanes; first += registerWords)
    result = vector::InsertStridedSliceOp::create(
        e, body(first), result, ArrayRef<int64_t>{first}, ArrayRef<int64_t>{1});
  return result;
}

/// Entries are looked up byte by byte in tables of one, two or four registers.
Value cpu::lookupNeon(KernelEmitter &e, ArrayRef<uint32_t> table, Value words) {
  VectorType bytes = vectorOf(e, registerBytes, 8);
  VectorType words4 = vectorOf(e, registerWords, 32);
  int64_t registers = table.size() > 8 ? 4 : table.size() > 4 ? 2 : 1;
  SmallVector<Value> operands;
  for (int64_t first = 0; first < registers; ++first) {
    SmallVector<APInt> entries;
    for (int64_t i = 0; i < registerWords; ++i)
      entries.emplace_back(32,
                           table[(first * registerWords + i) % table.size()]);
    Value constant =
        arith::ConstantOp::create(e, DenseElementsAttr::get(words4, entries));
    operands.push_back(vector::BitCastOp::create(e, bytes, constant));
  }
  // Word w lies in the bytes 4 w to 4 w + 3.
  constexpr uint32_t everyByte = 0x04040404, offsets = 0x03020100;
  Value inside = andWords(e, words, static_cast<uint32_t>(table.size() - 1));
  Value places = arith::AddIOp::create(
      e, arith::MulIOp::create(e, inside, splatWord(e, everyByte)),
      splatWord(e, offsets));
  std::string name =
      "llvm.aarch64.neon.tbl" + std::to_string(registers) + ".v16i8";
  operands.push_back(nullptr);
  return mapRegisters(e, [&](int64_t first) -> Value {
    operands.back() = vector::BitCastOp::create(
        e, bytes, slice(e, places, first, registerWords));
    return vector::BitCastOp::create(e, words4,
                                     callIntrinsic(e, name, bytes, operands));
  });
}

Value cpu::lookupBytesNeon(KernelEmitter &e, ArrayRef<uint8_t> table,
                           Value words) {
  VectorType bytes = vectorOf(e, registerBytes, 8);
  SmallVector<APInt> entries;
  for (int64_t i = 0; i < registerBytes; ++i)
    entries.emplace_back(8, table[i % table.size()]);
  Value constant =
      arith::ConstantOp::create(e, DenseElementsAttr::get(bytes, entries));
  return mapRegisters(e, [&](int64_t first) -> Value {
    Value places = vector::BitCastOp::create(
        e, bytes, slice(e, words, first, registerWords));
    Value found = callIntrinsic(e, "llvm.aarch64.neon.tbl1.v16i8", bytes,
                                {constant, places});
    return vector::BitCastOp::create(e, vectorOf(e, registerWords, 32), found);
  });
}

/// Without an instruction for it: products of bytes are words of 16 bits, of
/// which sums of two still fit, for bytes of -128 to 127 times -127 to 127.
static Value addProducts(KernelEmitter &e, Value sum, Value lhs, Value rhs) {
  constexpr int64_t half = registerBytes / 2;
  VectorType halves = vectorOf(e, half, 16);
  auto multiply = [&](int64_t at) {
    return callIntrinsic(e, "llvm.aarch64.neon.smull.v8i16", halves,
                         {slice(e, lhs, at, half), slice(e, rhs, at, half)});
  };
  Value pairs = callIntrinsic(e, "llvm.aarch64.neon.addp.v8i16", halves,
                              {multiply(0), multiply(half)});
  Value quads = callIntrinsic(e, "llvm.aarch64.neon.saddlp.v4i32.v8i16",
                              vectorOf(e, registerWords, 32), pairs);
  return arith::AddIOp::create(e, sum, quads);
}

Value cpu::addDotNeon(KernelEmitter &e, DotKind kind, Value sum,
                      ValueRange weights, Value input) {
  const Variant &variant = e.getVariant();
  bool mixed = variant.mixedSigns && kind == DotKind::Bytes4;
  return mapRegisters(e, [&](int64_t first) {
    auto asBytes = [&](Value words) -> Value {
      return vector::BitCastOp::create(e, vectorOf(e, registerBytes, 8),
                                       slice(e, words, first, registerWords));
    };
    Value own = slice(e, sum, first, registerWords);
    Value rhs = asBytes(input);
    auto add = [&](Value words) {
      Value lhs = asBytes(words);
      own = variant.dotProducts
                ? callIntrinsic(e,
                                mixed ? "llvm.aarch64.neon.usdot.v4i32.v16i8"
                                      : "llvm.aarch64.neon.sdot.v4i32.v16i8",
                                own.getType(), {own, lhs, rhs})
                : addProducts(e, own, lhs, rhs);
    };
    add(weights[0]);
    if (kind == DotKind::SplitBytes4)
      for (int64_t half = 0; half < 2; ++half)
        add(weights[1]);
    return own;
  });
}

/// first[0], second[0], first[1], ...
static Value interleave(KernelEmitter &e, Value first, Value second) {
  SmallVector<int64_t> order;
  for (int64_t lane = 0; lane < lanes; ++lane)
    order.append({lane, lane + lanes});
  return vector::ShuffleOp::create(e, first, second, order);
}

Value cpu::pairWords(KernelEmitter &e, Value first, Value second) {
  return interleave(e, first, second);
}

Value cpu::joinTokens(KernelEmitter &e, Value first, Value second) {
  return interleave(e, first, second);
}

std::pair<Value, Value> cpu::splitTokens(KernelEmitter &e, Value sums) {
  SmallVector<int64_t> even, odd;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    even.push_back(2 * lane);
    odd.push_back(2 * lane + 1);
  }
  return {vector::ShuffleOp::create(e, sums, sums, even),
          vector::ShuffleOp::create(e, sums, sums, odd)};
}

Value cpu::addMatrix(KernelEmitter &e, DotKind kind, Value sums, Value bytes,
                     Value input) {
  bool isSigned = kind == DotKind::SignedBytes4;
  VectorType bytes16 = vectorOf(e, registerBytes, 8);
  Value rhs = vector::BitCastOp::create(e, bytes16, input);
  Value result = sums;
  for (int64_t first = 0; first < 2 * lanes; first += registerWords) {
    Value own = slice(e, sums, first, registerWords);
    Value lhs = vector::BitCastOp::create(
        e, bytes16, slice(e, bytes, first, registerWords));
    own = callIntrinsic(e,
                        isSigned ? "llvm.aarch64.neon.smmla.v4i32.v16i8"
                                 : "llvm.aarch64.neon.usmmla.v4i32.v16i8",
                        own.getType(), {own, lhs, rhs});
    result = vector::InsertStridedSliceOp::create(
        e, own, result, ArrayRef<int64_t>{first}, ArrayRef<int64_t>{1});
  }
  return result;
}
