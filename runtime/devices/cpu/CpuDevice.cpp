// Loading resolves names and indices to pointers; running is then a loop over
// pointers.
#include "runtime/devices/cpu/CpuDevice.h"

#include "runtime/core/Text.h"
#include "runtime/devices/Profile.h"
#include "runtime/devices/cpu/CpuFeatures.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace lapidary {
namespace {

/// In multiply-adds. Handing a part to another thread costs about as much, and
/// it must be worth that.
constexpr int64_t leastCallWork = 16 << 10;
/// The last call of a thread is not shorter than its part of the dispatch by
/// this number: what threads of unequal speed wait for each other.
constexpr int64_t callsPerThread = 8;
/// Calls of a kernel with scratch memory that grows with the tokens each begin
/// by packing all of the step's input into it: fewer calls, less of that.
constexpr int64_t packingCallsPerThread = 2;

int64_t at(const schema::Extent &extent, int64_t tokens) {
  return extent.constant() + extent.per_token() * tokens;
}

/// The features that `variant` needs and this processor lacks.
std::string missingFeatures(const schema::Variant &variant) {
  std::string missing;
  for (const flatbuffers::String *feature : *variant.features())
    if (!cpuFeatures().has(feature->string_view()))
      missing += concat(missing.empty() ? "" : ", ", feature->string_view());
  return missing;
}

Result<const schema::Variant *> selectVariant(const schema::Target &target) {
  std::string list;
  const char *forced = std::getenv("LAPIDARY_CPU");
  for (const schema::Variant *variant : *target.variants()) {
    std::string missing = missingFeatures(*variant);
    list += concat(list.empty() ? "" : "; ", variant->name()->string_view(),
                   missing.empty() ? ""
                                   : " (this processor lacks " + missing + ")");
    if (forced && *forced) {
      if (variant->name()->string_view() != forced)
        continue;
      if (!missing.empty())
        return unsupported(concat("LAPIDARY_CPU asks for variant \"", forced,
                                  "\", but this processor lacks ", missing));
      return variant;
    }
    if (missing.empty())
      return variant;
  }
  if (forced && *forced)
    return invalidArgument(concat("LAPIDARY_CPU asks for variant \"", forced,
                                  "\", but the bundle has: ", list));
  return unsupported(concat("the bundle has no variant for this processor (",
                            cpuFeatures().brand, "); it has: ", list));
}

} // namespace

Result<std::unique_ptr<Device>>
CpuDevice::create(std::shared_ptr<const Bundle> bundle,
                  const schema::Target &target, const DeviceOptions &options) {
  std::unique_ptr<CpuDevice> device(new CpuDevice());
  device->bundle = std::move(bundle);
  device->program = &target;
  device->chunk = options.chunk;
  device->threads = resolveThreads(options.threads);
  device->variant = LAPIDARY_TRY(selectVariant(target));
  LAPIDARY_TRY(device->allocate(options));
  LAPIDARY_TRY(device->loadCode());
  device->workers = LAPIDARY_TRY(Workers::create(device->threads));
  return std::unique_ptr<Device>(std::move(device));
}

Status CpuDevice::allocate(const DeviceOptions &options) {
  const schema::Program &root = bundle->program();
  DeviceMemory memory = LAPIDARY_TRY(planDeviceMemory(root, *program, options));
  caches =
      LAPIDARY_TRY(ReservedMemory::reserve(memory.caches, "the KV caches"));
  arena = LAPIDARY_TRY(ReservedMemory::reserve(memory.arena, "the arena"));
  scratch = LAPIDARY_TRY(
      ReservedMemory::reserve(memory.scratch, "the kernels' scratch"));
  scratchStride = memory.scratch / static_cast<uint64_t>(threads);
  uint64_t offset = 0;
  for (const schema::Cache *cache : *root.caches()) {
    cacheOffsets.push_back(offset);
    offset += cacheBytes(*cache, options.context, options.chunk);
  }
  return {};
}

Status CpuDevice::loadCode() {
  code = LAPIDARY_TRY(
      CodeObject::load(bundle->segment(variant->segment()),
                       concat("variant ", variant->name()->string_view())));
  std::vector<KernelFunction> functions;
  for (const schema::Kernel *kernel : *program->kernels())
    functions.push_back(LAPIDARY_TRY(code->find(kernel->symbol()->c_str())));
  std::vector<uint8_t *> bases;
  for (uint64_t offset : cacheOffsets)
    bases.push_back(caches.data() + offset);
  for (const schema::EntryPoint *entry : *program->entries())
    LAPIDARY_TRY(loadEntry(*entry, functions, bases));
  return {};
}

Status CpuDevice::loadEntry(const schema::EntryPoint &entry,
                            const std::vector<KernelFunction> &functions,
                            const std::vector<uint8_t *> &cacheBases) {
  LoadedEntry loaded;
  for (const schema::Dispatch *dispatch : *entry.dispatches()) {
    const schema::Kernel &kernel = *program->kernels()->Get(dispatch->kernel());
    loaded.dispatches.push_back(
        {functions[dispatch->kernel()], *kernel.tiles(), *kernel.tile_work(),
         kernel.scratch()->per_token() > 0,
         static_cast<uint32_t>(loaded.operands.size())});
    for (const schema::BufferRef *operand : *dispatch->operands()) {
      void *pointer = nullptr;
      switch (operand->kind()) {
      case schema::BufferKind::Input:
      case schema::BufferKind::Output:
        loaded.late.push_back({static_cast<uint32_t>(loaded.operands.size()),
                               operand->index(),
                               operand->kind() == schema::BufferKind::Output});
        break;
      case schema::BufferKind::Arena:
        pointer = arena.data() + operand->offset();
        break;
      case schema::BufferKind::Weight: {
        // Mapped read-only: a kernel that writes a weight faults.
        uint32_t segment =
            bundle->program().weights()->Get(operand->index())->segment();
        pointer = const_cast<uint8_t *>(bundle->segment(segment).data());
        break;
      }
      case schema::BufferKind::Cache:
        pointer = cacheBases[operand->index()];
        break;
      }
      loaded.operands.push_back(pointer);
    }
  }
  entries.push_back(std::move(loaded));
  return {};
}

void CpuDevice::touchCaches() {
  if (caches.size() != 0)
    std::memset(caches.data(), 0, caches.size());
}

std::string CpuDevice::description() const {
  return concat("cpu ", variant->name()->string_view(), " (",
                cpuFeatures().brand, ", ", threads,
                threads == 1 ? " thread)" : " threads)");
}

Status CpuDevice::run(uint32_t entry, const Step &step,
                      std::span<const void *const> inputs,
                      std::span<void *const> outputs,
                      const std::atomic<bool> *cancel) {
  if (entry >= entries.size())
    return internalError(concat("there is no entry point ", entry));
  const schema::EntryPoint &description = *program->entries()->Get(entry);
  if (step.tokens < 1 || step.tokens > description.max_tokens() ||
      step.past < 0 || inputs.size() != description.inputs()->size() ||
      outputs.size() != description.outputs()->size())
    return internalError(
        concat("entry point \"", description.name()->string_view(),
               "\" cannot run ", step.tokens, " tokens with ", inputs.size(),
               " inputs and ", outputs.size(), " outputs"));
  // Scratch and rings are sized for prefill steps of at most the chunk.
  std::string_view name = description.name()->string_view();
  if ((name == "prefill" || name == "extend") && step.tokens > chunk)
    return internalError(concat("a prefill step of ", step.tokens,
                                " tokens is longer than the chunk of ", chunk));
  LoadedEntry &loaded = entries[entry];
  for (const LateOperand &late : loaded.late)
    loaded.operands[late.operand] =
        late.output ? outputs[late.index]
                    : const_cast<void *>(inputs[late.index]);

  const int64_t sizes[3] = {step.tokens, step.past, chunk};
  for (const LoadedDispatch &dispatch : loaded.dispatches) {
    if (cancel && cancel->load(std::memory_order_relaxed))
      return cancelled(
          concat("\"", description.name()->string_view(), "\" was cancelled"));
    runDispatch(dispatch, loaded.operands.data() + dispatch.firstOperand, sizes,
                entry);
  }
  return {};
}

void CpuDevice::runDispatch(const LoadedDispatch &dispatch,
                            void *const *operands, const int64_t *sizes,
                            uint32_t entry) {
  int64_t tiles = at(dispatch.tiles, sizes[0]);
  int64_t work = std::max<int64_t>(at(dispatch.tileWork, sizes[0]), 1);
  int64_t calls =
      threads * (dispatch.packs ? packingCallsPerThread : callsPerThread);
  int64_t grain = std::max((leastCallWork - 1) / work + 1, tiles / calls);
  auto call = [&](int32_t worker, int64_t begin, int64_t end) {
    dispatch.function(operands, sizes, scratch.data() + scratchStride * worker,
                      begin, end);
  };
  if (!profile)
    return workers->run(tiles, grain, call);

  auto index =
      static_cast<uint32_t>(&dispatch - entries[entry].dispatches.data());
  int64_t start = Profile::now();
  workers->run(tiles, grain, [&](int32_t worker, int64_t begin, int64_t end) {
    int64_t callStart = Profile::now();
    call(worker, begin, end);
    Profile::add(profile->calls[worker], {entry, index, sizes[0], begin, end,
                                          callStart, Profile::now()});
  });
  Profile::add(profile->dispatches, {entry, index, sizes[0], sizes[1], tiles,
                                     start, Profile::now()});
}

} // namespace lapidary
