// Vulkan without a link-time dependency: libvulkan.so.1 is loaded when a Vulkan
// device is first asked for, and everything is called through a table. An
// instance knows the physical devices; with LAPIDARY_VULKAN_VALIDATION=1 the
// validation layer watches it and what it says becomes an error.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/devices/vulkan/CooperativeMatrix.h"

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

#define LAPIDARY_VULKAN_INSTANCE_FUNCTIONS(X)                                  \
  X(DestroyInstance)                                                           \
  X(EnumeratePhysicalDevices)                                                  \
  X(EnumerateDeviceExtensionProperties)                                        \
  X(GetPhysicalDeviceProperties2)                                              \
  X(GetPhysicalDeviceFeatures2)                                                \
  X(GetPhysicalDeviceMemoryProperties2)                                        \
  X(GetPhysicalDeviceQueueFamilyProperties)                                    \
  X(CreateDevice)                                                              \
  X(GetDeviceProcAddr)

#define LAPIDARY_VULKAN_DEVICE_FUNCTIONS(X)                                    \
  X(DestroyDevice)                                                             \
  X(DeviceWaitIdle)                                                            \
  X(GetDeviceQueue)                                                            \
  X(QueueSubmit)                                                               \
  X(CreateSemaphore)                                                           \
  X(DestroySemaphore)                                                          \
  X(WaitSemaphores)                                                            \
  X(CreateBuffer)                                                              \
  X(DestroyBuffer)                                                             \
  X(GetBufferMemoryRequirements)                                               \
  X(AllocateMemory)                                                            \
  X(FreeMemory)                                                                \
  X(BindBufferMemory)                                                          \
  X(MapMemory)                                                                 \
  X(InvalidateMappedMemoryRanges)                                              \
  X(CreateShaderModule)                                                        \
  X(DestroyShaderModule)                                                       \
  X(CreateDescriptorSetLayout)                                                 \
  X(DestroyDescriptorSetLayout)                                                \
  X(CreatePipelineLayout)                                                      \
  X(DestroyPipelineLayout)                                                     \
  X(CreatePipelineCache)                                                       \
  X(DestroyPipelineCache)                                                      \
  X(GetPipelineCacheData)                                                      \
  X(CreateComputePipelines)                                                    \
  X(DestroyPipeline)                                                           \
  X(CreateDescriptorPool)                                                      \
  X(DestroyDescriptorPool)                                                     \
  X(AllocateDescriptorSets)                                                    \
  X(UpdateDescriptorSets)                                                      \
  X(CreateCommandPool)                                                         \
  X(DestroyCommandPool)                                                        \
  X(AllocateCommandBuffers)                                                    \
  X(FreeCommandBuffers)                                                        \
  X(BeginCommandBuffer)                                                        \
  X(EndCommandBuffer)                                                          \
  X(CmdBindPipeline)                                                           \
  X(CmdBindDescriptorSets)                                                     \
  X(CmdPushConstants)                                                          \
  X(CmdDispatch)                                                               \
  X(CmdPipelineBarrier)                                                        \
  X(CmdCopyBuffer)                                                             \
  X(CmdFillBuffer)                                                             \
  X(CreateQueryPool)                                                           \
  X(DestroyQueryPool)                                                          \
  X(CmdResetQueryPool)                                                         \
  X(CmdWriteTimestamp)                                                         \
  X(GetQueryPoolResults)

struct VulkanInstanceFunctions {
#define X(name) PFN_vk##name name = nullptr;
  LAPIDARY_VULKAN_INSTANCE_FUNCTIONS(X)
#undef X
};

struct VulkanDeviceFunctions {
#define X(name) PFN_vk##name name = nullptr;
  LAPIDARY_VULKAN_DEVICE_FUNCTIONS(X)
#undef X
};

/// One device of the machine, as its driver describes it.
struct VulkanPhysicalDevice {
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  /// Its number among those of the machine: `vulkan:1`.
  uint32_t index = 0;
  std::string name, driver;
  VkPhysicalDeviceType type = VK_PHYSICAL_DEVICE_TYPE_OTHER;
  uint32_t version = 0, driverVersion = 0;
  uint8_t driverUuid[VK_UUID_SIZE] = {};
  VkPhysicalDeviceLimits limits = {};
  uint64_t maxAllocation = 0, maxBuffer = 0;
  VkPhysicalDeviceMemoryProperties memory = {};
  /// Bytes of each heap that this process may take now.
  uint64_t budget[VK_MAX_MEMORY_HEAPS] = {};
  /// Vulkan's names of the features that variants may ask for, and ours of what
  /// are properties there ("subgroupArithmetic", "cooperativeMatrix8x8x8": of
  /// f16 with sums in f32), sorted.
  std::vector<std::string> features;
  /// The queue family that runs everything; none: UINT32_MAX.
  uint32_t family = UINT32_MAX;
  uint32_t timestampBits = 0;
  /// Extensions to enable where there are.
  bool hasDotProductExtension = false, hasPortability = false;

  bool has(std::string_view feature) const;
  /// Whether device memory is the machine's own.
  bool sharesMemory() const {
    return type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU ||
           type == VK_PHYSICAL_DEVICE_TYPE_CPU;
  }
  /// The heap that weights and caches go to.
  uint32_t mainHeap() const;
  /// What is left of it; of a device that is the processor, what the machine
  /// has left.
  uint64_t available() const;
  /// "discrete", "integrated", "virtual", "cpu", "other".
  const char *typeName() const;
};

/// What went wrong, as an error: memory that ran out, a device that was lost.
Status vulkanError(VkResult result, std::string_view what);

class VulkanInstance {
public:
  /// Unsupported, with the next step, where there is no loader or no driver.
  static Result<std::shared_ptr<VulkanInstance>> create();
  ~VulkanInstance();
  VulkanInstance(const VulkanInstance &) = delete;
  VulkanInstance &operator=(const VulkanInstance &) = delete;

  /// All devices that can run anything of ours (Vulkan 1.2, a compute queue).
  Result<std::vector<VulkanPhysicalDevice>> devices() const;
  /// "vulkan" (a discrete GPU before an integrated one before others),
  /// "vulkan:1", or "vulkan:" and a part of a name.
  Result<VulkanPhysicalDevice> find(const std::string &name) const;
  /// An error when the validation layer has complained since the last call.
  Status takeComplaints() const;
  bool validates() const { return messenger != VK_NULL_HANDLE; }

  VulkanInstanceFunctions functions;
  /// Null where neither loader nor driver has it.
  PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR matrices = nullptr;
  VkInstance handle = VK_NULL_HANDLE;

private:
  VulkanInstance() = default;
  Status createMessenger(PFN_vkGetInstanceProcAddr get);
  static VKAPI_ATTR VkBool32 VKAPI_CALL
  onMessage(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
            VkDebugUtilsMessageTypeFlagsEXT types,
            const VkDebugUtilsMessengerCallbackDataEXT *data, void *instance);

  VkDebugUtilsMessengerEXT messenger = VK_NULL_HANDLE;
  PFN_vkDestroyDebugUtilsMessengerEXT destroyMessenger = nullptr;
  mutable std::mutex mutex;
  mutable std::string complaints;
};

/// Whether `name` asks for a Vulkan device: "vulkan" or "vulkan:...".
bool isVulkanName(std::string_view name);

} // namespace lapidary
