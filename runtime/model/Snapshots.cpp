// There are few snapshots, since one holds a window of every sliding layer: a
// list is searched from end to end.
#include "runtime/model/Snapshots.h"

#include <algorithm>
#include <new>

namespace lapidary {

std::span<uint8_t> Snapshots::add(const Sequence &owner, int64_t position,
                                  uint64_t bytes) {
  if (bytes == 0 || bytes > budget)
    return {};
  // What makes room goes before the new one comes, so that the budget holds at
  // every moment.
  while (bytesUsed > budget - bytes) {
    auto oldest = std::ranges::min_element(list, {}, &Snapshot::lastUse);
    bytesUsed -= oldest->bytes;
    list.erase(oldest);
  }
  std::unique_ptr<uint8_t[]> data(new (std::nothrow) uint8_t[bytes]);
  if (!data)
    return {};
  list.push_back({&owner, position, ++clock, bytes, std::move(data)});
  bytesUsed += bytes;
  return {list.back().data.get(), bytes};
}

int64_t Snapshots::find(const Sequence &owner, int64_t position) const {
  int64_t best = -1;
  for (const Snapshot &snapshot : list)
    if (snapshot.owner == &owner && snapshot.position <= position)
      best = std::max(best, snapshot.position);
  return best;
}

std::span<const uint8_t> Snapshots::use(const Sequence &owner,
                                        int64_t position) {
  for (Snapshot &snapshot : list)
    if (snapshot.owner == &owner && snapshot.position == position) {
      snapshot.lastUse = ++clock;
      return {snapshot.data.get(), snapshot.bytes};
    }
  return {};
}

void Snapshots::drop(const Sequence &owner, int64_t position) {
  std::erase_if(list, [&](const Snapshot &snapshot) {
    bool gone = snapshot.owner == &owner && snapshot.position > position;
    bytesUsed -= gone ? snapshot.bytes : 0;
    return gone;
  });
}

} // namespace lapidary
