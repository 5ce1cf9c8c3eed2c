// Seconds since it was made, on a clock that never goes back.
#pragma once

#include <chrono>

namespace lapidary {

class Timer {
public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() -
                                         start)
        .count();
  }

private:
  std::chrono::steady_clock::time_point start =
      std::chrono::steady_clock::now();
};

} // namespace lapidary
