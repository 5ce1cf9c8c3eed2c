// Capitals as Python makes them.
#pragma once

#include <string>
#include <string_view>

namespace lapidary::chat {

/// Python's str.upper(). Invalid bytes stay.
std::string upperCase(std::string_view text);

} // namespace lapidary::chat
