// Matrices that a checkpoint has quantized already: which scheme holds them,
// and their rows, taken apart without quantizing again.
#pragma once

#include "dialects/scheme/Scheme.h"
#include "frontends/formats/Safetensors.h"

#include <span>
#include <string>
#include <string_view>

namespace lapidary {

/// The name of the scheme for a tensor with an encoding. An encoding that is
/// not known is an error that names the tensor.
Result<std::string> getEncodedScheme(const TensorInfo &tensor);
/// The text of that scheme; empty for a built-in one.
std::string_view getEncodedSchemeText(const TensorInfo &tensor);

/// Reads rows `first`, `first + 1`, ... of a matrix into `rows`, which are of
/// `scheme`; a scheme of other fields than the encoding's is an error. Safe
/// from several threads.
Status readEncodedRows(const Checkpoint &checkpoint, const TensorInfo &tensor,
                       const Scheme &scheme, int64_t first,
                       std::span<EncodedRow> rows);

} // namespace lapidary
