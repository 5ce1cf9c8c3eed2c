// The tokenizer that a GGUF file of a Gemma 4 model carries.
#pragma once

#include "frontends/formats/Gguf.h"
#include "runtime/core/Status.h"

#include <cstdint>
#include <vector>

namespace lapidary {

/// The compiled table (runtime/schema/tokenizer.fbs), the same as that of the
/// tokenizer.json from which the file was converted.
Result<std::vector<uint8_t>> compileGgufTokenizer(const GgufFile &file);

} // namespace lapidary
