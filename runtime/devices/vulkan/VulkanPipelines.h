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
  /// Pipelines for the kernels that `ranges` use, made by `threads` at once (0:
  /// all); `progress` counts them, and may stop it. Without a `stem` nothing is
  /// kept.
  static Result<std::unique_ptr<VulkanPipelines>>
  create(std::shared_ptr<VulkanContext> context, const Bundle &bundle,
         const schema::Target &target, const schema::Variant &variant,
         std::span<const DispatchRange> ranges, const std::string &stem,
         int32_t threads = 0, const ProgressCallback &progress = {});
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
  /// A kernel that has no pipeline yet.
  struct Missing {
    const schema::Kernel *kernel = nullptr;
    uint32_t index = 0, operands = 0;
    std::span<const uint8_t> module;
    std::string name() const;
  };
  Status createLayout(uint32_t operands);
  Status check(const Missing &missing) const;
  /// May run on several threads at once.
  Status createPipeline(const Missing &missing);
  Status createPipelines(std::span<const Missing> missing, int32_t threads,
                         const ProgressCallback &progress);
  Status createCache(const std::string &stem);
  void saveCache(const std::string &stem) const;

  std::shared_ptr<VulkanContext> context;
  std::vector<Layout> layouts;
  std::vector<VkPipeline> pipelines;
  VkPipelineCache cache = VK_NULL_HANDLE;
  bool loaded = false;
};

} // namespace lapidary
