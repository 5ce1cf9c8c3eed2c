// `lapidary bench`: how fast a bundle is on this machine. Each number is the
// median over the repeats; BenchRun.cpp measures.
#include "runtime/core/ReplacingFile.h"
#include "runtime/devices/cpu/CpuFeatures.h"
#include "runtime/model/Session.h"
#include "tools/lapidary/BenchProfile.h"
#include "tools/lapidary/BenchRun.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/RunOptions.h"
#include "tools/lapidary/Terminal.h"

#include <cstdarg>
#include <cstdio>

namespace lapidary::cli {

namespace {

__attribute__((format(printf, 3, 4))) void
addLine(std::string &text, const char *name, const char *format, ...) {
  char value[256], line[320];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(value, sizeof(value), format, arguments);
  va_end(arguments);
  std::snprintf(line, sizeof(line), "%-20s %s\n", name, value);
  text += line;
}

nlohmann::ordered_json resultJson(const BenchOptions &options,
                                  const BenchResult &result) {
  const CpuFeatures &cpu = cpuFeatures();
  nlohmann::ordered_json json = {
      {"prefill_tokens_per_second", result.prefill},
      {"decode_tokens_per_second", result.decode},
      {"time_to_first_token_s", result.firstToken},
      {"load_s", result.load},
      {"verify_s", result.verify},
      {"peak_memory_bytes", result.peak},
      {"predicted_memory_bytes", result.planned},
      {"threads", result.threads},
      {"cpu", {{"name", cpu.brand}, {"features", cpu.names}}},
      {"device", result.device},
      {"prompt_tokens", options.prompt},
      {"generated_tokens", options.generate},
      {"repeats", options.repeat},
      {"weight_bytes_per_decoded_token", result.weightBytes},
      {"weight_bytes_per_second",
       static_cast<double>(result.weightBytes) * result.decode},
      {"read_bytes_per_second", result.bandwidth}};
  if (options.depth >= 0)
    json["depth"] = options.depth;
  if (result.draftSteps > 0)
    json["draft"] = {
        {"tokens_per_second", result.drafting},
        {"tokens_per_step", static_cast<double>(result.draftTokens) /
                                static_cast<double>(result.draftSteps)},
        {"drafted_tokens", result.drafted},
        {"accepted_tokens", result.accepted}};
  if (options.batch > 0) {
    json["batch_tokens"] = options.batch;
    json["batch_s"] = result.batch;
  }
  return json;
}

std::string resultText(const BenchOptions &options, const BenchResult &result) {
  const double bandwidth =
      static_cast<double>(result.weightBytes) * result.decode;
  std::string text, after;
  if (options.depth >= 0)
    after = " after " + std::to_string(options.depth);
  addLine(text, "device", "%s", result.device.c_str());
  addLine(text, "prefill", "%.1f tokens/s (%lld tokens%s)", result.prefill,
          static_cast<long long>(options.prompt), after.c_str());
  addLine(text, "decode", "%.1f tokens/s (%lld tokens%s)", result.decode,
          static_cast<long long>(options.generate), after.c_str());
  if (result.draftSteps > 0)
    addLine(text, "decode with drafts", "%.1f tokens/s%s", result.drafting,
            describeDrafts(result.draftSteps,
                           static_cast<uint64_t>(result.draftTokens),
                           result.drafted, result.accepted)
                .c_str());
  if (options.batch > 0)
    addLine(text, "tokens at once", "%lld in %.4f s, %.2f times one token",
            static_cast<long long>(options.batch), result.batch,
            result.batch * result.decode);
  addLine(text, "weights read", "%s a decoded token, %.2f GB/s",
          formatBytes(result.weightBytes).c_str(), bandwidth / 1e9);
  if (result.bandwidth > 0)
    addLine(text, "read bandwidth", "%.2f GB/s, of which weights take %.0f %%",
            result.bandwidth / 1e9, 100 * bandwidth / result.bandwidth);
  addLine(text, "time to first token", "%.4f s", result.firstToken);
  addLine(text, "load", "%.4f s", result.load);
  addLine(text, "verify", "%.4f s", result.verify);
  addLine(text, "peak memory", "%s (predicted: %s)",
          formatBytes(result.peak).c_str(),
          formatBytes(result.planned).c_str());
  addLine(text, "threads", "%d", result.threads);
  return text;
}

Status print(const BenchOptions &options, const BenchResult &result) {
  std::vector<KernelProfile> kernels;
  const schema::Target &target = result.session->device().target();
  if (result.profile)
    kernels = summarize(*result.profile, result.file->program(), target);
  if (options.json) {
    nlohmann::ordered_json json = resultJson(options, result);
    if (result.profile)
      json["profile"] = profileJson(kernels);
    return writeJson(json);
  }
  return writeOutput(resultText(options, result) + profileTable(kernels) +
                     (result.profile ? submissionTable(*result.profile, target)
                                     : std::string()));
}

Status bench(const BenchOptions &options) {
  std::optional<ReplacingFile> trace;
  if (!options.trace.empty())
    trace.emplace(LAPIDARY_TRY(ReplacingFile::create(options.trace)));
  const BenchResult result = LAPIDARY_TRY(runBench(options));
  if (trace)
    LAPIDARY_TRY(trace->commit(
        chromeTrace(*result.profile, result.session->device().target())));
  return print(options, result);
}

} // namespace

void addBenchCommand(CLI::App &app, Action &action) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App *command = app.add_subcommand(
      "bench", "Measure how fast a bundle runs on this machine");
  command->footer(
      "Every number is the median over the repeats. Loading (map and check) "
      "and verifying (hash every "
      "weight,\nonce a process) are apart from the time to the first token. "
      "The read bandwidth is what a plain loop\nover memory reaches between "
      "the decoded tokens; small weights above it lie in the processor's\n"
      "caches.\n"
      "Example:\n  lapidary bench model.lap --prompt 512 --generate 128 "
      "--profile");
  addBundleArgument(*command, options->bundle);
  const auto count = CLI::Range(int64_t(1), int64_t(1) << 24);
  command->add_option("--prompt", options->prompt, "Tokens of the prompt")
      ->type_name("N")
      ->check(count)
      ->capture_default_str();
  command
      ->add_option("--generate", options->generate, "Tokens to decode after it")
      ->type_name("N")
      ->check(count)
      ->capture_default_str();
  command
      ->add_option("--depth", options->depth,
                   "Tokens in the state before the prompt and, instead of "
                   "prompt and depth, before decoding; their keys and values "
                   "are zeros")
      ->type_name("N")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 24));
  command
      ->add_option("--batch", options->batch,
                   "Measure that many tokens at once, with the logits of "
                   "each, as the check of drafted tokens is")
      ->type_name("N")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 12));
  addDraftOption(*command, options->draft,
                 "Decode once more with N tokens guessed ahead in each step "
                 "(see lapidary run --help); not measured unless given");
  command->add_option("--repeat", options->repeat, "Times to measure")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  addThreadsOption(*command, options->threads);
  addDeviceOptions(*command, options->device);
  addLockOption(*command, options->lock);
  CLI::Option *profile =
      command
          ->add_option("--profile", options->trace,
                       "Tell the time of each kernel, of another run; the "
                       "events go to FILE (.json) for chrome://tracing")
          ->type_name("[FILE]")
          ->expected(0, 1)
          // So that a bundle after it is not taken for the file to write.
          ->check([](const std::string &file) {
            return file.empty() || file.ends_with(".json")
                       ? std::string()
                       : "'" + file + "' does not end in .json";
          });
  command->add_flag("--json", options->json, "Print a JSON object");
  command->final_callback([options, profile, &action] {
    options->profile = profile->count() > 0;
    action = [options] {
      const Status status = bench(*options);
      return status.ok() ? static_cast<int>(Success) : fail(status);
    };
  });
}

} // namespace lapidary::cli
