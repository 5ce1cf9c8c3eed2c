// Weights and caches are named after their layers, which says where each
// dispatch belongs.
#include "runtime/devices/SplitDevice.h"

#include "runtime/core/Text.h"
#include "runtime/devices/CompareDevices.h"
#include "runtime/devices/cpu/CpuDevice.h"
#include "runtime/devices/vulkan/VulkanDevice.h"

#include <algorithm>
#include <charconv>
#include <new>

namespace lapidary {
namespace {

/// The number after "layers." in a name; -1 without one.
int64_t layerOf(std::string_view name) {
  constexpr std::string_view mark = "layers.";
  const size_t place = name.find(mark);
  if (place == std::string_view::npos || (place != 0 && name[place - 1] != '.'))
    return -1;
  std::string_view digits = name.substr(place + mark.size());
  int64_t layer = -1;
  auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  return error == std::errc() && end != digits.data() ? layer : -1;
}

int64_t layerOf(const schema::Program &program,
                const schema::Dispatch &dispatch) {
  int64_t layer = -1;
  for (const schema::BufferRef *operand : *dispatch.operands()) {
    if (operand->kind() == schema::BufferKind::Weight)
      layer = std::max(
          layer,
          layerOf(
              program.weights()->Get(operand->index())->name()->string_view()));
    if (operand->kind() == schema::BufferKind::Cache)
      layer = std::max(
          layer,
          layerOf(
              program.caches()->Get(operand->index())->name()->string_view()));
  }
  return layer;
}

/// Entry points whose dispatches are layers of the text model.
bool hasLayers(std::string_view entry) {
  return entry == "prefill" || entry == "extend" || entry == "decode";
}

class SplitCaches final : public SequenceCaches {
public:
  SplitCaches(std::unique_ptr<SequenceCaches> cpu,
              std::unique_ptr<SequenceCaches> gpu,
              const std::vector<bool> &onGpu)
      : cpu(std::move(cpu)), gpu(std::move(gpu)), onGpu(onGpu) {}
  void clear() override {
    cpu->clear();
    gpu->clear();
  }
  void touch() override {
    cpu->touch();
    gpu->touch();
  }
  Status read(uint32_t cache, int64_t row,
              std::span<uint8_t> bytes) const override {
    return owner(cache).read(cache, row, bytes);
  }
  Status write(uint32_t cache, int64_t row,
               std::span<const uint8_t> bytes) override {
    return owner(cache).write(cache, row, bytes);
  }

  const std::unique_ptr<SequenceCaches> cpu, gpu;

private:
  SequenceCaches &owner(uint32_t cache) const {
    return cache < onGpu.size() && onGpu[cache] ? *gpu : *cpu;
  }
  const std::vector<bool> &onGpu;
};

/// The dispatches of both devices, and a cache that both would need: -1 for
/// none.
struct Split {
  std::pair<std::vector<DispatchRange>, std::vector<DispatchRange>> ranges;
  int64_t shared = -1;
};

Split splitAt(const schema::Program &program, const schema::Target &target,
              int32_t gpuLayers) {
  Split split;
  auto &[onCpu, onGpu] = split.ranges;
  const int64_t layers = program.model()->layers();
  const int64_t first =
      gpuLayers < 0 ? 0 : std::max<int64_t>(layers - gpuLayers, 0);
  for (const schema::EntryPoint *entry : *target.entries()) {
    const auto &dispatches = *entry->dispatches();
    uint32_t cut = 0;
    if (first > 0 && hasLayers(entry->name()->string_view()))
      while (cut < dispatches.size() &&
             (first < layers ? layerOf(program, *dispatches.Get(cut)) < first
                             : true))
        ++cut;
    // With no layer of its own a GPU has what comes behind the last one.
    if (first == layers && cut == dispatches.size())
      while (cut > 0 && layerOf(program, *dispatches.Get(cut - 1)) < 0)
        --cut;
    onCpu.push_back({0, cut});
    onGpu.push_back({cut, dispatches.size()});
  }
  // A companion reads the caches of the last layers: it is where they are.
  const std::vector<bool> hostCaches = findUse(program, target, onCpu).caches;
  for (uint32_t index = 0; index < onCpu.size(); ++index) {
    const schema::EntryPoint &entry = *target.entries()->Get(index);
    if (!entry.name()->string_view().starts_with("draft"))
      continue;
    for (const schema::Dispatch *dispatch : *entry.dispatches())
      for (const schema::BufferRef *operand : *dispatch->operands())
        if (operand->kind() == schema::BufferKind::Cache &&
            hostCaches[operand->index()]) {
          onCpu[index] = {0, entry.dispatches()->size()};
          onGpu[index] = {onCpu[index].last, onCpu[index].last};
        }
  }
  const std::vector<bool> cpuCaches = findUse(program, target, onCpu).caches,
                          gpuCaches = findUse(program, target, onGpu).caches;
  for (uint32_t index = 0; index < cpuCaches.size(); ++index)
    if (cpuCaches[index] && gpuCaches[index] && split.shared < 0)
      split.shared = index;
  return split;
}

} // namespace

Result<std::pair<std::vector<DispatchRange>, std::vector<DispatchRange>>>
splitByLayers(const schema::Program &program, const schema::Target &target,
              int32_t gpuLayers) {
  Split split = splitAt(program, target, gpuLayers);
  if (split.shared < 0)
    return std::move(split.ranges);
  int32_t more = gpuLayers + 1;
  while (splitAt(program, target, more).shared >= 0)
    ++more; // all layers share nothing with the CPU
  return unsupported(concat("with ", gpuLayers,
                            " layers on the GPU, the cache \"",
                            program.caches()
                                ->Get(static_cast<uint32_t>(split.shared))
                                ->name()
                                ->string_view(),
                            "\" would be needed on both devices; the next that "
                            "works is --gpu-layers ",
                            more));
}

Result<std::unique_ptr<Device>>
SplitDevice::create(std::shared_ptr<const Bundle> bundle,
                    const schema::Target &target, const std::string &name,
                    const DeviceOptions &options) {
  const schema::Program &program = bundle->program();
  const schema::Target *host = LAPIDARY_TRY(findTarget(program, "cpu"));
  LAPIDARY_TRY(checkSameProgram(*host, target));
  std::unique_ptr<SplitDevice> device(new (std::nothrow) SplitDevice());
  if (!device)
    return outOfMemory("no memory for a device");
  device->layers = options.gpuLayers;
  std::tie(device->onCpu, device->onGpu) =
      LAPIDARY_TRY(splitByLayers(program, target, options.gpuLayers));
  device->gpuCaches = findUse(program, target, device->onGpu).caches;
  device->gpu = LAPIDARY_TRY(
      VulkanDevice::create(bundle, target, name, options, device->onGpu));
  device->cpu = LAPIDARY_TRY(CpuDevice::create(bundle, *host, options));
  device->bundle = std::move(bundle);
  return std::unique_ptr<Device>(std::move(device));
}

std::string SplitDevice::description() const {
  return concat(gpu->description(), " with ", layers, " of ",
                bundle->program().model()->layers(), " layers, ",
                cpu->description());
}

Result<std::unique_ptr<SequenceCaches>> SplitDevice::createCaches() {
  std::unique_ptr<SequenceCaches> onHost = LAPIDARY_TRY(cpu->createCaches()),
                                  onDevice = LAPIDARY_TRY(gpu->createCaches());
  return std::unique_ptr<SequenceCaches>(
      new SplitCaches(std::move(onHost), std::move(onDevice), gpuCaches));
}

Status SplitDevice::run(uint32_t entry, std::span<const Step> steps,
                        std::span<const void *const> inputs,
                        std::span<void *const> outputs,
                        const std::atomic<bool> *cancel) {
  if (entry >= onCpu.size())
    return internalError(concat("there is no entry point ", entry));
  const schema::EntryPoint &description = *target().entries()->Get(entry);
  const uint32_t end = wantedDispatches(description, outputs).last;
  auto trim = [&](DispatchRange range) {
    return DispatchRange{std::min(range.first, end), std::min(range.last, end)};
  };
  const DispatchRange first = trim(onCpu[entry]), second = trim(onGpu[entry]);
  auto runOn = [&](DispatchRunner &device, DispatchRange range, bool onGpu) {
    std::vector<Step> own(steps.begin(), steps.end());
    for (Step &step : own)
      if (auto *caches = static_cast<SplitCaches *>(step.caches))
        step.caches = onGpu ? caches->gpu.get() : caches->cpu.get();
    return device.runDispatches(entry, range, own, inputs, outputs, cancel);
  };
  if (first.last == 0)
    return runOn(*gpu, second, true);
  LAPIDARY_TRY(runOn(*cpu, first, false));
  if (second.first == second.last)
    return {};
  // How far a buffer in the arena goes is not written down, so that all from
  // the first that is read later crosses.
  uint64_t begin = description.arena_bytes();
  for (uint32_t index = second.first; index < second.last; ++index)
    for (const schema::BufferRef *operand :
         *description.dispatches()->Get(index)->operands())
      if (operand->kind() == schema::BufferKind::Arena)
        begin = std::min(begin, operand->offset());
  crossing.resize(description.arena_bytes() - begin);
  LAPIDARY_TRY(cpu->readArena(begin, crossing));
  LAPIDARY_TRY(gpu->writeArena(begin, crossing));
  return runOn(*gpu, second, true);
}

/// What a GPU has no part of ends in the host's memory.
bool SplitDevice::choosesCandidates(uint32_t entry) const {
  return entry < onGpu.size() && onGpu[entry].first < onGpu[entry].last &&
         gpu->choosesCandidates(entry);
}

void SplitDevice::setProfile(Profile *profile) {
  cpu->setProfile(profile);
  gpu->setProfile(profile);
}

} // namespace lapidary
