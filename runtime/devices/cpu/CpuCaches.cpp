// Copies of rows are for snapshots and state files; kernels use the memory
// itself.
#include "runtime/devices/cpu/CpuCaches.h"

#include "runtime/core/Text.h"

#include <cstring>
#include <new>

namespace lapidary {

CpuCacheLayout layOutCaches(const schema::Program &program,
                            const DeviceOptions &options) {
  CpuCacheLayout layout;
  for (const schema::Cache *cache : *program.caches()) {
    uint64_t bytes = cacheBytes(*cache, options.context, options.chunk);
    layout.caches.push_back({layout.bytes, bytes, cache->row_bytes()});
    layout.bytes += bytes;
  }
  return layout;
}

Result<std::unique_ptr<SequenceCaches>>
CpuCaches::create(const CpuCacheLayout &layout) {
  std::unique_ptr<CpuCaches> caches(new (std::nothrow) CpuCaches());
  if (!caches)
    return outOfMemory("no memory for a sequence");
  caches->layout = &layout;
  caches->memory =
      LAPIDARY_TRY(ReservedMemory::reserve(layout.bytes, "the KV caches"));
  return std::unique_ptr<SequenceCaches>(std::move(caches));
}

void CpuCaches::touch() {
  if (memory.size() != 0)
    std::memset(memory.data(), 0, memory.size());
}

Result<uint8_t *> CpuCaches::find(uint32_t cache, int64_t row,
                                  size_t bytes) const {
  if (cache >= layout->caches.size() || row < 0)
    return internalError(concat("there is no row ", row, " of cache ", cache));
  const CpuCacheLayout::Cache &place = layout->caches[cache];
  uint64_t offset;
  if (__builtin_mul_overflow(uint64_t(row), place.rowBytes, &offset) ||
      offset > place.bytes || bytes > place.bytes - offset)
    return internalError(concat(bytes, " bytes from row ", row, " of cache ",
                                cache, " are outside its ", place.bytes));
  return memory.data() + place.offset + offset;
}

Status CpuCaches::read(uint32_t cache, int64_t row,
                       std::span<uint8_t> bytes) const {
  const uint8_t *source = LAPIDARY_TRY(find(cache, row, bytes.size()));
  std::memcpy(bytes.data(), source, bytes.size());
  return {};
}

Status CpuCaches::write(uint32_t cache, int64_t row,
                        std::span<const uint8_t> bytes) {
  uint8_t *target = LAPIDARY_TRY(find(cache, row, bytes.size()));
  std::memcpy(target, bytes.data(), bytes.size());
  return {};
}

} // namespace lapidary
