// The instruction sets that the CPU target compiles for, and their register
// blocking.
#include "targets/cpu/Variants.h"

#include "llvm/TargetParser/Host.h"

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
static constexpr StringRef amxFeatures[] = {
    "amx-int8", "amx-bf16", "amx-tile", "avx512bf16", "avx512vnni",
    "avx512f",  "avx512bw", "avx512cd", "avx512dq",   "avx512vl",
    "avx2",     "fma",      "f16c",     "bmi2"};
static constexpr StringRef avx2Features[] = {"avx2", "fma", "f16c", "bmi2"};

// The level is ARMv8-A, as all 64-bit processors of Arm have it.
static constexpr StringRef i8mmFeatures[] = {"i8mm", "dotprod", "neon"};
static constexpr StringRef dotprodFeatures[] = {"dotprod", "neon"};
static constexpr StringRef neonFeatures[] = {"neon"};

StringRef cpu::getName(Architecture architecture) {
  return architecture == Architecture::X86_64 ? "x86_64" : "aarch64";
}

std::optional<Architecture> cpu::getHostArchitecture() {
#if defined(__x86_64__)
  return Architecture::X86_64;
#elif defined(__aarch64__)
  return Architecture::Aarch64;
#else
  return std::nullopt;
#endif
}

static constexpr Architecture architectures[] = {Architecture::X86_64,
                                                 Architecture::Aarch64};

SmallVector<Architecture> cpu::parseTarget(StringRef target) {
  SmallVector<Architecture> result;
  SmallVector<StringRef> names;
  target.split(names, ',');
  for (StringRef name : names) {
    std::optional<Architecture> found;
    if (name == "cpu")
      found = getHostArchitecture();
    for (Architecture architecture : architectures)
      if (name == ("cpu-" + getName(architecture)).str())
        found = architecture;
    if (!found)
      return {};
    if (!llvm::is_contained(result, *found))
      result.push_back(*found);
  }
  return result;
}

std::string cpu::listTargets() {
  std::string list = "cpu (this machine's)";
  for (Architecture architecture : architectures)
    list += (", cpu-" + getName(architecture)).str();
  return list + ", or several of them with commas between";
}

ArrayRef<CpuVariant> cpu::getVariants() {
  // 12 tokens x 2 row tiles fill 24 of the 32 registers of AVX-512 with sums;
  // 6 tokens x 16 rows (two registers) fill 12 of AVX2's 16. Of integers, 6 x 2
  // take 12 registers for the sums of a run and 12 for those of runs; AVX2
  // keeps the latter in memory, as does NEON, where 6 x 16 rows are 24 of 32
  // registers.
  // With matrix registers the sums of runs take 16 registers, and the products
  // none.
  static const CpuVariant variants[] = {
      {{"amx", 12, 2, 8, 2, 512, true, true, Architecture::X86_64, false, true},
       "x86-64-v4",
       amxFeatures,
       "+avx512bf16,+avx512vnni,+amx-tile,+amx-int8,+amx-bf16"},
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
      {{"i8mm", 6, 1, 6, 1, 128, true, false, Architecture::Aarch64, true},
       "generic",
       i8mmFeatures,
       "+i8mm,+dotprod"},
      {{"dotprod", 6, 1, 6, 1, 128, true, false, Architecture::Aarch64},
       "generic",
       dotprodFeatures,
       "+dotprod"},
      {{"neon", 6, 1, 6, 1, 128, false, false, Architecture::Aarch64},
       "generic",
       neonFeatures},
  };
  return variants;
}

ArrayRef<CpuVariant> cpu::getVariants(Architecture architecture) {
  auto isOther = [&](const CpuVariant &variant) {
    return variant.blocking.architecture != architecture;
  };
  return getVariants().drop_while(isOther).take_until(isOther);
}

std::string cpu::listVariants(StringRef comma, StringRef last) {
  std::string list;
  ArrayRef<CpuVariant> variants = getVariants();
  for (const CpuVariant &variant : variants) {
    if (&variant != variants.begin())
      list += &variant == &variants.back() ? last : comma;
    list += variant.blocking.name;
  }
  return list;
}

/// Only sums of products of integers are what instructions for them are for,
/// and AVX512_BF16 for those of bf16.
bool cpu::needsVariant(ModuleOp kernels, const CpuVariant &variant) {
  const Variant &blocking = variant.blocking;
  if (!blocking.dotProducts && !blocking.halfProducts)
    return true;
  return kernels
      .walk([&](FusedLinearOp op) {
        PackedAttr packing = op.getPacking();
        bool needs =
            packing && ((blocking.halfProducts && packing.getHalves()) ||
                        (blocking.dotProducts && packing.getCodes()));
        return needs ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}

const CpuVariant *cpu::findVariant(StringRef name) {
  for (const CpuVariant &variant : getVariants())
    if (variant.blocking.name == name)
      return &variant;
  return nullptr;
}

static bool isSupported(const CpuVariant &variant) {
  if (variant.blocking.architecture != getHostArchitecture())
    return false;
  static const llvm::StringMap<bool> host = llvm::sys::getHostCPUFeatures();
  return llvm::all_of(variant.features,
                      [](StringRef feature) { return host.lookup(feature); });
}

static SmallVector<StringRef> split(StringRef list) {
  SmallVector<StringRef> names;
  list.split(names, ',', /*MaxSplit=*/-1, /*KeepEmpty=*/!list.empty());
  return names;
}

SmallVector<const CpuVariant *> cpu::chooseVariants(StringRef list,
                                                    Architecture architecture,
                                                    ModuleOp kernels) {
  SmallVector<StringRef> names = split(list);
  bool wantsNative = llvm::is_contained(names, "native");
  SmallVector<const CpuVariant *> chosen;
  for (const CpuVariant &variant : getVariants(architecture)) {
    if (!needsVariant(kernels, variant))
      continue;
    bool isNative = wantsNative && isSupported(variant);
    // The next ones that this machine has are not its best.
    wantsNative &= !isNative;
    if (names.empty() || isNative ||
        llvm::is_contained(names, variant.blocking.name))
      chosen.push_back(&variant);
  }
  return chosen;
}

StringRef cpu::findUnknown(StringRef list,
                           ArrayRef<Architecture> architectures) {
  for (StringRef name : split(list)) {
    if (name == "native")
      continue;
    const CpuVariant *variant = findVariant(name);
    if (!variant ||
        !llvm::is_contained(architectures, variant->blocking.architecture))
      return name.empty() ? list : name;
  }
  return "";
}
