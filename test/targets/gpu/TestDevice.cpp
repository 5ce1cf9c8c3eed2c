// The calls to Vulkan (see the header).
#include "test/targets/gpu/TestDevice.h"
#include "runtime/devices/vulkan/CooperativeMatrix.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <cstring>
#include <dlfcn.h>

using namespace mlir::lap::simt;

#define INSTANCE_FUNCTIONS(X)                                                  \
  X(vkEnumeratePhysicalDevices)                                                \
  X(vkEnumerateDeviceExtensionProperties)                                      \
  X(vkGetPhysicalDeviceFeatures2)                                              \
  X(vkGetPhysicalDeviceProperties2)                                            \
  X(vkGetPhysicalDeviceQueueFamilyProperties)                                  \
  X(vkGetPhysicalDeviceMemoryProperties)                                       \
  X(vkCreateDevice)                                                            \
  X(vkGetDeviceQueue)                                                          \
  X(vkCreateBuffer)                                                            \
  X(vkDestroyBuffer)                                                           \
  X(vkGetBufferMemoryRequirements)                                             \
  X(vkAllocateMemory)                                                          \
  X(vkFreeMemory)                                                              \
  X(vkBindBufferMemory)                                                        \
  X(vkMapMemory)                                                               \
  X(vkCreateShaderModule)                                                      \
  X(vkDestroyShaderModule)                                                     \
  X(vkCreateDescriptorSetLayout)                                               \
  X(vkDestroyDescriptorSetLayout)                                              \
  X(vkCreatePipelineLayout)                                                    \
  X(vkDestroyPipelineLayout)                                                   \
  X(vkCreateComputePipelines)                                                  \
  X(vkDestroyPipeline)                                                         \
  X(vkCreateDescriptorPool)                                                    \
  X(vkDestroyDescriptorPool)                                                   \
  X(vkAllocateDescriptorSets)                                                  \
  X(vkUpdateDescriptorSets)                                                    \
  X(vkCreateCommandPool)                                                       \
  X(vkResetCommandPool)                                                        \
  X(vkAllocateCommandBuffers)                                                  \
  X(vkFreeCommandBuffers)                                                      \
  X(vkBeginCommandBuffer)                                                      \
  X(vkEndCommandBuffer)                                                        \
  X(vkCmdBindPipeline)                                                         \
  X(vkCmdBindDescriptorSets)                                                   \
  X(vkCmdPushConstants)                                                        \
  X(vkCmdDispatch)                                                             \
  X(vkCmdPipelineBarrier)                                                      \
  X(vkQueueSubmit)                                                             \
  X(vkQueueWaitIdle)

struct TestDevice::Functions {
#define DECLARE(name) PFN_##name name = nullptr;
  INSTANCE_FUNCTIONS(DECLARE)
#undef DECLARE
};

/// Fails the test where a call does.
static bool check(VkResult result, const char *what) {
  if (result != VK_SUCCESS)
    ADD_FAILURE() << what << " gave VkResult " << result;
  return result == VK_SUCCESS;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL
report(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
       const VkDebugUtilsMessengerCallbackDataEXT *data, void *) {
  ADD_FAILURE() << "Vulkan validation: " << data->pMessage;
  return VK_FALSE;
}

TestDevice *TestDevice::get() {
  // Never destroyed: drivers and layers may be gone before it.
  static TestDevice *const instance = []() -> TestDevice * {
    auto *device = new TestDevice;
    if (device->open())
      return device;
    delete device;
    return nullptr;
  }();
  return instance;
}

bool TestDevice::open() {
  void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return false;
  auto load = reinterpret_cast<PFN_vkGetInstanceProcAddr>(
      dlsym(library, "vkGetInstanceProcAddr"));
  if (!load || !openInstance(load))
    return false;
  uint32_t count = 1;
  VkResult found = vk->vkEnumeratePhysicalDevices(instance, &count, &physical);
  if ((found != VK_SUCCESS && found != VK_INCOMPLETE) || count == 0)
    return false;
  findMatrices(load);
  return openDevice();
}

bool TestDevice::openInstance(PFN_vkGetInstanceProcAddr load) {
  auto create =
      reinterpret_cast<PFN_vkCreateInstance>(load(nullptr, "vkCreateInstance"));
  auto listLayers = reinterpret_cast<PFN_vkEnumerateInstanceLayerProperties>(
      load(nullptr, "vkEnumerateInstanceLayerProperties"));
  if (!create || !listLayers)
    return false;
  uint32_t count = 0;
  listLayers(&count, nullptr);
  std::vector<VkLayerProperties> layers(count);
  listLayers(&count, layers.data());
  const char *layer = "VK_LAYER_KHRONOS_validation";
  bool validated = std::ranges::any_of(layers, [&](const auto &properties) {
    return std::strcmp(properties.layerName, layer) == 0;
  });
  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.apiVersion = VK_API_VERSION_1_3;
  VkDebugUtilsMessengerCreateInfoEXT messenger{};
  messenger.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  messenger.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT |
                              VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT;
  messenger.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
  messenger.pfnUserCallback = report;
  const char *extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  VkInstanceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  if (validated) {
    info.enabledLayerCount = info.enabledExtensionCount = 1;
    info.ppEnabledLayerNames = &layer;
    info.ppEnabledExtensionNames = &extension;
  }
  if (create(&info, nullptr, &instance) != VK_SUCCESS)
    return false;
  if (validated) {
    auto createMessenger = reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(
        load(instance, "vkCreateDebugUtilsMessengerEXT"));
    VkDebugUtilsMessengerEXT unused;
    if (createMessenger)
      createMessenger(instance, &messenger, nullptr, &unused);
  }
  vk = std::make_unique<Functions>();
#define LOAD(name)                                                             \
  vk->name = reinterpret_cast<PFN_##name>(load(instance, #name));              \
  if (!vk->name)                                                               \
    return false;
  INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
  return true;
}

bool TestDevice::hasMatrices(int64_t size) const {
  return std::ranges::find(matrices, size) != matrices.end();
}

void TestDevice::findMatrices(PFN_vkGetInstanceProcAddr load) {
  uint32_t count = 0;
  vk->vkEnumerateDeviceExtensionProperties(physical, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  vk->vkEnumerateDeviceExtensionProperties(physical, nullptr, &count,
                                           extensions.data());
  auto get = reinterpret_cast<
      lapidary::PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR>(
      load(instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  if (!get || std::ranges::none_of(extensions, [](const auto &extension) {
        return std::strcmp(extension.extensionName,
                           lapidary::cooperativeMatrixExtension) == 0;
      }))
    return;
  get(physical, &count, nullptr);
  lapidary::VkCooperativeMatrixPropertiesKHR none{};
  none.sType = lapidary::cooperativeMatrixPropertiesType;
  std::vector<lapidary::VkCooperativeMatrixPropertiesKHR> found(count, none);
  get(physical, &count, found.data());
  for (const auto &matrix : found)
    if (lapidary::multipliesHalves(matrix) && matrix.MSize == matrix.NSize &&
        matrix.NSize == matrix.KSize)
      matrices.push_back(matrix.MSize);
}

bool TestDevice::openDevice() {
  uint32_t count = 0;
  vk->vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vk->vkGetPhysicalDeviceQueueFamilyProperties(physical, &count,
                                               families.data());
  while (family < count &&
         !(families[family].queueFlags & VK_QUEUE_COMPUTE_BIT))
    ++family;
  if (family == count)
    return false;
  VkPhysicalDeviceVulkan11Properties core11{};
  core11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
  VkPhysicalDeviceProperties2 properties{};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  properties.pNext = &core11;
  vk->vkGetPhysicalDeviceProperties2(physical, &properties);
  subgroups =
      (core11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
      (core11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT);
  VkPhysicalDeviceVulkan13Features has13{};
  has13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
  VkPhysicalDeviceVulkan12Features has12{};
  has12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &has12;
  if (properties.properties.apiVersion >= VK_API_VERSION_1_3)
    has12.pNext = &has13;
  vk->vkGetPhysicalDeviceFeatures2(physical, &features);
  dotProducts = has13.shaderIntegerDotProduct;
  if (!has12.shaderFloat16 || !has12.vulkanMemoryModelDeviceScope)
    matrices.clear();
  // No other feature: kernels need none.
  VkPhysicalDeviceVulkan13Features wanted13{};
  wanted13.sType = has13.sType;
  wanted13.shaderIntegerDotProduct = dotProducts;
  lapidary::VkPhysicalDeviceCooperativeMatrixFeaturesKHR wantedMatrices{};
  wantedMatrices.sType = lapidary::cooperativeMatrixFeaturesType;
  wantedMatrices.cooperativeMatrix = VK_TRUE;
  VkPhysicalDeviceVulkan12Features wanted12{};
  wanted12.sType = has12.sType;
  if (has12.pNext)
    wanted12.pNext = &wanted13;
  const char *extension = lapidary::cooperativeMatrixExtension;
  if (!matrices.empty()) {
    wanted12.shaderFloat16 = wanted12.vulkanMemoryModel = VK_TRUE;
    wanted12.vulkanMemoryModelDeviceScope = VK_TRUE;
    wantedMatrices.pNext = wanted12.pNext;
    wanted12.pNext = &wantedMatrices;
  }
  float priority = 1;
  VkDeviceQueueCreateInfo queueInfo{};
  queueInfo.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queueInfo.queueFamilyIndex = family;
  queueInfo.queueCount = 1;
  queueInfo.pQueuePriorities = &priority;
  VkDeviceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = &wanted12;
  info.enabledExtensionCount = matrices.empty() ? 0 : 1;
  info.ppEnabledExtensionNames = &extension;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queueInfo;
  if (vk->vkCreateDevice(physical, &info, nullptr, &device) != VK_SUCCESS)
    return false;
  vk->vkGetDeviceQueue(device, family, 0, &queue);
  VkCommandPoolCreateInfo poolInfo{};
  poolInfo.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  poolInfo.queueFamilyIndex = family;
  return vk->vkCreateCommandPool(device, &poolInfo, nullptr, &pool) ==
         VK_SUCCESS;
}

uint32_t TestDevice::findMemory(uint32_t types) const {
  VkPhysicalDeviceMemoryProperties memory;
  vk->vkGetPhysicalDeviceMemoryProperties(physical, &memory);
  constexpr VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                           VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  // There is always such a type for buffers.
  uint32_t type = 0;
  while (!(types >> type & 1) ||
         (memory.memoryTypes[type].propertyFlags & wanted) != wanted)
    ++type;
  return type;
}

TestDevice::Memory::Memory(TestDevice &device, size_t size) : device(&device) {
  Functions &vk = *device.vk;
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = size;
  info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT;
  if (!check(vk.vkCreateBuffer(device.device, &info, nullptr, &buffer),
             "vkCreateBuffer"))
    return;
  VkMemoryRequirements needs;
  vk.vkGetBufferMemoryRequirements(device.device, buffer, &needs);
  VkMemoryAllocateInfo allocation{};
  allocation.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocation.allocationSize = needs.size;
  allocation.memoryTypeIndex = device.findMemory(needs.memoryTypeBits);
  void *mapped = nullptr;
  if (check(vk.vkAllocateMemory(device.device, &allocation, nullptr, &memory),
            "vkAllocateMemory") &&
      check(vk.vkBindBufferMemory(device.device, buffer, memory, 0),
            "vkBindBufferMemory") &&
      check(vk.vkMapMemory(device.device, memory, 0, VK_WHOLE_SIZE, 0, &mapped),
            "vkMapMemory"))
    bytes = {static_cast<uint8_t *>(mapped), size};
}

TestDevice::Memory::~Memory() {
  if (buffer)
    device->vk->vkDestroyBuffer(device->device, buffer, nullptr);
  if (memory)
    device->vk->vkFreeMemory(device->device, memory, nullptr);
}

TestDevice::Memory::Memory(Memory &&other) noexcept
    : device(other.device),
      buffer(std::exchange(other.buffer, VkBuffer(VK_NULL_HANDLE))),
      memory(std::exchange(other.memory, VkDeviceMemory(VK_NULL_HANDLE))),
      bytes(other.bytes) {}

TestDevice::Shader::Shader(TestDevice &device, std::span<const uint32_t> code,
                           const std::string &entry, uint32_t bindings)
    : device(device), bindings(bindings) {
  Functions &vk = *device.vk;
  VkShaderModuleCreateInfo moduleInfo{};
  moduleInfo.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  moduleInfo.codeSize = code.size_bytes();
  moduleInfo.pCode = code.data();
  if (!check(
          vk.vkCreateShaderModule(device.device, &moduleInfo, nullptr, &module),
          "vkCreateShaderModule"))
    return;
  std::vector<VkDescriptorSetLayoutBinding> descriptions(bindings);
  for (uint32_t i = 0; i < bindings; ++i) {
    descriptions[i].binding = i;
    descriptions[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    descriptions[i].descriptorCount = 1;
    descriptions[i].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  }
  VkDescriptorSetLayoutCreateInfo setInfo{};
  setInfo.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
  setInfo.bindingCount = bindings;
  setInfo.pBindings = descriptions.data();
  if (!check(vk.vkCreateDescriptorSetLayout(device.device, &setInfo, nullptr,
                                            &setLayout),
             "vkCreateDescriptorSetLayout"))
    return;
  VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, 16};
  VkPipelineLayoutCreateInfo layoutInfo{};
  layoutInfo.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layoutInfo.setLayoutCount = 1;
  layoutInfo.pSetLayouts = &setLayout;
  layoutInfo.pushConstantRangeCount = 1;
  layoutInfo.pPushConstantRanges = &range;
  if (!check(vk.vkCreatePipelineLayout(device.device, &layoutInfo, nullptr,
                                       &layout),
             "vkCreatePipelineLayout"))
    return;
  VkComputePipelineCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module;
  info.stage.pName = entry.c_str();
  info.layout = layout;
  check(vk.vkCreateComputePipelines(device.device, VK_NULL_HANDLE, 1, &info,
                                    nullptr, &pipeline),
        "vkCreateComputePipelines");
}

TestDevice::Shader::~Shader() {
  Functions &vk = *device.vk;
  vk.vkDestroyPipeline(device.device, pipeline, nullptr);
  vk.vkDestroyPipelineLayout(device.device, layout, nullptr);
  vk.vkDestroyDescriptorSetLayout(device.device, setLayout, nullptr);
  vk.vkDestroyShaderModule(device.device, module, nullptr);
}

void TestDevice::run(const Shader &shader,
                     const std::vector<Dispatch> &dispatches) {
  if (!shader.pipeline || dispatches.empty())
    return;
  auto count = static_cast<uint32_t>(dispatches.size());
  VkDescriptorPoolSize size{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                            count * shader.bindings};
  VkDescriptorPoolCreateInfo poolInfo{};
  poolInfo.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
  poolInfo.maxSets = count;
  poolInfo.poolSizeCount = 1;
  poolInfo.pPoolSizes = &size;
  VkDescriptorPool descriptors = VK_NULL_HANDLE;
  ASSERT_TRUE(check(
      vk->vkCreateDescriptorPool(device, &poolInfo, nullptr, &descriptors),
      "vkCreateDescriptorPool"));
  VkCommandBufferAllocateInfo allocation{};
  allocation.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  allocation.commandPool = pool;
  allocation.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocation.commandBufferCount = 1;
  VkCommandBuffer commands = VK_NULL_HANDLE;
  ASSERT_TRUE(
      check(vk->vkAllocateCommandBuffers(device, &allocation, &commands),
            "vkAllocateCommandBuffers"));
  VkCommandBufferBeginInfo begin{};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  vk->vkBeginCommandBuffer(commands, &begin);
  vk->vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                        shader.pipeline);
  auto wait = [&](VkPipelineStageFlags stage, VkAccessFlags access) {
    VkMemoryBarrier barrier{};
    barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
    barrier.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT;
    barrier.dstAccessMask = access;
    vk->vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                             stage, 0, 1, &barrier, 0, nullptr, 0, nullptr);
  };
  for (const Dispatch &dispatch : dispatches) {
    VkDescriptorSetAllocateInfo setInfo{};
    setInfo.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
    setInfo.descriptorPool = descriptors;
    setInfo.descriptorSetCount = 1;
    setInfo.pSetLayouts = &shader.setLayout;
    VkDescriptorSet set = VK_NULL_HANDLE;
    ASSERT_TRUE(check(vk->vkAllocateDescriptorSets(device, &setInfo, &set),
                      "vkAllocateDescriptorSets"));
    std::vector<VkDescriptorBufferInfo> buffers;
    for (const Memory *memory : dispatch.buffers)
      buffers.push_back({memory->buffer, 0, VK_WHOLE_SIZE});
    VkWriteDescriptorSet write{};
    write.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
    write.dstSet = set;
    write.descriptorCount = static_cast<uint32_t>(buffers.size());
    write.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    write.pBufferInfo = buffers.data();
    vk->vkUpdateDescriptorSets(device, 1, &write, 0, nullptr);
    vk->vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                                shader.layout, 0, 1, &set, 0, nullptr);
    vk->vkCmdPushConstants(commands, shader.layout, VK_SHADER_STAGE_COMPUTE_BIT,
                           0, sizeof(dispatch.constants), dispatch.constants);
    vk->vkCmdDispatch(commands, dispatch.x, dispatch.y, 1);
    wait(VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
         VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
  }
  wait(VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
  check(vk->vkEndCommandBuffer(commands), "vkEndCommandBuffer");
  VkSubmitInfo submit{};
  submit.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  submit.commandBufferCount = 1;
  submit.pCommandBuffers = &commands;
  check(vk->vkQueueSubmit(queue, 1, &submit, VK_NULL_HANDLE), "vkQueueSubmit");
  check(vk->vkQueueWaitIdle(queue), "vkQueueWaitIdle");
  vk->vkFreeCommandBuffers(device, pool, 1, &commands);
  vk->vkDestroyDescriptorPool(device, descriptors, nullptr);
}
