// Vectors of 16 words: integer arithmetic on them, stored values as i32 or f32,
// and tables in registers.
#pragma once

#include "targets/cpu/KernelEmitter.h"

namespace mlir::lap::cpu {

/// vector<16xi32>
VectorType getWordsType(OpBuilder &builder);
Value splatWord(KernelEmitter &e, uint32_t word);
/// One word a lane, as constants.
Value constantWords(KernelEmitter &e, ArrayRef<uint32_t> words);
Value shiftLeft(KernelEmitter &e, Value words, int64_t bits);
Value shiftRight(KernelEmitter &e, Value words, int64_t bits);
Value andWords(KernelEmitter &e, Value words, uint32_t mask);
Value orWords(KernelEmitter &e, Value lhs, Value rhs);
/// The same bits as vector<16xf32> or vector<16xi32>.
Value asFloats(KernelEmitter &e, Value words);
Value asWords(KernelEmitter &e, Value floats);

/// `bytes` bytes at `at`, of which nothing is known, in lanes of `element`.
Value loadRaw(KernelEmitter &e, Buffer buffer, Value at, int64_t bytes,
              Type element);

/// A call of LLVM's intrinsic of this name.
Value callIntrinsic(KernelEmitter &e, StringRef name, Type result,
                    ValueRange operands);

/// 16 values of `bits` bits (1, 2, 4, 8, 16 or 32) packed one after another at
/// byte `at`, each in the low bits of its word.
Value loadPacked(KernelEmitter &e, Buffer buffer, Value at, int64_t bits);

/// The `bits` low bits of each word as a field of this kind means them
/// (lapidary::widenField): i32 or f32. `words` has zeros above.
Value widenWords(KernelEmitter &e, const lapidary::SchemeField &field,
                 Value words);

/// table[words mod size] as words; the size is a power of two, at most 256. Up
/// to 16 entries stay in registers.
Value lookupWords(KernelEmitter &e, ArrayRef<uint32_t> table, Value words);

/// The nearest bf16, ties to even, as f32.
Value roundToBFloat(KernelEmitter &e, Value floats);

/// How sums of products of bytes are made.
enum class DotKind : uint8_t {
  /// One instruction. Of bytes that are all signed to it: weights of at most 7
  /// bits.
  Bytes4,
  /// The same of signed bytes, which are 128 less than the weights' bytes: what
  /// is missing has to be added.
  SignedBytes4,
  /// By sums of two products in 16 bits: weights of at most 7 bits.
  Bytes2,
  /// By products of 16 bits. An input's 4 columns take two words: the first and
  /// the third, the second and the fourth.
  Halves,
};
/// How a variant does it for codes of at most `bits` bits.
DotKind getDotKind(const Variant &variant, unsigned bits);
/// Words that 4 columns of the input take.
inline int64_t getDotWords(DotKind kind) {
  return kind == DotKind::Halves ? 2 : 1;
}
/// 16 integers of -127 to 127 as the words that `addDot` takes: 4 or 8.
Value packDotInput(KernelEmitter &e, DotKind kind, Value words);
/// What `addDot` takes a weight's byte to be less than it is.
inline int64_t getDotDeficit(DotKind kind) {
  return kind == DotKind::SignedBytes4 ? 128 : 0;
}
/// sum + the four products of unsigned bytes with the input's in each lane.
Value addDot(KernelEmitter &e, DotKind kind, Value sum, Value bytes,
             ValueRange input);

} // namespace mlir::lap::cpu
