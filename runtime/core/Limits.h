// Limits that more than one part of the project checks, so that what one part
// accepts the next does not refuse.
#pragma once

#include <cstdint>

namespace lapidary {

/// Threads of a session.
inline constexpr int32_t maxThreads = 1024;
/// Sequences of an engine.
inline constexpr int32_t maxSequences = 256;
/// A patch's side in pixels: far above any in use; keeps products in range.
inline constexpr int32_t maxPatchSize = 256;

} // namespace lapidary
