// Entry points as command buffers: recorded once for a shape of step, replayed
// as long as steps have that shape. What changes from step to step, positions
// and inputs, lies in buffers.
#pragma once

#include "runtime/devices/vulkan/VulkanParts.h"
#include "runtime/devices/vulkan/VulkanPipelines.h"

namespace lapidary {

/// What the host exchanges with the device in a step, by binding.
struct VulkanBindings {
  std::vector<VulkanRange> inputs, outputs;
};

/// All that stays the same while a program is loaded.
struct VulkanProgram {
  const schema::Program *root = nullptr;
  const schema::Target *target = nullptr;
  const VulkanPipelines *pipelines = nullptr;
  const VulkanPack *weights = nullptr;
  const VulkanBuffer *arena = nullptr;
  /// Rows of sizes, then inputs; what the host writes, and where kernels read
  /// it: the same buffer where the host reaches device memory.
  const VulkanBuffer *upload = nullptr, *input = nullptr;
  /// Where kernels write outputs, and where the host reads them.
  const VulkanBuffer *output = nullptr, *readback = nullptr;
  uint64_t sizesBytes = 0;
};

/// One shape of step.
struct VulkanShape {
  uint32_t entry = 0;
  DispatchRange dispatches;
  /// Of each sequence, with the number of its caches (0: none).
  std::vector<int64_t> tokens;
  std::vector<uint64_t> caches;
  /// Rows of the input "media".
  int64_t mediaRows = 0;
  /// By output: whether the host wants it.
  std::vector<bool> outputs;
  bool profiled = false;
  bool operator==(const VulkanShape &) const = default;
};

class VulkanRecording {
public:
  /// `caches`: of each sequence.
  static Result<std::unique_ptr<VulkanRecording>>
  create(std::shared_ptr<VulkanContext> context, const VulkanProgram &program,
         VulkanShape shape, std::span<VulkanCaches *const> caches,
         const VulkanBindings &bindings);
  ~VulkanRecording();
  VulkanRecording(const VulkanRecording &) = delete;
  VulkanRecording &operator=(const VulkanRecording &) = delete;

  const VulkanShape &shape() const { return key; }
  VkCommandBuffer commands() const { return buffer; }
  /// When a dispatch ended, in nanoseconds after the first one began.
  struct End {
    uint32_t dispatch = 0;
    int64_t tiles = 0, time = 0;
  };
  /// Of a profiled shape, once its commands are done.
  Result<std::vector<End>> times() const;
  /// vkCmdDispatch and barriers between them.
  size_t dispatchCount() const { return calls.size(); }
  size_t barrierCount() const { return barriers; }

private:
  /// One vkCmdDispatch.
  struct Call {
    uint32_t kernel = 0, operands = 0, groupsX = 0, groupsY = 0;
    int32_t push[4] = {};
    size_t firstBinding = 0;
    /// Something before it must be done.
    bool waits = false;
    /// It is the last of its dispatch, which has so many tiles.
    bool ends = false;
    uint32_t dispatch = 0;
    int64_t tiles = 0;
  };
  VulkanRecording() = default;
  Status plan(const VulkanProgram &program,
              std::span<VulkanCaches *const> caches,
              const VulkanBindings &bindings);
  Status planDispatch(const VulkanProgram &program,
                      const schema::Dispatch &dispatch, uint32_t index,
                      const VulkanCaches *caches, int64_t tokens, int32_t step,
                      const VulkanBindings &bindings);
  Status createSets(const VulkanProgram &program);
  Status record(const VulkanProgram &program, const VulkanBindings &bindings);
  void barrier(VkPipelineStageFlags from, VkAccessFlags fromAccess,
               VkPipelineStageFlags to, VkAccessFlags toAccess) const;

  std::shared_ptr<VulkanContext> context;
  VulkanShape key;
  std::vector<Call> calls;
  std::vector<VkDescriptorBufferInfo> buffers;
  std::vector<VkDescriptorSet> sets;
  VkDescriptorPool pool = VK_NULL_HANDLE;
  VkQueryPool queries = VK_NULL_HANDLE;
  VkCommandBuffer buffer = VK_NULL_HANDLE;
  size_t barriers = 0;
};

} // namespace lapidary
