// A device that can run a part of an entry point, and show its arena: what a
// split over two devices is made of, and the search for a wrong kernel.
#pragma once

#include "runtime/devices/Device.h"

namespace lapidary {

/// A run of an entry point's dispatches, [first, last).
struct DispatchRange {
  uint32_t first = 0, last = 0;
  bool operator==(const DispatchRange &) const = default;
};

/// All dispatches of an entry point, without those for candidates where none of
/// these is wanted.
DispatchRange wantedDispatches(const schema::EntryPoint &entry,
                               std::span<void *const> outputs);

class DispatchRunner : public Device {
public:
  Status run(uint32_t entry, std::span<const Step> steps,
             std::span<const void *const> inputs,
             std::span<void *const> outputs,
             const std::atomic<bool> *cancel) final {
    if (entry >= target().entries()->size())
      return internalError("there is no such entry point");
    return runDispatches(
        entry, wantedDispatches(*target().entries()->Get(entry), outputs),
        steps, inputs, outputs, cancel);
  }
  /// As run, but of these dispatches only: the ones before them have run on
  /// this device, or what they gave was written to its arena and caches.
  virtual Status runDispatches(uint32_t entry, DispatchRange range,
                               std::span<const Step> steps,
                               std::span<const void *const> inputs,
                               std::span<void *const> outputs,
                               const std::atomic<bool> *cancel) = 0;
  virtual Status readArena(uint64_t offset, std::span<uint8_t> bytes) = 0;
  virtual Status writeArena(uint64_t offset,
                            std::span<const uint8_t> bytes) = 0;
};

/// Whether `steps` are what an entry point of these dispatches can run with
/// steps of at most `chunk` tokens, and the bindings as many as it has.
Status checkRun(const schema::EntryPoint &entry, DispatchRange range,
                int64_t chunk, std::span<const Step> steps, size_t inputs,
                size_t outputs);

} // namespace lapidary
