// Indices are not checked again here: Bundle::open validated the program.
#include "tools/lapidary/BundleSummary.h"

#include "runtime/devices/cpu/CpuFeatures.h"
#include "runtime/devices/vulkan/VulkanLibrary.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

namespace lapidary::cli {

namespace {

void summarizeWeights(const Bundle &bundle, BundleSummary &summary) {
  const schema::Program &program = bundle.program();
  std::map<std::string, SchemeSummary> schemes;
  std::set<uint32_t> counted;
  for (const auto *weight : *program.weights()) {
    TensorSummary tensor;
    tensor.name = weight->name()->str();
    tensor.scheme = weight->scheme()->str();
    tensor.layout = weight->layout()->str();
    tensor.shape.assign(weight->shape()->begin(), weight->shape()->end());
    tensor.bytes = program.segments()->Get(weight->segment())->size();
    SchemeSummary &scheme = schemes[tensor.scheme];
    scheme.scheme = tensor.scheme;
    scheme.tensors += 1;
    uint64_t values = 1;
    for (int64_t extent : tensor.shape)
      values *= static_cast<uint64_t>(extent);
    scheme.values += values;
    // Weights may share a segment; its bytes are in the file once.
    if (counted.insert(weight->segment()).second) {
      scheme.bytes += tensor.bytes;
      summary.weightBytes += tensor.bytes;
    }
    summary.tensors.push_back(std::move(tensor));
  }
  for (auto &[name, scheme] : schemes)
    summary.schemes.push_back(std::move(scheme));
  std::ranges::sort(summary.schemes, [](const auto &left, const auto &right) {
    return std::tie(right.bytes, left.scheme) <
           std::tie(left.bytes, right.scheme);
  });
  std::ranges::sort(summary.tensors, [](const auto &left, const auto &right) {
    return std::tie(right.bytes, left.name) < std::tie(left.bytes, right.name);
  });
}

TargetSummary summarizeTarget(const schema::Program &program,
                              const schema::Target &target) {
  TargetSummary summary;
  summary.device = target.device()->str();
  summary.architecture = target.architecture()->str();
  const CpuFeatures &cpu = cpuFeatures();
  std::optional<VulkanPhysicalDevice> gpu;
  if (summary.device == "vulkan")
    if (auto instance = VulkanInstance::create(); instance.ok())
      if (auto device = (*instance)->find("vulkan"); device.ok())
        gpu = *std::move(device);
  for (const auto *variant : *target.variants()) {
    VariantSummary line;
    line.name = variant->name()->str();
    // Variants of a GPU share a segment, and modules in it.
    line.codeBytes = program.segments()->Get(variant->segment())->size();
    if (variant->modules()) {
      line.codeBytes = 0;
      for (const schema::Module *module : *variant->modules())
        line.codeBytes += module->size();
    }
    line.runsHere = gpu || (summary.device == "cpu" &&
                            summary.architecture == cpu.architecture);
    for (const auto *feature : *variant->features()) {
      line.features.push_back(feature->str());
      line.runsHere = line.runsHere && (gpu ? gpu->has(feature->string_view())
                                            : cpu.has(feature->string_view()));
    }
    summary.variants.push_back(std::move(line));
  }
  for (const auto *kernel : *target.kernels())
    summary.kernels.push_back({kernel->symbol()->str(), 0});
  for (const auto *entry : *target.entries()) {
    std::set<uint32_t> used;
    for (const auto *dispatch : *entry->dispatches()) {
      used.insert(dispatch->kernel());
      summary.kernels[dispatch->kernel()].uses += 1;
    }
    summary.entries.push_back({entry->name()->str(), entry->max_tokens(),
                               entry->dispatches()->size(), used.size(),
                               entry->arena_bytes()});
  }
  return summary;
}

} // namespace

BundleSummary summarize(const Bundle &bundle) {
  BundleSummary summary;
  const schema::Program &program = bundle.program();
  summarizeWeights(bundle, summary);
  for (const auto *target : *program.targets())
    summary.targets.push_back(summarizeTarget(program, *target));
  summary.tokenizerBytes = program.segments()->Get(program.tokenizer())->size();
  return summary;
}

} // namespace lapidary::cli
