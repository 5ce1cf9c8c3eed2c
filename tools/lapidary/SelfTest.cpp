// `lapidary selftest`: whether this machine computes what the compiler says the
// model gives.
#include "runtime/model/SelfTest.h"
#include "runtime/model/FirstRun.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/Terminal.h"

#include <algorithm>
#include <cstdio>

namespace lapidary::cli {

namespace {

struct SelfTestOptions {
  std::string bundle;
  DeviceChoice device;
  int32_t threads = 0;
  bool json = false;
};

Status report(const SelfTestOptions &options,
              const std::vector<SelfTestResult> &results) {
  if (options.json) {
    auto list = nlohmann::ordered_json::array();
    for (const SelfTestResult &result : results) {
      nlohmann::ordered_json line = {{"name", result.name},
                                     {"logits_error", result.logitsError},
                                     {"logits_bound", result.logitsBound}};
      if (result.hasMedia) {
        line["embeddings_error"] = result.embeddingsError;
        line["embeddings_bound"] = result.embeddingsBound;
      }
      line["pass"] = result.pass;
      list.push_back(line);
    }
    return writeJson({{"device", options.device.device}, {"tests", list}});
  }
  std::string text;
  char line[256];
  std::snprintf(line, sizeof(line), "%-10s %13s %11s %17s %11s\n", "test",
                "logits error", "bound", "embeddings error", "bound");
  text += line;
  for (const SelfTestResult &result : results) {
    char media[64] = "                -           -";
    if (result.hasMedia)
      std::snprintf(media, sizeof(media), "%17.3e %11.3e",
                    result.embeddingsError, result.embeddingsBound);
    std::snprintf(line, sizeof(line), "%-10.64s %13.3e %11.3e %29s  %s\n",
                  result.name.c_str(), result.logitsError, result.logitsBound,
                  media, result.pass ? "ok" : "FAILED");
    text += line;
  }
  return writeOutput(text);
}

Result<int> selfTest(const SelfTestOptions &options) {
  auto bundle = LAPIDARY_TRY(Bundle::open(options.bundle));
  watchInterrupts();
  LAPIDARY_TRY(verifyWeights(*bundle));
  SessionOptions session;
  options.device.apply(session);
  session.skipSelfTest = true; // this is it
  session.threads = options.threads;
  const auto results = LAPIDARY_TRY(runSelfTests(bundle, session));
  if (results.empty()) {
    return unsupported("'" + options.bundle +
                       "' holds no self-tests, so nothing can be said about "
                       "this machine; compile the checkpoint again");
  }
  const Status written = report(options, results);
  if (!written.ok())
    return written;
  const auto failures =
      std::count_if(results.begin(), results.end(),
                    [](const SelfTestResult &result) { return !result.pass; });
  if (failures == 0)
    rememberSelfTest(*bundle, session);
  else if (Result<std::string> culprit = findWrongKernel(bundle, session);
           culprit.ok() && !culprit->empty())
    std::fprintf(stderr, "lapidary: %s\n", culprit->c_str());
  if (failures == 0)
    return static_cast<int>(Success);
  std::fprintf(stderr,
               "lapidary: %td of %zu self-tests are off by more than their "
               "bound: do not trust this bundle on device %s\n",
               failures, results.size(), options.device.device.c_str());
  return static_cast<int>(Failed);
}

} // namespace

void addSelfTestCommand(CLI::App &app, Action &action) {
  auto options = std::make_shared<SelfTestOptions>();
  CLI::App *command = app.add_subcommand(
      "selftest", "Check that this machine computes what the model says");
  command->footer("The bundle holds short inputs and the outputs that the "
                  "bundle's weights give for them.\nThey are run here and "
                  "compared; the exit code is 1 when one is off by more than "
                  "its bound.\nExample:\n  lapidary selftest model.lap");
  addBundleArgument(*command, options->bundle);
  addDeviceOptions(*command, options->device, /*tested=*/false);
  addThreadsOption(*command, options->threads);
  command->add_flag("--json", options->json, "Print a JSON object");
  command->final_callback([options, &action] {
    action = [options] {
      const Result<int> result = selfTest(*options);
      return result.ok() ? *result : fail(result.status());
    };
  });
}

} // namespace lapidary::cli
