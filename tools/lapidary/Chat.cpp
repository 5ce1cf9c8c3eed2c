// `lapidary chat`: a conversation in a terminal, or from a pipe. Answers go to
// stdout, everything else to stderr.
#include "runtime/core/Text.h"
#include "runtime/media/ImagePreprocess.h"
#include "tools/lapidary/AnswerRules.h"
#include "tools/lapidary/ChatTurns.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/LineInput.h"
#include "tools/lapidary/RunOptions.h"
#include "tools/lapidary/Terminal.h"

#include <algorithm>
#include <cstdio>

namespace lapidary::cli {

namespace {

constexpr const char *help =
    "  /image FILE     show a picture with the next message (FILE:1120 looks "
    "closely)\n"
    "  /audio FILE     play a sound with it\n"
    "  /video FILE     show a clip with it\n"
    "  /system TEXT    instructions for the conversation; none without TEXT\n"
    "  /think on|off   whether the model thinks before it answers\n"
    "  /save FILE      write the conversation, and what the model knows of it\n"
    "  /load FILE      go on with one that was saved\n"
    "  /new            forget the conversation\n"
    "  /stats          tokens and times of the last answer\n"
    "  /help           this list\n"
    "  /quit           leave, as the end of the input does\n"
    "A line that ends with \\ goes on in the next one; // begins a message "
    "with "
    "/.\n"
    "^C stops an answer.\n";

class Chat {
public:
  Chat(ChatTurns turns, GenerateOptions generateWith)
      : turns(std::move(turns)), generateWith(std::move(generateWith)) {}

  Status run();
  ChatTurns turns;

private:
  /// False where the user leaves.
  bool command(std::string_view line);
  Status setThinking(std::string_view argument);
  Status addMedium(MediaKind kind, const std::string &path);
  Status loadFile(const std::string &path);
  void printStatistics() const;
  Status say(const std::string &text);
  Status show(const AnswerDelta &delta);
  /// Thoughts are dim on a terminal, and not among a pipe's answers.
  Status setDim(bool dim);

  GenerateOptions generateWith;
  LineInput input;
  std::atomic<bool> *interrupted = nullptr;
  std::optional<GenerateResult> last;
  bool isDim = false, endsLine = true;
};

void tell(const Status &status) {
  std::fprintf(stderr, "lapidary: %s\n", status.message().c_str());
}

Status Chat::setThinking(std::string_view argument) {
  if (argument != "on" && argument != "off")
    return invalidArgument("/think takes on or off");
  turns.thinks = argument == "on";
  return {};
}

Status Chat::addMedium(MediaKind kind, const std::string &path) {
  if (path.empty())
    return invalidArgument(concat("/", mediaName(kind), " takes a file"));
  return turns.addMedium(kind == MediaKind::Image
                             ? LAPIDARY_TRY(parseImage(path, 0))
                             : MediaFile{kind, path});
}

Status Chat::loadFile(const std::string &path) {
  std::string note;
  LAPIDARY_TRY(turns.load(path, note));
  last.reset();
  std::fprintf(stderr, "[%zu messages%s%s]\n", turns.messageCount(),
               note.empty() ? "" : "; ", note.c_str());
  return {};
}

void Chat::printStatistics() const {
  if (last) {
    const auto reused = static_cast<size_t>(last->reusedTokens);
    const size_t read = last->promptIds.size() - reused;
    std::fprintf(
        stderr,
        "[%zu prompt tokens, of which %zu were known; %.1f/s; %zu "
        "tokens of the answer, %.1f/s; ended by %s]\n",
        last->promptIds.size(), reused, rate(read, last->prefillSeconds),
        last->ids.size(),
        rate(last->ids.empty() ? 0 : last->ids.size() - 1, last->decodeSeconds),
        last->finishReason.c_str());
  }
  std::fprintf(stderr, "[%lld of %lld positions of the context are used]\n",
               static_cast<long long>(turns.position()),
               static_cast<long long>(turns.context()));
}

bool Chat::command(std::string_view line) {
  const size_t space = std::min(line.find(' '), line.size());
  const std::string_view name = line.substr(0, space);
  const size_t begin =
      std::min(line.find_first_not_of(' ', space), line.size());
  const std::string argument(
      line.substr(begin, line.find_last_not_of(' ') + 1 - begin));
  Status status;
  if (name == "/quit" || name == "/exit")
    return false;
  if (name == "/help")
    std::fputs(help, stderr);
  else if (name == "/stats")
    printStatistics();
  else if (name == "/new")
    turns.clear();
  else if (name == "/system")
    turns.system = argument;
  else if (name == "/think")
    status = setThinking(argument);
  else if (name == "/image")
    status = addMedium(MediaKind::Image, argument);
  else if (name == "/audio")
    status = addMedium(MediaKind::Audio, argument);
  else if (name == "/video")
    status = addMedium(MediaKind::Video, argument);
  else if ((name == "/save" || name == "/load") && argument.empty())
    status = invalidArgument(concat(name, " takes a file"));
  else if (name == "/save")
    status = turns.save(argument);
  else if (name == "/load")
    status = loadFile(argument);
  else
    status = invalidArgument(
        concat("there is no command ", name, "; /help lists them"));
  if (!status.ok())
    tell(status);
  return true;
}

Status Chat::setDim(bool dim) {
  if (dim == isDim)
    return {};
  isDim = dim;
  std::string text = dim ? "\x1b[2m" : "\x1b[0m";
  if (!dim && !endsLine)
    text += "\n";
  endsLine = endsLine || !dim;
  return writeOutput(text);
}

Status Chat::show(const AnswerDelta &delta) {
  const auto put = [&](std::string_view text) {
    if (!text.empty())
      endsLine = text.back() == '\n';
    return writeOutput(text);
  };
  if (!delta.reasoning.empty() && input.isTerminal()) {
    LAPIDARY_TRY(setDim(true));
    LAPIDARY_TRY(put(delta.reasoning));
  }
  if (delta.content.empty() && delta.calls.empty())
    return {};
  LAPIDARY_TRY(setDim(false));
  LAPIDARY_TRY(put(delta.content));
  for (const AnswerDelta::Call &call : delta.calls)
    LAPIDARY_TRY(put(concat(call.name.empty() ? "" : "\n[calls ", call.name,
                            call.name.empty() ? "" : "] ", call.arguments)));
  return {};
}

Status Chat::say(const std::string &text) {
  Status written;
  GenerateOptions options = generateWith;
  options.cancel = interrupted;
  *interrupted = false;
  endsLine = true;
  std::atomic<bool> *const flag = interrupted;
  const Result<GenerateResult> result =
      turns.answer(text, options, [&](const AnswerDelta &delta) {
        if (written.ok())
          written = show(delta);
        // A reader that went away wants no more.
        if (!written.ok())
          *flag = true;
      });
  if (written.ok())
    written = setDim(false);
  const bool stopped = interrupted->exchange(false);
  if (!written.ok())
    return written;
  if (!result.ok()) {
    tell(result.status());
    return {};
  }
  last = *result;
  if (!endsLine)
    LAPIDARY_TRY(writeOutput("\n"));
  if (stopped)
    std::fputs("[stopped]\n", stderr);
  else if (result->finishReason == "length")
    std::fputs("[cut off: --max-tokens or the context's end]\n", stderr);
  return {};
}

Status Chat::run() {
  interrupted = &catchInterrupts();
  if (input.isTerminal())
    std::fputs("/help lists the commands, /quit leaves.\n", stderr);
  std::string text;
  bool goesOn = false;
  for (std::string line;;) {
    // What stopped an answer, or came too late for that, is over.
    *interrupted = false;
    const LineInput::Event event = input.read(goesOn ? "... " : "> ", line);
    if (event == LineInput::Event::Interrupted) {
      text.clear();
      goesOn = false;
      continue;
    }
    if (event == LineInput::Event::End)
      return {};
    const bool isCommand =
        !goesOn && line.starts_with('/') && !line.starts_with("//");
    if (isCommand) {
      if (!command(line))
        return {};
      continue;
    }
    goesOn = line.ends_with('\\');
    if (goesOn)
      line.back() = '\n';
    text += text.empty() && line.starts_with("//") ? line.substr(1) : line;
    if (goesOn)
      continue;
    if (text.find_first_not_of(" \t\r\n") != std::string::npos ||
        turns.waitingMedia() > 0)
      LAPIDARY_TRY(say(text));
    text.clear();
  }
}

Result<SessionOptions> chooseSession(const RunOptions &options,
                                     const schema::Program &program) {
  SessionOptions session;
  session.threads = options.threads;
  options.device.apply(session);
  session.context = options.context;
  session.drafts = draftRoom(options.draft, *program.model());
  return fitSession(program, session, maxSoftTokenBudget, 1024);
}

Status converse(const RunOptions &options, bool thinks) {
  const ChatRules rules = LAPIDARY_TRY(readOptionRules(options));
  const auto bundle = LAPIDARY_TRY(Bundle::open(options.bundle));
  if (options.lock)
    LAPIDARY_TRY(bundle->lock());
  const Tokenizer tokenizer = LAPIDARY_TRY(
      Tokenizer::create(bundle->segment(bundle->program().tokenizer())));
  ChatTemplate chat = LAPIDARY_TRY(ChatTemplate::create(*bundle, tokenizer));
  auto session = LAPIDARY_TRY(Session::create(
      bundle, LAPIDARY_TRY(chooseSession(options, bundle->program()))));
  LAPIDARY_TRY(verifyWeights(*bundle));
  Chat conversation(ChatTurns(std::move(session), tokenizer, std::move(chat)),
                    makeGenerateOptions(options, *bundle->program().model()));
  conversation.turns.system = options.system;
  conversation.turns.thinks = thinks;
  if (asksForRules(rules))
    LAPIDARY_TRY(conversation.turns.setRules(rules));
  return conversation.run();
}

} // namespace

void addChatCommand(CLI::App &app, Action &action) {
  struct ChatOptions {
    RunOptions run;
    bool thinks = false;
  };
  auto options = std::make_shared<ChatOptions>();
  CLI::App *command = app.add_subcommand(
      "chat", "Talk to a model in the terminal, with pictures and sounds");
  addBundleArgument(*command, options->run.bundle);
  command
      ->add_option("--system", options->run.system,
                   "Instructions that come before the conversation")
      ->type_name("TEXT");
  command->add_flag("--think", options->thinks,
                    "Let the model think before it answers");
  addSamplingOptions(*command, options->run);
  addContextOption(*command, options->run.context,
                   "Tokens that the conversation can have; the model's "
                   "longest, or what fits into memory, unless given");
  addDraftOption(*command, options->run.draft);
  addThreadsOption(*command, options->run.threads);
  addDeviceOptions(*command, options->run.device);
  addLockOption(*command, options->run.lock);
  command->footer(std::string("In the conversation:\n") + help);
  command->final_callback([options, &action] {
    action = [options] {
      const Status status = converse(options->run, options->thinks);
      return status.ok() ? static_cast<int>(Success) : fail(status);
    };
  });
}

} // namespace lapidary::cli
