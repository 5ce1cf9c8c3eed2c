// What the subcommands of `lapidary` share: how one registers itself, what the
// exit codes are, and options that several of them take. Each subcommand is a
// file; Main.cpp calls the add...Command functions and then runs what was
// chosen.
#pragma once

#include "runtime/core/Status.h"

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

namespace lapidary {
struct SessionOptions;
}

namespace lapidary::cli {

enum ExitCode : int {
  Success = 0,
  /// The command line was right and the work failed.
  Failed = 1,
  /// The command line was wrong.
  Usage = 2,
  /// Stopped by ^C, as shells have it: 128 + SIGINT.
  Interrupted = 130,
};

/// Set by the subcommand that the command line names.
using Action = std::function<int()>;

void addRunCommand(CLI::App &app, Action &action);
void addChatCommand(CLI::App &app, Action &action);
void addBatchCommand(CLI::App &app, Action &action);
void addServeCommand(CLI::App &app, Action &action);
void addTokenizeCommand(CLI::App &app, Action &action);
void addBenchCommand(CLI::App &app, Action &action);
void addEvalCommand(CLI::App &app, Action &action);
void addInspectCommand(CLI::App &app, Action &action);
void addDevicesCommand(CLI::App &app, Action &action);
void addSelfTestCommand(CLI::App &app, Action &action);

/// A number from `low` to `high`; unlike CLI::Range it refuses NaN.
CLI::Validator inRange(double low, double high);

/// What runs the model.
struct DeviceChoice {
  std::string device = "cpu";
  int32_t gpuLayers = -1;
  bool skipSelfTest = false;

  /// With a bar for the time that loading takes.
  void apply(SessionOptions &session) const;
};

/// Options that mean the same wherever they are.
void addBundleArgument(CLI::App &command, std::string &bundle);
void addThreadsOption(CLI::App &command, int32_t &threads);
/// `tested`: a first run on a GPU tests it, unless told not to.
void addDeviceOptions(CLI::App &command, DeviceChoice &choice,
                      bool tested = true);
void addLockOption(CLI::App &command, bool &lock);
void addContextOption(CLI::App &command, int64_t &context,
                      const std::string &purpose);

/// Prints the error to stderr, unless it is Cancelled, and gives the exit code
/// for it.
int fail(const Status &status);
/// The same for a command line that parsed and makes no sense.
int failUsage(const std::string &message);

} // namespace lapidary::cli
