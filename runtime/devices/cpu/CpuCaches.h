// The KV caches of one sequence in host memory: one reserved range, in which
// every cache has its place.
#pragma once

#include "runtime/core/Memory.h"
#include "runtime/devices/Device.h"

#include <vector>

namespace lapidary {

/// Where the caches of a sequence lie; the same for all sequences of a device.
struct CpuCacheLayout {
  struct Cache {
    uint64_t offset = 0, bytes = 0, rowBytes = 0;
  };
  std::vector<Cache> caches;
  uint64_t bytes = 0;
};

CpuCacheLayout layOutCaches(const schema::Program &program,
                            const DeviceOptions &options);

class CpuCaches final : public SequenceCaches {
public:
  /// `layout` must live as long.
  static Result<std::unique_ptr<SequenceCaches>>
  create(const CpuCacheLayout &layout);

  void clear() override { memory.release(); }
  void touch() override;
  Status read(uint32_t cache, int64_t row,
              std::span<uint8_t> bytes) const override;
  Status write(uint32_t cache, int64_t row,
               std::span<const uint8_t> bytes) override;
  /// Where cache `index` begins.
  void *base(uint32_t index) const {
    return memory.data() + layout->caches[index].offset;
  }

private:
  CpuCaches() = default;
  Result<uint8_t *> find(uint32_t cache, int64_t row, size_t bytes) const;

  const CpuCacheLayout *layout = nullptr;
  ReservedMemory memory;
};

} // namespace lapidary
