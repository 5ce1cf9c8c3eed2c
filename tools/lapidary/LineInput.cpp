// libedit edits in the terminal's encoding; the rest of the program is UTF-8.
#include "tools/lapidary/LineInput.h"

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cwchar>
#include <histedit.h>
#include <unistd.h>

namespace lapidary::cli {

namespace {

std::atomic<bool> interrupted;
constexpr int historyLines = 1000;
/// Of a line from a pipe; more is no line.
constexpr size_t longestLine = size_t(16) << 20;

/// libedit's own would go on waiting after a signal. Gives 1, 0 at the end, -1
/// for an error.
int readCharacter(EditLine *, wchar_t *character) {
  std::mbstate_t state = {};
  for (;;) {
    char byte;
    const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
    if (got == 0)
      return 0;
    if (got < 0 && (errno != EINTR || interrupted))
      return -1;
    if (got < 0)
      continue;
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
  struct sigaction action = {};
  // Without SA_RESTART: a read that waits for a line ends.
  action.sa_handler = [](int) { interrupted = true; };
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
    const ssize_t got = ::read(STDIN_FILENO, &c, 1);
    if (got < 0 && errno == EINTR) {
      if (interrupted.exchange(false))
        return Event::Interrupted;
      continue;
    }
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
