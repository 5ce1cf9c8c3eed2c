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

Result<std::unique_ptr<DispatchRunner>>
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
  return std::unique_ptr<DispatchRunner>(std::move(device));
}

Status CpuDevice::allocate(const DeviceOptions &options) {
  const schema::Program &root = bundle->program();
  DeviceMemory memory = LAPIDARY_TRY(planDeviceMemory(root, *program, options));
  arena = LAPIDARY_TRY(ReservedMemory::reserve(memory.arena, "the arena"));
  scratch = LAPIDARY_TRY(
      ReservedMemory::reserve(memory.scratch, "the kernels' scratch"));
  scratchStride = memory.scratch / static_cast<uint64_t>(threads);
  cacheLayout = layOutCaches(root, options);
  return {};
}

Result<std::unique_ptr<SequenceCaches>> CpuDevice::createCaches() {
  return CpuCaches::create(cacheLayout);
}

Status CpuDevice::loadCode() {
  code = LAPIDARY_TRY(
      CodeObject::load(bundle->segment(variant->segment()),
                       concat("variant ", variant->name()->string_view())));
  std::vector<KernelFunction> functions;
  for (const schema::Kernel *kernel : *program->kernels())
    functions.push_back(LAPIDARY_TRY(code->find(kernel->symbol()->c_str())));
  for (const schema::EntryPoint *entry : *program->entries())
    LAPIDARY_TRY(loadEntry(*entry, functions));
  return {};
}

Status CpuDevice::loadEntry(const schema::EntryPoint &entry,
                            const std::vector<KernelFunction> &functions) {
  LoadedEntry loaded;
  for (const schema::Dispatch *dispatch : *entry.dispatches()) {
    const schema::Kernel &kernel = *program->kernels()->Get(dispatch->kernel());
    bool hasCaches = false;
    auto first = static_cast<uint32_t>(loaded.operands.size());
    for (const schema::BufferRef *operand : *dispatch->operands()) {
      void *pointer = nullptr;
      switch (operand->kind()) {
      case schema::BufferKind::Cache:
        hasCaches = true;
        [[fallthrough]];
      case schema::BufferKind::Input:
      case schema::BufferKind::Output:
        loaded.late.push_back({static_cast<uint32_t>(loaded.operands.size()),
                               operand->index(), operand->kind()});
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
      }
      loaded.operands.push_back(pointer);
    }
    loaded.dispatches.push_back(
        {functions[dispatch->kernel()], *kernel.tiles(), *kernel.tile_work(),
         kernel.scratch()->per_token() > 0, first, dispatch->operands()->size(),
         hasCaches ? kernel.token_bytes() : nullptr});
  }
  entries.push_back(std::move(loaded));
  return {};
}

std::string CpuDevice::description() const {
  return concat("cpu ", variant->name()->string_view(), " (",
                cpuFeatures().brand, ", ", threads,
                threads == 1 ? " thread)" : " threads)");
}

Status CpuDevice::runDispatches(uint32_t entry, DispatchRange range,
                                std::span<const Step> steps,
                                std::span<const void *const> inputs,
                                std::span<void *const> outputs,
                                const std::atomic<bool> *cancel) {
  if (entry >= entries.size())
    return internalError(concat("there is no entry point ", entry));
  const schema::EntryPoint &description = *program->entries()->Get(entry);
  LAPIDARY_TRY(checkRun(description, range, chunk, steps, inputs.size(),
                        outputs.size()));
  LoadedEntry &loaded = entries[entry];
  for (const LateOperand &late : loaded.late)
    loaded.operands[late.operand] =
        late.kind == schema::BufferKind::Output ? outputs[late.index]
        : late.kind == schema::BufferKind::Input
            ? const_cast<void *>(inputs[late.index])
        : steps[0].caches
            ? static_cast<CpuCaches *>(steps[0].caches)->base(late.index)
            : nullptr;
  if (range.first < range.last) {
    const LoadedDispatch &end = loaded.dispatches[range.last - 1];
    for (const LateOperand &late : loaded.late)
      if (late.kind == schema::BufferKind::Output && !outputs[late.index] &&
          late.operand >= loaded.dispatches[range.first].firstOperand &&
          late.operand < end.firstOperand + end.operands)
        return internalError(
            concat("entry point \"", description.name()->string_view(),
                   "\" cannot run without memory for its output ", late.index));
  }

  Call whole{.operands = nullptr, .sizes = {0, 0, chunk}, .tiles = 0};
  for (const Step &step : steps)
    whole.sizes[0] += step.tokens;
  if (steps.size() == 1)
    whole.sizes[1] = steps[0].past;
  for (uint32_t index = range.first; index < range.last; ++index) {
    const LoadedDispatch &dispatch = loaded.dispatches[index];
    if (cancel && cancel->load(std::memory_order_relaxed))
      return cancelled(
          concat("\"", description.name()->string_view(), "\" was cancelled"));
    if (dispatch.tokenBytes && steps.size() > 1) {
      runDispatch(entry, dispatch, splitBySequence(loaded, dispatch, steps));
      continue;
    }
    whole.operands = loaded.operands.data() + dispatch.firstOperand;
    whole.tiles = at(dispatch.tiles, whole.sizes[0]);
    runDispatch(entry, dispatch, {&whole, 1});
  }
  return {};
}

Status CpuDevice::readArena(uint64_t offset, std::span<uint8_t> bytes) {
  if (offset > arena.size() || bytes.size() > arena.size() - offset)
    return internalError(
        concat("the arena has no ", bytes.size(), " bytes at ", offset));
  if (!bytes.empty())
    std::memcpy(bytes.data(), arena.data() + offset, bytes.size());
  return {};
}

Status CpuDevice::writeArena(uint64_t offset, std::span<const uint8_t> bytes) {
  if (offset > arena.size() || bytes.size() > arena.size() - offset)
    return internalError(
        concat("the arena has no ", bytes.size(), " bytes at ", offset));
  if (!bytes.empty())
    std::memcpy(arena.data() + offset, bytes.data(), bytes.size());
  return {};
}

std::span<const CpuDevice::Call>
CpuDevice::splitBySequence(const LoadedEntry &entry,
                           const LoadedDispatch &dispatch,
                           std::span<const Step> steps) {
  sequenceOperands.resize(
      std::max(sequenceOperands.size(), steps.size() * dispatch.operands));
  sequenceCalls.clear();
  void **next = sequenceOperands.data();
  uint64_t token = 0;
  for (const Step &step : steps) {
    sequenceCalls.push_back({.operands = next,
                             .sizes = {step.tokens, step.past, chunk},
                             .tiles = at(dispatch.tiles, step.tokens)});
    for (uint32_t index = 0; index < dispatch.operands; ++index)
      *next++ = static_cast<uint8_t *>(
                    entry.operands[dispatch.firstOperand + index]) +
                token * dispatch.tokenBytes->Get(index);
    token += static_cast<uint64_t>(step.tokens);
  }
  for (const LateOperand &late : entry.late)
    if (late.kind == schema::BufferKind::Cache &&
        late.operand - dispatch.firstOperand < dispatch.operands)
      for (size_t index = 0; index < steps.size(); ++index)
        sequenceOperands[index * dispatch.operands + late.operand -
                         dispatch.firstOperand] =
            static_cast<CpuCaches *>(steps[index].caches)->base(late.index);
  return sequenceCalls;
}

void CpuDevice::runDispatch(uint32_t entry, const LoadedDispatch &dispatch,
                            std::span<const Call> calls) {
  int64_t tiles = 0, tokens = 0;
  for (const Call &call : calls) {
    tiles += call.tiles;
    tokens += call.sizes[0];
  }
  int64_t work = std::max<int64_t>(at(dispatch.tileWork, calls[0].sizes[0]), 1);
  int64_t most =
      threads * (dispatch.packs ? packingCallsPerThread : callsPerThread);
  int64_t grain = std::max((leastCallWork - 1) / work + 1, tiles / most);
  // The tiles of all calls are one range.
  auto runTiles = [&](int32_t worker, int64_t begin, int64_t end) {
    void *own = scratch.data() + scratchStride * static_cast<uint64_t>(worker);
    for (const Call &call : calls) {
      if (begin < call.tiles)
        dispatch.function(call.operands, call.sizes, own, begin,
                          std::min(end, call.tiles));
      begin = std::max<int64_t>(begin - call.tiles, 0);
      end -= call.tiles;
      if (end <= 0)
        return;
    }
  };
  if (!profile)
    return workers->run(tiles, grain, runTiles);

  auto index =
      static_cast<uint32_t>(&dispatch - entries[entry].dispatches.data());
  int64_t start = Profile::now();
  workers->run(tiles, grain, [&](int32_t worker, int64_t begin, int64_t end) {
    int64_t callStart = Profile::now();
    runTiles(worker, begin, end);
    Profile::add(profile->calls[worker],
                 {entry, index, tokens, begin, end, callStart, Profile::now()});
  });
  Profile::add(profile->dispatches, {entry, index, tokens, calls[0].sizes[1],
                                     tiles, start, Profile::now()});
}

} // namespace lapidary
