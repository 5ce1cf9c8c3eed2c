// What `--target` and `--variant` name: kinds of devices, and builds of the
// kernels for each.
#pragma once

#include "targets/cpu/Variants.h"
#include "targets/gpu/KernelEmitter.h"

#include <optional>
#include <string>

namespace mlir::lap {

struct TargetList {
  SmallVector<cpu::Architecture> architectures;
  bool vulkan = false;
};

/// Names with commas between: "cpu" (this machine's), "cpu-aarch64", "vulkan".
/// Nothing where one of them is unknown.
std::optional<TargetList> parseTargets(StringRef names);
/// For messages and usage.
std::string listTargets();

/// The first of the variants' names, with commas between, that none of the
/// targets has; "" where there is none.
StringRef findUnknownVariant(StringRef names, const TargetList &targets);
/// All variants' names, for messages and usage.
std::string listVariants();

/// The variants that a bundle may get for GPUs, the best first: those that are
/// named, or all where none of them is.
SmallVector<const simt::Facts *> chooseGpuVariants(StringRef names);

} // namespace mlir::lap
