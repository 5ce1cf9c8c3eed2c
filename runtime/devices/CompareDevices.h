// Finds the first kernel of a device that gives something else than another
// device's, dispatch by dispatch.
#pragma once

#include "runtime/devices/DispatchRunner.h"

namespace lapidary {

/// Whether what one of the targets left in arena and caches is what the other
/// expects there.
Status checkSameProgram(const schema::Target &left,
                        const schema::Target &right);

/// Both run the same program with `options`. Each dispatch of the entry points
/// for text gets from `tested` what it gets from `reference`, so that the first
/// that differs is the first that is wrong. A sentence about it; empty when
/// there is none. As many tokens as a chunk has, at most.
Result<std::string> compareDevices(const schema::Program &program,
                                   DispatchRunner &reference,
                                   DispatchRunner &tested,
                                   const DeviceOptions &options,
                                   std::span<const int32_t> tokens);

} // namespace lapidary
