// `lapidary devices`, and the options that choose one.
#include "runtime/core/Memory.h"
#include "runtime/devices/cpu/CpuFeatures.h"
#include "runtime/devices/vulkan/VulkanLibrary.h"
#include "runtime/model/MemoryPlan.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/Terminal.h"

namespace lapidary::cli {

namespace {

using Json = nlohmann::ordered_json;

std::string versionText(uint32_t version) {
  return std::to_string(VK_API_VERSION_MAJOR(version)) + "." +
         std::to_string(VK_API_VERSION_MINOR(version)) + "." +
         std::to_string(VK_API_VERSION_PATCH(version));
}

Json describe(const VulkanPhysicalDevice &device) {
  const VkPhysicalDeviceLimits &limits = device.limits;
  Json heaps = Json::array();
  for (uint32_t heap = 0; heap < device.memory.memoryHeapCount; ++heap)
    heaps.push_back({{"bytes", device.memory.memoryHeaps[heap].size},
                     {"left_bytes", device.budget[heap]},
                     {"device_local", (device.memory.memoryHeaps[heap].flags &
                                       VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0}});
  return {{"device", "vulkan:" + std::to_string(device.index)},
          {"name", device.name},
          {"type", device.typeName()},
          {"driver", device.driver},
          {"vulkan", versionText(device.version)},
          {"memory_left_bytes", device.available()},
          {"heaps", heaps},
          {"limits",
           {{"binding_bytes", limits.maxStorageBufferRange},
            {"allocation_bytes", device.maxAllocation},
            {"workgroups", limits.maxComputeWorkGroupCount[0]},
            {"workgroup_invocations", limits.maxComputeWorkGroupInvocations},
            {"shared_bytes", limits.maxComputeSharedMemorySize},
            {"storage_buffers", limits.maxPerStageDescriptorStorageBuffers}}},
          {"features", device.features}};
}

std::string join(const std::vector<std::string> &words) {
  std::string text;
  for (const std::string &word : words)
    text += (text.empty() ? "" : ", ") + word;
  return text.empty() ? "none" : text;
}

void line(std::string &text, const char *name, const std::string &value) {
  text += "  ";
  text += name;
  text.append(12 - std::min<size_t>(std::string_view(name).size(), 12), ' ');
  text += value + "\n";
}

std::string describeText(const VulkanPhysicalDevice &device) {
  const VkPhysicalDeviceLimits &limits = device.limits;
  std::string text = "vulkan:" + std::to_string(device.index) + "  " +
                     device.name + " (" + device.typeName() + ")\n";
  line(text, "driver",
       device.driver + ", Vulkan " + versionText(device.version));
  line(text, "memory",
       formatBytes(device.memory.memoryHeaps[device.mainHeap()].size) + ", " +
           formatBytes(device.available()) + " left" +
           (device.sharesMemory() ? ", shared with the machine" : ""));
  line(text, "limits",
       formatBytes(limits.maxStorageBufferRange) + " a binding, " +
           formatBytes(device.maxAllocation) + " an allocation, " +
           std::to_string(limits.maxPerStageDescriptorStorageBuffers) +
           " buffers a kernel, " +
           formatBytes(limits.maxComputeSharedMemorySize) + " shared");
  line(text, "features", join(device.features));
  return text;
}

Status listDevices(bool json) {
  const CpuFeatures &cpu = cpuFeatures();
  std::vector<VulkanPhysicalDevice> devices;
  Status missing;
  // The CPU is there whatever is wrong with Vulkan.
  if (Result<std::shared_ptr<VulkanInstance>> instance =
          VulkanInstance::create();
      !instance.ok())
    missing = instance.status();
  else if (Result<std::vector<VulkanPhysicalDevice>> found =
               (*instance)->devices();
           !found.ok())
    missing = found.status();
  else if (devices = *std::move(found); devices.empty())
    missing = (*instance)->find("vulkan").status();
  if (json) {
    Json list = Json::array();
    list.push_back({{"device", "cpu"},
                    {"name", cpu.brand},
                    {"type", "cpu"},
                    {"threads", resolveThreads(0)},
                    {"memory_left_bytes", availableMemory()},
                    {"features", cpu.names}});
    for (const VulkanPhysicalDevice &device : devices)
      list.push_back(describe(device));
    Json all = {{"devices", list}};
    if (!missing.ok())
      all["vulkan_error"] = missing.message();
    return writeJson(all);
  }
  std::string text = "cpu  " + cpu.brand + "\n";
  line(text, "threads", std::to_string(resolveThreads(0)));
  line(text, "memory", formatBytes(availableMemory()) + " left");
  for (const VulkanPhysicalDevice &device : devices)
    text += "\n" + describeText(device);
  if (!missing.ok())
    text += "\nno Vulkan device: " + missing.message() + "\n";
  return writeOutput(text);
}

} // namespace

void addDeviceOptions(CLI::App &command, DeviceChoice &choice, bool tested) {
  command
      .add_option("--device", choice.device,
                  "cpu, vulkan (the best GPU), vulkan:NUMBER or vulkan:NAME, "
                  "where a part of the name is enough; lapidary devices lists "
                  "them")
      ->type_name("NAME")
      ->envname("LAPIDARY_DEVICE")
      ->capture_default_str();
  command
      .add_option("--gpu-layers,--n-gpu-layers", choice.gpuLayers,
                  "Layers that the GPU runs, the last ones, while the CPU runs "
                  "the others; -1 (unless given): all. For a GPU with little "
                  "memory; -ngl means the same")
      ->type_name("N")
      ->check(CLI::Range(-1, 1 << 20));
  if (tested)
    command.add_flag("--skip-selftest", choice.skipSelfTest,
                     "Do not test a bundle that a GPU's driver has not run "
                     "before");
}

void addDevicesCommand(CLI::App &app, Action &action) {
  auto json = std::make_shared<bool>(false);
  CLI::App *command = app.add_subcommand(
      "devices", "List what this machine can run bundles on");
  command->footer("The first word of each is what --device takes. A device "
                  "runs a bundle that was compiled\nfor its kind: --target "
                  "cpu, --target vulkan.\nExample:\n  lapidary devices");
  command->add_flag("--json", *json, "Print a JSON object");
  command->final_callback([json, &action] {
    action = [json] {
      const Status status = listDevices(*json);
      return status.ok() ? static_cast<int>(Success) : fail(status);
    };
  });
}

} // namespace lapidary::cli
