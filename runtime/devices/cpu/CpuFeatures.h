// What the CPU can do, by the names that LLVM uses for features, so that a
// bundle's variant can list what it needs in the compiler's own words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

struct CpuFeatures {
  /// The instruction set architecture: "x86_64", "aarch64", "riscv64".
  std::string_view architecture;
  /// The processor's own name: "AMD EPYC 9654 96-Core Processor".
  std::string brand;
  /// Sorted; only features whose registers the operating system saves too.
  std::vector<std::string_view> names;

  bool has(std::string_view feature) const;
};

/// Asked of the CPU once.
const CpuFeatures &cpuFeatures();

} // namespace lapidary
