// A GPU's driver compiles a bundle's kernels itself, and drivers are wrong now
// and then: what a driver has not run before is tested first, and what is found
// is remembered in the cache folder.
#pragma once

#include "runtime/model/MemoryPlan.h"

namespace lapidary {

/// Runs the bundle's self-tests on `options.device`, if it is a GPU, the first
/// time that its driver, of this version, has this bundle with this variant.
/// The error of a test that fails names the variant and the first kernel that
/// is wrong. `options.skipSelfTest` and LAPIDARY_SKIP_SELFTEST=1 skip it.
Status checkFirstRun(const std::shared_ptr<const Bundle> &bundle,
                     const SessionOptions &options);
/// The self-tests have passed.
void rememberSelfTest(const Bundle &bundle, const SessionOptions &options);
/// A sentence that names the first kernel of the GPU that gives something else
/// than the CPU's; empty where none does, or where the bundle has no code for
/// this CPU.
Result<std::string> findWrongKernel(const std::shared_ptr<const Bundle> &bundle,
                                    const SessionOptions &options);

} // namespace lapidary
