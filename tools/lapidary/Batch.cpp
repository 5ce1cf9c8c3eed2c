// `lapidary batch`: a file of requests into a file of answers, several at once.
// What is written stays, so a run that was stopped is gone on with.
#include "runtime/core/Limits.h"
#include "runtime/core/Text.h"
#include "runtime/model/Scheduler.h"
#include "tools/lapidary/AnswerRules.h"
#include "tools/lapidary/BatchInput.h"
#include "tools/lapidary/BatchOutput.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/Terminal.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

namespace lapidary::cli {

namespace {

/// Answers that may wait for one before them, for each that is worked on: one
/// long answer should not hold up the others for long.
constexpr uint64_t linesAhead = 64;
constexpr size_t longestLine = size_t(1) << 30;

struct BatchOptions {
  RunOptions run;
  std::string input, output;
  int32_t parallel = 4;
  uint64_t snapshotMemory = 0;
};

/// What the first reading of the input tells.
struct Survey {
  uint64_t lines = 0;
  int64_t imageTokens = 0;
};

class Batch {
public:
  Batch(const BatchOptions &options, BatchOutput output,
        std::shared_ptr<const Bundle> bundle, BatchModel prepared)
      : options(options), output(std::move(output)), bundle(std::move(bundle)),
        prepared(std::move(prepared)) {}

  Result<int> run();

private:
  const schema::Model &model() const { return *bundle->program().model(); }
  Result<Survey> survey() const;
  Result<SessionOptions> chooseEngine(const Survey &survey) const;
  /// Submits requests while there is room for them; bad ones are answered here.
  Status feed();
  Status submit(const std::string &line);
  void put(uint64_t number, nlohmann::ordered_json line);

  const BatchOptions &options;
  BatchOutput output;
  std::shared_ptr<const Bundle> bundle;
  BatchModel prepared;
  std::ifstream file;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Scheduler> scheduler;
  /// Lines read.
  uint64_t number = 0;
  uint64_t errors = 0, reused = 0, decoded = 0;
  int64_t steps = 0, drafted = 0, accepted = 0;
  bool ended = false;
  Status failure;
};

Result<Survey> Batch::survey() const {
  std::ifstream input(options.input);
  Survey result;
  if (!input)
    return ioError("cannot read '" + options.input + "'");
  for (std::string line; std::getline(input, line); ++result.lines) {
    if (result.lines < output.written()) {
      const nlohmann::ordered_json id = batchId(line);
      if (id != output.earlier()[result.lines])
        return invalidArgument(concat("'", options.output,
                                      "' answers another input: its line ",
                                      result.lines + 1, " has the id ",
                                      output.earlier()[result.lines].dump(),
                                      ", the input's has ", id.dump()));
      continue;
    }
    result.imageTokens =
        std::max(result.imageTokens, batchImageTokens(model(), line));
  }
  if (result.lines < output.written())
    return invalidArgument(concat("'", options.output, "' has ",
                                  output.written(),
                                  " lines, but the input only ", result.lines));
  return result;
}

Result<SessionOptions> Batch::chooseEngine(const Survey &survey) const {
  SessionOptions session;
  session.threads = options.run.threads;
  options.run.device.apply(session);
  session.context = options.run.context;
  session.sequences = options.parallel;
  session.snapshotMemory = options.snapshotMemory;
  session.drafts = draftRoom(options.run.draft, model());
  // An image that no step can take is an error of its line.
  return fitSession(bundle->program(), session, survey.imageTokens, 1024);
}

void Batch::put(uint64_t place, nlohmann::ordered_json line) {
  if (Status status = output.put(place, line); !status.ok() && failure.ok())
    failure = status;
}

Status Batch::submit(const std::string &line) {
  const uint64_t place = number - 1;
  nlohmann::ordered_json head = {{"line", number}, {"id", batchId(line)}};
  auto fail = [this, place, head](const Status &status) {
    nlohmann::ordered_json answer = head;
    answer["error"] = {{"message", status.message()}};
    ++errors;
    put(place, std::move(answer));
  };
  const std::string folder = std::filesystem::path(options.input).parent_path();
  Result<BatchRequest> read =
      line.size() > longestLine
          ? Result<BatchRequest>(invalidData("the request is too long"))
          : readBatchLine(prepared, options.run, folder, line);
  if (!read.ok()) {
    fail(read.status());
    return failure;
  }
  auto request = std::make_shared<BatchRequest>(*std::move(read));
  auto submitted = std::make_unique<Scheduler::Request>();
  submitted->input = request->prompt.input();
  submitted->options = request->options;
  submitted->onDone = [this, place, head, fail,
                       request](Result<GenerateResult> result) {
    if (!result.ok())
      return fail(result.status());
    // The next run begins it anew.
    if (result->finishReason == "cancelled")
      return;
    nlohmann::ordered_json answer = head;
    answer["text"] = result->text;
    answer["finish_reason"] = result->finishReason;
    answer["prompt_tokens"] = result->promptIds.size();
    answer["reused_tokens"] = result->reusedTokens;
    answer["completion_tokens"] = result->ids.size();
    reused += static_cast<uint64_t>(result->reusedTokens);
    decoded += result->ids.empty() ? 0 : result->ids.size() - 1;
    steps += result->steps;
    drafted += result->draftedTokens;
    accepted += result->acceptedTokens;
    put(place, std::move(answer));
  };
  scheduler->submit(std::move(submitted));
  return {};
}

Status Batch::feed() {
  const uint64_t ahead = linesAhead * static_cast<uint64_t>(options.parallel);
  while (!ended && !wasInterrupted() && scheduler->hasRoom() &&
         number < output.written() + ahead) {
    std::string line;
    ended = !std::getline(file, line);
    if (ended)
      break;
    ++number;
    if (number <= output.earlier().size())
      continue;
    LAPIDARY_TRY(submit(line));
  }
  return failure;
}

Result<int> Batch::run() {
  const std::atomic<bool> &cancel = watchInterrupts();
  const Survey input = LAPIDARY_TRY(survey());
  const SessionOptions session = LAPIDARY_TRY(chooseEngine(input));
  engine = LAPIDARY_TRY(Engine::create(bundle, session));
  LAPIDARY_TRY(verifyWeights(*bundle));
  engine->setCancelFlag(&cancel);
  scheduler = LAPIDARY_TRY(Scheduler::create(*engine, prepared.tokenizer));
  file.open(options.input);
  const double start = now();
  const uint64_t before = output.written();
  Progress progress(concat("Answering ", input.lines - before, " requests"));
  while (true) {
    LAPIDARY_TRY(feed());
    if (scheduler->idle())
      break;
    const Status status = scheduler->step();
    if (status.getCode() == StatusCode::Cancelled)
      break;
    LAPIDARY_TRY(status);
    LAPIDARY_TRY(failure);
    progress.update(output.written(), input.lines);
  }
  progress.clear();
  scheduler->cancelAll();
  LAPIDARY_TRY(failure);
  if (!wasInterrupted() && output.written() < input.lines)
    return ioError(concat("'", options.input,
                          "' changed, or could not be read to its end"));
  std::fprintf(stderr,
               "[%llu of %llu requests answered, %llu now in %.2f s, %llu of "
               "them with an error; %llu prompt tokens were known%s]\n",
               static_cast<unsigned long long>(output.written()),
               static_cast<unsigned long long>(input.lines),
               static_cast<unsigned long long>(output.written() - before),
               now() - start, static_cast<unsigned long long>(errors),
               static_cast<unsigned long long>(reused),
               describeDrafts(steps, decoded, drafted, accepted).c_str());
  return static_cast<int>(wasInterrupted() ? Interrupted : Success);
}

Result<int> runBatch(const BatchOptions &options) {
  std::error_code unknown;
  if (std::filesystem::exists(options.input, unknown) &&
      !std::filesystem::is_regular_file(options.input, unknown))
    return invalidArgument("'" + options.input +
                           "' is no regular file; it is read twice");
  // Before an output is made for nothing.
  if (!std::ifstream(options.input))
    return ioError("cannot read '" + options.input + "'");
  const auto bundle = LAPIDARY_TRY(Bundle::open(options.run.bundle));
  const Tokenizer tokenizer = LAPIDARY_TRY(
      Tokenizer::create(bundle->segment(bundle->program().tokenizer())));
  BatchModel prepared{*bundle->program().model(), tokenizer,
                      LAPIDARY_TRY(ChatTemplate::create(*bundle, tokenizer)),
                      LAPIDARY_TRY(TokenTable::create(tokenizer)),
                      LAPIDARY_TRY(readOptionRules(options.run))};
  BatchOutput output = LAPIDARY_TRY(BatchOutput::open(options.output));
  return Batch(options, std::move(output), bundle, std::move(prepared)).run();
}

} // namespace

void addBatchCommand(CLI::App &app, Action &action) {
  auto options = std::make_shared<BatchOptions>();
  CLI::App *command =
      app.add_subcommand("batch", "Answer a file of requests, several at once");
  addBundleArgument(*command, options->run.bundle);
  command
      ->add_option("INPUT", options->input,
                   "A JSON object a line: messages (and tools, options), or "
                   "prompt (and system); and as needed id, max_tokens, "
                   "temperature, top_k, top_p, min_p, typical_p, "
                   "repeat_penalty, repeat_last_n, presence_penalty, "
                   "frequency_penalty, logit_bias ({\"ID\": BIAS}), stop (a "
                   "text or a list), response_format (json_object, or "
                   "json_schema with a schema), tool_choice, "
                   "parallel_tool_calls, seed, video_fps, and media, a "
                   "list with a path, {\"path\": ..., \"tokens\": N} or "
                   "{\"base64\": ...} for each medium of the messages")
      ->required();
  command
      ->add_option("OUTPUT", options->output,
                   "Gets a JSON object for each line of INPUT, in its order: "
                   "line, id, and text, finish_reason, prompt_tokens, "
                   "reused_tokens, completion_tokens, or error. Lines that are "
                   "there from an earlier run are kept and not done again")
      ->required();
  command
      ->add_option("--parallel", options->parallel,
                   "Requests to work on at once: each has memory of its own "
                   "for its context, and they share each reading of the "
                   "weights; 4 unless given")
      ->type_name("N")
      ->check(CLI::Range(1, maxSequences));
  command
      ->add_option("--snapshot-memory", options->snapshotMemory,
                   "Memory to remember the beginnings of prompts in, so that "
                   "each of the --parallel reads what requests share once: "
                   "bytes, or with "
                   "KB, MB, GB; 0 unless given")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(true));
  addSamplingOptions(*command, options->run);
  addDraftOption(*command, options->run.draft);
  addContextOption(*command, options->run.context,
                   "Positions for each request, prompt and answer; unless "
                   "given the model's longest, or what fits into memory");
  addThreadsOption(*command, options->run.threads);
  addDeviceOptions(*command, options->run.device);
  command->footer(
      "The options of answers are for requests that do not say otherwise. A "
      "run that was stopped goes on where it was when it is started again.\n"
      "Example:\n"
      "  lapidary batch model.lap questions.jsonl answers.jsonl --parallel 8");
  command->final_callback([options, &action] {
    action = [options] {
      const Result<int> result = runBatch(*options);
      return result.ok() ? *result : fail(result.status());
    };
  });
}

} // namespace lapidary::cli
