// Messages from pieces: concat("segment ", 3, " has ", 17, " bytes"). Smaller
// than streams in code size.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>

namespace lapidary {

namespace detail {
inline void append(std::string &out, std::string_view piece) {
  out.append(piece);
}
template <typename T>
  requires std::is_arithmetic_v<T>
void append(std::string &out, T number) {
  out.append(std::to_string(number));
}
} // namespace detail

template <typename... T> std::string concat(const T &...pieces) {
  std::string out;
  (detail::append(out, pieces), ...);
  return out;
}

} // namespace lapidary
