// Texts that end an answer, looked for in a stream: what may become one is
// held back until it cannot.
#pragma once

#include "runtime/core/Status.h"

#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

class StopStrings {
public:
  /// Each is UTF-8 and not empty.
  static Result<StopStrings> create(const std::vector<std::string> &texts);

  struct Found {
    /// How much of the text so far is no beginning of a stop string, in bytes
    /// since the last `clear`; before a stop string that was found.
    size_t free = 0;
    /// Index of the one that was found, -1 while there is none. Of two that end
    /// at the same place, the longer.
    int index = -1;
  };
  /// Takes the text that follows, up to the end of the first stop string in it.
  Found push(std::string_view text);
  /// What came before is no part of what comes.
  void clear();

private:
  struct Pattern {
    std::string text;
    /// For each beginning of the text, how long its longest proper beginning is
    /// that it also ends with: where to go on when the next byte differs
    /// (Knuth, Morris and Pratt, 1977).
    std::vector<uint32_t> borders;
    size_t matched = 0;
  };

  std::vector<Pattern> patterns;
  size_t seen = 0;
};

} // namespace lapidary
