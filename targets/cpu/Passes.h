// The passes of the CPU target.
#pragma once

#include "mlir/Pass/Pass.h"

namespace mlir::lap::cpu {

#define GEN_PASS_DECL
#include "targets/cpu/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "targets/cpu/Passes.h.inc"

} // namespace mlir::lap::cpu
