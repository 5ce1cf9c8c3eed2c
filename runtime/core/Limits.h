// Limits that more than one part of the project checks, so that what one part
// accepts the next does not refuse.
#pragma once

#include <cstdint>

namespace lapidary {

/// Threads of a session.
inline constexpr int32_t maxThreads = 1024;
/// Sequences of an engine.
inline constexpr int32_t maxSequences = 256;
/// Tokens that are guessed ahead in a step for a sequence: with its own token
/// as many as share one read of the output matrix.
inline constexpr int32_t maxDrafts = 15;
/// A patch's side in pixels: far above any in use; keeps products in range.
inline constexpr int32_t maxPatchSize = 256;

} // namespace lapidary
