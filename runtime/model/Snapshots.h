// Copies of what rings held when a sequence was shorter: the way back to where
// a ring has been overwritten. All sequences share one budget of memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace lapidary {

class Sequence;

class Snapshots {
public:
  explicit Snapshots(uint64_t budget) : budget(budget) {}

  /// Room for a snapshot of `owner` at `position`, to be filled; the ones that
  /// were not used for longest go first. Empty where the budget or the machine
  /// has too little.
  std::span<uint8_t> add(const Sequence &owner, int64_t position,
                         uint64_t bytes);
  /// The last position at or before `position` that there is a snapshot of; -1
  /// for none.
  int64_t find(const Sequence &owner, int64_t position) const;
  /// The snapshot at a position that `find` gave; counts as used.
  std::span<const uint8_t> use(const Sequence &owner, int64_t position);
  /// Drops those of positions beyond `position`.
  void drop(const Sequence &owner, int64_t position);

  bool enabled() const { return budget > 0; }
  uint64_t used() const { return bytesUsed; }

private:
  struct Snapshot {
    const Sequence *owner;
    int64_t position;
    uint64_t lastUse, bytes;
    std::unique_ptr<uint8_t[]> data;
  };

  uint64_t budget, bytesUsed = 0, clock = 0;
  std::vector<Snapshot> list;
};

} // namespace lapidary
