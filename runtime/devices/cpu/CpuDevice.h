// Runs a bundle's CPU target: picks the variant for this processor, resolves
// every kernel and operand once, and divides the tiles of each dispatch over
// threads. A step allocates nothing.
#pragma once

#include "runtime/core/Memory.h"
#include "runtime/core/Workers.h"
#include "runtime/devices/DispatchRunner.h"
#include "runtime/devices/cpu/CodeObject.h"
#include "runtime/devices/cpu/CpuCaches.h"

#include <optional>

namespace lapidary {

class CpuDevice final : public DispatchRunner {
public:
  /// The environment variable LAPIDARY_CPU names the variant to take instead of
  /// the best one.
  static Result<std::unique_ptr<DispatchRunner>>
  create(std::shared_ptr<const Bundle> bundle, const schema::Target &target,
         const DeviceOptions &options);

  const schema::Target &target() const override { return *program; }
  std::string description() const override;
  Result<std::unique_ptr<SequenceCaches>> createCaches() override;
  Status runDispatches(uint32_t entry, DispatchRange range,
                       std::span<const Step> steps,
                       std::span<const void *const> inputs,
                       std::span<void *const> outputs,
                       const std::atomic<bool> *cancel) override;
  Status readArena(uint64_t offset, std::span<uint8_t> bytes) override;
  Status writeArena(uint64_t offset, std::span<const uint8_t> bytes) override;
  bool choosesCandidates(uint32_t) const override { return false; }
  void setProfile(Profile *to) override { profile = to; }

private:
  struct LoadedDispatch {
    KernelFunction function;
    schema::Extent tiles, tileWork;
    /// Each call packs the step's input into its scratch memory.
    bool packs;
    /// Into LoadedEntry::operands, and how many.
    uint32_t firstOperand, operands;
    /// Kernel.token_bytes; nothing where the kernel has no caches.
    const flatbuffers::Vector<uint64_t> *tokenBytes;
  };
  /// An operand that is known only at run time.
  struct LateOperand {
    uint32_t operand, index;
    schema::BufferKind kind;
  };
  struct LoadedEntry {
    std::vector<LoadedDispatch> dispatches;
    std::vector<void *> operands;
    std::vector<LateOperand> late;
  };
  /// A dispatch's work for the whole step, or for one sequence of it.
  struct Call {
    void *const *operands;
    int64_t sizes[3];
    int64_t tiles;
  };

  CpuDevice() = default;
  Status allocate(const DeviceOptions &options);
  Status loadCode();
  Status loadEntry(const schema::EntryPoint &entry,
                   const std::vector<KernelFunction> &functions);
  /// A call for each sequence, with operands of its own.
  std::span<const Call> splitBySequence(const LoadedEntry &entry,
                                        const LoadedDispatch &dispatch,
                                        std::span<const Step> steps);
  void runDispatch(uint32_t entry, const LoadedDispatch &dispatch,
                   std::span<const Call> calls);

  std::shared_ptr<const Bundle> bundle;
  const schema::Target *program = nullptr;
  const schema::Variant *variant = nullptr;
  std::optional<CodeObject> code;
  std::vector<LoadedEntry> entries;
  ReservedMemory arena, scratch;
  CpuCacheLayout cacheLayout;
  /// Of splitBySequence; kept so that a step allocates nothing once they are
  /// as large as it needs.
  std::vector<Call> sequenceCalls;
  std::vector<void *> sequenceOperands;
  uint64_t scratchStride = 0;
  int64_t chunk = 0;
  int32_t threads = 1;
  std::unique_ptr<Workers> workers;
  Profile *profile = nullptr;
};

} // namespace lapidary
