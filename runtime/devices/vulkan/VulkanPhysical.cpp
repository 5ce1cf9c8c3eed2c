// The machine's Vulkan devices: what they have and which one a name means.
#include "runtime/core/Memory.h"
#include "runtime/core/Text.h"
#include "runtime/devices/vulkan/VulkanLibrary.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>

namespace lapidary {
namespace {

std::string lowerCase(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char letter) {
    return static_cast<char>(std::tolower(letter));
  });
  return lower;
}

bool hasExtension(const std::vector<VkExtensionProperties> &extensions,
                  std::string_view name) {
  return std::ranges::any_of(extensions, [&](const auto &extension) {
    return name == extension.extensionName;
  });
}

/// A driver's names come from outside, and reach terminals.
std::string printable(const char *text, size_t most) {
  std::string clean(text, strnlen(text, most));
  std::erase_if(clean, [](unsigned char letter) {
    return letter < 0x20 || letter == 0x7f;
  });
  return clean;
}

/// Sizes of matrices that subgroups multiply, as features' names.
void readMatrices(const VulkanInstance &instance,
                  VulkanPhysicalDevice &device) {
  uint32_t count = 0;
  if (!instance.matrices ||
      instance.matrices(device.handle, &count, nullptr) != VK_SUCCESS)
    return;
  VkCooperativeMatrixPropertiesKHR none = {};
  none.sType = cooperativeMatrixPropertiesType;
  std::vector<VkCooperativeMatrixPropertiesKHR> all(count, none);
  if (count == 0 ||
      instance.matrices(device.handle, &count, all.data()) < VK_SUCCESS)
    return;
  for (const VkCooperativeMatrixPropertiesKHR &matrix : all) {
    std::string name = concat("cooperativeMatrix", matrix.MSize, "x",
                              matrix.NSize, "x", matrix.KSize);
    if (multipliesHalves(matrix) &&
        std::ranges::find(device.features, name) == device.features.end())
      device.features.push_back(std::move(name));
  }
}

void readFeatures(const VulkanInstance &instance, VulkanPhysicalDevice &device,
                  bool hasMatrixExtension) {
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {};
  dot.sType =
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES;
  VkPhysicalDeviceVulkan12Features core12 = {};
  core12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  VkPhysicalDeviceVulkan11Features core11 = {};
  core11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
  core11.pNext = &core12;
  if (device.version >= VK_API_VERSION_1_3 || device.hasDotProductExtension)
    core12.pNext = &dot;
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {};
  matrix.sType = cooperativeMatrixFeaturesType;
  if (hasMatrixExtension) {
    matrix.pNext = core12.pNext;
    core12.pNext = &matrix;
  }
  VkPhysicalDeviceFeatures2 all = {};
  all.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  all.pNext = &core11;
  instance.functions.GetPhysicalDeviceFeatures2(device.handle, &all);
  const std::pair<const char *, VkBool32> known[] = {
      {"shaderFloat16", core12.shaderFloat16},
      {"shaderInt16", all.features.shaderInt16},
      {"shaderInt64", all.features.shaderInt64},
      {"shaderInt8", core12.shaderInt8},
      {"shaderIntegerDotProduct", dot.shaderIntegerDotProduct},
      {"storageBuffer16BitAccess", core11.storageBuffer16BitAccess},
      {"storageBuffer8BitAccess", core12.storageBuffer8BitAccess},
      {"vulkanMemoryModel", core12.vulkanMemoryModel},
      {"vulkanMemoryModelDeviceScope", core12.vulkanMemoryModelDeviceScope},
  };
  for (const auto &[name, present] : known)
    if (present)
      device.features.emplace_back(name);
  if (matrix.cooperativeMatrix)
    readMatrices(instance, device);
  std::ranges::sort(device.features);
}

void readMemory(const VulkanInstance &instance, VulkanPhysicalDevice &device,
                bool hasBudget) {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {};
  budget.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT;
  VkPhysicalDeviceMemoryProperties2 memory = {};
  memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  if (hasBudget)
    memory.pNext = &budget;
  instance.functions.GetPhysicalDeviceMemoryProperties2(device.handle, &memory);
  device.memory = memory.memoryProperties;
  for (uint32_t heap = 0; heap < device.memory.memoryHeapCount; ++heap) {
    uint64_t size = device.memory.memoryHeaps[heap].size;
    device.budget[heap] =
        !hasBudget ? size
                   : budget.heapBudget[heap] - std::min(budget.heapBudget[heap],
                                                        budget.heapUsage[heap]);
  }
}

void readQueues(const VulkanInstance &instance, VulkanPhysicalDevice &device) {
  uint32_t count = 0;
  instance.functions.GetPhysicalDeviceQueueFamilyProperties(device.handle,
                                                            &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  instance.functions.GetPhysicalDeviceQueueFamilyProperties(
      device.handle, &count, families.data());
  for (uint32_t index = 0; index < count; ++index)
    if ((families[index].queueFlags & VK_QUEUE_COMPUTE_BIT) != 0) {
      device.family = index;
      device.timestampBits = families[index].timestampValidBits;
      return;
    }
}

VulkanPhysicalDevice describeDevice(const VulkanInstance &instance,
                                    VkPhysicalDevice handle) {
  VulkanPhysicalDevice device;
  device.handle = handle;
  uint32_t count = 0;
  const auto &call = instance.functions;
  (void)call.EnumerateDeviceExtensionProperties(handle, nullptr, &count,
                                                nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  if (count != 0)
    (void)call.EnumerateDeviceExtensionProperties(handle, nullptr, &count,
                                                  extensions.data());
  VkPhysicalDeviceProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  call.GetPhysicalDeviceProperties2(handle, &properties);
  device.version = properties.properties.apiVersion;
  device.name = printable(properties.properties.deviceName,
                          VK_MAX_PHYSICAL_DEVICE_NAME_SIZE);
  if (device.version < VK_API_VERSION_1_2)
    return device;
  VkPhysicalDeviceMaintenance4Properties maintenance4 = {};
  maintenance4.sType =
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES;
  VkPhysicalDeviceVulkan12Properties core12 = {};
  core12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
  VkPhysicalDeviceVulkan11Properties core11 = {};
  core11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
  core11.pNext = &core12;
  if (device.version >= VK_API_VERSION_1_3 ||
      hasExtension(extensions, VK_KHR_MAINTENANCE_4_EXTENSION_NAME))
    core12.pNext = &maintenance4;
  properties.pNext = &core11;
  call.GetPhysicalDeviceProperties2(handle, &properties);
  device.type = properties.properties.deviceType;
  device.driverVersion = properties.properties.driverVersion;
  device.limits = properties.properties.limits;
  std::memcpy(device.driverUuid, core11.driverUUID, VK_UUID_SIZE);
  device.driver =
      concat(printable(core12.driverName, VK_MAX_DRIVER_NAME_SIZE), " ",
             printable(core12.driverInfo, VK_MAX_DRIVER_INFO_SIZE));
  device.maxAllocation = core11.maxMemoryAllocationSize;
  device.maxBuffer = maintenance4.maxBufferSize != 0
                         ? maintenance4.maxBufferSize
                         : device.maxAllocation;
  device.hasDotProductExtension = hasExtension(
      extensions, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  device.hasPortability = hasExtension(extensions, "VK_KHR_portability_subset");
  if ((core11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0 &&
      (core11.subgroupSupportedOperations &
       VK_SUBGROUP_FEATURE_ARITHMETIC_BIT) != 0)
    device.features.emplace_back("subgroupArithmetic");
  readFeatures(instance, device,
               hasExtension(extensions, cooperativeMatrixExtension));
  readMemory(instance, device,
             hasExtension(extensions, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME));
  readQueues(instance, device);
  return device;
}

/// The order in which "vulkan" takes devices.
int preference(VkPhysicalDeviceType type) {
  switch (type) {
  case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
    return 0;
  case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
    return 1;
  case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
    return 2;
  case VK_PHYSICAL_DEVICE_TYPE_CPU:
    return 4;
  default:
    return 3;
  }
}

std::string listDevices(const std::vector<VulkanPhysicalDevice> &devices) {
  std::string list;
  for (const VulkanPhysicalDevice &device : devices)
    list += concat(list.empty() ? "" : ", ", "vulkan:", device.index, " (",
                   device.name, ")");
  return list;
}

} // namespace

bool VulkanPhysicalDevice::has(std::string_view feature) const {
  return std::ranges::binary_search(features, feature);
}

uint32_t VulkanPhysicalDevice::mainHeap() const {
  uint32_t best = 0;
  uint64_t bestSize = 0;
  for (uint32_t heap = 0; heap < memory.memoryHeapCount; ++heap)
    if ((memory.memoryHeaps[heap].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) !=
            0 &&
        memory.memoryHeaps[heap].size > bestSize) {
      best = heap;
      bestSize = memory.memoryHeaps[heap].size;
    }
  return best;
}

uint64_t VulkanPhysicalDevice::available() const {
  // A processor's heap is a number that its driver made up.
  return type == VK_PHYSICAL_DEVICE_TYPE_CPU ? availableMemory()
                                             : budget[mainHeap()];
}

const char *VulkanPhysicalDevice::typeName() const {
  switch (type) {
  case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
    return "discrete";
  case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
    return "integrated";
  case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
    return "virtual";
  case VK_PHYSICAL_DEVICE_TYPE_CPU:
    return "cpu";
  default:
    return "other";
  }
}

Result<std::vector<VulkanPhysicalDevice>> VulkanInstance::devices() const {
  uint32_t count = 0;
  VkResult result = functions.EnumeratePhysicalDevices(handle, &count, nullptr);
  std::vector<VkPhysicalDevice> handles(count);
  if (result == VK_SUCCESS && count != 0)
    result = functions.EnumeratePhysicalDevices(handle, &count, handles.data());
  // The loader says this where drivers are listed but none of them starts.
  if (result == VK_ERROR_INITIALIZATION_FAILED)
    count = 0;
  else if (result != VK_SUCCESS && result != VK_INCOMPLETE)
    return vulkanError(result, "the list of devices");
  std::vector<VulkanPhysicalDevice> list;
  for (uint32_t index = 0; index < count; ++index) {
    VulkanPhysicalDevice device = describeDevice(*this, handles[index]);
    device.index = index;
    if (device.version >= VK_API_VERSION_1_2 && device.family != UINT32_MAX)
      list.push_back(std::move(device));
  }
  return list;
}

Result<VulkanPhysicalDevice>
VulkanInstance::find(const std::string &name) const {
  std::vector<VulkanPhysicalDevice> list = LAPIDARY_TRY(devices());
  if (list.empty())
    return unsupported(
        "no driver of this machine has a device with Vulkan 1.2; install your "
        "GPU's driver (mesa-vulkan-drivers or the vendor's), or run on the CPU "
        "with --device cpu");
  if (!isVulkanName(name))
    return internalError(concat("\"", name, "\" is no Vulkan device"));
  std::string_view wanted = std::string_view(name).substr(
      std::min(name.size(), std::string_view("vulkan:").size()));
  if (wanted.empty())
    return *std::ranges::min_element(
        list, {}, [](const auto &device) { return preference(device.type); });
  uint32_t number = 0;
  auto [end, error] =
      std::from_chars(wanted.data(), wanted.data() + wanted.size(), number);
  const bool isNumber =
      error == std::errc() && end == wanted.data() + wanted.size();
  for (const VulkanPhysicalDevice &device : list)
    if (isNumber ? device.index == number
                 : lowerCase(device.name).find(lowerCase(wanted)) !=
                       std::string::npos)
      return device;
  return notFound(concat("this machine has no device \"", name, "\"; it has: ",
                         listDevices(list), " (see lapidary devices)"));
}

} // namespace lapidary
