// The marks of tests that were passed lie beside the pipelines.
#include "runtime/model/FirstRun.h"

#include "runtime/core/ReplacingFile.h"
#include "runtime/core/Text.h"
#include "runtime/devices/CompareDevices.h"
#include "runtime/devices/cpu/CpuDevice.h"
#include "runtime/devices/vulkan/VulkanDevice.h"
#include "runtime/model/SelfTest.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace lapidary {
namespace {

bool skips(const SessionOptions &options) {
  const char *value = std::getenv("LAPIDARY_SKIP_SELFTEST");
  return options.skipSelfTest ||
         (value && *value && std::strcmp(value, "0") != 0);
}

Result<VulkanIdentity> identify(const Bundle &bundle,
                                const SessionOptions &options) {
  const schema::Target *target =
      LAPIDARY_TRY(findTarget(bundle.program(), options.device));
  return identifyVulkan(bundle, *target, options.device);
}

/// A part of the layers is another test than all of them.
std::string markPath(const VulkanIdentity &identity,
                     const SessionOptions &options) {
  return concat(identity.stem,
                options.gpuLayers < 0
                    ? std::string()
                    : concat("-", options.gpuLayers, "layers"),
                ".tested");
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", value);
  return text;
}

std::string listVariants(const schema::Target &target) {
  std::string list;
  for (const schema::Variant *variant : *target.variants())
    list += concat(list.empty() ? "" : ", ", variant->name()->string_view());
  return list;
}

} // namespace

Status checkFirstRun(const std::shared_ptr<const Bundle> &bundle,
                     const SessionOptions &options) {
  if (!isVulkanName(options.device) || skips(options) ||
      bundle->program().self_tests()->size() == 0)
    return {};
  const VulkanIdentity identity = LAPIDARY_TRY(identify(*bundle, options));
  std::error_code ignored;
  if (!identity.stem.empty() &&
      std::filesystem::exists(markPath(identity, options), ignored))
    return {};
  SessionOptions own;
  own.device = options.device;
  own.gpuLayers = options.gpuLayers;
  own.threads = options.threads;
  own.progress = options.progress;
  own.skipSelfTest = true;
  const std::vector<SelfTestResult> results =
      LAPIDARY_TRY(runSelfTests(bundle, own));
  for (const SelfTestResult &result : results) {
    if (result.pass)
      continue;
    std::string culprit;
    if (Result<std::string> found = findWrongKernel(bundle, own); found.ok())
      culprit = *std::move(found);
    const schema::Target *target =
        LAPIDARY_TRY(findTarget(bundle->program(), options.device));
    const bool logits = !(result.logitsError <= result.logitsBound);
    return unsupported(concat(
        "the bundle's self-test \"", result.name, "\" fails with ",
        identity.description, ": ", logits ? "logits" : "embeddings",
        " are off by ",
        number(logits ? result.logitsError : result.embeddingsError),
        ", expected at most ",
        number(logits ? result.logitsBound : result.embeddingsBound), ". ",
        culprit, culprit.empty() ? "" : ". ",
        "Try another variant (LAPIDARY_VULKAN=NAME; the bundle has ",
        listVariants(*target),
        "), another version of the driver, or --device cpu; --skip-selftest "
        "runs it all the same"));
  }
  rememberSelfTest(*bundle, options);
  return {};
}

void rememberSelfTest(const Bundle &bundle, const SessionOptions &options) {
  if (!isVulkanName(options.device))
    return;
  Result<VulkanIdentity> identity = identify(bundle, options);
  if (!identity.ok() || identity->stem.empty())
    return;
  // Without it the next start tests again, and that is all.
  Result<ReplacingFile> file =
      ReplacingFile::create(markPath(*identity, options));
  if (file.ok())
    (void)file->commit(identity->description + "\n");
}

Result<std::string> findWrongKernel(const std::shared_ptr<const Bundle> &bundle,
                                    const SessionOptions &options) {
  if (!isVulkanName(options.device))
    return std::string();
  const schema::Program &program = bundle->program();
  const schema::Target *tested =
      LAPIDARY_TRY(findTarget(program, options.device));
  Result<const schema::Target *> reference = findTarget(program, "cpu");
  if (!reference.ok() || !checkSameProgram(**reference, *tested).ok())
    return std::string();
  std::vector<int32_t> tokens;
  for (const schema::SelfTest *test : *program.self_tests())
    if (tokens.empty() && !test->patches() && !test->frames())
      tokens.assign(test->tokens()->begin(), test->tokens()->end());
  if (tokens.empty())
    tokens = {0};
  constexpr int64_t most = 32;
  tokens.resize(std::min<size_t>(tokens.size(), most));
  DeviceOptions device{
      .context = 2 * most, .chunk = most, .threads = options.threads};
  std::unique_ptr<DispatchRunner> cpu =
      LAPIDARY_TRY(CpuDevice::create(bundle, **reference, device));
  std::unique_ptr<DispatchRunner> gpu = LAPIDARY_TRY(
      VulkanDevice::create(bundle, *tested, options.device, device));
  return compareDevices(program, *cpu, *gpu, device, tokens);
}

} // namespace lapidary
