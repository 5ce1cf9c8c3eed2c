// The first variant whose features are all there: the best comes first.
#include "runtime/devices/vulkan/VulkanVariants.h"

#include "runtime/core/Text.h"
#include "runtime/devices/vulkan/VulkanPipelines.h"

#include <algorithm>
#include <cstdlib>

namespace lapidary {
namespace {

std::string missingFeatures(const schema::Variant &variant,
                            const VulkanPhysicalDevice &device,
                            const VulkanOverrides &overrides) {
  std::string missing;
  for (const flatbuffers::String *feature : *variant.features())
    if (!device.has(feature->string_view()) ||
        std::ranges::find(overrides.without, feature->string_view()) !=
            overrides.without.end())
      missing += concat(missing.empty() ? "" : ", ", feature->string_view());
  return missing;
}

} // namespace

Result<const schema::Variant *>
selectVulkanVariant(const schema::Target &target,
                    const VulkanPhysicalDevice &device,
                    const VulkanOverrides &overrides) {
  std::string list;
  const char *forced = std::getenv("LAPIDARY_VULKAN");
  const bool isForced = forced && *forced;
  for (const schema::Variant *variant : *target.variants()) {
    std::string missing = missingFeatures(*variant, device, overrides);
    list += concat(list.empty() ? "" : "; ", variant->name()->string_view(),
                   missing.empty() ? "" : " (it lacks " + missing + ")");
    if (isForced && variant->name()->string_view() != forced)
      continue;
    if (missing.empty())
      return variant;
    if (isForced)
      return unsupported(concat("LAPIDARY_VULKAN asks for variant \"", forced,
                                "\", but ", device.name, " lacks ", missing));
  }
  if (isForced)
    return invalidArgument(concat("LAPIDARY_VULKAN asks for variant \"", forced,
                                  "\", but the bundle has: ", list));
  return unsupported(concat("the bundle has no variant for ", device.name,
                            "; it has: ", list));
}

Result<VulkanIdentity> identifyVulkan(const Bundle &bundle,
                                      const schema::Target &target,
                                      const std::string &name) {
  std::shared_ptr<VulkanInstance> instance =
      LAPIDARY_TRY(VulkanInstance::create());
  VulkanPhysicalDevice device = LAPIDARY_TRY(instance->find(name));
  const schema::Variant *variant = LAPIDARY_TRY(
      selectVulkanVariant(target, device, LAPIDARY_TRY(readOverrides())));
  std::string_view variantName = variant->name()->string_view();
  return VulkanIdentity{vulkanCacheStem(bundle, device, variantName),
                        concat("variant \"", variantName, "\" on ", device.name,
                               " (", device.driver, ")")};
}

} // namespace lapidary
