// What a program keeps on the device: weights, uploaded once, and the caches of
// each sequence. Both are packed into as few buffers as the device's limits
// allow.
#pragma once

#include "runtime/devices/DispatchRunner.h"
#include "runtime/devices/vulkan/VulkanMemory.h"

namespace lapidary {

/// Ranges of a few buffers, each beginning at a multiple of 256 bytes.
struct VulkanPack {
  std::vector<VulkanBuffer> buffers;
  /// One for each size; without a buffer where the size is 0.
  std::vector<VulkanRange> ranges;

  static Result<VulkanPack>
  create(const std::shared_ptr<VulkanContext> &context,
         std::span<const uint64_t> sizes, const char *what);
};

/// Which weights' segments and which caches some dispatches of a target use.
struct ProgramUse {
  std::vector<bool> segments, caches;
};
/// `ranges`: one for each entry point.
ProgramUse findUse(const schema::Program &program, const schema::Target &target,
                   std::span<const DispatchRange> ranges);

/// By segment; those that are not in use have no buffer. Their hashes are
/// checked before.
Result<VulkanPack> uploadWeights(const std::shared_ptr<VulkanContext> &context,
                                 VulkanStaging &staging, const Bundle &bundle,
                                 const ProgramUse &use,
                                 const ProgressCallback &progress);

struct VulkanCacheLayout {
  struct Cache {
    uint64_t bytes = 0, rowBytes = 0;
    int64_t rows = 0;
  };
  /// By cache; of no bytes where it is not this device's.
  std::vector<Cache> caches;
};

class VulkanCaches final : public SequenceCaches {
public:
  static Result<std::unique_ptr<VulkanCaches>>
  create(std::shared_ptr<VulkanContext> context,
         const VulkanCacheLayout &layout,
         std::shared_ptr<VulkanStaging> staging);

  void clear() override;
  void touch() override;
  Status read(uint32_t cache, int64_t row,
              std::span<uint8_t> bytes) const override;
  Status write(uint32_t cache, int64_t row,
               std::span<const uint8_t> bytes) override;
  const VulkanRange &range(uint32_t cache) const { return pack.ranges[cache]; }
  /// Positions below `end` were or will be written.
  void use(int64_t end) { used = std::max(used, end); }
  /// Of no other caches, whenever they live.
  uint64_t id() const { return number; }
  /// An error of clear(), which cannot give one.
  Status pending() const { return failed; }

private:
  VulkanCaches() = default;
  Result<VulkanRange> find(uint32_t cache, int64_t row, size_t bytes) const;
  Status clearRows(int64_t rows);

  std::shared_ptr<VulkanContext> context;
  std::shared_ptr<VulkanStaging> staging;
  VulkanCacheLayout layout;
  VulkanPack pack;
  uint64_t number = 0;
  int64_t used = 0;
  Status failed;
};

} // namespace lapidary
