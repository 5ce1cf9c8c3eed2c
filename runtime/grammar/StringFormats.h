// JSON Schema's `format`s of strings.
#pragma once

#include "runtime/core/Status.h"

#include <optional>
#include <string_view>

namespace lapidary {

/// The pattern for a format; empty for those that say nothing about the text
/// (password, binary); nothing for unknown ones.
std::optional<std::string_view> formatPattern(std::string_view format);

} // namespace lapidary
