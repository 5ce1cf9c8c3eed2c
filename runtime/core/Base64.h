// Base64 (RFC 4648) as media come in it.
#pragma once

#include "runtime/core/Status.h"

#include <string_view>
#include <vector>

namespace lapidary {

/// The bytes of a text in the standard alphabet, with or without padding. An
/// error names the first character that is none of it.
Result<std::vector<uint8_t>> decodeBase64(std::string_view text);

} // namespace lapidary
