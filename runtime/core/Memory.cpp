// Address ranges from mmap, and the kernel's and the cgroup's word on what is
// left.
#include "runtime/core/Memory.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <sys/mman.h>
#include <sys/resource.h>
#include <utility>

namespace lapidary {
namespace {

constexpr uint64_t smallPageBytes = 4096;
/// Of all machines that we know with small ones of 4 KiB.
constexpr uint64_t hugePageBytes = 2 << 20;

/// The text of a small file of the kernel's; nothing when it cannot be read.
std::optional<std::string> readText(const std::string &path) {
  FILE *file = std::fopen(path.c_str(), "re");
  if (!file)
    return std::nullopt;
  std::string text(1 << 14, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  return text;
}

/// The number after `key` at the start of a line ("file 123" with the key "file
/// ").
std::optional<uint64_t> numberAfter(std::string_view text,
                                    std::string_view key) {
  for (size_t start = 0; start < text.size();) {
    size_t end = std::min(text.find('\n', start), text.size());
    std::string line(text.substr(start, end - start));
    if (line.starts_with(key) && line.size() > key.size())
      return std::strtoull(line.c_str() + key.size(), nullptr, 10);
    start = end + 1;
  }
  return std::nullopt;
}

/// What a cgroup folder leaves: its limit less its use, where page cache does
/// not count as use because it is given up first. UINT64_MAX without a limit.
uint64_t cgroupLeft(const std::string &folder, const char *limitFile,
                    const char *usageFile, const char *cacheKeys[2]) {
  std::optional<std::string> limitText = readText(folder + limitFile),
                             usageText = readText(folder + usageFile);
  if (!limitText || !usageText || limitText->starts_with("max"))
    return UINT64_MAX;
  uint64_t limit = std::strtoull(limitText->c_str(), nullptr, 10);
  uint64_t usage = std::strtoull(usageText->c_str(), nullptr, 10);
  std::string stat = readText(folder + "/memory.stat").value_or("");
  uint64_t cache = numberAfter(stat, cacheKeys[0]).value_or(0) +
                   numberAfter(stat, cacheKeys[1]).value_or(0);
  usage -= std::min(usage, cache);
  return limit > usage ? limit - usage : 0;
}

/// The least that the process's cgroup and the ones above it leave.
uint64_t cgroupsLeft() {
  std::string groups = readText("/proc/self/cgroup").value_or("");
  uint64_t least = UINT64_MAX;
  for (size_t start = 0; start < groups.size();) {
    size_t end = std::min(groups.find('\n', start), groups.size());
    std::string line = groups.substr(start, end - start);
    start = end + 1;
    // "0::/path" is version 2; "5:cpu,memory:/path" version 1.
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos)
      continue;
    std::string controllers = line.substr(first + 1, second - first - 1),
                path = line.substr(second + 1);
    bool unified = controllers.empty();
    if (!unified && controllers.find("memory") == std::string::npos)
      continue;
    std::string root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const char *unifiedKeys[] = {"inactive_file ", "active_file "};
    const char *versionOneKeys[] = {"total_inactive_file ",
                                    "total_active_file "};
    for (;;) {
      while (path.ends_with('/'))
        path.pop_back();
      least = std::min(
          least, unified
                     ? cgroupLeft(root + path, "/memory.max", "/memory.current",
                                  unifiedKeys)
                     : cgroupLeft(root + path, "/memory.limit_in_bytes",
                                  "/memory.usage_in_bytes", versionOneKeys));
      if (path.empty())
        break;
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  }
  return least;
}

} // namespace

void *mapMemory(uint64_t bytes, int protection, int flags, int descriptor) {
  if (bytes > SIZE_MAX / 2) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  if (bytes < hugePageBytes)
    return mmap(nullptr, bytes, protection, flags, descriptor, 0);
  // An address range with room to move, of which the ends go back.
  uint64_t whole = bytes + hugePageBytes;
  void *range = mmap(nullptr, whole, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED)
    return MAP_FAILED;
  auto *from = static_cast<uint8_t *>(range);
  uint64_t skipped = -reinterpret_cast<uintptr_t>(from) % hugePageBytes;
  void *mapped =
      mmap(from + skipped, bytes, protection, flags | MAP_FIXED, descriptor, 0);
  if (mapped == MAP_FAILED) {
    int error = errno;
    munmap(range, whole);
    errno = error;
    return MAP_FAILED;
  }
  if (skipped != 0)
    munmap(from, skipped);
  uint64_t end = (bytes + smallPageBytes - 1) / smallPageBytes * smallPageBytes;
  munmap(from + skipped + end, whole - skipped - end);
#ifdef MADV_HUGEPAGE
  // Not every kernel has them.
  (void)madvise(mapped, bytes, MADV_HUGEPAGE);
#endif
  return mapped;
}

Result<ReservedMemory> ReservedMemory::reserve(uint64_t bytes,
                                               const std::string &what) {
  ReservedMemory memory;
  if (bytes == 0)
    return memory;
  void *mapped = mapMemory(bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  if (mapped == MAP_FAILED)
    return outOfMemory(concat("the system gives no address range of ",
                              formatBytes(bytes), " for ", what, ": ",
                              std::strerror(errno)));
  memory.base = static_cast<uint8_t *>(mapped);
  memory.bytes = bytes;
  return memory;
}

ReservedMemory::~ReservedMemory() {
  if (base)
    munmap(base, bytes);
}

ReservedMemory::ReservedMemory(ReservedMemory &&other) noexcept
    : base(std::exchange(other.base, nullptr)),
      bytes(std::exchange(other.bytes, 0)) {}

ReservedMemory &ReservedMemory::operator=(ReservedMemory &&other) noexcept {
  std::swap(base, other.base);
  std::swap(bytes, other.bytes);
  return *this;
}

void ReservedMemory::release() {
  // Linux fills the range with zeros after this. Locked pages refuse; they are
  // cleared by hand.
  if (base && madvise(base, bytes, MADV_DONTNEED) != 0)
    std::memset(base, 0, bytes);
}

uint64_t availableMemory() {
  std::string information = readText("/proc/meminfo").value_or("");
  uint64_t left = cgroupsLeft();
  if (std::optional<uint64_t> kilobytes =
          numberAfter(information, "MemAvailable:"))
    left = std::min(left, *kilobytes * 1024);
  return left;
}

uint64_t currentMemory() {
  std::string status = readText("/proc/self/status").value_or("");
  return numberAfter(status, "VmRSS:").value_or(0) * 1024;
}

uint64_t peakMemory() {
  struct rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? uint64_t(usage.ru_maxrss) * 1024
                                             : 0;
}

std::string formatBytes(uint64_t bytes) {
  const char *units[] = {"bytes", "KB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(units); ++unit)
    value /= 1000;
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.2f %s", value,
                units[unit]);
  return text;
}

} // namespace lapidary
