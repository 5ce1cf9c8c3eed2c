// What the programs behind `lapidary compile`, `quants`, `diff` and `calibrate`
// share: options whose errors are exit code 2, errors as a user reads them, a
// progress line, ^C, and memory that runs out.
#pragma once

#include "runtime/core/Status.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/raw_ostream.h"

#include <atomic>
#include <functional>
#include <optional>
#include <string>

namespace mlir::lap {

/// One a process, made first in `main`.
class CompilerTool {
public:
  /// `name` is what the user types: "lapidary compile".
  CompilerTool(int &argc, char **&argv, StringRef name);

  /// The category of the program's own options; others are hidden.
  llvm::cl::OptionCategory &getCategory() { return category; }
  /// Parses the command line. The exit code where it is wrong.
  std::optional<int> parseOptions(StringRef overview);
  /// Says what is wrong with the command line; gives the exit code.
  int failUsage(const llvm::Twine &what) const;

  /// Does the work with ^C watched and errors printed; gives the exit code.
  int run(llvm::function_ref<LogicalResult(MLIRContext &context)> work);

  /// Set by ^C or SIGTERM; a second one ends the process at once.
  static const std::atomic<bool> &isInterrupted();
  /// A line that says what is being done, on a terminal only; `done` is the
  /// part of it from 0 to 1.
  void showProgress(StringRef what, double done);
  bool isTerminal() const { return terminal; }

private:
  void clearProgress() const;

  llvm::InitLLVM init;
  int argc;
  char **argv;
  std::string name;
  llvm::cl::OptionCategory category;
  bool terminal;
};

/// Reports a status' message as an error; nothing for Cancelled, as who pressed
/// ^C knows.
LogicalResult check(MLIRContext &context, const lapidary::Status &status);

/// Writes to standard output, all of it or an error. A reader that went away
/// (`| head`) is a failure that nobody needs to be told of.
LogicalResult
writeOutput(MLIRContext &context,
            llvm::function_ref<void(llvm::raw_ostream &out)> write);

/// A message may quote what a file holds: bytes that are no text and sequences
/// that steer a terminal are shown, not sent.
std::string getPrintable(StringRef message);

} // namespace mlir::lap
