// Reads a Hugging Face tokenizer.json of Gemma's kind (byte-fallback BPE over
// text whose spaces are U+2581).
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <string>
#include <vector>

namespace lapidary {

/// The compiled table (runtime/schema/tokenizer.fbs) of the tokenizer.json
/// whose text is `json`. Whatever would give other ids and is not supported is
/// an error that begins with `origin`, a file's name, and names the field, what
/// was expected and what was found. Deterministic.
Result<std::vector<uint8_t>> compileTokenizer(const std::string &json,
                                              const std::string &origin);

} // namespace lapidary
