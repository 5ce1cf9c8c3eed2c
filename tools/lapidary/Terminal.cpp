// Plain system calls: the answer is streamed a few bytes at a time and must not
// wait in a buffer.
#include "tools/lapidary/Terminal.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace lapidary::cli {

namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free,
              "a signal handler may only touch lock-free atomics");

/// Reads until the end; `what` names the source in errors.
Result<std::string> readAll(int file, const std::string &what, uint64_t limit) {
  std::string text;
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = read(file, buffer, sizeof(buffer));
    if (count == 0)
      return text;
    if (count < 0) {
      if (errno == EINTR && !interrupted)
        continue;
      if (errno == EINTR)
        return cancelled("interrupted");
      return ioError("cannot read " + what + ": " + std::strerror(errno));
    }
    if (text.size() + static_cast<uint64_t>(count) > limit)
      return invalidArgument(what + " is longer than " + std::to_string(limit) +
                             " bytes");
    text.append(buffer, static_cast<size_t>(count));
  }
}

} // namespace

Status writeOutput(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = write(STDOUT_FILENO, text.data(), text.size());
    if (count < 0) {
      if (errno == EINTR)
        continue;
      if (errno == EPIPE)
        return cancelled("nobody reads the output any more");
      return ioError(std::string("cannot write the output: ") +
                     std::strerror(errno));
    }
    text.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

Status writeJson(const nlohmann::ordered_json &value, int indent) {
  // `replace`: text of a model or a file name may be no valid UTF-8.
  return writeOutput(
      value.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace) +
      "\n");
}

Result<std::string> readInput(uint64_t limit) {
  return readAll(STDIN_FILENO, "stdin", limit);
}

Result<std::string> readTextFile(const std::string &path, uint64_t limit) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return notFound("cannot open '" + path + "': " + std::strerror(errno));
  Result<std::string> text = readAll(file, "'" + path + "'", limit);
  close(file);
  return text;
}

const std::atomic<bool> &watchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = true; };
  // Once: whoever presses ^C twice does not want to wait for a clean end.
  action.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return interrupted;
}

bool wasInterrupted() { return interrupted; }

bool isInteractive() { return isatty(STDERR_FILENO) == 1; }

double now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Progress::Progress(std::string what) : what(std::move(what)) {
  if (!isInteractive())
    return;
  std::fprintf(stderr, "\r%s ...", this->what.c_str());
  shown = true;
}

void Progress::update(uint64_t done, uint64_t total) {
  if (!shown || total == 0)
    return;
  const int percent = static_cast<int>(100.0 * static_cast<double>(done) /
                                       static_cast<double>(total));
  if (percent == lastPercent)
    return;
  lastPercent = percent;
  std::fprintf(stderr, "\r%s ... %d %%", what.c_str(), percent);
}

void Progress::clear() {
  if (shown)
    std::fputs("\r\033[K", stderr);
  shown = false;
}

Status verifyWeights(const Bundle &bundle) {
  Progress progress("Verifying " + bundle.path());
  return bundle.verifyWeights([&](uint64_t done, uint64_t total) {
    progress.update(done, total);
    return !interrupted;
  });
}

double rate(size_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

} // namespace lapidary::cli
