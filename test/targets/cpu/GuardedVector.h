// Memory that ends at an inaccessible page: a kernel that reads or writes past
// the end of an operand, if only in a masked tail, stops the test.
#pragma once

#include "gtest/gtest.h"

#include <algorithm>
#include <map>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace mlir::lap::cpu {

/// Where memory that is guarded begins and ends, for who has only a pointer.
inline std::map<const void *, size_t> &getGuardedMemory() {
  static std::map<const void *, size_t> memory;
  return memory;
}

/// Bytes from `pointer` to the end of its GuardedVector; -1 in none.
inline int64_t countGuardedBytes(const void *pointer) {
  auto after = getGuardedMemory().upper_bound(pointer);
  if (after == getGuardedMemory().begin())
    return -1;
  auto [first, size] = *std::prev(after);
  int64_t at =
      static_cast<const char *>(pointer) - static_cast<const char *>(first);
  int64_t left = static_cast<int64_t>(size) - at;
  return left >= 0 ? left : -1;
}

template <typename T> class GuardedVector {
public:
  explicit GuardedVector(size_t size, T value = T()) : count(size) {
    size_t page = sysconf(_SC_PAGESIZE);
    size_t bytes = (size * sizeof(T) + page - 1) / page * page;
    mapped = bytes + page;
    base = static_cast<char *>(mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base == MAP_FAILED || mprotect(base + bytes, page, PROT_NONE) != 0) {
      ADD_FAILURE() << "cannot map " << mapped << " bytes";
      abort();
    }
    first = reinterpret_cast<T *>(base + bytes) - size;
    std::fill(begin(), end(), value);
    getGuardedMemory()[first] = size * sizeof(T);
  }
  template <typename Range> static GuardedVector copy(const Range &range) {
    GuardedVector vector(range.size());
    std::copy(range.begin(), range.end(), vector.begin());
    return vector;
  }
  GuardedVector(GuardedVector &&other) noexcept
      : base(std::exchange(other.base, nullptr)), mapped(other.mapped),
        first(other.first), count(other.count) {}
  GuardedVector &operator=(GuardedVector &&) = delete;
  ~GuardedVector() {
    if (!base)
      return;
    getGuardedMemory().erase(first);
    munmap(base, mapped);
  }

  T *data() { return first; }
  const T *data() const { return first; }
  size_t size() const { return count; }
  T &operator[](size_t i) { return first[i]; }
  const T &operator[](size_t i) const { return first[i]; }
  T *begin() { return first; }
  T *end() { return first + count; }
  const T *begin() const { return first; }
  const T *end() const { return first + count; }

private:
  char *base;
  size_t mapped;
  T *first;
  size_t count;
};

} // namespace mlir::lap::cpu
