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

/// table[byte] for each byte of the words, all of them less than 16. The
/// table's size is a power of two.
Value lookupBytes(KernelEmitter &e, ArrayRef<uint8_t> table, Value words);

/// The nearest bf16, ties to even, as f32.
Value roundToBFloat(KernelEmitter &e, Value floats);

/// How sums of products of bytes are made.
enum class DotKind : uint8_t {
  /// One instruction. Of bytes that are all signed to it: weights of at most 7
  /// bits.
  Bytes4,
  /// The same of signed bytes.
  SignedBytes4,
  /// Of bytes of 8 bits without a sign by instructions for signed ones: the
  /// low 7 bits, and twice half of the highest.
  SplitBytes4,
  /// By sums of two products in 16 bits: weights of at most 7 bits.
  Bytes2,
  /// The same, with the weights' signs moved to the input.
  SignedBytes2,
  /// By products of 16 bits.
  Halves,
};
/// How a variant does it for codes of at most `bits` bits.
DotKind getDotKind(const Variant &variant, bool isSigned, unsigned bits);
/// Whether the weights' bytes are signed; else signed codes have an excess of
/// half their range.
inline bool takesSignedBytes(DotKind kind) {
  return kind == DotKind::SignedBytes2 || kind == DotKind::SignedBytes4;
}
/// What there is to do once for the weights' bytes of four columns, before they
/// are multiplied with the inputs of any number of tokens.
SmallVector<Value, 2> prepareDot(KernelEmitter &e, DotKind kind, Value bytes);
/// sum + the four products of prepared bytes with the input's in each lane. An
/// input is a word of four signed bytes, none of them -128, in all lanes.
Value addDot(KernelEmitter &e, DotKind kind, Value sum, ValueRange weights,
             Value input);
/// sum + the two products of the bf16 in each word.
Value addPairProducts(KernelEmitter &e, Value sum, Value weights, Value input);
/// 16 integers of -127 to 127 as bytes, in 4 words.
Value packBytes(KernelEmitter &e, Value words);

} // namespace mlir::lap::cpu
