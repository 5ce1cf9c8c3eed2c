// Soft tokens are kept apart from the tokens: most sequences have few or none.
#include "runtime/model/SequenceHistory.h"

#include <algorithm>
#include <xxhash.h>

namespace lapidary {

MediaKey hashEmbedding(std::span<const float> row) {
  XXH128_hash_t hash = XXH3_128bits(row.data(), row.size_bytes());
  return {hash.low64, hash.high64};
}

void SequenceHistory::cut(int64_t count) {
  ids.resize(static_cast<size_t>(std::min(count, size())));
  while (!soft.empty() && soft.back().position >= count)
    soft.pop_back();
}

bool SequenceHistory::isSoft(int64_t position) const {
  auto found =
      std::ranges::lower_bound(soft, position, {}, &SoftToken::position);
  return found != soft.end() && found->position == position;
}

int64_t SequenceHistory::commonPrefix(const SequenceHistory &other) const {
  auto ends = std::ranges::mismatch(ids, other.ids);
  int64_t common = ends.in1 - ids.begin();
  auto differs = std::ranges::mismatch(
      soft, other.soft, [](const SoftToken &one, const SoftToken &two) {
        return one.position == two.position && one.key == two.key;
      });
  // The first soft token that only one of them has, or has otherwise.
  if (differs.in1 != soft.end())
    common = std::min(common, differs.in1->position);
  if (differs.in2 != other.soft.end())
    common = std::min(common, differs.in2->position);
  return common;
}

} // namespace lapidary
