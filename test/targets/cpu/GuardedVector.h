// Memory that ends at an inaccessible page: a kernel that reads or writes past
// the end of an operand, if only in a masked tail, stops the test.
#pragma once

#include "gtest/gtest.h"

#include <algorithm>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace mlir::lap::cpu {

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
    if (base)
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
