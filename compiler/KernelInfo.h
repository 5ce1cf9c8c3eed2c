// How a compiled kernel is called: what a target's lowering says and the
// bundle's program repeats (runtime/schema/bundle.fbs, table Kernel).
#pragma once

#include "llvm/ADT/StringMap.h"

#include <cstdint>
#include <string>
#include <vector>

namespace mlir::lap {

/// constant + perToken * tokens.
struct Extent {
  int64_t constant = 0;
  int64_t perToken = 0;
};

struct KernelInfo {
  /// Independent pieces of work in a dispatch.
  Extent tiles;
  /// About how many multiply-adds a tile is.
  Extent tileWork;
  /// Bytes of scratch memory a call needs.
  Extent scratch;
};

/// The code of one target, ready for the bundle.
struct TargetCode {
  struct Variant {
    std::string name;
    /// CPU features that must be present, by LLVM's names.
    std::vector<std::string> features;
    /// An ELF shared object.
    std::string bytes;
  };
  /// "cpu".
  std::string device;
  /// "x86_64", "aarch64".
  std::string architecture;
  /// The best first.
  std::vector<Variant> variants;
  /// By symbol.
  llvm::StringMap<KernelInfo> kernels;
};

} // namespace mlir::lap
