// Which frames of a clip are taken; shared with the module that reads files.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace lapidary {

/// `count` indices spread evenly over `total` frames: floor(i * total / count).
/// All of them where there are not more than `count`.
inline std::vector<int64_t> sampleFrames(int64_t total, int64_t count) {
  count = std::min(count, total);
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < count; ++i)
    indices.push_back(
        static_cast<int64_t>(static_cast<__int128>(i) * total / count));
  return indices;
}

/// How many of `total` frames at `rate` a second are taken when `wanted` a
/// second are asked for (0: as many as allowed), 1 to `maximum`.
inline int64_t countFrames(int64_t total, double rate, double wanted,
                           int64_t maximum) {
  if (!(wanted > 0) || !(rate > 0))
    return std::min(total, maximum);
  double count = std::min(double(total) / rate * wanted, double(maximum));
  return std::clamp(static_cast<int64_t>(count), int64_t(1),
                    std::max(total, int64_t(1)));
}

} // namespace lapidary
