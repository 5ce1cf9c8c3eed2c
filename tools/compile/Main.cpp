// lapidary-compile: the `lapidary compile` command. A program of its own, so
// that running a bundle does not load LLVM.
#include "targets/cpu/Variants.h"
#include "tools/compile/Compile.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/InitLLVM.h"
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

static std::atomic<bool> interrupted = false;

static void onInterrupt(int) {
  // A second ^C ends the process at once; the unfinished file stays under its
  // temporary name then.
  if (interrupted.exchange(true))
    _exit(130);
}

/// LLVM knows no exceptions; before the bundle is written nothing is left
/// behind by ending the process.
static void onMemoryOut() {
  // Threads run out together; one of them speaks.
  static std::atomic_flag said;
  while (said.test_and_set())
    pause();
  static constexpr char message[] = "error: memory ran out\n";
  [[maybe_unused]] ssize_t written =
      write(STDERR_FILENO, message, sizeof message - 1);
  _exit(1);
}

/// A line that says what is being done, on a terminal only.
static void showProgress(StringRef what, double done) {
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

/// A message may quote what a file holds: bytes that are no text and sequences
/// that steer a terminal are shown, not sent.
static std::string getPrintable(StringRef message) {
  std::string text = llvm::json::fixUTF8(message), printable;
  for (char c : text)
    if (llvm::isASCII(c) && !llvm::isPrint(c) && c != '\n')
      printable += "\\x" + llvm::utohexstr(static_cast<uint8_t>(c), true, 2);
    else
      printable += c;
  return printable;
}

/// Prints an error as a user reads it; only IR text has useful locations.
static LogicalResult printDiagnostic(Diagnostic &diagnostic) {
  auto severity = diagnostic.getSeverity();
  if (severity == DiagnosticSeverity::Error)
    llvm::WithColor::error(llvm::errs());
  else if (severity == DiagnosticSeverity::Warning)
    llvm::WithColor::warning(llvm::errs());
  else
    llvm::WithColor::note(llvm::errs());
  if (auto location = dyn_cast<FileLineColLoc>(diagnostic.getLocation()))
    llvm::errs() << location.getFilename().getValue() << ": ";
  llvm::errs() << getPrintable(diagnostic.str()) << "\n";
  return success();
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

int main(int argc, char **argv) {
  // A closed pipe ends the program as it ends any other.
  llvm::InitLLVM init(argc, argv, /*InstallPipeSignalExitHandler=*/false);
  // LLVM's own handler aborts.
  std::set_new_handler(onMemoryOut);
  llvm::install_bad_alloc_error_handler(
      [](void *, const char *, bool) { onMemoryOut(); });
  namespace cl = llvm::cl;
  cl::OptionCategory category("lapidary compile");
  cl::opt<std::string> checkpoint(
      cl::Positional, cl::value_desc("CHECKPOINT"), cl::cat(category),
      cl::desc("<checkpoint: a Hugging Face folder>"));
  cl::opt<std::string> output("o", cl::value_desc("FILE"), cl::cat(category),
                              cl::desc("The bundle to write; - with --emit"));
  cl::opt<std::string> target(
      "target", cl::value_desc("cpu"), cl::init("cpu"), cl::cat(category),
      cl::desc("The device to compile for (default: cpu)"));
  cl::opt<std::string> quant(
      "quant", cl::value_desc("bf16|f16|f32|q8_0"), cl::cat(category),
      cl::desc(
          "How matrices are stored (default: as the checkpoint has them)"));
  const std::string phases = listPhases("|");
  cl::opt<std::string> emit(
      "emit", cl::value_desc(phases), cl::cat(category),
      cl::desc("Print this stage instead of writing a bundle"));
  cl::opt<std::string> variant(
      "variant", cl::value_desc("avx512|avx2"), cl::init("avx512"),
      cl::cat(category),
      cl::desc("Whose code --emit=llvm and --emit=asm show"));
  registerAsmPrinterCLOptions();
  registerMLIRContextCLOptions();
  registerPassManagerCLOptions();
  registerDefaultTimingManagerCLOptions();
  cl::HideUnrelatedOptions(category);
  cl::SetVersionPrinter([](llvm::raw_ostream &out) {
    out << "lapidary " LAPIDARY_VERSION " (LLVM " LLVM_VERSION_STRING ")\n";
  });
  // LLVM exits with 1 for a wrong option; ours is 2, so errors are collected.
  StderrCapture captured;
  bool parsed = cl::ParseCommandLineOptions(
      argc, argv,
      "Compiles a checkpoint to a bundle.\n\n"
      "  lapidary compile gemma-4-12b --quant q8_0 -o gemma.lap\n",
      &llvm::errs());
  std::string messages = captured.finish();
  auto usageError = [](const llvm::Twine &what) {
    llvm::WithColor::error(llvm::errs())
        << what << "\nRun 'lapidary compile --help' for the options.\n";
    return 2;
  };
  if (!parsed)
    return usageError(getOptionError(messages, argv[0]));
  if (checkpoint.empty())
    return usageError("no checkpoint folder given");
  CompileOptions options;
  if (!emit.empty()) {
    options.emit = parsePhase(emit);
    if (!options.emit)
      return usageError("--emit " + emit + " is unknown, expected " +
                        listPhases(", "));
  } else if (output.empty() || output == "-") {
    return usageError("no bundle to write: add -o FILE");
  }
  if (quant.getNumOccurrences() && !isFloatFormat(quant) && quant != "q8_0")
    return usageError("--quant " + quant +
                      " is unknown, expected bf16, f16, f32 or q8_0");
  if (target != "cpu")
    return usageError("--target " + target + " is not built in, expected cpu");
  bool showsCode = options.emit == Phase::Llvm || options.emit == Phase::Asm;
  if (variant.getNumOccurrences() && !showsCode)
    return usageError("--variant says whose code --emit=llvm and --emit=asm "
                      "show; a bundle holds the code of all variants");
  if (!cpu::findVariant(variant))
    return usageError("--variant " + variant +
                      " is unknown, expected avx512 or avx2");
  options.checkpoint = checkpoint;
  options.output = output;
  options.target = target;
  options.quant = quant;
  options.variant = variant;
  options.cancel = &interrupted;
  bool terminal = llvm::sys::Process::StandardErrIsDisplayed();
  if (terminal)
    options.progress = showProgress;

  struct sigaction action = {};
  action.sa_handler = onInterrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGXFSZ, SIG_IGN); // A file size limit is an error of write.

  MLIRContext context;
  context.getDiagEngine().registerHandler([&](Diagnostic &diagnostic) {
    if (terminal)
      llvm::errs() << "\r\x1b[K";
    return printDiagnostic(diagnostic);
  });
  LogicalResult result = failure();
  try {
    result = compile(context, options);
  } catch (const std::bad_alloc &) {
    emitError(UnknownLoc::get(&context), "memory ran out");
  }
  if (terminal)
    llvm::errs() << "\r\x1b[K";
  if (interrupted)
    return 130;
  return failed(result) ? 1 : 0;
}
