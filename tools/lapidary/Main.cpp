// `lapidary`, the user's command line: chooses the subcommand. `lapidary
// compile` is another program beside this one, because compiling needs LLVM and
// running a bundle does not.
#include "runtime/core/Limits.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/Terminal.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <unistd.h>

namespace lapidary::cli {

namespace {

/// CLI11's help, without what only a programmer reads (integer ranges, lists of
/// excluded options), and with lines that fit a terminal.
class HelpFormatter : public CLI::Formatter {
public:
  static constexpr size_t nameColumn = 28;
  static constexpr size_t textColumns = 72;

  std::string make_option_opts(const CLI::Option *option) const override {
    const std::string type = option->get_type_name();
    if (type.empty() || option->get_positional())
      return "";
    std::string text = " " + type.substr(0, type.find(':'));
    if (!option->get_default_str().empty())
      text += " [" + option->get_default_str() + "]";
    return text;
  }

  std::string make_option_desc(const CLI::Option *option) const override {
    return wrap(option->get_description());
  }

  std::string make_usage(const CLI::App *app, std::string name) const override {
    std::string text = "Usage: " + (name.empty() ? app->get_name() : name);
    for (const CLI::Option *option : app->get_options()) {
      if (option->get_positional())
        text += " " + option->get_name();
    }
    if (!app->get_subcommands({}).empty())
      text += " COMMAND";
    return text + " [OPTIONS]\n";
  }

private:
  static std::string wrap(const std::string &description) {
    std::istringstream words(description);
    std::string text, word;
    size_t used = 0;
    while (words >> word) {
      if (used > 0 && used + 1 + word.size() > textColumns) {
        text += '\n';
        used = 0;
      }
      if (used > 0) {
        text += ' ';
        ++used;
      }
      text += word;
      used += word.size();
    }
    return text;
  }
};

/// Commands that need the compiler are programs of their own beside this one,
/// so that running a bundle loads no LLVM.
struct CompilerCommand {
  const char *name;
  const char *help;
};
constexpr CompilerCommand compilerCommands[] = {
    {"compile", "Compile a checkpoint into a bundle"},
    {"quants", "List quantization schemes and recipes"},
    {"calibrate", "Measure which columns of a checkpoint's weights matter"},
    {"diff", "Compare the weights of two bundles or checkpoints"},
};

/// Becomes lapidary-NAME with the arguments after NAME; returns only when that
/// cannot be.
int runCompiler(const std::string &command, char **arguments) {
  std::error_code error;
  const std::filesystem::path self =
      std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) {
    return fail(
        ioError("cannot find the folder of this program: " + error.message()));
  }
  const std::string compiler = self.parent_path() / ("lapidary-" + command);
  std::string name = "lapidary " + command;
  arguments[0] = name.data();
  execv(compiler.c_str(), arguments);
  if (errno == ENOENT) {
    return fail(
        unsupported("this build has the runtime alone: " + compiler +
                    " does not exist. Build without -DLAPIDARY_RUNTIME_ONLY=ON "
                    "(./scripts/build) to compile checkpoints"));
  }
  return fail(ioError("cannot run " + compiler + ": " + std::strerror(errno)));
}

int run(int argc, char **argv) {
  // A reader that goes away is an error of write(), not a silent death.
  std::signal(SIGPIPE, SIG_IGN);
  if (argc >= 2)
    for (const CompilerCommand &command : compilerCommands)
      if (std::string_view(argv[1]) == command.name)
        return runCompiler(command.name, argv + 1);

  CLI::App app("Compiles Gemma 4 checkpoints ahead of time and runs the "
               "bundles: text, images, sounds and videos in, text out.",
               "lapidary");
  app.set_version_flag("--version", "lapidary " LAPIDARY_VERSION);
  app.require_subcommand(1);
  auto formatter = std::make_shared<HelpFormatter>();
  formatter->column_width(HelpFormatter::nameColumn);
  app.formatter(formatter);
  app.footer("lapidary COMMAND --help explains a command's options.\n"
             "A first try:\n"
             "  lapidary compile CHECKPOINT --target cpu --quant bf16 -o "
             "model.lap\n"
             "  lapidary run model.lap -p \"What is this?\" --image cat.png");

  // CLI11 would read it as three options.
  char gpuLayers[] = "--gpu-layers";
  for (int index = 1; index < argc && std::strcmp(argv[index], "--") != 0;
       ++index)
    if (std::strcmp(argv[index], "-ngl") == 0)
      argv[index] = gpuLayers;

  Action action;
  // Listed for the help text; handled above.
  for (const CompilerCommand &command : compilerCommands)
    app.add_subcommand(command.name, command.help);
  addRunCommand(app, action);
  addChatCommand(app, action);
  addBatchCommand(app, action);
  addServeCommand(app, action);
  addTokenizeCommand(app, action);
  addBenchCommand(app, action);
  addEvalCommand(app, action);
  addInspectCommand(app, action);
  addDevicesCommand(app, action);
  addSelfTestCommand(app, action);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success))
      return app.exit(error);
    const auto chosen = app.get_subcommands();
    if (chosen.empty() && argc >= 2 && argv[1][0] != '-')
      return failUsage(std::string("there is no command '") + argv[1] +
                       "'\nTry: lapidary --help");
    const std::string command =
        chosen.empty() ? "lapidary" : "lapidary " + chosen[0]->get_name();
    return failUsage(std::string(error.what()) + "\nTry: " + command +
                     " --help");
  }
  return action();
}

} // namespace

void addBundleArgument(CLI::App &command, std::string &bundle) {
  command
      .add_option("BUNDLE", bundle, "The bundle that lapidary compile wrote")
      ->required();
}

CLI::Validator inRange(double low, double high) {
  return CLI::Validator(
      [low, high](std::string &text) {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && value >= low &&
            value <= high)
          return std::string();
        std::ostringstream message;
        message << "'" << text << "' is no number from " << low << " to "
                << high;
        return message.str();
      },
      "");
}

void addThreadsOption(CLI::App &command, int32_t &threads) {
  command
      .add_option("--threads", threads,
                  "Threads to compute with, 1 to " +
                      std::to_string(maxThreads) +
                      "; unless given $LAPIDARY_THREADS, or all that this "
                      "process may use")
      ->type_name("N")
      ->check(CLI::Range(1, maxThreads))
      ->envname("LAPIDARY_THREADS");
}

void addLockOption(CLI::App &command, bool &lock) {
  command.add_flag("--mlock", lock,
                   "Keep all of the bundle in memory while it runs");
}

void addContextOption(CLI::App &command, int64_t &context,
                      const std::string &purpose) {
  command.add_option("--context", context, purpose)
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40));
}

int fail(const Status &status) {
  // Who pressed ^C or closed the pipe knows.
  if (status.getCode() == StatusCode::Cancelled)
    return wasInterrupted() ? Interrupted : Failed;
  std::fprintf(stderr, "lapidary: error: %s\n", status.message().c_str());
  return Failed;
}

int failUsage(const std::string &message) {
  std::fprintf(stderr, "lapidary: %s\n", message.c_str());
  return Usage;
}

} // namespace lapidary::cli

int main(int argc, char **argv) {
  try {
    return lapidary::cli::run(argc, argv);
  } catch (const std::bad_alloc &) {
    return lapidary::cli::fail(lapidary::outOfMemory("memory ran out"));
  } catch (const std::exception &error) {
    return lapidary::cli::fail(lapidary::internalError(error.what()));
  }
}
