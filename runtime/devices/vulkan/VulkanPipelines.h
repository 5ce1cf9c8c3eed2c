// The kernels of a variant as pipelines. What the driver made of them is kept
// on disk, for the next time.
#pragma once

#include "runtime/core/Bundle.h"
#include "runtime/devices/vulkan/VulkanStorage.h"

namespace lapidary {

/// What `step`, `first_tile`, `window_begin` and `window_end` take.
inline constexpr uint32_t pushConstantBytes = 16;

/// Of one file for a bundle, a driver and a variant: what comes before the
/// extension; empty where there is no folder for it.
std::string vulkanCacheStem(const Bundle &bundle,
                            const VulkanPhysicalDevice &device,
                            std::string_view variant);

class VulkanPipelines {
public:
  /// Pipelines for the kernels that `ranges` use. Without a `stem` nothing is
  /// kept.
  static Result<std::unique_ptr<VulkanPipelines>>
  create(std::shared_ptr<VulkanContext> context, const Bundle &bundle,
         const schema::Target &target, const schema::Variant &variant,
         std::span<const DispatchRange> ranges, const std::string &stem);
  ~VulkanPipelines();
  VulkanPipelines(const VulkanPipelines &) = delete;
  VulkanPipelines &operator=(const VulkanPipelines &) = delete;

  VkPipeline pipeline(uint32_t kernel) const { return pipelines[kernel]; }
  /// For a kernel of that many operands.
  VkDescriptorSetLayout setLayout(uint32_t operands) const {
    return layouts[operands].set;
  }
  VkPipelineLayout layout(uint32_t operands) const {
    return layouts[operands].pipeline;
  }
  /// Whether what the driver had made before was there and good.
  bool fromDisk() const { return loaded; }

private:
  struct Layout {
    VkDescriptorSetLayout set = VK_NULL_HANDLE;
    VkPipelineLayout pipeline = VK_NULL_HANDLE;
  };
  VulkanPipelines() = default;
  Status createLayout(uint32_t operands);
  Status createPipeline(const schema::Kernel &kernel, uint32_t index,
                        uint32_t operands, std::span<const uint8_t> module);
  Status createCache(const std::string &stem);
  void saveCache(const std::string &stem) const;

  std::shared_ptr<VulkanContext> context;
  std::vector<Layout> layouts;
  std::vector<VkPipeline> pipelines;
  VkPipelineCache cache = VK_NULL_HANDLE;
  bool loaded = false;
};

} // namespace lapidary
