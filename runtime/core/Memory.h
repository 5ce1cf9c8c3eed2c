// Memory by reservation: address ranges that cost nothing until they are
// touched, for KV caches and arenas that are planned at their largest; and what
// the machine still has to give.
#pragma once

#include "runtime/core/Status.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace lapidary {

/// A private, zeroed, page-aligned range of anonymous memory. Pages are taken
/// from the machine when they are first written.
class ReservedMemory {
public:
  ReservedMemory() = default;
  /// `what` names the range in the error message. Zero bytes give an empty
  /// range.
  static Result<ReservedMemory> reserve(uint64_t bytes,
                                        const std::string &what);
  ~ReservedMemory();
  ReservedMemory(ReservedMemory &&other) noexcept;
  ReservedMemory &operator=(ReservedMemory &&other) noexcept;

  uint8_t *data() const { return base; }
  uint64_t size() const { return bytes; }
  template <typename T> T *as() const { return reinterpret_cast<T *>(base); }
  /// Gives the pages back; the range reads as zeros again.
  void release();

private:
  uint8_t *base = nullptr;
  uint64_t bytes = 0;
};

/// mmap at an address that huge pages can begin at, where `bytes` are enough
/// for one, and with the advice to use them: 512 times fewer entries of page
/// tables, and readers that run ahead without a stop at each 4 KiB, for which
/// memory gave a fifth more bytes a second. For a file (`descriptor`) Linux
/// then reads what is not in memory yet in pieces of that size. MAP_FAILED and
/// errno as mmap.
void *mapMemory(uint64_t bytes, int protection, int flags, int descriptor);

/// Bytes that this process can still take without swapping: the machine's
/// MemAvailable or what the cgroup (v1 or v2) leaves, whichever is less.
/// UINT64_MAX where nothing tells.
uint64_t availableMemory();
/// Bytes of memory that this process has now; 0 where nothing tells.
uint64_t currentMemory();
/// The most bytes of memory this process has had at once.
uint64_t peakMemory();
/// "1.50 GB", for messages.
std::string formatBytes(uint64_t bytes);

} // namespace lapidary
