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
  /// Features above the level, as LLVM's code generator takes them.
  StringRef extra = "";
};

/// The variants of x86-64, the best first.
ArrayRef<CpuVariant> getX86Variants();
/// Whether a module of kernels has one that the variant is better at than those
/// after it.
bool needsVariant(ModuleOp kernels, const CpuVariant &variant);
/// Null when there is no such variant.
const CpuVariant *findVariant(StringRef name);

} // namespace mlir::lap::cpu
