// Buffers with memory of their own, and copies between host and device: direct
// where the host reaches device memory, else through a ring of staging buffers.
#pragma once

#include "runtime/devices/vulkan/VulkanContext.h"

#include <span>

namespace lapidary {

enum class VulkanMemoryUse : uint8_t {
  /// For kernels; mapped where the host reaches device memory.
  Device,
  /// The host writes, the device reads now and then.
  Upload,
  /// The device writes, the host reads.
  Readback,
};

class VulkanBuffer {
public:
  VulkanBuffer() = default;
  /// At least four bytes; `what` names it in the error message.
  static Result<VulkanBuffer> create(std::shared_ptr<VulkanContext> context,
                                     uint64_t bytes, VulkanMemoryUse use,
                                     std::string_view what);
  ~VulkanBuffer();
  VulkanBuffer(VulkanBuffer &&other) noexcept { *this = std::move(other); }
  VulkanBuffer &operator=(VulkanBuffer &&other) noexcept;

  VkBuffer handle() const { return buffer; }
  uint64_t size() const { return bytes; }
  /// Null where the host does not reach it.
  uint8_t *data() const { return mapped; }
  /// Lets the host see what the device has written.
  Status invalidate() const;

private:
  std::shared_ptr<VulkanContext> context;
  VkBuffer buffer = VK_NULL_HANDLE;
  VkDeviceMemory memory = VK_NULL_HANDLE;
  uint64_t bytes = 0;
  uint8_t *mapped = nullptr;
  bool coherent = true;
};

/// A part of a buffer.
struct VulkanRange {
  const VulkanBuffer *buffer = nullptr;
  uint64_t offset = 0, bytes = 0;
};

/// Copies in pieces: while the device takes one, the host fills the next.
class VulkanStaging {
public:
  static Result<VulkanStaging> create(std::shared_ptr<VulkanContext> context,
                                      uint64_t pieceBytes = 16 << 20);
  ~VulkanStaging();
  VulkanStaging(VulkanStaging &&) = default;
  VulkanStaging &operator=(VulkanStaging &&) = delete;

  /// `bytes` may go on being used when it returns: they are copied.
  Status upload(std::span<const uint8_t> bytes, const VulkanBuffer &to,
                uint64_t offset);
  Status download(const VulkanBuffer &from, uint64_t offset,
                  std::span<uint8_t> bytes);
  /// Until all uploads are there.
  Status finish();

private:
  struct Slot {
    VulkanBuffer buffer;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    uint64_t submission = 0;
  };
  VulkanStaging() = default;
  Status copy(Slot &slot, VkBuffer from, uint64_t fromOffset, VkBuffer to,
              uint64_t toOffset, uint64_t bytes);

  std::shared_ptr<VulkanContext> context;
  std::vector<Slot> slots;
  size_t next = 0;
};

/// Writes zeros.
Status clearRanges(VulkanContext &context, std::span<const VulkanRange> ranges);

} // namespace lapidary
