// `lapidary inspect`: what is in a bundle and what memory it takes, before
// anything is loaded.
#include "runtime/core/Limits.h"
#include "runtime/model/Session.h"
#include "tools/lapidary/BundleSummary.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/Terminal.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <set>

namespace lapidary::cli {

namespace {

using Json = nlohmann::ordered_json;

struct InspectOptions {
  std::string bundle;
  int64_t context = 0;
  int32_t threads = 0;
  DeviceChoice device;
  int32_t parallel = 1;
  bool tensors = false;
  bool json = false;
};

constexpr size_t largestTensors = 12;

__attribute__((format(printf, 2, 3))) void append(std::string &text,
                                                  const char *format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, arguments);
  va_end(arguments);
  std::string line(static_cast<size_t>(std::max(length, 0)) + 1, '\0');
  std::vsnprintf(line.data(), line.size(), format, again);
  va_end(again);
  line.pop_back();
  text += line;
}

/// "1 kernel", "2 kernels".
std::string count(uint64_t number, const char *what) {
  return std::to_string(number) + " " + what +
         (number == 1                          ? ""
          : what[std::strlen(what) - 1] == 'h' ? "es"
                                               : "s");
}

std::string shapeText(const std::vector<int64_t> &shape) {
  std::string text;
  for (int64_t extent : shape)
    text += (text.empty() ? "" : "x") + std::to_string(extent);
  return text.empty() ? "scalar" : text;
}

std::vector<std::string> modalities(const schema::Model &model) {
  std::vector<std::string> names{"text"};
  if (model.vision()) {
    names.push_back("image");
    names.push_back("video");
  }
  if (model.audio())
    names.push_back("audio");
  return names;
}

Json modelJson(const schema::Model &model) {
  Json json = {{"name", model.name()->str()},
               {"architecture", model.architecture()->str()},
               {"vocabulary", model.vocabulary()},
               {"hidden", model.hidden()},
               {"layers", model.layers()},
               {"context", model.context()},
               {"modalities", modalities(model)}};
  if (const auto *sampling = model.sampling()) {
    json["sampling"] = {{"enabled", sampling->enabled()},
                        {"temperature", sampling->temperature()},
                        {"top_k", sampling->top_k()},
                        {"top_p", sampling->top_p()}};
  }
  return json;
}

Json targetJson(const TargetSummary &target) {
  Json variants = Json::array(), entries = Json::array(),
       kernels = Json::array();
  for (const VariantSummary &variant : target.variants) {
    variants.push_back({{"name", variant.name},
                        {"features", variant.features},
                        {"code_bytes", variant.codeBytes},
                        {"runs_here", variant.runsHere}});
  }
  for (const EntrySummary &entry : target.entries) {
    entries.push_back({{"name", entry.name},
                       {"max_tokens", entry.maxTokens},
                       {"dispatches", entry.dispatches},
                       {"kernels", entry.kernels},
                       {"arena_bytes", entry.arenaBytes}});
  }
  for (const KernelSummary &kernel : target.kernels)
    kernels.push_back({{"symbol", kernel.symbol}, {"dispatches", kernel.uses}});
  return {{"device", target.device},
          {"architecture", target.architecture},
          {"variants", variants},
          {"entry_points", entries},
          {"kernels", kernels}};
}

Json planJson(const MemoryPlan &plan) {
  Json caches = Json::array();
  for (const MemoryPlan::Cache &cache : plan.cacheLines) {
    caches.push_back({{"name", cache.name},
                      {"kind", cache.ring ? "ring" : "growing"},
                      {"format", cache.format},
                      {"rows", cache.rows},
                      {"bytes", cache.bytes}});
  }
  return {{"context", plan.context},
          {"chunk", plan.chunk},
          {"threads", plan.threads},
          {"sequences", plan.sequences},
          {"weights_bytes", plan.weights},
          {"caches_bytes", plan.caches},
          {"arenas_bytes", plan.arenas},
          {"scratch_bytes", plan.scratch},
          {"logits_bytes", plan.logits},
          {"media_bytes", plan.media},
          {"snapshot_bytes", plan.snapshot},
          {"total_bytes", plan.total},
          {"available_bytes", plan.available},
          {"device_bytes", plan.onDevice},
          {"device_available_bytes", plan.deviceAvailable},
          {"fits", plan.fits()},
          {"caches", caches}};
}

Status printJson(const InspectOptions &options, const Bundle &bundle,
                 const BundleSummary &summary, const Result<MemoryPlan> &plan) {
  Json targets = Json::array(), schemes = Json::array(),
       tensors = Json::array();
  for (const TargetSummary &target : summary.targets)
    targets.push_back(targetJson(target));
  for (const SchemeSummary &scheme : summary.schemes) {
    schemes.push_back({{"scheme", scheme.scheme},
                       {"tensors", scheme.tensors},
                       {"values", scheme.values},
                       {"bytes", scheme.bytes}});
  }
  for (const TensorSummary &tensor : summary.tensors) {
    if (!options.tensors && tensors.size() == largestTensors)
      break;
    tensors.push_back({{"name", tensor.name},
                       {"scheme", tensor.scheme},
                       {"layout", tensor.layout},
                       {"shape", tensor.shape},
                       {"bytes", tensor.bytes}});
  }
  Json json = {{"file", bundle.path()},
               {"file_bytes", bundle.fileBytes()},
               {"producer", bundle.program().producer()->str()},
               {"model", modelJson(*bundle.program().model())},
               {"targets", targets},
               {"memory", plan.ok() ? planJson(*plan) : Json(nullptr)}};
  if (!plan.ok())
    json["memory_error"] = plan.status().message();
  json["schemes"] = schemes;
  json["tensors"] = tensors;
  json["tensor_count"] = summary.tensors.size();
  json["weight_bytes"] = summary.weightBytes;
  json["tokenizer_bytes"] = summary.tokenizerBytes;
  json["self_tests"] = bundle.program().self_tests()->size();
  return writeJson(json);
}

void describeModel(std::string &text, const Bundle &bundle,
                   const BundleSummary &summary) {
  const schema::Model &model = *bundle.program().model();
  std::string inputs;
  for (const std::string &name : modalities(model))
    inputs += (inputs.empty() ? "" : ", ") + name;
  append(text, "%s\n  %s, made by %s\n", bundle.path().c_str(),
         formatBytes(bundle.fileBytes()).c_str(),
         bundle.program().producer()->c_str());
  append(text, "\nmodel %s (%s)\n", model.name()->c_str(),
         model.architecture()->c_str());
  append(text,
         "  takes %s\n  %d layers, width %d, vocabulary %d, context %lld\n",
         inputs.c_str(), model.layers(), model.hidden(), model.vocabulary(),
         static_cast<long long>(model.context()));
  append(text, "  %u self-tests, tokenizer %s\n",
         bundle.program().self_tests()->size(),
         formatBytes(summary.tokenizerBytes).c_str());
}

void describeTarget(std::string &text, const TargetSummary &target) {
  append(text, "\ntarget %s %s\n", target.device.c_str(),
         target.architecture.c_str());
  for (const VariantSummary &variant : target.variants) {
    std::string features;
    for (const std::string &feature : variant.features)
      features += " " + feature;
    append(text, "  variant %-12s %10s of code, needs%s%s\n",
           variant.name.c_str(), formatBytes(variant.codeBytes).c_str(),
           features.c_str(), variant.runsHere ? "" : " (not on this machine)");
  }
  for (const EntrySummary &entry : target.entries) {
    append(text, "  entry point %-12s %s of %s, up to %s a step, arena %s\n",
           entry.name.c_str(), count(entry.dispatches, "dispatch").c_str(),
           count(entry.kernels, "kernel").c_str(),
           count(static_cast<uint64_t>(entry.maxTokens), "token").c_str(),
           formatBytes(entry.arenaBytes).c_str());
  }
  for (const KernelSummary &kernel : target.kernels)
    append(text, "  kernel %-64s %s\n", kernel.symbol.c_str(),
           count(kernel.uses, "use").c_str());
}

void describePlan(std::string &text, const Result<MemoryPlan> &result) {
  if (!result.ok()) {
    append(text, "\nmemory: %s\n", result.status().message().c_str());
    return;
  }
  const MemoryPlan &plan = *result;
  uint64_t ring = 0, growing = 0;
  std::set<std::string> formats;
  for (const MemoryPlan::Cache &cache : plan.cacheLines) {
    (cache.ring ? ring : growing) +=
        cache.bytes * static_cast<uint64_t>(plan.sequences);
    formats.insert(cache.format);
  }
  std::string format;
  for (const std::string &name : formats)
    format += (format.empty() ? "" : ", ") + name;
  append(text,
         "\nmemory at context %lld (steps of %lld tokens, %d threads, %s)\n",
         static_cast<long long>(plan.context),
         static_cast<long long>(plan.chunk), plan.threads,
         count(static_cast<size_t>(plan.sequences), "sequence").c_str());
  const std::pair<std::string, uint64_t> lines[] = {
      {"weights, mapped from the file", plan.weights},
      {"caches of sliding layers, " + format, ring},
      {"caches of full layers, " + format, growing},
      {"activations", plan.arenas},
      {"scratch of the threads", plan.scratch},
      {"logits, inputs and outputs", plan.logits},
      {"total", plan.total},
      {"of it for images and sounds", plan.media},
      {"this machine has left", plan.available},
  };
  for (const auto &[name, bytes] : lines)
    append(text, "  %-32s %12s\n", name.c_str(),
           bytes == UINT64_MAX ? "unknown" : formatBytes(bytes).c_str());
  if (plan.onDevice != 0) {
    append(text, "  %-32s %12s\n", "of it on the device",
           formatBytes(plan.onDevice).c_str());
    append(text, "  %-32s %12s\n", "the device has left",
           plan.deviceAvailable == UINT64_MAX
               ? "unknown"
               : formatBytes(plan.deviceAvailable).c_str());
  }
  append(text, "  %-32s %12s\n", "each snapshot, where wanted",
         formatBytes(plan.snapshot).c_str());
  append(text, "  %s\n",
         plan.fits() ? "it fits"
                     : "it does NOT fit: choose a smaller --context");
}

void describeWeights(std::string &text, const InspectOptions &options,
                     const BundleSummary &summary) {
  append(text, "\nweights\n");
  for (const SchemeSummary &scheme : summary.schemes) {
    append(text, "  %-8s %5llu tensors %14llu values %12s\n",
           scheme.scheme.c_str(),
           static_cast<unsigned long long>(scheme.tensors),
           static_cast<unsigned long long>(scheme.values),
           formatBytes(scheme.bytes).c_str());
  }
  const size_t shown = options.tensors
                           ? summary.tensors.size()
                           : std::min(largestTensors, summary.tensors.size());
  append(text,
         shown < summary.tensors.size()
             ? "\nlargest tensors (--tensors shows all %zu)\n"
             : "\n%zu tensors\n",
         summary.tensors.size());
  for (size_t i = 0; i < shown; ++i) {
    const TensorSummary &tensor = summary.tensors[i];
    append(text, "  %12s  %-6s %-7s %-16s %s\n",
           formatBytes(tensor.bytes).c_str(), tensor.scheme.c_str(),
           tensor.layout.c_str(), shapeText(tensor.shape).c_str(),
           tensor.name.c_str());
  }
}

Status inspect(const InspectOptions &options) {
  const auto bundle = LAPIDARY_TRY(Bundle::open(options.bundle));
  const BundleSummary summary = summarize(*bundle);
  SessionOptions session;
  session.context = options.context;
  session.threads = options.threads;
  options.device.apply(session);
  session.sequences = options.parallel;
  // A bundle for another kind of machine is still worth looking at.
  const Result<MemoryPlan> plan = planMemory(bundle->program(), session);
  if (!plan.ok() && plan.status().getCode() == StatusCode::InvalidArgument)
    return plan.status();
  if (options.json)
    return printJson(options, *bundle, summary, plan);
  std::string text;
  describeModel(text, *bundle, summary);
  for (const TargetSummary &target : summary.targets)
    describeTarget(text, target);
  describePlan(text, plan);
  describeWeights(text, options, summary);
  return writeOutput(text);
}

} // namespace

void addInspectCommand(CLI::App &app, Action &action) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App *command = app.add_subcommand(
      "inspect", "Show what is in a bundle and what memory it takes");
  command->footer("Nothing is loaded: the memory sheet is what a run with that "
                  "context would take.\n"
                  "Example:\n  lapidary inspect model.lap --context 32768");
  addBundleArgument(*command, options->bundle);
  addContextOption(
      *command, options->context,
      "Positions to plan memory for; the model's longest unless given");
  command
      ->add_option("--parallel", options->parallel,
                   "Requests at once to plan memory for, as lapidary batch has "
                   "them; 1 unless given")
      ->type_name("N")
      ->check(CLI::Range(1, maxSequences));
  addThreadsOption(*command, options->threads);
  addDeviceOptions(*command, options->device, /*tested=*/false);
  command->add_flag("--tensors", options->tensors, "List every tensor");
  command->add_flag("--json", options->json, "Print a JSON object");
  command->final_callback([options, &action] {
    action = [options] {
      const Status status = inspect(*options);
      return status.ok() ? static_cast<int>(Success) : fail(status);
    };
  });
}

} // namespace lapidary::cli
