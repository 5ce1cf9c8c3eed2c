// Which blocks of 16 rows a cache holds for a sequence of some length, and
// where: what snapshots and state files copy.
#pragma once

#include "runtime/devices/Device.h"

namespace lapidary {

/// Blocks [first, end) of the sequence's positions are what a cache must hold.
struct CacheRows {
  int64_t first = 0, end = 0;
  /// Blocks that the cache has room for: block `b` lies at b modulo this.
  int64_t capacity = 0;
  uint64_t blockBytes = 0;

  uint64_t bytes() const {
    return static_cast<uint64_t>(end - first) * blockBytes;
  }
};

inline constexpr int64_t cacheBlock = 16;

/// The rows that the next token after `position` others needs: of a ring its
/// window, of a growing cache all.
CacheRows usedRows(const schema::Cache &cache, int64_t position,
                   const DeviceOptions &options);
/// The first position that can still be gone back to once a step to `end` has
/// written a cache: 0 while nothing was overwritten.
int64_t oldestPosition(const schema::Cache &cache, int64_t end,
                       const DeviceOptions &options);
/// Bytes of a snapshot at the longest: a window of every ring.
uint64_t snapshotBytes(const schema::Program &program,
                       const DeviceOptions &options);

} // namespace lapidary
