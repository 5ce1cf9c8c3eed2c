// From `lap.scheme` to lapidary::Scheme, which is free of MLIR.
#pragma once

#include "dialects/lap/LapDialect.h"

namespace mlir::lap {

/// Sets kind, bits and bounds of a field of this type; false when no field can
/// be of it.
bool setFieldType(lapidary::SchemeField &field, Type type);

/// Whether the op is one that a decode region may have.
bool isDecodeStep(Operation *op);

/// The scheme of a verified op.
lapidary::Scheme makeScheme(SchemeOp op);

} // namespace mlir::lap
