// The process's way to the outside: stdout for answers, stderr for everything
// else, ^C.
#pragma once

#include "runtime/core/Bundle.h"

#include <nlohmann/json.hpp>

#include <atomic>
#include <string>
#include <string_view>

namespace lapidary::cli {

/// Writes all of it to stdout at once, past any buffer. The error of a reader
/// that went away (`| head`) is Cancelled: the rest of the answer has no
/// reader, and nobody needs to be told.
Status writeOutput(std::string_view text);
/// One JSON object or list and a newline; indented, or with -1 on one line.
Status writeJson(const nlohmann::ordered_json &value, int indent = 1);
/// All of stdin; an error beyond `limit` bytes.
Result<std::string> readInput(uint64_t limit);
/// A whole file; an error beyond `limit` bytes.
Result<std::string> readTextFile(const std::string &path, uint64_t limit);

/// From here on the first ^C (or SIGTERM) sets the flag that this returns; a
/// second one ends the process at once.
const std::atomic<bool> &watchInterrupts();
bool wasInterrupted();

/// A line on stderr that says what is going on, on a terminal only; it
/// disappears with the object or by `clear`.
class Progress {
public:
  explicit Progress(std::string what);
  ~Progress() { clear(); }
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;

  void update(uint64_t done, uint64_t total);
  void clear();

private:
  std::string what;
  bool shown = false;
  int lastPercent = -1;
};

/// Bundle::verifyWeights with its progress shown; Cancelled after ^C.
Status verifyWeights(const Bundle &bundle);

/// Whether stderr is a terminal.
bool isInteractive();
/// Seconds on a clock that never goes back.
double now();
/// Tokens a second; 0 where no time has gone.
double rate(size_t tokens, double seconds);

} // namespace lapidary::cli
