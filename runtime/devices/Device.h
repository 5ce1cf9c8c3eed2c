// What a device does for an engine: it holds a bundle's program ready to run,
// makes KV caches for sequences, and executes entry points. A device kind is
// one folder beside this file and one line in `createDevice`.
#pragma once

#include "runtime/core/Bundle.h"
#include "runtime/core/Status.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lapidary {

struct Profile;

struct DeviceOptions {
  /// Positions that growing caches hold; a multiple of 16.
  int64_t context = 0;
  /// The largest step in tokens; a multiple of 16.
  int64_t chunk = 0;
  /// Threads on the host; 0: all.
  int32_t threads = 0;
  /// Sequences that will have caches at once, which memory is looked at for.
  int32_t sequences = 1;
  /// Of a GPU: the last layers that it runs, the others are the CPU's; -1: all.
  int32_t gpuLayers = -1;
  /// Told how much of the weights is on a device with memory of its own, then
  /// how many of its kernels the device's driver has compiled.
  ProgressCallback progress = {};
};

/// The KV caches of one sequence. Belong to the device that made them, which
/// must live longer.
class SequenceCaches {
public:
  virtual ~SequenceCaches() = default;
  /// Forgets all positions and gives their memory back.
  virtual void clear() = 0;
  /// Takes the memory that full caches have, for measurements; what is in them
  /// is lost.
  virtual void touch() = 0;
  /// Copies rows of a cache out or in, as they lie in memory. Rows come in
  /// blocks of 16: `row` and the number of rows are multiples of 16.
  virtual Status read(uint32_t cache, int64_t row,
                      std::span<uint8_t> bytes) const = 0;
  virtual Status write(uint32_t cache, int64_t row,
                       std::span<const uint8_t> bytes) = 0;
};

/// What one sequence does in a step.
struct Step {
  int64_t tokens = 0;
  /// Positions already in the caches.
  int64_t past = 0;
  /// Needed by entry points that have caches.
  SequenceCaches *caches = nullptr;
};

/// Bytes a device needs for a program.
struct DeviceMemory {
  /// Of one sequence.
  uint64_t caches = 0;
  uint64_t arena = 0;
  uint64_t scratch = 0;
  /// The part of arena and scratch that only embedding media touches.
  uint64_t media = 0;
  /// On a GPU: its parts of weights and caches of one sequence; the arena is
  /// there too. 0 otherwise.
  uint64_t deviceWeights = 0, deviceCaches = 0, deviceArena = 0;
};

/// What is left of a device's memory.
struct DeviceRoom {
  uint64_t available = UINT64_MAX;
  /// The most bytes that a cache can have.
  uint64_t largestCache = UINT64_MAX;
  /// It is the machine's own memory.
  bool shared = true;
};

/// One program loaded. Used by one thread at a time.
class Device {
public:
  virtual ~Device() = default;
  /// The program's target that this device runs.
  virtual const schema::Target &target() const = 0;
  /// For people: "cpu avx512 (AMD EPYC, 8 threads)".
  virtual std::string description() const = 0;
  virtual Result<std::unique_ptr<SequenceCaches>> createCaches() = 0;
  /// Runs an entry point of `target()` for the tokens of `steps`, which lie one
  /// sequence after the other in the bindings. `inputs` and `outputs` are host
  /// memory in the order of the entry's bindings, as large as the bindings say
  /// at the steps' tokens together; nullptr for candidates that are not wanted
  /// and, where the device chooses these, for any output. Returns Cancelled
  /// between dispatches once
  /// `*cancel` is true.
  virtual Status run(uint32_t entry, std::span<const Step> steps,
                     std::span<const void *const> inputs,
                     std::span<void *const> outputs,
                     const std::atomic<bool> *cancel) = 0;
  /// Whether an entry point's candidates (see the schema) are to be had for
  /// less than its logits, which are not in the host's memory.
  virtual bool choosesCandidates(uint32_t entry) const = 0;
  /// From here on notes each dispatch in `profile`, which has room for as many
  /// threads as the device has; nullptr: no more.
  virtual void setProfile(Profile *profile) = 0;
};

/// `name`: "cpu", or "vulkan", "vulkan:1", "vulkan:" and a part of a name.
Result<std::unique_ptr<Device>>
createDevice(std::shared_ptr<const Bundle> bundle, const std::string &name,
             const DeviceOptions &options);
/// The target of `program` that device `name` of this machine runs; an error
/// lists those that the bundle has.
Result<const schema::Target *> findTarget(const schema::Program &program,
                                          const std::string &name);
/// What the machine says of device `name` at this moment; of a GPU that is not
/// there, nothing.
DeviceRoom deviceRoom(const std::string &name);
/// What createDevice would need; fails only on overflow or an unknown device.
Result<DeviceMemory> planDeviceMemory(const schema::Program &program,
                                      const schema::Target &target,
                                      const DeviceOptions &options);
/// Rows of a cache: see `Cache` in the schema; a ring beyond the context has
/// only the context's. `chunk` and `context` are
/// multiples of 16.
int64_t cacheRows(const schema::Cache &cache, int64_t context, int64_t chunk);
/// Bytes of a cache, rounded up to whole pages.
uint64_t cacheBytes(const schema::Cache &cache, int64_t context, int64_t chunk);
/// `requested`, or with 0 the threads that this process may use.
int32_t resolveThreads(int32_t requested);

} // namespace lapidary
