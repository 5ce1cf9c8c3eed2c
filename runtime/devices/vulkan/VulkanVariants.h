// Which of a bundle's variants a Vulkan device takes.
#pragma once

#include "runtime/core/Bundle.h"
#include "runtime/devices/vulkan/VulkanContext.h"

namespace lapidary {

/// What stands for `bundle` on this device, its driver and the variant that
/// would be taken, in names of files in the cache folder; and, for people, what
/// that is. Empty where there is no such folder.
struct VulkanIdentity {
  std::string stem, description;
};
Result<VulkanIdentity> identifyVulkan(const Bundle &bundle,
                                      const schema::Target &target,
                                      const std::string &name);

/// The first variant whose features `device` has, but for matrices on a
/// processor, or the one that LAPIDARY_VULKAN names.
Result<const schema::Variant *>
selectVulkanVariant(const schema::Target &target,
                    const VulkanPhysicalDevice &device,
                    const VulkanOverrides &overrides);

} // namespace lapidary
