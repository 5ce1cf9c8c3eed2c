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
  /// Of a GPU: tokens that the workgroups of one y compute; 0: there is no y.
  int64_t tokenTile = 0;
  /// Of a GPU: for each operand of the dispatch (a cache is two) the bytes of a
  /// row tile, where it may be bound in part; empty: none may.
  std::vector<uint64_t> windowBytes = {};
  bool windowsRepeat = false;
};

/// The code of one target, ready for the bundle.
struct TargetCode {
  struct Variant {
    std::string name;
    /// Features that must be present: a CPU's by LLVM's names, a GPU's by
    /// Vulkan's.
    std::vector<std::string> features;
    /// An ELF shared object; of a GPU nothing.
    std::string bytes;
    struct Module {
      uint64_t offset = 0, size = 0;
    };
    /// Of a GPU: where each kernel's module is in the target's, by symbol.
    llvm::StringMap<Module> modules = {};
  };
  /// "cpu", "vulkan".
  std::string device;
  /// "x86_64", "aarch64", "spirv".
  std::string architecture;
  /// The best first.
  std::vector<Variant> variants;
  /// Of a GPU: the modules of all variants, which have no bytes of their own.
  std::string modules;
  /// By symbol.
  llvm::StringMap<KernelInfo> kernels;

  /// How many code segments it takes.
  size_t countSegments() const { return modules.empty() ? variants.size() : 1; }
};

} // namespace mlir::lap
