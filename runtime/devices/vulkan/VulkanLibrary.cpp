// The loader, the instance and the validation layer's messages; what devices
// there are is in VulkanPhysical.cpp.
#include "runtime/devices/vulkan/VulkanLibrary.h"

#include "runtime/core/Text.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <new>

namespace lapidary {
namespace {

constexpr const char *validationLayer = "VK_LAYER_KHRONOS_validation";
constexpr size_t mostComplaints = 8 << 10;

/// Loaded once and kept: drivers do not like to go.
PFN_vkGetInstanceProcAddr loadLibrary() {
  static const PFN_vkGetInstanceProcAddr entry = [] {
    void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
      library = dlopen("libvulkan.so", RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "vkGetInstanceProcAddr") : nullptr;
    return reinterpret_cast<PFN_vkGetInstanceProcAddr>(symbol);
  }();
  return entry;
}

bool wantsValidation() {
  const char *value = std::getenv("LAPIDARY_VULKAN_VALIDATION");
  return value && *value && std::strcmp(value, "0") != 0;
}

} // namespace

bool isVulkanName(std::string_view name) {
  return name == "vulkan" || name.starts_with("vulkan:");
}

Status vulkanError(VkResult result, std::string_view what) {
  switch (result) {
  case VK_SUCCESS:
    return {};
  case VK_ERROR_OUT_OF_HOST_MEMORY:
    return outOfMemory(concat("no memory on the host for ", what));
  case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    return outOfMemory(concat("no memory on the device for ", what));
  case VK_ERROR_DEVICE_LOST:
    return ioError(concat(
        "the Vulkan device was lost in ", what,
        ": its driver reset it or it was taken away; open the model again, and "
        "look into the system's log when it happens twice"));
  default:
    return internalError(
        concat("Vulkan gave the error ", int(result), " for ", what));
  }
}

Result<std::shared_ptr<VulkanInstance>> VulkanInstance::create() {
  PFN_vkGetInstanceProcAddr get = loadLibrary();
  if (!get)
    return unsupported(
        "this machine has no Vulkan: libvulkan.so.1 cannot be loaded; install "
        "it (Debian and Ubuntu: libvulkan1) and your GPU's driver "
        "(mesa-vulkan-drivers or the vendor's)");
  auto enumerateVersion = reinterpret_cast<PFN_vkEnumerateInstanceVersion>(
      get(nullptr, "vkEnumerateInstanceVersion"));
  uint32_t version = VK_API_VERSION_1_0;
  if (enumerateVersion)
    (void)enumerateVersion(&version);
  if (version < VK_API_VERSION_1_2)
    return unsupported("libvulkan.so.1 is older than Vulkan 1.2; update it");

  VkApplicationInfo application = {};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "lapidary";
  application.apiVersion =
      version < VK_API_VERSION_1_3 ? VK_API_VERSION_1_2 : VK_API_VERSION_1_3;
  VkInstanceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  const char *extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  const bool validating = wantsValidation();
  if (validating) {
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &validationLayer;
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &extension;
  }
  std::shared_ptr<VulkanInstance> instance(new (std::nothrow) VulkanInstance());
  if (!instance)
    return outOfMemory("no memory for a Vulkan instance");
  auto createInstance =
      reinterpret_cast<PFN_vkCreateInstance>(get(nullptr, "vkCreateInstance"));
  VkResult result = createInstance
                        ? createInstance(&info, nullptr, &instance->handle)
                        : VK_ERROR_INITIALIZATION_FAILED;
  if (result == VK_ERROR_LAYER_NOT_PRESENT ||
      (validating && result == VK_ERROR_EXTENSION_NOT_PRESENT))
    return unsupported(concat(
        "LAPIDARY_VULKAN_VALIDATION is set, but there is no ", validationLayer,
        "; install it (Debian and Ubuntu: vulkan-validationlayers)"));
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
    return unsupported(
        "this machine has no Vulkan driver; install your GPU's "
        "(mesa-vulkan-drivers or the vendor's), or run on the CPU with "
        "--device cpu");
  if (result != VK_SUCCESS)
    return vulkanError(result, "an instance");
#define X(name)                                                                \
  instance->functions.name =                                                   \
      reinterpret_cast<PFN_vk##name>(get(instance->handle, "vk" #name));       \
  if (!instance->functions.name)                                               \
    return unsupported("libvulkan.so.1 lacks vk" #name);
  LAPIDARY_VULKAN_INSTANCE_FUNCTIONS(X)
#undef X
  instance->matrices =
      reinterpret_cast<PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR>(
          get(instance->handle,
              "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  if (validating)
    LAPIDARY_TRY(instance->createMessenger(get));
  return instance;
}

VulkanInstance::~VulkanInstance() {
  if (messenger)
    destroyMessenger(handle, messenger, nullptr);
  if (handle && functions.DestroyInstance)
    functions.DestroyInstance(handle, nullptr);
}

Status VulkanInstance::createMessenger(PFN_vkGetInstanceProcAddr get) {
  auto create = reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(
      get(handle, "vkCreateDebugUtilsMessengerEXT"));
  destroyMessenger = reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(
      get(handle, "vkDestroyDebugUtilsMessengerEXT"));
  if (!create || !destroyMessenger)
    return unsupported("the Vulkan loader cannot pass on the validation "
                       "layer's messages");
  VkDebugUtilsMessengerCreateInfoEXT info = {};
  info.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  info.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                         VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  info.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
  info.pfnUserCallback = onMessage;
  info.pUserData = this;
  return vulkanError(create(handle, &info, nullptr, &messenger),
                     "the validation layer's messages");
}

VkBool32 VulkanInstance::onMessage(
    VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
    const VkDebugUtilsMessengerCallbackDataEXT *data, void *instance) {
  auto &self = *static_cast<VulkanInstance *>(instance);
  std::lock_guard lock(self.mutex);
  if (self.complaints.size() < mostComplaints && data && data->pMessage)
    self.complaints += concat(self.complaints.empty() ? "" : "\n",
                              std::string_view(data->pMessage));
  return VK_FALSE;
}

Status VulkanInstance::takeComplaints() const {
  std::lock_guard lock(mutex);
  if (complaints.empty())
    return {};
  std::string taken = std::move(complaints);
  complaints.clear();
  return internalError(concat("Vulkan's validation layer complains: ", taken));
}

} // namespace lapidary
