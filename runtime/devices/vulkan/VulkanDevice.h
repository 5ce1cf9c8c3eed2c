// Runs a bundle's Vulkan target: weights and caches live on the device, an
// entry point is one submission of commands that were recorded before.
#pragma once

#include "runtime/devices/DispatchRunner.h"
#include "runtime/devices/vulkan/VulkanRecorder.h"
#include "runtime/devices/vulkan/VulkanVariants.h"

namespace lapidary {

class VulkanDevice final : public DispatchRunner {
public:
  /// `ranges`: the dispatches of each entry point that this device will run;
  /// empty: all. The environment variable LAPIDARY_VULKAN names the variant to
  /// take instead of the best one.
  static Result<std::unique_ptr<VulkanDevice>>
  create(std::shared_ptr<const Bundle> bundle, const schema::Target &target,
         const std::string &name, const DeviceOptions &options,
         std::span<const DispatchRange> ranges = {});
  /// On a device made smaller than it is.
  static Result<std::unique_ptr<VulkanDevice>>
  create(std::shared_ptr<const Bundle> bundle, const schema::Target &target,
         const std::string &name, const DeviceOptions &options,
         std::span<const DispatchRange> ranges,
         const VulkanOverrides &overrides);
  ~VulkanDevice() override;

  const schema::Target &target() const override { return *program.target; }
  std::string description() const override;
  Result<std::unique_ptr<SequenceCaches>> createCaches() override;
  Status runDispatches(uint32_t entry, DispatchRange range,
                       std::span<const Step> steps,
                       std::span<const void *const> inputs,
                       std::span<void *const> outputs,
                       const std::atomic<bool> *cancel) override;
  Status readArena(uint64_t offset, std::span<uint8_t> bytes) override;
  Status writeArena(uint64_t offset, std::span<const uint8_t> bytes) override;
  bool choosesCandidates(uint32_t entry) const override {
    return entry < target().entries()->size() &&
           target().entries()->Get(entry)->candidate_dispatches() > 0;
  }
  void setProfile(Profile *to) override { profile = to; }

  const schema::Variant &variant() const { return *chosen; }
  /// What runs so far took of recording, replaying and the device.
  struct Counters {
    uint64_t submissions = 0, recordings = 0;
    /// Of the last submission.
    uint64_t dispatches = 0, barriers = 0;
    /// Of the outputs of all submissions, those that the host took.
    uint64_t outputBytes = 0;
    bool pipelinesFromDisk = false;
  };
  const Counters &counters() const { return counted; }

private:
  VulkanDevice() = default;
  Status checkMemory(const ProgramUse &use, const DeviceOptions &options);
  Status checkBindings(const DeviceOptions &options) const;
  Status allocate();
  /// Where an entry's inputs and outputs lie at so many tokens, in all: bytes
  /// of both parts.
  struct Exchange {
    VulkanBindings bindings;
    uint64_t inputBytes = 0, outputBytes = 0;
  };
  Exchange layOut(uint32_t entry, DispatchRange range, int64_t tokens,
                  int64_t mediaRows) const;
  Result<int64_t> countMediaRows(const schema::EntryPoint &entry,
                                 std::span<const void *const> inputs,
                                 int64_t tokens) const;
  void writeSizes(std::span<const Step> steps, int64_t tokens);
  Result<VulkanRecording *> findRecording(VulkanShape shape,
                                          std::span<VulkanCaches *const> caches,
                                          const VulkanBindings &bindings);
  void noteTimes(const VulkanRecording &recording, int64_t tokens, int64_t past,
                 int64_t end);

  std::shared_ptr<const Bundle> bundle;
  std::shared_ptr<VulkanContext> context;
  const schema::Variant *chosen = nullptr;
  VulkanProgram program;
  std::shared_ptr<VulkanStaging> staging;
  std::unique_ptr<VulkanPipelines> pipelines;
  VulkanPack weights;
  VulkanBuffer arena, input, upload, output, readback;
  VulkanCacheLayout cacheLayout;
  /// The last few, the latest last.
  std::vector<std::unique_ptr<VulkanRecording>> recordings;
  int64_t chunk = 0;
  Profile *profile = nullptr;
  Counters counted;
};

} // namespace lapidary
