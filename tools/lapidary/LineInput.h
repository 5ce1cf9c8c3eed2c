// Lines from the user: edited, with a history, on a terminal; plain from a
// pipe.
#pragma once

#include <atomic>
#include <memory>
#include <string>

namespace lapidary::cli {

/// From here on ^C sets the flag that this returns, however often it comes; who
/// acts on it clears it. Waiting for a line ends by it.
std::atomic<bool> &catchInterrupts();

class LineInput {
public:
  LineInput();
  ~LineInput();
  LineInput(const LineInput &) = delete;
  LineInput &operator=(const LineInput &) = delete;

  enum class Event : uint8_t { Line, End, Interrupted };
  /// The next line, without its end. `prompt` is shown on a terminal only.
  Event read(const char *prompt, std::string &line);
  bool isTerminal() const { return editor != nullptr; }

private:
  struct Editor;
  std::unique_ptr<Editor> editor;
};

} // namespace lapidary::cli
