// The passes of the Vulkan target.
#pragma once

#include "mlir/Pass/Pass.h"

namespace mlir::lap::vulkan {

#define GEN_PASS_DECL
#include "targets/vulkan/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "targets/vulkan/Passes.h.inc"

} // namespace mlir::lap::vulkan
