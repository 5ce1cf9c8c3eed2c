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

/// `addDot` for `Bytes4` and `SignedBytes4`.
Value addDotNeon(KernelEmitter &e, DotKind kind, Value sum, Value bytes,
                 Value input);

} // namespace mlir::lap::cpu
