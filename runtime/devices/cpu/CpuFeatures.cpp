// cpuid and xgetbv on x86-64, the kernel's auxiliary vector elsewhere.
#include "runtime/devices/cpu/CpuFeatures.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <sys/auxv.h>
#endif

namespace lapidary {
namespace {

#if defined(__x86_64__)

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers result;
  if (__get_cpuid_max(leaf & 0x80000000, nullptr) >= leaf)
    __cpuid_count(leaf, subleaf, result.eax, result.ebx, result.ecx,
                  result.edx);
  return result;
}

uint64_t savedState() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

/// Linux gives the tile registers only to processes that ask for them.
bool requestTiles() {
  constexpr long requestPermission = 0x1023, tileData = 18;
  return syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}

enum State : uint8_t { None, Avx, Avx512, Amx };
struct Bit {
  uint8_t number;
  State needs;
  std::string_view name;
};

CpuFeatures detect() {
  CpuFeatures features;
  features.architecture = "x86_64";
  Registers basic = cpuid(1);
  uint64_t saved = (basic.ecx >> 27 & 1) ? savedState() : 0;
  bool avx = (saved & 0x6) == 0x6, avx512 = avx && (saved & 0xe0) == 0xe0;
  bool amx = avx512 && (saved & 0x60000) == 0x60000;
  bool amxGranted = false;

  auto add = [&](uint32_t bits, std::initializer_list<Bit> table) {
    for (const Bit &bit : table) {
      if (!(bits >> bit.number & 1))
        continue;
      if (bit.needs == Amx && amx && !amxGranted)
        amx = amxGranted = requestTiles();
      if (bit.needs == None || (bit.needs == Avx && avx) ||
          (bit.needs == Avx512 && avx512) || (bit.needs == Amx && amx))
        features.names.push_back(bit.name);
    }
  };
  features.names.push_back("64bit");
  add(basic.edx, {{8, None, "cx8"},
                  {15, None, "cmov"},
                  {23, None, "mmx"},
                  {24, None, "fxsr"},
                  {25, None, "sse"},
                  {26, None, "sse2"}});
  add(basic.ecx, {{0, None, "sse3"},
                  {1, None, "pclmul"},
                  {9, None, "ssse3"},
                  {12, Avx, "fma"},
                  {13, None, "cx16"},
                  {19, None, "sse4.1"},
                  {20, None, "sse4.2"},
                  {20, None, "crc32"},
                  {22, None, "movbe"},
                  {23, None, "popcnt"},
                  {25, None, "aes"},
                  {27, None, "xsave"},
                  {28, Avx, "avx"},
                  {29, Avx, "f16c"},
                  {30, None, "rdrnd"}});
  Registers seven = cpuid(7);
  add(seven.ebx, {{0, None, "fsgsbase"},
                  {3, None, "bmi"},
                  {5, Avx, "avx2"},
                  {8, None, "bmi2"},
                  {16, Avx512, "avx512f"},
                  {17, Avx512, "avx512dq"},
                  {18, None, "rdseed"},
                  {19, None, "adx"},
                  {21, Avx512, "avx512ifma"},
                  {23, None, "clflushopt"},
                  {24, None, "clwb"},
                  {28, Avx512, "avx512cd"},
                  {29, None, "sha"},
                  {30, Avx512, "avx512bw"},
                  {31, Avx512, "avx512vl"}});
  add(seven.ecx, {{1, Avx512, "avx512vbmi"},
                  {6, Avx512, "avx512vbmi2"},
                  {8, None, "gfni"},
                  {9, Avx, "vaes"},
                  {10, Avx, "vpclmulqdq"},
                  {11, Avx512, "avx512vnni"},
                  {12, Avx512, "avx512bitalg"},
                  {14, Avx512, "avx512vpopcntdq"},
                  {22, None, "rdpid"},
                  {27, None, "movdiri"},
                  {28, None, "movdir64b"}});
  add(seven.edx, {{8, Avx512, "avx512vp2intersect"},
                  {14, None, "serialize"},
                  {22, Amx, "amx-bf16"},
                  {23, Avx512, "avx512fp16"},
                  {24, Amx, "amx-tile"},
                  {25, Amx, "amx-int8"}});
  Registers more = cpuid(7, 1);
  add(more.eax, {{4, Avx, "avxvnni"},
                 {5, Avx512, "avx512bf16"},
                 {21, Amx, "amx-fp16"},
                 {23, Avx, "avxifma"}});
  add(more.edx, {{4, Avx, "avxvnniint8"},
                 {5, Avx, "avxneconvert"},
                 {8, Amx, "amx-complex"},
                 {10, Avx, "avxvnniint16"}});
  Registers extended = cpuid(0x80000001);
  add(extended.ecx, {{0, None, "sahf"},
                     {5, None, "lzcnt"},
                     {6, None, "sse4a"},
                     {8, None, "prfchw"}});
  Registers saving = cpuid(0xd, 1);
  add(saving.eax,
      {{0, None, "xsaveopt"}, {1, None, "xsavec"}, {3, None, "xsaves"}});

  char brand[49] = {};
  for (uint32_t leaf = 0; leaf < 3; ++leaf) {
    Registers part = cpuid(0x80000002 + leaf);
    std::memcpy(brand + 16 * leaf, &part, sizeof(part));
  }
  features.brand = brand;
  return features;
}

#else

/// The first processor's name in /proc/cpuinfo, which not every kernel gives.
std::string readBrand() {
  std::string brand;
  if (FILE *file = std::fopen("/proc/cpuinfo", "re")) {
    char line[256];
    while (brand.empty() && std::fgets(line, sizeof(line), file))
      if (std::string_view text = line;
          text.starts_with("model name") || text.starts_with("uarch"))
        if (size_t colon = text.find(':'); colon != std::string_view::npos)
          brand = text.substr(colon + 1);
    std::fclose(file);
  }
  return brand;
}

struct Bit {
  uint8_t number;
  std::string_view name;
};

CpuFeatures detect() {
  CpuFeatures features;
  features.brand = readBrand();
  [[maybe_unused]] auto add = [&](unsigned long bits,
                                  std::initializer_list<Bit> table) {
    for (const Bit &bit : table)
      if (bits >> bit.number & 1)
        features.names.push_back(bit.name);
  };
#if defined(__aarch64__)
  features.architecture = "aarch64";
  // The bits of HWCAP and HWCAP2 in arch/arm64/include/uapi/asm/hwcap.h, which
  // old C libraries do not name.
  add(getauxval(AT_HWCAP), {{0, "fp-armv8"},
                            {1, "neon"},
                            {3, "aes"},
                            {6, "sha2"},
                            {7, "crc"},
                            {8, "lse"},
                            {10, "fullfp16"},
                            {12, "rdm"},
                            {20, "dotprod"},
                            {22, "sve"},
                            {23, "fp16fml"}});
  add(getauxval(AT_HWCAP2),
      {{1, "sve2"}, {13, "i8mm"}, {14, "bf16"}, {23, "sme"}});
#elif defined(__riscv)
  features.architecture = "riscv64";
  // One bit a single-letter extension.
  add(getauxval(AT_HWCAP),
      {{0, "a"}, {2, "c"}, {3, "d"}, {5, "f"}, {8, "i"}, {12, "m"}, {21, "v"}});
#else
  features.architecture = "unknown";
#endif
  return features;
}

#endif

} // namespace

bool CpuFeatures::has(std::string_view feature) const {
  return std::binary_search(names.begin(), names.end(), feature);
}

const CpuFeatures &cpuFeatures() {
  static const CpuFeatures features = [] {
    CpuFeatures found = detect();
    std::sort(found.names.begin(), found.names.end());
    auto space = [](char character) {
      return character == ' ' || character == '\n';
    };
    while (!found.brand.empty() && space(found.brand.back()))
      found.brand.pop_back();
    while (!found.brand.empty() && space(found.brand.front()))
      found.brand.erase(0, 1);
    if (found.brand.empty())
      found.brand = found.architecture;
    return found;
  }();
  return features;
}

} // namespace lapidary
