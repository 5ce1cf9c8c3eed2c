// Every buffer is a storage buffer that can be copied from and to; which memory
// it gets is the only difference.
#include "runtime/devices/vulkan/VulkanMemory.h"

#include "runtime/core/Memory.h"
#include "runtime/core/Text.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace lapidary {
namespace {

constexpr size_t stagingSlots = 2;

/// How well a kind of memory suits; below 0 not at all.
int suits(const VulkanContext &context, uint32_t type, VulkanMemoryUse use) {
  const VkPhysicalDeviceMemoryProperties &memory = context.physical().memory;
  const VkMemoryPropertyFlags has = memory.memoryTypes[type].propertyFlags;
  const bool local = (has & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) != 0,
             visible = (has & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) != 0,
             coherent = (has & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) != 0,
             cached = (has & VK_MEMORY_PROPERTY_HOST_CACHED_BIT) != 0;
  if ((has & (VK_MEMORY_PROPERTY_PROTECTED_BIT |
              VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT)) != 0)
    return -1;
  switch (use) {
  case VulkanMemoryUse::Device: {
    const bool main =
        memory.memoryTypes[type].heapIndex == context.physical().mainHeap();
    if (context.mapsDeviceMemory())
      return visible && coherent && main ? 1 + 2 * cached : -1;
    return local ? 4 * main + !visible : 0;
  }
  case VulkanMemoryUse::Upload:
    return visible && coherent ? 1 + !cached + !local : -1;
  case VulkanMemoryUse::Readback:
    return !visible ? -1 : !cached && !coherent ? -1 : 2 * cached + coherent;
  }
  return -1;
}

} // namespace

Result<VulkanBuffer>
VulkanBuffer::create(std::shared_ptr<VulkanContext> context, uint64_t bytes,
                     VulkanMemoryUse use, std::string_view what) {
  VulkanBuffer result;
  bytes = std::max<uint64_t>((bytes + 3) / 4 * 4, 4);
  if (bytes > context->limits.allocation)
    return outOfMemory(concat(what, " need ", formatBytes(bytes),
                              " at once, but the device gives at most ",
                              formatBytes(context->limits.allocation)));
  result.context = std::move(context);
  VulkanContext &own = *result.context;
  VkBufferCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = bytes;
  info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
               VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
               VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  info.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
  LAPIDARY_TRY(own.check(
      own.call.CreateBuffer(own.device, &info, nullptr, &result.buffer), what));
  VkMemoryRequirements needs = {};
  own.call.GetBufferMemoryRequirements(own.device, result.buffer, &needs);

  const VkPhysicalDeviceMemoryProperties &memory = own.physical().memory;
  VkResult last = VK_ERROR_OUT_OF_DEVICE_MEMORY;
  // The best kind first; what is full gives way to the next.
  for (uint32_t left = needs.memoryTypeBits; left != 0;) {
    int best = -1;
    uint32_t chosen = 0;
    for (uint32_t type = 0; type < memory.memoryTypeCount; ++type)
      if ((left >> type & 1) != 0 && suits(own, type, use) > best) {
        best = suits(own, type, use);
        chosen = type;
      }
    if (best < 0)
      break;
    left &= ~(uint32_t(1) << chosen);
    VkMemoryAllocateInfo allocation = {};
    allocation.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
    allocation.allocationSize = needs.size;
    allocation.memoryTypeIndex = chosen;
    last = own.allocateMemory(allocation, &result.memory);
    if (last == VK_ERROR_OUT_OF_DEVICE_MEMORY ||
        last == VK_ERROR_OUT_OF_HOST_MEMORY)
      continue;
    LAPIDARY_TRY(own.check(last, what));
    result.bytes = bytes;
    LAPIDARY_TRY(own.check(
        own.call.BindBufferMemory(own.device, result.buffer, result.memory, 0),
        what));
    const VkMemoryPropertyFlags has = memory.memoryTypes[chosen].propertyFlags;
    result.coherent = (has & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) != 0;
    if (use != VulkanMemoryUse::Device || own.mapsDeviceMemory()) {
      void *address = nullptr;
      LAPIDARY_TRY(own.check(own.call.MapMemory(own.device, result.memory, 0,
                                                VK_WHOLE_SIZE, 0, &address),
                             what));
      result.mapped = static_cast<uint8_t *>(address);
    }
    return result;
  }
  return own.check(last, concat(what, " (", formatBytes(bytes), ")"));
}

VulkanBuffer::~VulkanBuffer() {
  if (!context)
    return;
  if (buffer)
    context->call.DestroyBuffer(context->device, buffer, nullptr);
  if (memory)
    context->call.FreeMemory(context->device, memory, nullptr);
}

VulkanBuffer &VulkanBuffer::operator=(VulkanBuffer &&other) noexcept {
  std::swap(context, other.context);
  std::swap(buffer, other.buffer);
  std::swap(memory, other.memory);
  std::swap(bytes, other.bytes);
  std::swap(mapped, other.mapped);
  std::swap(coherent, other.coherent);
  return *this;
}

Status VulkanBuffer::invalidate() const {
  if (coherent)
    return {};
  VkMappedMemoryRange range = {};
  range.sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE;
  range.memory = memory;
  range.size = VK_WHOLE_SIZE;
  return context->check(
      context->call.InvalidateMappedMemoryRanges(context->device, 1, &range),
      "reading results");
}

Result<VulkanStaging>
VulkanStaging::create(std::shared_ptr<VulkanContext> context,
                      uint64_t pieceBytes) {
  VulkanStaging staging;
  staging.context = std::move(context);
  if (staging.context->mapsDeviceMemory())
    return staging;
  pieceBytes = std::min(pieceBytes, staging.context->limits.allocation);
  for (size_t index = 0; index < stagingSlots; ++index) {
    Slot slot;
    slot.commands = LAPIDARY_TRY(staging.context->allocateCommands());
    staging.slots.push_back(std::move(slot));
    // Read back through the same buffers, so that they are cached.
    staging.slots.back().buffer = LAPIDARY_TRY(VulkanBuffer::create(
        staging.context, pieceBytes, VulkanMemoryUse::Upload, "copies"));
  }
  return staging;
}

VulkanStaging::~VulkanStaging() {
  if (!context)
    return;
  (void)finish();
  for (Slot &slot : slots)
    if (slot.commands)
      context->freeCommands(slot.commands);
}

Status VulkanStaging::copy(Slot &slot, VkBuffer from, uint64_t fromOffset,
                           VkBuffer to, uint64_t toOffset, uint64_t bytes) {
  const VulkanDeviceFunctions &call = context->call;
  VkCommandBufferBeginInfo begin = {};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  LAPIDARY_TRY(
      context->check(call.BeginCommandBuffer(slot.commands, &begin), "a copy"));
  VkBufferCopy region = {fromOffset, toOffset, bytes};
  call.CmdCopyBuffer(slot.commands, from, to, 1, &region);
  VkMemoryBarrier barrier = {};
  barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
  barrier.dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_HOST_READ_BIT |
                          VK_ACCESS_TRANSFER_READ_BIT |
                          VK_ACCESS_TRANSFER_WRITE_BIT;
  call.CmdPipelineBarrier(slot.commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                          VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT |
                              VK_PIPELINE_STAGE_TRANSFER_BIT |
                              VK_PIPELINE_STAGE_HOST_BIT,
                          0, 1, &barrier, 0, nullptr, 0, nullptr);
  LAPIDARY_TRY(context->check(call.EndCommandBuffer(slot.commands), "a copy"));
  slot.submission = LAPIDARY_TRY(context->submit(slot.commands));
  return {};
}

Status VulkanStaging::upload(std::span<const uint8_t> bytes,
                             const VulkanBuffer &to, uint64_t offset) {
  if (offset > to.size() || bytes.size() > to.size() - offset)
    return internalError(concat(bytes.size(), " bytes at ", offset,
                                " are outside a buffer of ", to.size()));
  if (bytes.empty())
    return {};
  if (to.data()) {
    std::memcpy(to.data() + offset, bytes.data(), bytes.size());
    return {};
  }
  while (!bytes.empty()) {
    Slot &slot = slots[next];
    next = (next + 1) % slots.size();
    LAPIDARY_TRY(context->wait(slot.submission));
    const size_t piece = std::min<size_t>(bytes.size(), slot.buffer.size());
    std::memcpy(slot.buffer.data(), bytes.data(), piece);
    LAPIDARY_TRY(
        copy(slot, slot.buffer.handle(), 0, to.handle(), offset, piece));
    offset += piece;
    bytes = bytes.subspan(piece);
  }
  return {};
}

Status VulkanStaging::download(const VulkanBuffer &from, uint64_t offset,
                               std::span<uint8_t> bytes) {
  if (offset > from.size() || bytes.size() > from.size() - offset)
    return internalError(concat(bytes.size(), " bytes at ", offset,
                                " are outside a buffer of ", from.size()));
  if (bytes.empty())
    return {};
  if (from.data()) {
    std::memcpy(bytes.data(), from.data() + offset, bytes.size());
    return {};
  }
  LAPIDARY_TRY(finish());
  while (!bytes.empty()) {
    Slot &slot = slots[0];
    const size_t piece = std::min<size_t>(bytes.size(), slot.buffer.size());
    LAPIDARY_TRY(
        copy(slot, from.handle(), offset, slot.buffer.handle(), 0, piece));
    LAPIDARY_TRY(context->wait(slot.submission));
    std::memcpy(bytes.data(), slot.buffer.data(), piece);
    offset += piece;
    bytes = bytes.subspan(piece);
  }
  return {};
}

Status VulkanStaging::finish() {
  for (Slot &slot : slots)
    LAPIDARY_TRY(context->wait(slot.submission));
  return {};
}

Status clearRanges(VulkanContext &context,
                   std::span<const VulkanRange> ranges) {
  bool mapped = true;
  for (const VulkanRange &range : ranges)
    if (range.buffer->data())
      std::memset(range.buffer->data() + range.offset, 0, range.bytes);
    else
      mapped = mapped && range.bytes == 0;
  if (mapped)
    return {};
  return context.runOnce(
      [&](VkCommandBuffer commands) {
        for (const VulkanRange &range : ranges)
          if (range.bytes != 0)
            context.call.CmdFillBuffer(commands, range.buffer->handle(),
                                       range.offset, range.bytes, 0);
        VkMemoryBarrier barrier = {};
        barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
        barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
        barrier.dstAccessMask =
            VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
            VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
        context.call.CmdPipelineBarrier(commands,
                                        VK_PIPELINE_STAGE_TRANSFER_BIT,
                                        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT |
                                            VK_PIPELINE_STAGE_TRANSFER_BIT,
                                        0, 1, &barrier, 0, nullptr, 0, nullptr);
      },
      "zeros");
}

} // namespace lapidary
