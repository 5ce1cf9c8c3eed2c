// Runs a bundle's CPU target: picks the variant for this processor, resolves
// every kernel and operand once, and divides the tiles of each dispatch over
// threads. A step allocates nothing.
#pragma once

#include "runtime/core/Memory.h"
#include "runtime/core/Workers.h"
#include "runtime/devices/Device.h"
#include "runtime/devices/cpu/CodeObject.h"

#include <optional>

namespace lapidary {

class CpuDevice final : public Device {
public:
  /// The environment variable LAPIDARY_CPU names the variant to take instead of
  /// the best one.
  static Result<std::unique_ptr<Device>>
  create(std::shared_ptr<const Bundle> bundle, const schema::Target &target,
         const DeviceOptions &options);

  const schema::Target &target() const override { return *program; }
  std::string description() const override;
  Status run(uint32_t entry, const Step &step,
             std::span<const void *const> inputs,
             std::span<void *const> outputs,
             const std::atomic<bool> *cancel) override;
  void clearCaches() override { caches.release(); }
  void touchCaches() override;
  void setProfile(Profile *to) override { profile = to; }

private:
  struct LoadedDispatch {
    KernelFunction function;
    schema::Extent tiles, tileWork;
    /// Each call packs the step's input into its scratch memory.
    bool packs;
    /// Into LoadedEntry::operands.
    uint32_t firstOperand;
  };
  /// An operand that is known only at run time.
  struct LateOperand {
    uint32_t operand, index;
    bool output;
  };
  struct LoadedEntry {
    std::vector<LoadedDispatch> dispatches;
    std::vector<void *> operands;
    std::vector<LateOperand> late;
  };

  CpuDevice() = default;
  Status allocate(const DeviceOptions &options);
  Status loadCode();
  Status loadEntry(const schema::EntryPoint &entry,
                   const std::vector<KernelFunction> &functions,
                   const std::vector<uint8_t *> &cacheBases);
  void runDispatch(const LoadedDispatch &dispatch, void *const *operands,
                   const int64_t *sizes, uint32_t entry);

  std::shared_ptr<const Bundle> bundle;
  const schema::Target *program = nullptr;
  const schema::Variant *variant = nullptr;
  std::optional<CodeObject> code;
  std::vector<LoadedEntry> entries;
  ReservedMemory caches, arena, scratch;
  std::vector<uint64_t> cacheOffsets;
  uint64_t scratchStride = 0;
  int64_t chunk = 0;
  int32_t threads = 1;
  std::unique_ptr<Workers> workers;
  Profile *profile = nullptr;
};

} // namespace lapidary
