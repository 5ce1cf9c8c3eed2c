// Windows begin where the device lets a binding begin, so their sizes are
// multiples of a number of row tiles.
#include "runtime/devices/vulkan/VulkanParts.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <numeric>

namespace lapidary {
namespace {

/// More than any device that can hold a model needs.
constexpr int64_t mostParts = 1 << 16;

} // namespace

Result<std::vector<DispatchPart>>
cutDispatch(int64_t tiles, std::span<const PartOperand> operands, bool repeats,
            const VulkanLimits &limits, std::string_view what) {
  // Row tiles: in all, at most in one window, and a divisor of where they
  // begin.
  int64_t total = 0, most = INT64_MAX, step = 1;
  bool windows = false, cut = false;
  for (const PartOperand &operand : operands) {
    if (operand.windowBytes == 0)
      continue;
    windows = true;
    const auto count = static_cast<int64_t>(
        (operand.bytes + operand.windowBytes - 1) / operand.windowBytes);
    total = std::max(total, count);
    cut |= operand.bytes > limits.bindingRange;
    most = std::min(
        most, static_cast<int64_t>(limits.bindingRange / operand.windowBytes));
    step = std::lcm(step, static_cast<int64_t>(limits.offsetAlignment /
                                               std::gcd(limits.offsetAlignment,
                                                        operand.windowBytes)));
  }
  const int64_t window = cut ? most / step * step : std::max<int64_t>(total, 1);
  int64_t groups = limits.workgroupsX;
  if (windows && !repeats)
    groups = std::min(groups, cut ? most : groups);
  // Windows that follow the tiles begin with them.
  const bool followed = windows && !repeats;
  if (followed && groups < tiles)
    groups = groups / step * step;
  if ((cut && window == 0) || groups == 0)
    return unsupported(
        concat(what, " cannot be cut for this device: it binds at most ",
               limits.bindingRange, " bytes at once, from multiples of ",
               limits.offsetAlignment, ", and runs at most ",
               limits.workgroupsX, " workgroups"));
  std::vector<DispatchPart> parts;
  auto addTiles = [&](int64_t begin, int64_t end) -> Status {
    for (int64_t first = 0; first < tiles; first += groups) {
      if (static_cast<int64_t>(parts.size()) >= mostParts)
        return unsupported(
            concat(what, " has ", tiles, " tiles, too many for this device"));
      const int64_t count = std::min(groups, tiles - first);
      parts.push_back(followed
                          ? DispatchPart{first, count, first, first + count}
                          : DispatchPart{first, count, begin, end});
    }
    return {};
  };
  if (!repeats || !windows)
    LAPIDARY_TRY(addTiles(0, total));
  else
    for (int64_t begin = 0; begin < total; begin += window)
      LAPIDARY_TRY(addTiles(begin, std::min(begin + window, total)));
  return parts;
}

} // namespace lapidary
