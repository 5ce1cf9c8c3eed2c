// What vectors of 16 words need of aarch64's own instructions, in the registers
// of 128 bits that every such CPU has.
#pragma once

#include "targets/cpu/VectorWords.h"

namespace mlir::lap::cpu {

inline bool isNeon(const Variant &variant) {
  return variant.architecture == Architecture::Aarch64;
}

/// table[words mod size] as words, for at most 16 entries, a power of two.
Value lookupNeon(KernelEmitter &e, ArrayRef<uint32_t> table, Value words);

Value lookupBytesNeon(KernelEmitter &e, ArrayRef<uint8_t> table, Value words);

/// `addDot` for `Bytes4`, `SignedBytes4` and `SplitBytes4`.
Value addDotNeon(KernelEmitter &e, DotKind kind, Value sum, ValueRange weights,
                 Value input);

/// Whether an instruction multiplies two rows of 8 bytes with those of two
/// tokens (i8mm): twice the products of a dot product's. Sums are then words
/// of pairs of tokens, [row][token], 32 of them.
inline bool hasMatrices(const Variant &variant) { return variant.mixedSigns; }
/// The bytes of 8 columns, out of those of 4 and 4, as `addMatrix` takes them.
Value pairWords(KernelEmitter &e, Value first, Value second);
/// sums + products of the bytes of 8 columns with `input`, the bytes of those
/// columns for one token and then for the other.
Value addMatrix(KernelEmitter &e, DotKind kind, Value sums, Value bytes,
                Value input);
/// Sums of two tokens from those of each, and back.
Value joinTokens(KernelEmitter &e, Value first, Value second);
std::pair<Value, Value> splitTokens(KernelEmitter &e, Value sums);

} // namespace mlir::lap::cpu
