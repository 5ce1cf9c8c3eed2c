// What every device checks before it runs a step.
#include "runtime/devices/DispatchRunner.h"

#include "runtime/core/BundleValidation.h"
#include "runtime/core/Text.h"

#include <algorithm>

namespace lapidary {

DispatchRange wantedDispatches(const schema::EntryPoint &entry,
                               std::span<void *const> outputs) {
  DispatchRange range{0, entry.dispatches()->size()};
  if (entry.candidate_dispatches() == 0)
    return range;
  for (uint32_t index = 0; index < entry.outputs()->size(); ++index)
    if (index < outputs.size() && outputs[index] &&
        isCandidates(*entry.outputs()->Get(index)))
      return range;
  range.last -= entry.candidate_dispatches();
  return range;
}

Status checkRun(const schema::EntryPoint &entry, DispatchRange range,
                int64_t chunk, std::span<const Step> steps, size_t inputs,
                size_t outputs) {
  std::string_view name = entry.name()->string_view();
  if (inputs != entry.inputs()->size() || outputs != entry.outputs()->size())
    return internalError(concat("entry point \"", name, "\" cannot run with ",
                                inputs, " inputs and ", outputs, " outputs"));
  if (range.first > range.last || range.last > entry.dispatches()->size())
    return internalError(concat("entry point \"", name, "\" has no dispatches ",
                                range.first, " to ", range.last));
  bool hasCaches = false;
  for (uint32_t index = range.first; index < range.last && !hasCaches; ++index)
    hasCaches = std::ranges::any_of(
        *entry.dispatches()->Get(index)->operands(), [](const auto *operand) {
          return operand->kind() == schema::BufferKind::Cache;
        });
  int64_t tokens = 0;
  for (const Step &step : steps) {
    if (step.tokens < 1 || step.tokens > entry.max_tokens() - tokens ||
        step.past < 0 || (hasCaches && !step.caches))
      return internalError(concat(
          "entry point \"", name, "\" cannot run ", step.tokens,
          " tokens after ", tokens, " others and ", step.past, " positions",
          hasCaches && !step.caches ? " without caches" : ""));
    tokens += step.tokens;
  }
  if (tokens == 0)
    return internalError("a step has no tokens");
  // Scratch and rings are sized for prefill steps of at most the chunk.
  if ((name == "prefill" || name == "extend") && tokens > chunk)
    return internalError(concat("a prefill step of ", tokens,
                                " tokens is longer than the chunk of ", chunk));
  return {};
}

} // namespace lapidary
