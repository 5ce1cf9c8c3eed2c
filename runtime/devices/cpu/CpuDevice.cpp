// Loading resolves names and indices to pointers; running is then a loop over
// pointers.
#include "runtime/devices/cpu/CpuDevice.h"

#include "runtime/core/Text.h"
#include "runtime/devices/cpu/CpuFeatures.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <tbb/info.h>
#include <tbb/parallel_for.h>

namespace lapidary {
namespace {

/// In multiply-adds. Waking threads costs some microseconds, in which one
/// thread does about this much; a task must be worth its own scheduling, and a
/// few tasks a thread even out threads of unequal speed.
constexpr int64_t inlineWork = 32 << 10, leastTaskWork = 16 << 10,
                  tasksPerThread = 4;
/// Calls of a kernel with scratch memory that grows with the tokens each begin
/// by packing all of the step's input into it: fewer calls, less of that.
constexpr int64_t packingTasksPerThread = 2;

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
  try {
    // An arena alone gets no more workers than the machine has processors.
    if (device->threads > tbb::info::default_concurrency())
      device->moreThreads.emplace(tbb::global_control::max_allowed_parallelism,
                                  device->threads);
    device->workers.emplace(device->threads);
    device->workers->initialize();
  } catch (const std::exception &error) {
    return internalError(
        concat("cannot start ", device->threads, " threads: ", error.what()));
  }
  return std::unique_ptr<Device>(std::move(device));
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
        hasCaches = loaded.hasCaches = true;
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

Status CpuDevice::checkSteps(const LoadedEntry &loaded,
                             const schema::EntryPoint &description,
                             std::span<const Step> steps) const {
  int64_t tokens = 0;
  for (const Step &step : steps) {
    if (step.tokens < 1 || step.tokens > description.max_tokens() - tokens ||
        step.past < 0 || (loaded.hasCaches && !step.caches))
      return internalError(
          concat("entry point \"", description.name()->string_view(),
                 "\" cannot run ", step.tokens, " tokens after ", tokens,
                 " others and ", step.past, " positions",
                 loaded.hasCaches && !step.caches ? " without caches" : ""));
    tokens += step.tokens;
  }
  if (tokens == 0)
    return internalError("a step has no tokens");
  // Scratch and rings are sized for prefill steps of at most the chunk.
  if (description.name()->string_view() == "prefill" && tokens > chunk)
    return internalError(concat("a prefill step of ", tokens,
                                " tokens is longer than the chunk of ", chunk));
  return {};
}

Status CpuDevice::run(uint32_t entry, std::span<const Step> steps,
                      std::span<const void *const> inputs,
                      std::span<void *const> outputs,
                      const std::atomic<bool> *cancel) {
  if (entry >= entries.size())
    return internalError(concat("there is no entry point ", entry));
  const schema::EntryPoint &description = *program->entries()->Get(entry);
  if (inputs.size() != description.inputs()->size() ||
      outputs.size() != description.outputs()->size())
    return internalError(concat("entry point \"",
                                description.name()->string_view(),
                                "\" cannot run with ", inputs.size(),
                                " inputs and ", outputs.size(), " outputs"));
  LoadedEntry &loaded = entries[entry];
  LAPIDARY_TRY(checkSteps(loaded, description, steps));
  for (const LateOperand &late : loaded.late)
    loaded.operands[late.operand] =
        late.kind == schema::BufferKind::Output ? outputs[late.index]
        : late.kind == schema::BufferKind::Input
            ? const_cast<void *>(inputs[late.index])
            : static_cast<CpuCaches *>(steps[0].caches)->base(late.index);

  Call whole{.operands = nullptr, .sizes = {0, 0, chunk}, .tiles = 0};
  for (const Step &step : steps)
    whole.sizes[0] += step.tokens;
  if (steps.size() == 1)
    whole.sizes[1] = steps[0].past;
  bool stopped = false;
  try {
    workers->execute([&] {
      for (const LoadedDispatch &dispatch : loaded.dispatches) {
        stopped = cancel && cancel->load(std::memory_order_relaxed);
        if (stopped)
          return;
        if (dispatch.tokenBytes && steps.size() > 1) {
          runDispatch(dispatch, splitBySequence(loaded, dispatch, steps));
          continue;
        }
        whole.operands = loaded.operands.data() + dispatch.firstOperand;
        whole.tiles = at(dispatch.tiles, whole.sizes[0]);
        runDispatch(dispatch, {&whole, 1});
      }
    });
  } catch (const std::exception &error) { // oneTBB's, or no memory for calls
    return internalError(concat("entry point \"",
                                description.name()->string_view(),
                                "\" stopped: ", error.what()));
  }
  return stopped ? cancelled(concat("\"", description.name()->string_view(),
                                    "\" was cancelled"))
                 : Status();
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

void *CpuDevice::threadScratch() const {
  return scratch.data() +
         scratchStride * static_cast<uint64_t>(
                             tbb::this_task_arena::current_thread_index());
}

void CpuDevice::runDispatch(const LoadedDispatch &dispatch,
                            std::span<const Call> calls) {
  int64_t tiles = 0, totalWork = 0;
  bool small = true;
  for (const Call &call : calls) {
    tiles += call.tiles;
    int64_t work = std::max<int64_t>(at(dispatch.tileWork, call.sizes[0]), 1);
    small = small && !__builtin_mul_overflow(work, call.tiles, &work) &&
            !__builtin_add_overflow(totalWork, work, &totalWork) &&
            totalWork < inlineWork;
  }
  if (tiles == 0)
    return;
  int64_t work = std::max<int64_t>(at(dispatch.tileWork, calls[0].sizes[0]), 1);
  // The tiles of all calls are one range.
  auto runTiles = [&](int64_t begin, int64_t end) {
    for (const Call &call : calls) {
      if (begin < call.tiles)
        dispatch.function(call.operands, call.sizes, threadScratch(), begin,
                          std::min(end, call.tiles));
      begin = std::max<int64_t>(begin - call.tiles, 0);
      end -= call.tiles;
      if (end <= 0)
        return;
    }
  };
  int64_t tilesPerTask = (leastTaskWork + work - 1) / work;
  int64_t tasks = std::min<int64_t>(
      (dispatch.packs ? packingTasksPerThread : tasksPerThread) * threads,
      tiles / tilesPerTask);
  if (threads == 1 || small || tasks <= 1) {
    runTiles(0, tiles);
    return;
  }
  tbb::parallel_for(
      int64_t(0), tasks,
      [&](int64_t task) {
        runTiles(tiles * task / tasks, tiles * (task + 1) / tasks);
      },
      tbb::simple_partitioner());
}

} // namespace lapidary
