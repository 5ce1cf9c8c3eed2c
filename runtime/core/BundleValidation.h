// The checks between a bundle's program and everything that reads it: after
// them every index, offset, size and Extent of the program may be used without
// another thought. Needs a program that the FlatBuffers verifier accepted.
#pragma once

#include "runtime/core/Status.h"
#include "runtime/schema/bundle_generated.h"

#include <cstdint>
#include <optional>

namespace lapidary {

/// `programEnd`: the first byte of the file after the program; `fileBytes`: the
/// file's size.
Status validateProgram(const schema::Program &program, uint64_t programEnd,
                       uint64_t fileBytes);

/// constant + perToken * tokens, or nothing when that overflows.
std::optional<int64_t> evaluate(const schema::Extent &extent, int64_t tokens);

/// Whether an output is one of those that EntryPoint.candidate_dispatches make.
bool isCandidates(const schema::Binding &output);

} // namespace lapidary
