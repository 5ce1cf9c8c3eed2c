// A model on two devices: the CPU runs the first layers, a GPU the last ones
// and what is behind them, for cards with little memory. Both have the same
// program, so it can be cut at any dispatch; the arena is copied there once.
#pragma once

#include "runtime/devices/DispatchRunner.h"

#include <utility>

namespace lapidary {

/// For each entry point, the dispatches of the CPU and those of the GPU when
/// the GPU has the last `gpuLayers` layers (-1: all). An error where both would
/// need one cache.
Result<std::pair<std::vector<DispatchRange>, std::vector<DispatchRange>>>
splitByLayers(const schema::Program &program, const schema::Target &target,
              int32_t gpuLayers);

class SplitDevice final : public Device {
public:
  /// `target` is the GPU's; the bundle has another for the CPU.
  static Result<std::unique_ptr<Device>>
  create(std::shared_ptr<const Bundle> bundle, const schema::Target &target,
         const std::string &name, const DeviceOptions &options);

  const schema::Target &target() const override { return gpu->target(); }
  std::string description() const override;
  Result<std::unique_ptr<SequenceCaches>> createCaches() override;
  Status run(uint32_t entry, std::span<const Step> steps,
             std::span<const void *const> inputs,
             std::span<void *const> outputs,
             const std::atomic<bool> *cancel) override;
  bool choosesCandidates(uint32_t entry) const override;
  void setProfile(Profile *profile) override;

private:
  SplitDevice() = default;

  std::shared_ptr<const Bundle> bundle;
  std::unique_ptr<DispatchRunner> cpu, gpu;
  /// By entry point.
  std::vector<DispatchRange> onCpu, onGpu;
  /// By cache: whether it is the GPU's.
  std::vector<bool> gpuCaches;
  int32_t layers = 0;
  std::vector<uint8_t> crossing;
};

} // namespace lapidary
