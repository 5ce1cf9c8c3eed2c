// A logical device with its one queue: what is submitted runs in order, and a
// timeline semaphore says how far it is. Used by one thread at a time.
#pragma once

#include "runtime/devices/vulkan/VulkanLibrary.h"

#include <functional>
#include <span>

namespace lapidary {

/// A device made smaller than it is, for tests; 0 and empty: as it is.
struct VulkanOverrides {
  uint64_t bindingRange = 0;
  uint32_t workgroups = 0;
  uint64_t allocation = 0;
  /// What is left of the device's memory.
  uint64_t memory = 0;
  /// Device memory is out of the host's reach, as on a graphics card.
  bool staging = false;
  /// The allocation from which on its memory is full, and the submission from
  /// which on it is lost; counted from 1.
  uint64_t full = 0, lost = 0;
  /// Features that it lacks.
  std::vector<std::string> without;
};

/// What LAPIDARY_VULKAN_LIMITS asks for: "binding=300000,workgroups=64,
/// allocation=BYTES,memory=BYTES,staging=1,full=3,lost=9,without=FEATURE", each
/// of them or none; an error for anything else.
Result<VulkanOverrides> readOverrides();

struct VulkanLimits {
  uint64_t bindingRange = 0;
  uint64_t offsetAlignment = 1;
  uint32_t workgroupsX = 0, workgroupsY = 0;
  uint32_t storageBuffers = 0;
  /// Of one buffer with memory of its own.
  uint64_t allocation = 0;
};

class VulkanContext {
public:
  /// With the features that are named, of those that the device has.
  static Result<std::shared_ptr<VulkanContext>>
  create(std::shared_ptr<VulkanInstance> instance,
         const VulkanPhysicalDevice &physical,
         std::span<const std::string> features,
         const VulkanOverrides &overrides);
  ~VulkanContext();
  VulkanContext(const VulkanContext &) = delete;
  VulkanContext &operator=(const VulkanContext &) = delete;

  Result<VkCommandBuffer> allocateCommands();
  void freeCommands(VkCommandBuffer commands);
  VkResult allocateMemory(const VkMemoryAllocateInfo &info,
                          VkDeviceMemory *memory);
  /// Starts what was recorded, behind all that was submitted before; the number
  /// to wait for.
  Result<uint64_t> submit(VkCommandBuffer commands);
  /// Until that submission and all before it are done.
  Status wait(uint64_t submission);
  /// Records, submits and waits.
  Status runOnce(const std::function<void(VkCommandBuffer)> &record,
                 const char *what);
  Status check(VkResult result, std::string_view what) const {
    return vulkanError(result, what);
  }

  const VulkanInstance &instance() const { return *owner; }
  const VulkanPhysicalDevice &physical() const { return machine; }
  /// Whether device memory can be written and read by the host itself.
  bool mapsDeviceMemory() const { return mapsMemory; }
  uint64_t availableMemory() const;

  VulkanDeviceFunctions call;
  VkDevice device = VK_NULL_HANDLE;
  VulkanLimits limits;

private:
  VulkanContext() = default;
  Status createDevice(std::span<const std::string> features);

  std::shared_ptr<VulkanInstance> owner;
  VulkanPhysicalDevice machine;
  VulkanOverrides overrides;
  VkQueue queue = VK_NULL_HANDLE;
  VkCommandPool pool = VK_NULL_HANDLE;
  VkSemaphore timeline = VK_NULL_HANDLE;
  uint64_t submitted = 0, allocations = 0;
  bool mapsMemory = false;
};

} // namespace lapidary
