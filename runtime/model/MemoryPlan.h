// What an engine is made with, and the memory it will take: known before
// anything is allocated.
#pragma once

#include "runtime/core/Memory.h"
#include "runtime/devices/Device.h"

#include <span>
#include <string>
#include <vector>

namespace lapidary {

struct SessionOptions {
  /// Positions that a sequence can hold; 0: the model's longest.
  int64_t context = 0;
  /// Tokens that a step takes at most, of all sequences together, a multiple of
  /// 16, at most what the bundle was compiled for. A vision block (an image's
  /// soft tokens) must fit in it: see `requiredChunk`. 0: 512, or less where
  /// the bundle or context has less.
  int64_t chunk = 0;
  /// 0: all that this process may use.
  int32_t threads = 0;
  /// See createDevice.
  std::string device = "cpu";
  /// See DeviceOptions.
  int32_t gpuLayers = -1;
  ProgressCallback progress = {};
  /// Do not run the bundle's self-tests when a GPU's driver meets it for the
  /// first time; as the environment variable LAPIDARY_SKIP_SELFTEST.
  bool skipSelfTest = false;
  /// Sequences that may exist at once, each with caches of its own.
  int32_t sequences = 1;
  /// Tokens that may be guessed ahead for each sequence in a step; see
  /// GenerateOptions::draft. Each takes a row of logits.
  int32_t drafts = 0;
  /// Bytes for snapshots of sliding layers, which let sequences go back beyond
  /// what their rings hold; 0: none. One takes `MemoryPlan::snapshot`.
  uint64_t snapshotMemory = 0;
};

/// The memory sheet: what an engine takes with all its sequences at their full
/// context.
struct MemoryPlan {
  struct Cache {
    std::string name, format;
    bool ring = false;
    int64_t rows = 0;
    uint64_t bytes = 0;
  };
  uint64_t weights = 0;
  /// Of all sequences.
  uint64_t caches = 0;
  uint64_t arenas = 0;
  uint64_t scratch = 0;
  /// Logits and the inputs and outputs of steps.
  uint64_t logits = 0;
  /// The budget of all snapshots.
  uint64_t snapshots = 0;
  uint64_t total = 0;
  /// The part of it that is touched only when media are embedded.
  uint64_t media = 0;
  /// What the machine has left.
  uint64_t available = 0;
  /// The part of the total that a GPU holds, of its own memory or of the
  /// machine's, and what is left there; 0 without one.
  uint64_t onDevice = 0;
  uint64_t deviceAvailable = 0;
  /// The largest cache that the device can have.
  uint64_t largestCache = UINT64_MAX;
  bool sharesMemory = true;
  /// The options after defaults were put in.
  int64_t context = 0;
  int64_t chunk = 0;
  int32_t threads = 0;
  int32_t sequences = 1;
  int64_t drafts = 0;
  int32_t gpuLayers = -1;
  ProgressCallback progress;
  /// Rows of logits that an engine has room for.
  int64_t logitRows = 0;
  /// Bytes of one snapshot.
  uint64_t snapshot = 0;
  /// Of one sequence.
  std::vector<Cache> cacheLines;

  /// Bytes of the machine's own memory.
  uint64_t onHost() const { return sharesMemory ? total : total - onDevice; }
  bool fits() const {
    return onHost() <= available && onDevice <= deviceAvailable &&
           !cacheBeyondDevice();
  }
  /// A cache that is too large for the device at this context; null: none.
  const Cache *cacheBeyondDevice() const;
  /// OutOfMemory with the sheet's figures when it does not fit.
  Status check() const;
  DeviceOptions deviceOptions() const;
};

/// Loads nothing and allocates nothing but the answer.
Result<MemoryPlan> planMemory(const schema::Program &program,
                              const SessionOptions &options);

/// The chunk to create a session with for a prompt of `tokens`: what `options`
/// give, or more where the longest vision block needs it. An error when the
/// bundle's prefill cannot take that block.
Result<int64_t> requiredChunk(const schema::Program &program,
                              std::span<const int32_t> tokens,
                              const SessionOptions &options = {});

} // namespace lapidary
