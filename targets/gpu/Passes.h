// The passes that all GPU targets share.
#pragma once

#include "mlir/Pass/Pass.h"

namespace mlir::lap::simt {

#define GEN_PASS_DECL
#include "targets/gpu/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "targets/gpu/Passes.h.inc"

} // namespace mlir::lap::simt
