// `lapidary eval`: how good a bundle is, and what it takes for that. All input
// is read and checked before the first step, which may be hours of work away
// from the last.
#include "tools/lapidary/Eval.h"

#include "runtime/core/ReplacingFile.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/EvalReport.h"
#include "tools/lapidary/EvalTasks.h"
#include "tools/lapidary/EvalText.h"
#include "tools/lapidary/Terminal.h"

#include <cstdio>
#include <set>

namespace lapidary::cli {

namespace {

/// Encoding takes about 50 bytes a byte.
constexpr uint64_t textLimit = uint64_t(64) << 20;

struct EvalOptions {
  std::vector<std::string> bundles;
  std::string against;
  std::string text;
  std::string tasks;
  std::string plot;
  int64_t context = 512;
  int32_t threads = 0;
  DeviceChoice device;
  bool json = false;
};

/// All that is evaluated, checked.
struct EvalInput {
  std::vector<EvalModel> models;
  std::optional<EvalModel> reference;
  /// One a model, if there is a text.
  std::vector<TextWindows> windows;
  std::vector<EvalTask> tasks;
};

Result<EvalModel> openModel(const std::string &path) {
  auto bundle = LAPIDARY_TRY(Bundle::open(path));
  Tokenizer tokenizer = LAPIDARY_TRY(
      Tokenizer::create(bundle->segment(bundle->program().tokenizer())));
  return EvalModel{std::move(bundle), tokenizer};
}

Status readText(const EvalOptions &options, EvalInput &input) {
  const std::string text =
      LAPIDARY_TRY(cli::readTextFile(options.text, textLimit));
  for (const EvalModel &model : input.models)
    input.windows.push_back(
        LAPIDARY_TRY(cutWindows(model, text, options.context, options.text)));
  if (input.reference) {
    const TextWindows windows = LAPIDARY_TRY(
        cutWindows(*input.reference, text, options.context, options.text));
    for (size_t i = 0; i < input.models.size(); ++i)
      if (input.windows[i].tokens != windows.tokens ||
          input.windows[i].bos != windows.bos)
        return invalidArgument(
            "'" + options.bundles[i] + "' and '" + options.against +
            "' (--against) cut the text into different tokens; their "
            "predictions can be compared only token by token");
  }
  const int64_t size = input.windows.front().size;
  if (size < options.context)
    std::fprintf(stderr,
                 "lapidary: '%s' is shorter than a window of %lld tokens; it "
                 "is measured as one window of %lld\n",
                 options.text.c_str(), static_cast<long long>(options.context),
                 static_cast<long long>(size));
  return {};
}

Result<EvalInput> readInput(const EvalOptions &options) {
  EvalInput input;
  for (const std::string &path : options.bundles)
    input.models.push_back(LAPIDARY_TRY(openModel(path)));
  if (!options.against.empty()) {
    input.reference = LAPIDARY_TRY(openModel(options.against));
    for (const EvalModel &model : input.models)
      LAPIDARY_TRY(checkSameVocabulary(model, *input.reference));
  }
  if (!options.text.empty())
    LAPIDARY_TRY(readText(options, input));
  if (!options.tasks.empty()) {
    input.tasks = LAPIDARY_TRY(readTasks(options.tasks));
    for (const EvalModel &model : input.models)
      LAPIDARY_TRY(checkModalities(model, input.tasks));
  }
  // Outside of the times that are measured.
  for (const EvalModel &model : input.models)
    LAPIDARY_TRY(verifyWeights(*model.bundle));
  if (input.reference)
    LAPIDARY_TRY(verifyWeights(*input.reference->bundle));
  return input;
}

Status printResults(const std::vector<EvalResult> &results, bool json) {
  if (!json)
    return writeOutput(evalTable(results));
  if (results.size() == 1)
    return writeJson(evalJson(results.front()));
  auto list = nlohmann::ordered_json::array();
  for (const EvalResult &result : results)
    list.push_back(evalJson(result));
  return writeJson(list);
}

Status evaluate(const EvalOptions &options) {
  const EvalRun run{options.threads, options.device, &watchInterrupts()};
  std::optional<ReplacingFile> picture;
  if (!options.plot.empty())
    picture.emplace(LAPIDARY_TRY(ReplacingFile::create(options.plot)));
  const EvalInput input = LAPIDARY_TRY(readInput(options));

  std::vector<EvalResult> results;
  for (const EvalModel &model : input.models) {
    EvalResult result;
    result.file = model.bundle->path();
    result.bytes = model.bundle->fileBytes();
    result.bitsPerWeight = bitsPerWeight(model.bundle->program());
    results.push_back(std::move(result));
  }
  const EvalModel *reference = input.reference ? &*input.reference : nullptr;
  if (!input.windows.empty())
    LAPIDARY_TRY(
        evaluateText(input.models, input.windows, reference, run, results));
  if (!input.tasks.empty())
    for (size_t i = 0; i < results.size(); ++i)
      LAPIDARY_TRY(
          evaluateTasks(input.models[i], input.tasks, run, results[i]));

  // What took long is out before anything else can fail.
  LAPIDARY_TRY(printResults(results, options.json));
  if (!picture)
    return {};
  const ScatterPlot plot = evalPlot(results, reference != nullptr);
  if (plot.points.empty())
    return invalidData("no bundle has a finite perplexity, so there is "
                       "nothing to draw in '" +
                       options.plot + "'");
  return picture->commit(renderSvg(plot));
}

} // namespace

std::optional<double> bitsPerWeight(const schema::Program &program) {
  double bytes = 0, values = 0;
  std::set<uint32_t> counted;
  for (const auto *weight : *program.weights()) {
    // Tables of angles are no weights: the compiler made them.
    if (weight->shape()->size() != 2 ||
        weight->name()->string_view().starts_with("rope."))
      continue;
    // A tied matrix is stored once.
    if (!counted.insert(weight->segment()).second)
      continue;
    bytes +=
        static_cast<double>(program.segments()->Get(weight->segment())->size());
    values += static_cast<double>(weight->shape()->Get(0)) *
              static_cast<double>(weight->shape()->Get(1));
  }
  constexpr double bitsPerByte = 8;
  if (values == 0)
    return std::nullopt;
  return bitsPerByte * bytes / values;
}

void addEvalCommand(CLI::App &app, Action &action) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App *command = app.add_subcommand(
      "eval", "Measure how good bundles are: perplexity, divergence, tasks");
  command->footer(
      "Perplexity is over windows of --context tokens, each beginning with "
      "<bos>; the first half of a\nwindow is context, the second half is "
      "scored, and +- is one standard error. The divergence is\nKL(reference "
      "|| bundle) in nats over the same tokens: its mean, its 99.9th "
      "percentile, and how\noften both have the same likeliest token. A task "
      "is right when the greedy answer is exactly its\nown. Exit codes: 0, 1 "
      "(failed), 2 (usage), 130 (^C).\nExamples:\n"
      "  lapidary eval model.lap --text wiki.txt\n"
      "  lapidary eval q4.lap q8.lap --against bf16.lap --text wiki.txt --plot "
      "quality.svg\n"
      "  lapidary eval model.lap --tasks test/models/eval --json");
  command
      ->add_option("BUNDLE", options->bundles,
                   "Bundles that lapidary compile wrote, one or more")
      ->required();
  CLI::Option *text = command
                          ->add_option("--text", options->text,
                                       "A text file to measure perplexity over")
                          ->type_name("FILE");
  command
      ->add_option("--against", options->against,
                   "The bundle to measure the divergence from, with the same "
                   "vocabulary: the unquantized one")
      ->type_name("REFERENCE")
      ->needs(text);
  command
      ->add_option("--tasks", options->tasks,
                   "A folder with tasks.jsonl, a task a line: kind, messages, "
                   "options, media, answer; and with media/, the files that "
                   "the tasks name")
      ->type_name("FOLDER");
  command->add_option("--context", options->context, "Tokens of a window")
      ->type_name("N")
      ->check(CLI::Range(int64_t(2), int64_t(1) << 40))
      ->capture_default_str()
      ->needs(text);
  command
      ->add_option("--plot", options->plot,
                   "Draw quality against file size into an SVG file: the mean "
                   "divergence with --against, else perplexity")
      ->type_name("FILE.svg")
      ->needs(text);
  addThreadsOption(*command, options->threads);
  addDeviceOptions(*command, options->device);
  command->add_flag("--json", options->json,
                    "Print a JSON object with every measure, or a list of "
                    "them for several bundles");
  command->final_callback([options, &action] {
    action = [options] {
      if (options->text.empty() && options->tasks.empty())
        return failUsage("eval needs something to measure with: --text FILE, "
                         "--tasks FOLDER, or both\nTry: lapidary eval --help");
      const Status status = evaluate(*options);
      return status.ok() ? static_cast<int>(Success) : fail(status);
    };
  });
}

} // namespace lapidary::cli
