// A Vulkan device for the tests of kernels, with the validation layer where
// there is one: what it reports fails the test. Small and slow, and apart from
// the runtime's, so that neither hides the other's mistakes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

namespace mlir::lap::simt {

class TestDevice {
public:
  /// The first one of this machine; null where there is none.
  static TestDevice *get();

  bool hasDotProducts() const { return dotProducts; }
  /// Whether subgroups of it add and compare.
  bool hasSubgroups() const { return subgroups; }
  /// Whether subgroups multiply matrices of f16 of so many rows, columns and
  /// depth, with sums in f32.
  bool hasMatrices(int64_t size) const;

  /// Memory that this program and the device see.
  class Memory {
  public:
    Memory(TestDevice &device, size_t bytes);
    ~Memory();
    Memory(Memory &&other) noexcept;
    Memory &operator=(Memory &&) = delete;

    std::span<uint8_t> getBytes() const { return bytes; }

  private:
    friend class TestDevice;
    TestDevice *device;
    VkBuffer buffer = VK_NULL_HANDLE;
    VkDeviceMemory memory = VK_NULL_HANDLE;
    std::span<uint8_t> bytes;
  };

  /// A compute shader and its pipeline: storage buffers of set 0, four words of
  /// push constants.
  class Shader {
  public:
    Shader(TestDevice &device, std::span<const uint32_t> code,
           const std::string &entry, uint32_t bindings);
    ~Shader();
    Shader(const Shader &) = delete;

  private:
    friend class TestDevice;
    TestDevice &device;
    uint32_t bindings;
    VkShaderModule module = VK_NULL_HANDLE;
    VkDescriptorSetLayout setLayout = VK_NULL_HANDLE;
    VkPipelineLayout layout = VK_NULL_HANDLE;
    VkPipeline pipeline = VK_NULL_HANDLE;
  };

  struct Dispatch {
    uint32_t x, y;
    int32_t constants[4];
    std::vector<const Memory *> buffers;
  };
  /// One after the other.
  void run(const Shader &shader, const std::vector<Dispatch> &dispatches);

private:
  TestDevice() = default;
  bool open();
  bool openInstance(PFN_vkGetInstanceProcAddr load);
  bool openDevice();
  void findMatrices(PFN_vkGetInstanceProcAddr load);
  uint32_t findMemory(uint32_t types) const;

  struct Functions;
  std::unique_ptr<Functions> vk;
  VkInstance instance = VK_NULL_HANDLE;
  VkPhysicalDevice physical = VK_NULL_HANDLE;
  VkDevice device = VK_NULL_HANDLE;
  VkQueue queue = VK_NULL_HANDLE;
  VkCommandPool pool = VK_NULL_HANDLE;
  uint32_t family = 0;
  bool dotProducts = false, subgroups = false;
  std::vector<int64_t> matrices;
};

} // namespace mlir::lap::simt
