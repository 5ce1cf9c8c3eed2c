// How a dispatch is cut where a device cannot do it at once: operands that are
// too large to be bound go by windows of row tiles, and tiles by as many
// workgroups as a dispatch may have.
#pragma once

#include "runtime/devices/vulkan/VulkanContext.h"

namespace lapidary {

struct PartOperand {
  uint64_t bytes = 0;
  /// Kernel.window_bytes.
  uint64_t windowBytes = 0;
};

/// One vkCmdDispatch. An operand with window_bytes is bound from
/// windowBegin * windowBytes on.
struct DispatchPart {
  int64_t firstTile = 0, tiles = 0;
  int64_t windowBegin = 0, windowEnd = 0;
};

/// `repeats`: Kernel.windows_repeat. `what` is for messages: operands without
/// window_bytes that are too large are the caller's to refuse.
Result<std::vector<DispatchPart>>
cutDispatch(int64_t tiles, std::span<const PartOperand> operands, bool repeats,
            const VulkanLimits &limits, std::string_view what);

} // namespace lapidary
