// The generated definitions of the ops.
#include "dialects/lap/LapDialect.h"

#include "mlir/Bytecode/BytecodeImplementation.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"

using namespace mlir;
using namespace mlir::lap;

#define GET_OP_CLASSES
#include "dialects/lap/LapOps.cpp.inc"
