// Puts defaults into the options and adds up what an engine would take.
#include "runtime/model/MemoryPlan.h"

#include "runtime/core/Limits.h"
#include "runtime/core/Text.h"
#include "runtime/model/CacheRows.h"
#include "runtime/model/EntryPoints.h"

#include <algorithm>

namespace lapidary {
namespace {

constexpr int64_t defaultChunk = 512;

/// Checks the options and puts the defaults in.
Status resolveOptions(const schema::Program &program,
                      const schema::Target &target,
                      const SessionOptions &options, MemoryPlan &plan) {
  int64_t longest = program.model()->context(),
          prefillMax = maxTokens(target, "prefill");
  if (options.context < 0 || options.context > longest)
    return invalidArgument(
        concat("a context of ", options.context,
               " positions was asked for, but the model has 1 to ", longest));
  plan.context = options.context == 0 ? longest : options.context;
  if (options.chunk < 0 || options.chunk % 16 != 0 ||
      options.chunk > prefillMax)
    return invalidArgument(
        concat("a chunk of ", options.chunk,
               " tokens was asked for, expected a multiple of 16 up to ",
               prefillMax, ", for which the bundle was compiled"));
  plan.chunk =
      options.chunk == 0
          ? std::min({defaultChunk, prefillMax, roundUp(plan.context, 16)})
          : options.chunk;
  if (options.threads < 0 || options.threads > maxThreads)
    return invalidArgument(concat(options.threads,
                                  " threads were asked for, expected 1 to ",
                                  maxThreads, ", or 0 for all"));
  plan.threads = resolveThreads(options.threads);
  int64_t most = std::min<int64_t>(maxSequences, plan.chunk);
  if (options.sequences < 1 || options.sequences > most)
    return invalidArgument(concat(options.sequences,
                                  " sequences were asked for, expected 1 to ",
                                  most, ", for each takes a token of a step"));
  plan.sequences = options.sequences;
  plan.gpuLayers = options.gpuLayers;
  plan.progress = options.progress;
  if (options.drafts < 0 || options.drafts > maxDrafts)
    return invalidArgument(concat(
        options.drafts, " drafts were asked for, expected 0 to ", maxDrafts));
  // Rings go back by less than a chunk.
  plan.drafts = std::min<int64_t>(options.drafts, plan.chunk - 1);
  return {};
}

std::string describe(const MemoryPlan &plan) {
  return concat(
      "weights ", formatBytes(plan.weights), ", caches ",
      formatBytes(plan.caches), ", arena ", formatBytes(plan.arenas),
      ", scratch ", formatBytes(plan.scratch), ", logits ",
      formatBytes(plan.logits),
      plan.snapshots > 0 ? ", snapshots " + formatBytes(plan.snapshots) : "");
}

} // namespace

std::optional<uint32_t> findEntry(const schema::Target &target,
                                  std::string_view name) {
  for (uint32_t index = 0; index < target.entries()->size(); ++index)
    if (target.entries()->Get(index)->name()->string_view() == name)
      return index;
  return std::nullopt;
}

int64_t maxTokens(const schema::Target &target, std::string_view name) {
  std::optional<uint32_t> index = findEntry(target, name);
  return index ? target.entries()->Get(*index)->max_tokens() : 0;
}

int64_t longestVisionBlock(const schema::Model &model,
                           std::span<const int32_t> tokens) {
  int64_t longest = 0, length = 0;
  for (int32_t token : tokens) {
    length = isVisionToken(model, token) ? length + 1 : 0;
    longest = std::max(longest, length);
  }
  return longest;
}

DeviceOptions MemoryPlan::deviceOptions() const {
  return {.context = roundUp(context, 16),
          .chunk = chunk,
          .threads = threads,
          .sequences = sequences,
          .gpuLayers = gpuLayers,
          .progress = progress};
}

const MemoryPlan::Cache *MemoryPlan::cacheBeyondDevice() const {
  for (const Cache &cache : cacheLines)
    if (cache.bytes > largestCache)
      return &cache;
  return nullptr;
}

Status MemoryPlan::check() const {
  if (fits())
    return {};
  // Only what the largest part grows with is worth changing.
  uint64_t largest =
      std::max({weights, caches, arenas, scratch, logits, snapshots});
  const char *hint = largest == snapshots
                         ? "; less memory for snapshots is worth a try"
                     : largest == caches && sequences > 1
                         ? "; a smaller context or fewer sequences need less"
                     : largest == caches  ? "; a smaller context needs less"
                     : largest == scratch ? "; fewer threads need less"
                                          : "";
  if (const Cache *cache = cacheBeyondDevice())
    return outOfMemory(concat(
        "the cache \"", cache->name, "\" has ", formatBytes(cache->bytes),
        " at a context of ", context,
        " positions, but the device binds at most ", formatBytes(largestCache),
        " at once; choose a smaller one with --context"));
  if (onDevice > deviceAvailable)
    return outOfMemory(concat(
        "a session of ", context, " positions needs ", formatBytes(onDevice),
        " on the device (", describe(*this), "), but it has ",
        formatBytes(deviceAvailable),
        " left; a smaller context, fewer sequences or --gpu-layers, which "
        "leaves layers to the CPU, need less"));
  return outOfMemory(concat("a session of ", context, " positions and ",
                            threads, " threads needs ", formatBytes(onHost()),
                            " (", describe(*this), "), but the machine has ",
                            formatBytes(available), " left", hint));
}

Result<MemoryPlan> planMemory(const schema::Program &program,
                              const SessionOptions &options) {
  const schema::Target *target =
      LAPIDARY_TRY(findTarget(program, options.device));
  MemoryPlan plan;
  LAPIDARY_TRY(resolveOptions(program, *target, options, plan));

  for (const schema::Segment *segment : *program.segments())
    if (segment->kind() == schema::SegmentKind::Weight)
      plan.weights += segment->size(); // segments do not overlap, so the sum is
                                       // below the file's size
  DeviceOptions device = plan.deviceOptions();
  DeviceMemory memory =
      LAPIDARY_TRY(planDeviceMemory(program, *target, device));
  if (__builtin_mul_overflow(memory.caches, uint64_t(plan.sequences),
                             &plan.caches))
    return outOfMemory("the caches need more bytes than 64 bits can count");
  plan.arenas = memory.arena;
  plan.scratch = memory.scratch;
  plan.media = memory.media;
  for (const schema::Cache *cache : *program.caches())
    plan.cacheLines.push_back(
        {cache->name()->str(), cache->format() ? cache->format()->str() : "f16",
         cache->kind() == schema::CacheKind::Ring,
         cacheRows(*cache, device.context, device.chunk),
         cacheBytes(*cache, device.context, device.chunk)});

  plan.snapshot = snapshotBytes(program, device);
  plan.snapshots = options.snapshotMemory;
  if (plan.snapshots > 0 && plan.snapshots < plan.snapshot)
    return invalidArgument(concat(
        "snapshots may take ", formatBytes(plan.snapshots), ", but one takes ",
        formatBytes(plan.snapshot), "; give them at least that, or none"));

  // Limits on each factor keep these products far from 64 bits.
  uint64_t vocabulary = program.model()->vocabulary(),
           hidden = program.model()->hidden(), chunk = plan.chunk;
  plan.logitRows = plan.sequences * (1 + plan.drafts) +
                   std::min(maxTokens(*target, "logits"), plan.chunk);
  plan.logits = 4 * (vocabulary * uint64_t(plan.logitRows) +
                     2 * chunk * hidden + 3 * chunk);
  plan.logits += 2 * sizeof(float) * uint64_t(target->candidates()) *
                 uint64_t(plan.logitRows);
  if (const schema::Assistant *assistant = program.model()->assistant())
    plan.logits += 4 * uint64_t(maxTokens(*target, "draft")) *
                   uint64_t(assistant->clusters());
  for (uint64_t part : {plan.weights, plan.caches, plan.arenas, plan.scratch,
                        plan.logits, plan.snapshots})
    if (__builtin_add_overflow(plan.total, part, &plan.total))
      return outOfMemory(
          "the session needs more bytes than 64 bits can count: " +
          describe(plan));
  plan.available = availableMemory();
  plan.onDevice = memory.deviceWeights + memory.deviceArena +
                  memory.deviceCaches * uint64_t(plan.sequences);
  if (plan.onDevice != 0) {
    const DeviceRoom room = deviceRoom(options.device);
    plan.deviceAvailable = room.available;
    plan.largestCache = room.largestCache;
    plan.sharesMemory = room.shared;
  }
  return plan;
}

Result<int64_t> requiredChunk(const schema::Program &program,
                              std::span<const int32_t> tokens,
                              const SessionOptions &options) {
  const schema::Target *target =
      LAPIDARY_TRY(findTarget(program, options.device));
  MemoryPlan plan;
  LAPIDARY_TRY(resolveOptions(program, *target, options, plan));
  if (!program.model()->bidirectional_vision())
    return plan.chunk;
  int64_t needed = roundUp(longestVisionBlock(*program.model(), tokens), 16);
  if (int64_t most = maxTokens(*target, "prefill"); needed > most)
    return unsupported(concat("an image of the prompt has ",
                              longestVisionBlock(*program.model(), tokens),
                              " soft tokens in a row, but the bundle was "
                              "compiled for steps of at most ",
                              most));
  return std::max(needed, plan.chunk);
}

} // namespace lapidary
