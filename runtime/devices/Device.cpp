// The list of device kinds, and what all of them plan alike.
#include "runtime/devices/Device.h"

#include "runtime/core/BundleValidation.h"
#include "runtime/core/Text.h"
#include "runtime/core/Workers.h"
#include "runtime/devices/SplitDevice.h"
#include "runtime/devices/cpu/CpuDevice.h"
#include "runtime/devices/cpu/CpuFeatures.h"
#include "runtime/devices/vulkan/VulkanDevice.h"

#include <algorithm>

namespace lapidary {
namespace {

constexpr uint64_t pageBytes = 4096;

int64_t roundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

} // namespace

namespace {

/// The device kind and the architecture that `name` means here.
Result<std::pair<std::string_view, std::string_view>>
parseName(std::string_view name) {
  if (name == "cpu")
    return std::pair<std::string_view, std::string_view>(
        "cpu", cpuFeatures().architecture);
  if (isVulkanName(name))
    return std::pair<std::string_view, std::string_view>("vulkan", "spirv");
  return unsupported(concat("unknown device \"", name,
                            "\"; this runtime has: cpu, vulkan, vulkan:NUMBER, "
                            "vulkan:NAME (see lapidary devices)"));
}

} // namespace

Result<std::unique_ptr<Device>>
createDevice(std::shared_ptr<const Bundle> bundle, const std::string &name,
             const DeviceOptions &options) {
  const schema::Target *target =
      LAPIDARY_TRY(findTarget(bundle->program(), name));
  if (isVulkanName(name)) {
    if (options.gpuLayers >= 0 &&
        options.gpuLayers < bundle->program().model()->layers())
      return SplitDevice::create(std::move(bundle), *target, name, options);
    return std::unique_ptr<Device>(LAPIDARY_TRY(
        VulkanDevice::create(std::move(bundle), *target, name, options)));
  }
  if (options.gpuLayers > 0)
    return invalidArgument(
        concat(options.gpuLayers,
               " layers were asked for on a GPU, but the device is cpu; choose "
               "one with --device vulkan"));
  return std::unique_ptr<Device>(
      LAPIDARY_TRY(CpuDevice::create(std::move(bundle), *target, options)));
}

Result<const schema::Target *> findTarget(const schema::Program &program,
                                          const std::string &name) {
  const auto [kind, architecture] = LAPIDARY_TRY(parseName(name));
  std::string list;
  for (const schema::Target *target : *program.targets()) {
    if (target->device()->string_view() == kind &&
        target->architecture()->string_view() == architecture)
      return target;
    list += concat(list.empty() ? "" : ", ", target->device()->string_view(),
                   "/", target->architecture()->string_view());
  }
  return unsupported(concat("the bundle has no code for ", kind, "/",
                            architecture, "; it has: ", list,
                            "; compile the checkpoint with --target ", kind,
                            " for that"));
}

DeviceRoom deviceRoom(const std::string &name) {
  DeviceRoom room;
  if (!isVulkanName(name))
    return room;
  Result<std::shared_ptr<VulkanInstance>> instance = VulkanInstance::create();
  if (!instance.ok())
    return room;
  const Result<VulkanPhysicalDevice> device = (*instance)->find(name);
  const Result<VulkanOverrides> overrides = readOverrides();
  if (!device.ok() || !overrides.ok())
    return room;
  room = {device->available(), device->limits.maxStorageBufferRange,
          device->sharesMemory()};
  if (overrides->memory != 0)
    room.available = overrides->memory;
  if (overrides->bindingRange != 0)
    room.largestCache = std::min(room.largestCache, overrides->bindingRange);
  return room;
}

Result<DeviceMemory> planDeviceMemory(const schema::Program &program,
                                      const schema::Target &target,
                                      const DeviceOptions &options) {
  DeviceMemory memory;
  for (const schema::Cache *cache : *program.caches()) {
    uint64_t bytes = cacheBytes(*cache, options.context, options.chunk);
    if (__builtin_add_overflow(memory.caches, bytes, &memory.caches))
      return outOfMemory("the caches need more bytes than 64 bits can count");
  }
  // Of all entry points, and of those for tokens.
  int64_t scratch = 0, tokenScratch = 0;
  uint64_t tokenArena = 0;
  for (const schema::EntryPoint *entry : *target.entries()) {
    // A session cuts prompts into steps of at most its chunk.
    int64_t most = entry->name()->string_view() == "prefill"
                       ? std::min(entry->max_tokens(), options.chunk)
                       : entry->max_tokens();
    bool media = entry->name()->string_view().starts_with("embed_");
    memory.arena = std::max(memory.arena, entry->arena_bytes());
    if (!media)
      tokenArena = std::max(tokenArena, entry->arena_bytes());
    for (const schema::Dispatch *dispatch : *entry->dispatches()) {
      const schema::Extent &extent =
          *target.kernels()->Get(dispatch->kernel())->scratch();
      // Linear, so one of the ends is the largest.
      int64_t here = std::max(*evaluate(extent, 1), *evaluate(extent, most));
      scratch = std::max(scratch, here);
      if (!media)
        tokenScratch = std::max(tokenScratch, here);
    }
  }
  // A page more between threads, so that none writes into a line that another
  // prefetches.
  auto threads = static_cast<uint64_t>(resolveThreads(options.threads));
  uint64_t scratchBytes =
      scratch == 0 ? 0 : roundUp(scratch, pageBytes) + pageBytes;
  if (target.device()->string_view() != "cpu") {
    std::vector<DispatchRange> ranges =
        LAPIDARY_TRY(splitByLayers(program, target, options.gpuLayers)).second;
    const ProgramUse use = findUse(program, target, ranges);
    for (uint32_t index = 0; index < use.segments.size(); ++index)
      if (use.segments[index])
        memory.deviceWeights += program.segments()->Get(index)->size();
    for (uint32_t index = 0; index < use.caches.size(); ++index)
      if (use.caches[index])
        memory.deviceCaches += cacheBytes(*program.caches()->Get(index),
                                          options.context, options.chunk);
    memory.deviceArena = memory.arena;
  }
  memory.scratch = scratchBytes * threads;
  memory.media = static_cast<uint64_t>(scratch - tokenScratch) * threads +
                 memory.arena - tokenArena;
  return memory;
}

int64_t cacheRows(const schema::Cache &cache, int64_t context, int64_t chunk) {
  if (cache.kind() != schema::CacheKind::Ring)
    return context;
  // Kernels go by the ring's full size: block `b` of the sequence is in the
  // cache's block b modulo that size, which is never beyond b itself. Positions
  // stay below the context, so no block at or beyond it is ever touched.
  return std::min(roundUp(cache.window(), 16) + chunk, roundUp(context, 16));
}

uint64_t cacheBytes(const schema::Cache &cache, int64_t context,
                    int64_t chunk) {
  uint64_t bytes = static_cast<uint64_t>(cacheRows(cache, context, chunk)) *
                   cache.row_bytes();
  return (bytes + pageBytes - 1) / pageBytes * pageBytes;
}

int32_t resolveThreads(int32_t requested) {
  return requested > 0 ? requested : usableProcessors();
}

} // namespace lapidary
