// The instruction sets that the CPU target compiles for, and their register
// blocking.
#include "targets/cpu/Variants.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

static constexpr StringRef avx512Features[] = {
    "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl",
    "avx2",    "fma",      "f16c",     "bmi2"};
static constexpr StringRef vnniFeatures[] = {
    "avx512vnni", "avx512f", "avx512bw", "avx512cd", "avx512dq",
    "avx512vl",   "avx2",    "fma",      "f16c",     "bmi2"};
static constexpr StringRef bf16Features[] = {
    "avx512bf16", "avx512f", "avx512bw", "avx512cd", "avx512dq",
    "avx512vl",   "avx2",    "fma",      "f16c",     "bmi2"};
static constexpr StringRef avx2Features[] = {"avx2", "fma", "f16c", "bmi2"};

ArrayRef<CpuVariant> cpu::getX86Variants() {
  // 12 tokens x 2 row tiles fill 24 of the 32 registers of AVX-512 with sums;
  // 6 tokens x 16 rows (two registers) fill 12 of AVX2's 16. Of integers, 6 x 2
  // take 12 registers for the sums of a run and 12 for those of runs; AVX2
  // keeps the latter in memory.
  static const CpuVariant variants[] = {
      {{"bf16", 12, 2, 6, 2, 512, false, true},
       "x86-64-v4",
       bf16Features,
       "+avx512bf16"},
      {{"vnni", 12, 2, 6, 2, 512, true},
       "x86-64-v4",
       vnniFeatures,
       "+avx512vnni"},
      {{"avx512", 12, 2, 6, 2, 512}, "x86-64-v4", avx512Features},
      {{"avx2", 6, 1, 4, 1, 256}, "x86-64-v3", avx2Features},
  };
  return variants;
}

/// Only sums of products of integers are what VNNI is for, and AVX512_BF16 for
/// those of bf16.
bool cpu::needsVariant(ModuleOp kernels, const CpuVariant &variant) {
  const Variant &blocking = variant.blocking;
  if (!blocking.dotProducts && !blocking.halfProducts)
    return true;
  return kernels
      .walk([&](FusedLinearOp op) {
        PackedAttr packing = op.getPacking();
        bool needs = packing && (blocking.halfProducts ? packing.getHalves()
                                                       : packing.getCodes());
        return needs ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}

const CpuVariant *cpu::findVariant(StringRef name) {
  for (const CpuVariant &variant : getX86Variants())
    if (variant.blocking.name == name)
      return &variant;
  return nullptr;
}
