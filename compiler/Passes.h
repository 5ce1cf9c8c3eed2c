// The passes from model level to program level. Passes.td says what each takes
// and leaves; Pipeline.h orders them.
#pragma once

#include "mlir/Pass/Pass.h"

namespace mlir::lap {

#define GEN_PASS_DECL
#include "compiler/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "compiler/Passes.h.inc"

} // namespace mlir::lap
