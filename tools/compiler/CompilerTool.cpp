// The frame of the compiler's programs. They are LLVM's own kind of program
// inside, so LLVM's habits are turned into those of `lapidary` here: exit
// codes, one line an error, no abort.
#include "tools/compiler/CompilerTool.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/WithColor.h"

#include <csignal>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace mlir::lap;

enum ExitCode : int { Success = 0, Failed = 1, Usage = 2, Interrupted = 130 };

static std::atomic<bool> interrupted = false;

static void onInterrupt(int) {
  // A second ^C ends the process at once; an unfinished file stays under its
  // temporary name then.
  if (interrupted.exchange(true))
    _exit(Interrupted);
}

/// LLVM knows no exceptions; before a file is written nothing is left behind by
/// ending the process.
static void onMemoryOut() {
  // Threads run out together; one of them speaks.
  static std::atomic_flag said;
  while (said.test_and_set())
    pause();
  static constexpr char message[] = "error: memory ran out\n";
  [[maybe_unused]] ssize_t written =
      write(STDERR_FILENO, message, sizeof message - 1);
  _exit(Failed);
}

std::string mlir::lap::getPrintable(StringRef message) {
  std::string text = llvm::json::fixUTF8(message), printable;
  for (char c : text)
    if (llvm::isASCII(c) && !llvm::isPrint(c) && c != '\n')
      printable += "\\x" + llvm::utohexstr(static_cast<uint8_t>(c), true, 2);
    else
      printable += c;
  return printable;
}

/// Prints an error as a user reads it; only text (IR, a scheme) has useful
/// locations.
static void printDiagnostic(const Diagnostic &diagnostic) {
  auto severity = diagnostic.getSeverity();
  if (severity == DiagnosticSeverity::Error)
    llvm::WithColor::error(llvm::errs());
  else if (severity == DiagnosticSeverity::Warning)
    llvm::WithColor::warning(llvm::errs());
  else
    llvm::WithColor::note(llvm::errs());
  if (auto location = dyn_cast<FileLineColLoc>(diagnostic.getLocation()))
    llvm::errs() << getPrintable(location.getFilename().getValue()) << ':'
                 << location.getLine() << ':' << location.getColumn() << ": ";
  llvm::errs() << getPrintable(diagnostic.str()) << "\n";
}

namespace {

/// Takes what is written to stderr: LLVM writes only some of its messages about
/// options to a stream of ours, and goes round it for the others.
class StderrCapture {
public:
  StderrCapture() : file(memfd_create("messages", MFD_CLOEXEC)) {
    saved = file < 0 ? -1 : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (saved >= 0)
      dup2(file, STDERR_FILENO);
  }
  /// Ends it and gives the text.
  std::string finish() {
    std::string text;
    if (saved >= 0) {
      dup2(saved, STDERR_FILENO);
      close(saved);
      lseek(file, 0, SEEK_SET);
      char buffer[4096];
      for (ssize_t count; (count = read(file, buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<size_t>(count));
    }
    if (file >= 0)
      close(file);
    return text;
  }

private:
  int file;
  int saved;
};

} // namespace

/// One sentence of LLVM's "PROGRAM: message.  Try: '...'" lines.
static std::string getOptionError(StringRef messages, StringRef program) {
  std::string text;
  for (StringRef line : llvm::split(messages.trim(), '\n')) {
    line.consume_front(program);
    line.consume_front(": ");
    line = line.split("  Try: ").first.trim().rtrim(".");
    if (!line.empty())
      text += (text.empty() ? "" : "; ") + line.str();
  }
  return text.empty() ? "wrong options" : getPrintable(text);
}

CompilerTool::CompilerTool(int &argc, char **&argv, StringRef name)
    // A closed pipe is an error of write, as in the rest of `lapidary`.
    : init(argc, argv, /*InstallPipeSignalExitHandler=*/false), argc(argc),
      argv(argv), name(name), category(this->name),
      terminal(llvm::sys::Process::StandardErrIsDisplayed()) {
  // LLVM's own handler aborts.
  std::set_new_handler(onMemoryOut);
  llvm::install_bad_alloc_error_handler(
      [](void *, const char *, bool) { onMemoryOut(); });
}

std::optional<int> CompilerTool::parseOptions(StringRef overview) {
  llvm::cl::HideUnrelatedOptions(category);
  llvm::cl::SetVersionPrinter([](llvm::raw_ostream &out) {
    out << "lapidary " LAPIDARY_VERSION " (LLVM " LLVM_VERSION_STRING ")\n";
  });
  // LLVM exits with 1 for a wrong option; ours is 2, so errors are collected.
  StderrCapture captured;
  bool parsed =
      llvm::cl::ParseCommandLineOptions(argc, argv, overview, &llvm::errs());
  std::string messages = captured.finish();
  if (!parsed)
    return failUsage(getOptionError(messages, argv[0]));
  return std::nullopt;
}

int CompilerTool::failUsage(const llvm::Twine &what) const {
  llvm::WithColor::error(llvm::errs())
      << what << "\nRun '" << name << " --help' for the options.\n";
  return Usage;
}

void CompilerTool::clearProgress() const {
  if (terminal)
    llvm::errs() << "\r\x1b[K";
}

void CompilerTool::showProgress(StringRef what, double done) {
  if (!terminal)
    return;
  static int shown = -1;
  static std::string last;
  int percent = static_cast<int>(done * 100);
  if (last == what && percent == shown)
    return;
  shown = percent;
  last = what.str();
  constexpr int width = 30;
  int filled = percent * width / 100;
  llvm::errs() << "\r" << std::string(filled, '#')
               << std::string(width - filled, '.') << " " << percent << "% "
               << what << "\x1b[K";
}

const std::atomic<bool> &CompilerTool::isInterrupted() { return interrupted; }

int CompilerTool::run(
    llvm::function_ref<LogicalResult(MLIRContext &context)> work) {
  struct sigaction action = {};
  action.sa_handler = onInterrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGXFSZ, SIG_IGN); // A file size limit is an error of write.
  signal(SIGPIPE, SIG_IGN);

  MLIRContext context;
  context.getDiagEngine().registerHandler([&](Diagnostic &diagnostic) {
    // What fails because of ^C needs no word.
    if (interrupted)
      return success();
    clearProgress();
    printDiagnostic(diagnostic);
    return success();
  });
  LogicalResult result = failure();
  try {
    result = work(context);
  } catch (const std::bad_alloc &) {
    emitError(UnknownLoc::get(&context), "memory ran out");
  }
  clearProgress();
  if (interrupted)
    return Interrupted;
  return failed(result) ? Failed : Success;
}

LogicalResult mlir::lap::check(MLIRContext &context,
                               const lapidary::Status &status) {
  if (status.ok())
    return success();
  if (status.getCode() == lapidary::StatusCode::Cancelled)
    return failure();
  return emitError(UnknownLoc::get(&context)) << status.message();
}

LogicalResult
mlir::lap::writeOutput(MLIRContext &context,
                       llvm::function_ref<void(llvm::raw_ostream &out)> write) {
  llvm::raw_fd_ostream &out = llvm::outs();
  write(out);
  out.flush();
  std::error_code code = out.error();
  if (!code)
    return success();
  // LLVM ends the process for an error that nobody took note of.
  out.clear_error();
  if (code == std::errc::broken_pipe)
    return failure();
  return emitError(UnknownLoc::get(&context))
         << "cannot write the output: " << code.message();
}
