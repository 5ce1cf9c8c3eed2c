// libedit edits in the terminal's encoding; the rest of the program is UTF-8.
#include "tools/lapidary/LineInput.h"

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cwchar>
#include <fcntl.h>
#include <histedit.h>
#include <poll.h>
#include <unistd.h>

namespace lapidary::cli {

namespace {

std::atomic<bool> interrupted;
constexpr int historyLines = 1000;
/// Of a line from a pipe; more is no line.
constexpr size_t longestLine = size_t(16) << 20;

/// The handler of ^C writes here: a read alone would miss a signal that comes
/// just before it, or that another thread takes.
int wakeUp[2] = {-1, -1};

/// The next byte of the standard input: 1, 0 at its end, -1 for an error or
/// after ^C.
ssize_t readByte(char &byte) {
  pollfd watched[] = {{STDIN_FILENO, POLLIN, 0}, {wakeUp[0], POLLIN, 0}};
  for (;;) {
    if (interrupted)
      return -1;
    if (poll(watched, 2, -1) < 0) {
      if (errno != EINTR)
        return -1;
      continue;
    }
    char drained[16];
    while (watched[1].revents && ::read(wakeUp[0], drained, sizeof drained) > 0)
      continue;
    if (interrupted || !watched[0].revents)
      continue;
    const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
    if (got >= 0 || errno != EINTR)
      return got;
  }
}

/// libedit's own would go on waiting after a signal. Gives 1, 0 at the end, -1
/// for an error.
int readCharacter(EditLine *, wchar_t *character) {
  std::mbstate_t state = {};
  for (;;) {
    char byte;
    const ssize_t got = readByte(byte);
    if (got <= 0)
      return static_cast<int>(got);
    const size_t size = std::mbrtowc(character, &byte, 1, &state);
    if (size == 1 || size == 0)
      return 1;
    // Bytes that are no character are left out.
    if (size == static_cast<size_t>(-1))
      state = {};
  }
}

} // namespace

std::atomic<bool> &catchInterrupts() {
  if (wakeUp[0] < 0 && pipe2(wakeUp, O_CLOEXEC | O_NONBLOCK) != 0)
    wakeUp[0] = wakeUp[1] = -1;
  struct sigaction action = {};
  action.sa_handler = [](int) {
    const int error = errno;
    interrupted = true;
    // A full pipe wakes as well.
    [[maybe_unused]] const ssize_t written = write(wakeUp[1], "", 1);
    errno = error;
  };
  sigaction(SIGINT, &action, nullptr);
  return interrupted;
}

struct LineInput::Editor {
  EditLine *line = nullptr;
  History *history = nullptr;
  std::string prompt;

  ~Editor() {
    if (line)
      el_end(line);
    if (history)
      history_end(history);
  }
};

LineInput::LineInput() {
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
    return;
  if (!std::setlocale(LC_CTYPE, "") ||
      std::string(std::setlocale(LC_CTYPE, nullptr)) == "C")
    std::setlocale(LC_CTYPE, "C.UTF-8");
  auto created = std::make_unique<Editor>();
  created->line = el_init("lapidary", stdin, stdout, stderr);
  created->history = history_init();
  if (!created->line || !created->history)
    return;
  HistEvent event;
  history(created->history, &event, H_SETSIZE, historyLines);
  history(created->history, &event, H_SETUNIQUE, 1);
  el_set(created->line, EL_CLIENTDATA, created.get());
  el_set(
      created->line, EL_PROMPT, +[](EditLine *line) {
        Editor *own = nullptr;
        el_get(line, EL_CLIENTDATA, &own);
        return own->prompt.data();
      });
  el_set(created->line, EL_EDITOR, "emacs");
  el_set(created->line, EL_HIST, history, created->history);
  el_set(created->line, EL_SIGNAL, 0);
  el_set(created->line, EL_GETCFN, &readCharacter);
  // What the user has set for libedit's programs.
  el_source(created->line, nullptr);
  editor = std::move(created);
}

LineInput::~LineInput() = default;

LineInput::Event LineInput::read(const char *prompt, std::string &line) {
  line.clear();
  if (editor) {
    editor->prompt = prompt;
    int count = 0;
    errno = 0;
    const char *text = el_gets(editor->line, &count);
    if (interrupted.exchange(false)) {
      el_reset(editor->line);
      std::fputs("\n", stdout);
      std::fflush(stdout);
      return Event::Interrupted;
    }
    if (!text || count <= 0)
      return Event::End;
    line.assign(text, static_cast<size_t>(count));
    while (line.ends_with('\n') || line.ends_with('\r'))
      line.pop_back();
    HistEvent event;
    if (!line.empty())
      history(editor->history, &event, H_ENTER, line.c_str());
    return Event::Line;
  }
  bool any = false;
  for (char c; line.size() < longestLine;) {
    const ssize_t got = readByte(c);
    if (got < 0 && interrupted.exchange(false))
      return Event::Interrupted;
    if (got <= 0)
      return any ? Event::Line : Event::End;
    any = true;
    if (c == '\n')
      break;
    line += c;
  }
  if (line.ends_with('\r'))
    line.pop_back();
  return Event::Line;
}

} // namespace lapidary::cli
