// The features that a variant names are switched on one by one: what no kernel
// needs stays off, and the validation layer would say what was forgotten.
#include "runtime/devices/vulkan/VulkanContext.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <new>

namespace lapidary {

Result<VulkanOverrides> readOverrides() {
  VulkanOverrides overrides;
  const char *variable = std::getenv("LAPIDARY_VULKAN_LIMITS");
  std::string_view rest = variable ? variable : "";
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    const size_t equals = std::min(item.find('='), item.size());
    const std::string_view name = item.substr(0, equals),
                           text =
                               item.substr(std::min(equals + 1, item.size()));
    if (name == "without") {
      overrides.without.emplace_back(text);
      continue;
    }
    uint64_t value = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), value);
    bool known = error == std::errc() && end == text.data() + text.size();
    if (name == "binding")
      overrides.bindingRange = value;
    else if (name == "workgroups")
      overrides.workgroups =
          static_cast<uint32_t>(std::min<uint64_t>(value, UINT32_MAX));
    else if (name == "allocation")
      overrides.allocation = value;
    else if (name == "memory")
      overrides.memory = value;
    else if (name == "staging")
      overrides.staging = value != 0;
    else if (name == "full")
      overrides.full = value;
    else if (name == "lost")
      overrides.lost = value;
    else
      known = false;
    if (!known)
      return invalidArgument(concat(
          "LAPIDARY_VULKAN_LIMITS has \"", item,
          "\", expected binding, workgroups, allocation, memory, staging, full "
          "or lost with a number, or without with a feature"));
  }
  return overrides;
}

Result<std::shared_ptr<VulkanContext>>
VulkanContext::create(std::shared_ptr<VulkanInstance> instance,
                      const VulkanPhysicalDevice &physical,
                      std::span<const std::string> features,
                      const VulkanOverrides &overrides) {
  std::shared_ptr<VulkanContext> context(new (std::nothrow) VulkanContext());
  if (!context)
    return outOfMemory("no memory for a Vulkan device");
  context->owner = std::move(instance);
  context->machine = physical;
  context->overrides = overrides;
  const VkPhysicalDeviceLimits &has = physical.limits;
  auto lowered = [](uint64_t value, uint64_t limit) {
    return limit == 0 ? value : std::min(value, limit);
  };
  context->limits = {
      .bindingRange =
          lowered(has.maxStorageBufferRange, overrides.bindingRange),
      .offsetAlignment =
          std::max<uint64_t>(has.minStorageBufferOffsetAlignment, 1),
      .workgroupsX = static_cast<uint32_t>(
          lowered(has.maxComputeWorkGroupCount[0], overrides.workgroups)),
      .workgroupsY = has.maxComputeWorkGroupCount[1],
      .storageBuffers = std::min(has.maxPerStageDescriptorStorageBuffers,
                                 has.maxDescriptorSetStorageBuffers),
      .allocation =
          lowered(std::min(physical.maxAllocation, physical.maxBuffer),
                  overrides.allocation)};
  const uint32_t heap = physical.mainHeap();
  constexpr VkMemoryPropertyFlags mappable =
      VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
      VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  for (uint32_t type = 0; type < physical.memory.memoryTypeCount; ++type)
    context->mapsMemory |=
        physical.sharesMemory() && !overrides.staging &&
        physical.memory.memoryTypes[type].heapIndex == heap &&
        (physical.memory.memoryTypes[type].propertyFlags & mappable) ==
            mappable;
  LAPIDARY_TRY(context->createDevice(features));
  return context;
}

Status VulkanContext::createDevice(std::span<const std::string> features) {
  auto wants = [&](const char *name) -> VkBool32 {
    return std::ranges::find(features, name) != features.end() ? VK_TRUE
                                                               : VK_FALSE;
  };
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {};
  dot.sType =
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES;
  dot.shaderIntegerDotProduct = wants("shaderIntegerDotProduct");
  VkPhysicalDeviceVulkan12Features core12 = {};
  core12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  core12.timelineSemaphore = VK_TRUE;
  core12.shaderFloat16 = wants("shaderFloat16");
  core12.shaderInt8 = wants("shaderInt8");
  core12.storageBuffer8BitAccess = wants("storageBuffer8BitAccess");
  core12.vulkanMemoryModel = wants("vulkanMemoryModel");
  core12.vulkanMemoryModelDeviceScope = wants("vulkanMemoryModelDeviceScope");
  VkPhysicalDeviceVulkan11Features core11 = {};
  core11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
  core11.storageBuffer16BitAccess = wants("storageBuffer16BitAccess");
  core11.pNext = &core12;
  std::vector<const char *> extensions;
  if (dot.shaderIntegerDotProduct) {
    core12.pNext = &dot;
    if (machine.version < VK_API_VERSION_1_3)
      extensions.push_back(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  }
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {};
  matrix.sType = cooperativeMatrixFeaturesType;
  matrix.cooperativeMatrix = VK_TRUE;
  if (std::ranges::any_of(features, [](const std::string &feature) {
        return feature.starts_with("cooperativeMatrix");
      })) {
    matrix.pNext = core12.pNext;
    core12.pNext = &matrix;
    extensions.push_back(cooperativeMatrixExtension);
  }
  if (machine.hasPortability)
    extensions.push_back("VK_KHR_portability_subset");
  VkPhysicalDeviceFeatures2 all = {};
  all.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  all.features.shaderInt16 = wants("shaderInt16");
  all.features.shaderInt64 = wants("shaderInt64");
  all.pNext = &core11;

  float priority = 1;
  VkDeviceQueueCreateInfo queueInfo = {};
  queueInfo.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queueInfo.queueFamilyIndex = machine.family;
  queueInfo.queueCount = 1;
  queueInfo.pQueuePriorities = &priority;
  VkDeviceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = &all;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queueInfo;
  info.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  LAPIDARY_TRY(check(
      owner->functions.CreateDevice(machine.handle, &info, nullptr, &device),
      concat("the device ", machine.name)));
#define X(name)                                                                \
  call.name = reinterpret_cast<PFN_vk##name>(                                  \
      owner->functions.GetDeviceProcAddr(device, "vk" #name));                 \
  if (!call.name)                                                              \
    return unsupported("the Vulkan driver lacks vk" #name);
  LAPIDARY_VULKAN_DEVICE_FUNCTIONS(X)
#undef X
  call.GetDeviceQueue(device, machine.family, 0, &queue);

  VkSemaphoreTypeCreateInfo type = {};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo semaphore = {};
  semaphore.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  semaphore.pNext = &type;
  LAPIDARY_TRY(
      check(call.CreateSemaphore(device, &semaphore, nullptr, &timeline),
            "a semaphore"));
  VkCommandPoolCreateInfo commands = {};
  commands.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  commands.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  commands.queueFamilyIndex = machine.family;
  return check(call.CreateCommandPool(device, &commands, nullptr, &pool),
               "command buffers");
}

VulkanContext::~VulkanContext() {
  if (!device)
    return;
  if (call.DeviceWaitIdle)
    (void)call.DeviceWaitIdle(device);
  if (pool)
    call.DestroyCommandPool(device, pool, nullptr);
  if (timeline)
    call.DestroySemaphore(device, timeline, nullptr);
  if (call.DestroyDevice)
    call.DestroyDevice(device, nullptr);
}

uint64_t VulkanContext::availableMemory() const {
  return overrides.memory != 0 ? overrides.memory : machine.available();
}

Result<VkCommandBuffer> VulkanContext::allocateCommands() {
  VkCommandBufferAllocateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  info.commandPool = pool;
  info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  info.commandBufferCount = 1;
  VkCommandBuffer commands = VK_NULL_HANDLE;
  LAPIDARY_TRY(check(call.AllocateCommandBuffers(device, &info, &commands),
                     "a command buffer"));
  return commands;
}

void VulkanContext::freeCommands(VkCommandBuffer commands) {
  call.FreeCommandBuffers(device, pool, 1, &commands);
}

VkResult VulkanContext::allocateMemory(const VkMemoryAllocateInfo &info,
                                       VkDeviceMemory *memory) {
  if (overrides.full != 0 && ++allocations >= overrides.full)
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  return call.AllocateMemory(device, &info, nullptr, memory);
}

Result<uint64_t> VulkanContext::submit(VkCommandBuffer commands) {
  const uint64_t next = submitted + 1;
  if (overrides.lost != 0 && submitted >= overrides.lost)
    return wait(submitted);
  VkTimelineSemaphoreSubmitInfo values = {};
  values.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
  values.signalSemaphoreValueCount = 1;
  values.pSignalSemaphoreValues = &next;
  VkSubmitInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  info.pNext = &values;
  info.commandBufferCount = 1;
  info.pCommandBuffers = &commands;
  info.signalSemaphoreCount = 1;
  info.pSignalSemaphores = &timeline;
  LAPIDARY_TRY(
      check(call.QueueSubmit(queue, 1, &info, VK_NULL_HANDLE), "a submission"));
  submitted = next;
  return next;
}

Status VulkanContext::wait(uint64_t submission) {
  const bool lost = overrides.lost != 0 && submission >= overrides.lost;
  // A device that is lost does nothing any more.
  if (lost)
    submission = submitted;
  VkSemaphoreWaitInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  info.semaphoreCount = 1;
  info.pSemaphores = &timeline;
  info.pValues = &submission;
  const VkResult result = call.WaitSemaphores(device, &info, UINT64_MAX);
  return check(lost ? VK_ERROR_DEVICE_LOST : result, "a submission");
}

Status
VulkanContext::runOnce(const std::function<void(VkCommandBuffer)> &record,
                       const char *what) {
  VkCommandBuffer commands = LAPIDARY_TRY(allocateCommands());
  auto run = [&]() -> Status {
    VkCommandBufferBeginInfo begin = {};
    begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
    LAPIDARY_TRY(check(call.BeginCommandBuffer(commands, &begin), what));
    record(commands);
    LAPIDARY_TRY(check(call.EndCommandBuffer(commands), what));
    return wait(LAPIDARY_TRY(submit(commands)));
  };
  Status status = run();
  freeCommands(commands);
  return status;
}

} // namespace lapidary
