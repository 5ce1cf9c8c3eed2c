// The instruction sets that the CPU target compiles for.
#pragma once

#include "targets/cpu/KernelEmitter.h"

namespace mlir::lap::cpu {

struct CpuVariant {
  Variant blocking;
  /// LLVM's name of the CPU level.
  StringRef cpu;
  /// Features the loader checks, by LLVM's names.
  ArrayRef<StringRef> features;
  /// Width of the registers in bits.
  unsigned vectorBits;
};

/// The variants of x86-64, the best first.
ArrayRef<CpuVariant> getX86Variants();
/// Null when there is no such variant.
const CpuVariant *findVariant(StringRef name);

} // namespace mlir::lap::cpu
