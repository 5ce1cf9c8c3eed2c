// Which columns of a weight matter: mean squared activations of the inputs that
// they are multiplied with, as `lapidary calibrate` collects them. A
// safetensors file with an f32 vector a weight, named as the weight.
#pragma once

#include "compiler/WeightSource.h"

namespace mlir::lap {

lapidary::Result<Importance> readImportance(const std::string &path);

/// Writes the file whole or not at all.
lapidary::Status writeImportance(const std::string &path,
                                 const Importance &importance);

} // namespace mlir::lap
