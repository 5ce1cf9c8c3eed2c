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

/// The bundle's name of it, and LLVM's: "x86_64".
StringRef getName(Architecture architecture);
/// What this program was compiled for, where it is one of them.
std::optional<Architecture> getHostArchitecture();

/// The architectures of a `--target`: "cpu" is the host's, "cpu-aarch64" that
/// one, "cpu-x86_64,cpu-aarch64" both. Empty when it names no such thing.
SmallVector<Architecture> parseTarget(StringRef target);
/// What may be named.
std::string listTargets();

/// All variants, those of an architecture together, the best first.
ArrayRef<CpuVariant> getVariants();
ArrayRef<CpuVariant> getVariants(Architecture architecture);
/// "vnni, avx512 or avx2", or with other words between.
std::string listVariants(StringRef comma = ", ", StringRef last = " or ");
/// Whether a module of kernels has one that the variant is better at than those
/// after it.
bool needsVariant(ModuleOp kernels, const CpuVariant &variant);
/// Null when there is no such variant.
const CpuVariant *findVariant(StringRef name);

/// The variants that a bundle gets for an architecture, the best first, of
/// those that its kernels need: those of a list of names with commas between,
/// where "native" is the one that this machine would take; all of them where it
/// is empty.
SmallVector<const CpuVariant *>
chooseVariants(StringRef list, Architecture architecture, ModuleOp kernels);
/// The first name of such a list that is no variant of any of the
/// architectures; "" where there is none.
StringRef findUnknown(StringRef list, ArrayRef<Architecture> architectures);

} // namespace mlir::lap::cpu
