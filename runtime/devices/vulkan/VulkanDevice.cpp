// Loading: variant, memory, weights, pipelines. Running: inputs and sizes into
// a buffer, one submission, outputs out of a buffer.
#include "runtime/devices/vulkan/VulkanDevice.h"

#include "runtime/core/BundleValidation.h"
#include "runtime/core/Limits.h"
#include "runtime/core/Memory.h"
#include "runtime/core/Text.h"
#include "runtime/devices/Profile.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace lapidary {
namespace {

/// Shapes of steps that are kept: decoding, drafts of several lengths, the
/// chunks of a prompt.
constexpr size_t mostRecordings = 16;
constexpr uint64_t bindingAlignment = 256;
/// Rows of {tokens, past, first_token, chunk}.
constexpr uint64_t sizesBytes = (1 + maxSequences) * 4 * sizeof(int32_t);
/// Fixed by the bundle, see gpuArenaAlignment in TargetValidation.cpp; the most
/// that Vulkan lets a device ask for.
constexpr uint64_t arenaAlignment = 256;

uint64_t aligned(uint64_t bytes) {
  return (bytes + bindingAlignment - 1) / bindingAlignment * bindingAlignment;
}

bool isMedia(const schema::Binding &binding) {
  return binding.name()->string_view() == "media";
}

} // namespace

Result<std::unique_ptr<VulkanDevice>>
VulkanDevice::create(std::shared_ptr<const Bundle> bundle,
                     const schema::Target &target, const std::string &name,
                     const DeviceOptions &options,
                     std::span<const DispatchRange> ranges) {
  const VulkanOverrides overrides = LAPIDARY_TRY(readOverrides());
  return create(std::move(bundle), target, name, options, ranges, overrides);
}

Result<std::unique_ptr<VulkanDevice>> VulkanDevice::create(
    std::shared_ptr<const Bundle> bundle, const schema::Target &target,
    const std::string &name, const DeviceOptions &options,
    std::span<const DispatchRange> ranges, const VulkanOverrides &overrides) {
  std::shared_ptr<VulkanInstance> instance =
      LAPIDARY_TRY(VulkanInstance::create());
  VulkanPhysicalDevice physical = LAPIDARY_TRY(instance->find(name));
  const schema::Variant *variant =
      LAPIDARY_TRY(selectVulkanVariant(target, physical, overrides));
  std::vector<std::string> features;
  for (const flatbuffers::String *feature : *variant->features())
    features.push_back(feature->str());
  std::vector<DispatchRange> all(ranges.begin(), ranges.end());
  if (all.empty())
    for (const schema::EntryPoint *entry : *target.entries())
      all.push_back({0, entry->dispatches()->size()});

  std::unique_ptr<VulkanDevice> device(new (std::nothrow) VulkanDevice());
  if (!device)
    return outOfMemory("no memory for a device");
  device->bundle = bundle;
  device->chosen = variant;
  device->chunk = options.chunk;
  device->context = LAPIDARY_TRY(
      VulkanContext::create(instance, physical, features, overrides));
  device->program = {.root = &bundle->program(), .target = &target};
  const ProgramUse use = findUse(bundle->program(), target, all);
  for (uint32_t index = 0; index < use.caches.size(); ++index) {
    const schema::Cache &cache = *bundle->program().caches()->Get(index);
    VulkanCacheLayout::Cache place;
    if (use.caches[index])
      place = {cacheBytes(cache, options.context, options.chunk),
               cache.row_bytes(),
               cacheRows(cache, options.context, options.chunk)};
    device->cacheLayout.caches.push_back(place);
  }
  LAPIDARY_TRY(device->checkBindings(options));
  LAPIDARY_TRY(device->checkMemory(use, options));
  LAPIDARY_TRY(device->allocate());
  device->weights = LAPIDARY_TRY(uploadWeights(
      device->context, *device->staging, *bundle, use, options.progress));
  device->pipelines = LAPIDARY_TRY(VulkanPipelines::create(
      device->context, *bundle, target, *variant, all,
      vulkanCacheStem(*bundle, physical, variant->name()->string_view()),
      options.threads, options.progress));
  device->counted.pipelinesFromDisk = device->pipelines->fromDisk();
  device->program.pipelines = device->pipelines.get();
  device->program.weights = &device->weights;
  LAPIDARY_TRY(instance->takeComplaints());
  return device;
}

VulkanDevice::~VulkanDevice() {
  if (context && context->call.DeviceWaitIdle)
    (void)context->call.DeviceWaitIdle(context->device);
}

/// What cannot be cut must be small enough to be bound.
Status VulkanDevice::checkBindings(const DeviceOptions &options) const {
  const VulkanLimits &limits = context->limits;
  const std::string &name = context->physical().name;
  if (limits.offsetAlignment > arenaAlignment)
    return unsupported(concat(
        name, " binds buffers from multiples of ", limits.offsetAlignment,
        " bytes only; ", arenaAlignment, " is the most that is supported"));
  for (uint32_t index = 0; index < cacheLayout.caches.size(); ++index)
    if (uint64_t bytes = cacheLayout.caches[index].bytes;
        bytes > limits.bindingRange)
      return unsupported(
          concat("the cache \"",
                 bundle->program().caches()->Get(index)->name()->string_view(),
                 "\" has ", formatBytes(bytes), " at a context of ",
                 options.context, " positions, but ", name, " binds at most ",
                 formatBytes(limits.bindingRange),
                 " at once; choose a smaller one with --context"));
  return {};
}

Status VulkanDevice::checkMemory(const ProgramUse &use,
                                 const DeviceOptions &options) {
  uint64_t weightBytes = 0, cacheSum = 0, arenaBytes = 0;
  for (uint32_t index = 0; index < use.segments.size(); ++index)
    if (use.segments[index])
      weightBytes += bundle->segment(index).size();
  for (const VulkanCacheLayout::Cache &cache : cacheLayout.caches)
    cacheSum += cache.bytes;
  if (__builtin_mul_overflow(cacheSum, uint64_t(std::max(options.sequences, 1)),
                             &cacheSum))
    return outOfMemory("the caches need more bytes than 64 bits can count");
  for (const schema::EntryPoint *entry : *program.target->entries())
    arenaBytes = std::max(arenaBytes, entry->arena_bytes());
  const uint64_t needed = weightBytes + cacheSum + arenaBytes,
                 there = context->availableMemory();
  if (needed < cacheSum || needed > there)
    return outOfMemory(concat(
        "the model needs ", formatBytes(needed), " on ",
        context->physical().name, " (weights ", formatBytes(weightBytes),
        ", caches ", formatBytes(cacheSum), ", arena ", formatBytes(arenaBytes),
        "), but it has ", formatBytes(there), " left; a smaller --context",
        options.sequences > 1 ? ", fewer sequences" : "",
        " or --gpu-layers, which leaves layers to the CPU, need less"));
  return {};
}

Status VulkanDevice::allocate() {
  uint64_t arenaBytes = 0, inputBytes = 0, outputBytes = 0;
  for (uint32_t index = 0; index < program.target->entries()->size(); ++index) {
    const schema::EntryPoint &entry = *program.target->entries()->Get(index);
    std::string_view name = entry.name()->string_view();
    int64_t most = entry.max_tokens();
    if (name == "prefill" || name == "extend")
      most = std::min(most, chunk);
    const Exchange exchange =
        layOut(index, {0, entry.dispatches()->size()}, most, most);
    arenaBytes = std::max(arenaBytes, entry.arena_bytes());
    inputBytes = std::max(inputBytes, exchange.inputBytes);
    outputBytes = std::max(outputBytes, exchange.outputBytes);
  }
  using enum VulkanMemoryUse;
  arena = LAPIDARY_TRY(
      VulkanBuffer::create(context, arenaBytes, Device, "the arena"));
  input = LAPIDARY_TRY(
      VulkanBuffer::create(context, inputBytes, Device, "a step's inputs"));
  output = LAPIDARY_TRY(
      VulkanBuffer::create(context, outputBytes, Device, "a step's outputs"));
  const bool mapped = context->mapsDeviceMemory();
  if (!mapped) {
    upload = LAPIDARY_TRY(
        VulkanBuffer::create(context, inputBytes, Upload, "a step's inputs"));
    readback = LAPIDARY_TRY(VulkanBuffer::create(context, outputBytes, Readback,
                                                 "a step's outputs"));
  }
  program.arena = &arena;
  program.input = &input;
  program.upload = mapped ? &input : &upload;
  program.output = &output;
  program.readback = mapped ? &output : &readback;
  program.sizesBytes = sizesBytes;
  staging = std::make_shared<VulkanStaging>(
      LAPIDARY_TRY(VulkanStaging::create(context)));
  return {};
}

VulkanDevice::Exchange VulkanDevice::layOut(uint32_t entry, DispatchRange range,
                                            int64_t tokens,
                                            int64_t mediaRows) const {
  const schema::EntryPoint &description =
      *program.target->entries()->Get(entry);
  std::vector<bool> reads(description.inputs()->size()),
      writes(description.outputs()->size());
  for (uint32_t index = range.first; index < range.last; ++index)
    for (const schema::BufferRef *operand :
         *description.dispatches()->Get(index)->operands()) {
      if (operand->kind() == schema::BufferKind::Input)
        reads[operand->index()] = true;
      if (operand->kind() == schema::BufferKind::Output)
        writes[operand->index()] = true;
    }
  Exchange exchange;
  exchange.inputBytes = aligned(sizesBytes);
  auto place = [&](const schema::Binding &binding, bool used, uint64_t &end) {
    int64_t elements = *evaluate(*binding.elements(), tokens);
    if (isMedia(binding))
      elements *= mediaRows;
    // A binding of nothing is a word, so that there is something to bind.
    const uint64_t bytes = 4 * uint64_t(std::max<int64_t>(elements, 1));
    VulkanRange where{nullptr, end, used ? bytes : 0};
    if (used)
      end = aligned(end + bytes);
    return where;
  };
  for (uint32_t index = 0; index < reads.size(); ++index)
    exchange.bindings.inputs.push_back(place(
        *description.inputs()->Get(index), reads[index], exchange.inputBytes));
  for (uint32_t index = 0; index < writes.size(); ++index)
    exchange.bindings.outputs.push_back(
        place(*description.outputs()->Get(index), writes[index],
              exchange.outputBytes));
  for (VulkanRange &each : exchange.bindings.inputs)
    each.buffer = &input;
  for (VulkanRange &each : exchange.bindings.outputs)
    each.buffer = &output;
  return exchange;
}

std::string VulkanDevice::description() const {
  return concat("vulkan ", chosen->name()->string_view(), " (",
                context->physical().name, ", ", context->physical().driver,
                ")");
}

Result<std::unique_ptr<SequenceCaches>> VulkanDevice::createCaches() {
  return std::unique_ptr<SequenceCaches>(
      LAPIDARY_TRY(VulkanCaches::create(context, cacheLayout, staging)));
}

/// Only rows that a token names are read.
Result<int64_t>
VulkanDevice::countMediaRows(const schema::EntryPoint &entry,
                             std::span<const void *const> inputs,
                             int64_t tokens) const {
  int64_t rows = 0;
  for (uint32_t index = 0; index < inputs.size(); ++index) {
    const schema::Binding &binding = *entry.inputs()->Get(index);
    if (binding.name()->string_view() != "media_rows" || !inputs[index])
      continue;
    const auto *values = static_cast<const int32_t *>(inputs[index]);
    for (int64_t token = 0; token < tokens; ++token)
      rows = std::max<int64_t>(rows, int64_t(values[token]) + 1);
  }
  if (rows > std::min(entry.max_tokens(), chunk))
    return internalError(concat("a step of ", tokens, " tokens names ", rows,
                                " rows of media, expected at most ",
                                std::min(entry.max_tokens(), chunk)));
  return rows;
}

void VulkanDevice::writeSizes(std::span<const Step> steps, int64_t tokens) {
  auto *rows = reinterpret_cast<int32_t *>(program.upload->data());
  auto write = [&](int64_t count, int64_t past, int64_t first) {
    for (int64_t value : {count, past, first, chunk})
      *rows++ = static_cast<int32_t>(value);
  };
  write(tokens, steps.size() == 1 ? steps[0].past : 0, 0);
  int64_t first = 0;
  for (const Step &step : steps) {
    write(step.tokens, step.past, first);
    first += step.tokens;
  }
}

Result<VulkanRecording *>
VulkanDevice::findRecording(VulkanShape shape,
                            std::span<VulkanCaches *const> caches,
                            const VulkanBindings &bindings) {
  auto found = std::ranges::find_if(
      recordings, [&](const auto &each) { return each->shape() == shape; });
  if (found != recordings.end()) {
    std::rotate(found, found + 1, recordings.end());
    return recordings.back().get();
  }
  std::unique_ptr<VulkanRecording> made = LAPIDARY_TRY(VulkanRecording::create(
      context, program, std::move(shape), caches, bindings));
  ++counted.recordings;
  if (recordings.size() == mostRecordings)
    recordings.erase(recordings.begin());
  recordings.push_back(std::move(made));
  return recordings.back().get();
}

Status VulkanDevice::runDispatches(uint32_t entry, DispatchRange range,
                                   std::span<const Step> steps,
                                   std::span<const void *const> inputs,
                                   std::span<void *const> outputs,
                                   const std::atomic<bool> *cancel) {
  if (entry >= program.target->entries()->size())
    return internalError(concat("there is no entry point ", entry));
  const schema::EntryPoint &description =
      *program.target->entries()->Get(entry);
  LAPIDARY_TRY(checkRun(description, range, chunk, steps, inputs.size(),
                        outputs.size()));
  if (steps.size() > size_t(maxSequences))
    return internalError(concat("a step has ", steps.size(), " sequences"));
  if (cancel && cancel->load(std::memory_order_relaxed))
    return cancelled(
        concat("\"", description.name()->string_view(), "\" was cancelled"));
  VulkanShape shape;
  shape.entry = entry;
  shape.dispatches = range;
  std::vector<VulkanCaches *> caches;
  int64_t tokens = 0;
  for (const Step &step : steps) {
    if (step.past > INT32_MAX - step.tokens)
      return internalError(concat("a sequence has ", step.past, " positions"));
    auto *own = static_cast<VulkanCaches *>(step.caches);
    if (own) {
      LAPIDARY_TRY(own->pending());
      own->use(step.past + step.tokens);
    }
    caches.push_back(own);
    shape.caches.push_back(own ? own->id() : 0);
    shape.tokens.push_back(step.tokens);
    tokens += step.tokens;
  }
  shape.mediaRows = LAPIDARY_TRY(countMediaRows(description, inputs, tokens));
  for (const void *wanted : outputs)
    shape.outputs.push_back(wanted != nullptr);
  shape.profiled = profile && context->physical().timestampBits > 0;
  const Exchange exchange = layOut(entry, range, tokens, shape.mediaRows);
  VulkanRecording *recording =
      LAPIDARY_TRY(findRecording(shape, caches, exchange.bindings));

  writeSizes(steps, tokens);
  for (size_t index = 0; index < inputs.size(); ++index) {
    const VulkanRange &place = exchange.bindings.inputs[index];
    const bool empty =
        isMedia(*description.inputs()->Get(static_cast<uint32_t>(index))) &&
        shape.mediaRows == 0;
    if (place.bytes != 0 && inputs[index] && !empty)
      std::memcpy(program.upload->data() + place.offset, inputs[index],
                  place.bytes);
  }
  const uint64_t submission =
      LAPIDARY_TRY(context->submit(recording->commands()));
  LAPIDARY_TRY(context->wait(submission));
  ++counted.submissions;
  counted.dispatches = recording->dispatchCount();
  counted.barriers = recording->barrierCount();
  if (profile)
    Profile::add(profile->submissions, {.entry = entry,
                                        .tokens = tokens,
                                        .dispatches = counted.dispatches,
                                        .barriers = counted.barriers});
  if (shape.profiled)
    noteTimes(*recording, tokens, steps[0].past, Profile::now());
  LAPIDARY_TRY(context->instance().takeComplaints());
  LAPIDARY_TRY(program.readback->invalidate());
  for (size_t index = 0; index < outputs.size(); ++index) {
    const VulkanRange &place = exchange.bindings.outputs[index];
    if (place.bytes == 0 || !outputs[index])
      continue;
    std::memcpy(outputs[index], program.readback->data() + place.offset,
                place.bytes);
    counted.outputBytes += place.bytes;
  }
  return {};
}

/// The last dispatch ended about when the host saw it.
void VulkanDevice::noteTimes(const VulkanRecording &recording, int64_t tokens,
                             int64_t past, int64_t end) {
  Result<std::vector<VulkanRecording::End>> ends = recording.times();
  if (!ends.ok() || ends->empty())
    return;
  int64_t begin = end - ends->back().time, before = 0;
  for (const VulkanRecording::End &each : *ends) {
    Profile::add(profile->dispatches, {.entry = recording.shape().entry,
                                       .index = each.dispatch,
                                       .tokens = tokens,
                                       .past = past,
                                       .tiles = each.tiles,
                                       .begin = begin + before,
                                       .end = begin + each.time});
    before = each.time;
  }
}

Status VulkanDevice::readArena(uint64_t offset, std::span<uint8_t> bytes) {
  return staging->download(arena, offset, bytes);
}

Status VulkanDevice::writeArena(uint64_t offset,
                                std::span<const uint8_t> bytes) {
  LAPIDARY_TRY(staging->upload(bytes, arena, offset));
  return staging->finish();
}

} // namespace lapidary
