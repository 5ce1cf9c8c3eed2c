// `lapidary bench`: how fast a bundle is on this machine. Each number is the
// median over the repeats; nothing is sampled from text, so that the work does
// not depend on what the model says.
#include "runtime/devices/cpu/CpuFeatures.h"
#include "runtime/model/Sampler.h"
#include "runtime/model/Session.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/Terminal.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <set>

namespace lapidary::cli {

namespace {

struct BenchOptions {
  std::string bundle;
  int64_t prompt = 512;
  int64_t generate = 128;
  int32_t threads = 0;
  int32_t repeat = 3;
  bool json = false;
};

struct BenchResult {
  double prefill = 0;
  double decode = 0;
  double firstToken = 0;
  double load = 0;
  double verify = 0;
  uint64_t peak = 0;
  int32_t threads = 0;
  std::string device;
  uint64_t weightBytes = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle]
                                : (values[middle - 1] + values[middle]) / 2;
}

/// Bytes of weights that one decode step reads. Of a table that only an
/// embedding lookup uses it reads a single row, which is left out.
uint64_t decodeWeightBytes(const schema::Program &program,
                           const schema::Target &target) {
  std::set<uint32_t> segments;
  for (const auto *entry : *target.entries()) {
    if (std::strcmp(entry->name()->c_str(), "decode") != 0)
      continue;
    for (const auto *dispatch : *entry->dispatches()) {
      const auto *kernel = target.kernels()->Get(dispatch->kernel());
      if (std::strncmp(kernel->symbol()->c_str(), "embed", 5) == 0)
        continue;
      for (const auto *operand : *dispatch->operands()) {
        if (operand->kind() == schema::BufferKind::Weight)
          segments.insert(program.weights()->Get(operand->index())->segment());
      }
    }
  }
  uint64_t bytes = 0;
  for (uint32_t segment : segments)
    bytes += program.segments()->Get(segment)->size();
  return bytes;
}

/// A prompt of plain tokens: soft tokens of media would need media, and other
/// special ones are rare in text.
std::vector<int32_t> makePrompt(const schema::Model &model, int64_t count) {
  std::set<int32_t> avoid{model.image_token(), model.video_token(),
                          model.audio_token(), model.pad_token()};
  for (int32_t token : *model.suppress_tokens())
    avoid.insert(token);
  for (int32_t token : *model.stop_tokens())
    avoid.insert(token);
  std::vector<int32_t> tokens{model.bos_token()};
  if (static_cast<size_t>(model.vocabulary()) <= avoid.size())
    tokens.resize(static_cast<size_t>(count), model.bos_token());
  // A linear congruential sequence (Numerical Recipes) spreads over the
  // vocabulary, so that embedding rows are read as a text reads them.
  uint32_t state = 1;
  while (static_cast<int64_t>(tokens.size()) < count) {
    state = state * 1664525u + 1013904223u;
    const auto token = static_cast<int32_t>(
        (uint64_t(state) * static_cast<uint64_t>(model.vocabulary())) >> 32);
    if (!avoid.contains(token))
      tokens.push_back(token);
  }
  return tokens;
}

Result<BenchResult> bench(const BenchOptions &options) {
  const std::atomic<bool> &cancel = watchInterrupts();
  BenchResult result;
  SessionOptions sessionOptions;
  sessionOptions.threads = options.threads;
  sessionOptions.context = options.prompt + options.generate;

  // Loading is what comes before the first step: map, check, bind. The last
  // load is the one that is used.
  std::shared_ptr<const Bundle> bundle;
  std::unique_ptr<Session> session;
  std::vector<double> loads;
  for (int32_t i = 0; i < options.repeat; ++i) {
    session.reset();
    bundle.reset();
    const double start = now();
    bundle = LAPIDARY_TRY(Bundle::open(options.bundle));
    session = LAPIDARY_TRY(Session::create(bundle, sessionOptions));
    loads.push_back(now() - start);
  }
  result.load = median(loads);
  session->setCancelFlag(&cancel);

  const double verifyStart = now();
  LAPIDARY_TRY(verifyWeights(*bundle));
  result.verify = now() - verifyStart;

  const schema::Model &model = *bundle->program().model();
  const std::vector<int32_t> prompt = makePrompt(model, options.prompt);
  Sampler sampler = LAPIDARY_TRY(Sampler::create(
      {}, model.vocabulary(),
      {model.suppress_tokens()->data(), model.suppress_tokens()->size()}));
  std::vector<double> prefills, decodes, firsts;
  Progress progress("Measuring");
  for (int32_t i = 0; i < options.repeat; ++i) {
    progress.update(static_cast<uint64_t>(i),
                    static_cast<uint64_t>(options.repeat));
    session->reset();
    const double start = now();
    Status status = session->prefill({prompt, {}});
    if (!status.ok())
      return status;
    const double filled = now();
    int32_t token = LAPIDARY_TRY(sampler.sample(session->logits()));
    const double first = now();
    for (int64_t step = 0; step < options.generate; ++step) {
      status = session->decode(token);
      if (!status.ok())
        return status;
      token = LAPIDARY_TRY(sampler.sample(session->logits()));
    }
    const double end = now();
    prefills.push_back(static_cast<double>(options.prompt) / (filled - start));
    firsts.push_back(first - start);
    decodes.push_back(static_cast<double>(options.generate) / (end - first));
  }
  result.prefill = median(prefills);
  result.firstToken = median(firsts);
  result.decode = median(decodes);
  result.peak = peakMemory();
  result.threads = session->memoryPlan().threads;
  result.device = session->device().description();
  result.weightBytes =
      decodeWeightBytes(bundle->program(), session->device().target());
  return result;
}

Status print(const BenchOptions &options, const BenchResult &result) {
  const CpuFeatures &cpu = cpuFeatures();
  const double bandwidth =
      static_cast<double>(result.weightBytes) * result.decode;
  if (options.json) {
    return writeJson({{"prefill_tokens_per_second", result.prefill},
                      {"decode_tokens_per_second", result.decode},
                      {"time_to_first_token_s", result.firstToken},
                      {"load_s", result.load},
                      {"verify_s", result.verify},
                      {"peak_memory_bytes", result.peak},
                      {"threads", result.threads},
                      {"cpu", {{"name", cpu.brand}, {"features", cpu.names}}},
                      {"device", result.device},
                      {"prompt_tokens", options.prompt},
                      {"generated_tokens", options.generate},
                      {"repeats", options.repeat},
                      {"weight_bytes_per_decoded_token", result.weightBytes},
                      {"weight_bytes_per_second", bandwidth}});
  }
  char text[1024];
  std::snprintf(text, sizeof(text),
                "device               %s\n"
                "prefill              %.1f tokens/s (%lld tokens)\n"
                "decode               %.1f tokens/s (%lld tokens)\n"
                "weights read         %s a decoded token, %.2f GB/s\n"
                "time to first token  %.4f s\n"
                "load                 %.4f s\n"
                "verify               %.4f s\n"
                "peak memory          %s\n"
                "threads              %d\n",
                result.device.c_str(), result.prefill,
                static_cast<long long>(options.prompt), result.decode,
                static_cast<long long>(options.generate),
                formatBytes(result.weightBytes).c_str(), bandwidth / 1e9,
                result.firstToken, result.load, result.verify,
                formatBytes(result.peak).c_str(), result.threads);
  return writeOutput(text);
}

} // namespace

void addBenchCommand(CLI::App &app, Action &action) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App *command = app.add_subcommand(
      "bench", "Measure how fast a bundle runs on this machine");
  command->footer(
      "Every number is the median over the repeats. Loading (map and check) "
      "and verifying (hash every "
      "weight,\nonce a process) are apart from the time to the first token.\n"
      "Example:\n  lapidary bench model.lap --prompt 512 --generate 128");
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
  command->add_option("--repeat", options->repeat, "Times to measure")
      ->type_name("N")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  addThreadsOption(*command, options->threads);
  command->add_flag("--json", options->json, "Print a JSON object");
  command->final_callback([options, &action] {
    action = [options] {
      const Result<BenchResult> result = bench(*options);
      if (!result.ok())
        return fail(result.status());
      const Status written = print(*options, *result);
      return written.ok() ? static_cast<int>(Success) : fail(written);
    };
  });
}

} // namespace lapidary::cli
