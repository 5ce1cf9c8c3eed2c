// The names of kernels.
#pragma once

#include "mlir/IR/Operation.h"

#include <string>

namespace mlir::lap {

/// True for the ops that become a kernel each.
bool isKernelLevel(Operation *op);

/// The name of a kernel level op's kernel, without the number that tells it
/// from others of the same name. The description of lap-outline-kernels in
/// Passes.td has the grammar.
std::string getKernelName(Operation *op);

} // namespace mlir::lap
