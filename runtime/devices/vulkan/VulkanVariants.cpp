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

/// A processor that plays a device has no matrix unit: lavapipe's matrices are
/// about three times as slow as its dot products.
bool isWorthwhile(const schema::Variant &variant,
                  const VulkanPhysicalDevice &device) {
  return device.type != VK_PHYSICAL_DEVICE_TYPE_CPU ||
         std::ranges::none_of(*variant.features(), [](const auto *feature) {
           return feature->string_view().starts_with("cooperativeMatrix");
         });
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
    if (missing.empty() && (isForced || isWorthwhile(*variant, device)))
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
