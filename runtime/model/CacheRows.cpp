// Rings overwrite row by row, in the order of positions.
#include "runtime/model/CacheRows.h"

#include "runtime/model/EntryPoints.h"

#include <algorithm>

namespace lapidary {

CacheRows usedRows(const schema::Cache &cache, int64_t position,
                   const DeviceOptions &options) {
  CacheRows rows;
  rows.capacity = cacheRows(cache, options.context, options.chunk) / cacheBlock;
  rows.blockBytes = cacheBlock * cache.row_bytes();
  rows.end = roundUp(position, cacheBlock) / cacheBlock;
  // The next query sees `window` positions, itself included.
  if (cache.kind() == schema::CacheKind::Ring)
    rows.first =
        std::max<int64_t>(0, position - cache.window() + 1) / cacheBlock;
  rows.first = std::min(rows.first, rows.end);
  return rows;
}

int64_t oldestPosition(const schema::Cache &cache, int64_t end,
                       const DeviceOptions &options) {
  int64_t rows = cacheRows(cache, options.context, options.chunk);
  if (cache.kind() != schema::CacheKind::Ring || end <= rows)
    return 0;
  // Rows of positions before end - rows are gone, and a position needs the
  // window before it.
  return end - rows + cache.window() - 1;
}

uint64_t snapshotBytes(const schema::Program &program,
                       const DeviceOptions &options) {
  uint64_t bytes = 0;
  for (const schema::Cache *cache : *program.caches()) {
    if (cache->kind() != schema::CacheKind::Ring)
      continue;
    // window - 1 rows touch at most so many blocks.
    int64_t rows = std::min(roundUp(cache->window(), cacheBlock) + cacheBlock,
                            cacheRows(*cache, options.context, options.chunk));
    bytes += static_cast<uint64_t>(rows) * cache->row_bytes();
  }
  return bytes;
}

} // namespace lapidary
