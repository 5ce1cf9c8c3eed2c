// Errors as values: Status (a code and a message that names what, where and
// what was expected) and Result<T> (a value or a Status, never both). Nothing
// in the runtime throws across a public function.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace lapidary {

enum class StatusCode : uint8_t {
  Ok = 0,
  /// The caller asked for something that cannot be: a prompt longer than the
  /// context, a negative count.
  InvalidArgument,
  /// A file is not what it should be: truncated, altered, malformed.
  InvalidData,
  /// A file or a name that does not exist.
  NotFound,
  /// The file is fine, and this build, device or bundle cannot do it.
  Unsupported,
  /// Memory, disk or an address range ran out, or would.
  OutOfMemory,
  /// The operating system refused a read, write or map.
  IoError,
  /// The user or the caller stopped it.
  Cancelled,
  /// A bug of ours.
  Internal,
};

class [[nodiscard]] Status {
public:
  Status() = default;
  Status(StatusCode code, std::string message)
      : code(code), text(std::move(message)) {}

  bool ok() const { return code == StatusCode::Ok; }
  StatusCode getCode() const { return code; }
  const std::string &message() const { return text; }

private:
  StatusCode code = StatusCode::Ok;
  std::string text;
};

inline Status invalidArgument(std::string message) {
  return {StatusCode::InvalidArgument, std::move(message)};
}
inline Status invalidData(std::string message) {
  return {StatusCode::InvalidData, std::move(message)};
}
inline Status notFound(std::string message) {
  return {StatusCode::NotFound, std::move(message)};
}
inline Status unsupported(std::string message) {
  return {StatusCode::Unsupported, std::move(message)};
}
inline Status outOfMemory(std::string message) {
  return {StatusCode::OutOfMemory, std::move(message)};
}
inline Status ioError(std::string message) {
  return {StatusCode::IoError, std::move(message)};
}
inline Status cancelled(std::string message) {
  return {StatusCode::Cancelled, std::move(message)};
}
inline Status internalError(std::string message) {
  return {StatusCode::Internal, std::move(message)};
}

template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : state(std::in_place_index<1>, std::move(value)) {}
  Result(Status status) : state(std::in_place_index<0>, std::move(status)) {}

  bool ok() const { return state.index() == 1; }
  /// The error; an Ok status when there is a value.
  Status status() const { return ok() ? Status() : std::get<0>(state); }
  T &operator*() & { return std::get<1>(state); }
  const T &operator*() const & { return std::get<1>(state); }
  T &&operator*() && { return std::get<1>(std::move(state)); }
  T *operator->() { return &std::get<1>(state); }
  const T *operator->() const { return &std::get<1>(state); }

private:
  std::variant<Status, T> state;
};

namespace detail {
inline Status takeStatus(Status status) { return status; }
template <typename T> Status takeStatus(const Result<T> &result) {
  return result.status();
}
inline void takeValue(Status &&) {}
template <typename T> T takeValue(Result<T> &&result) {
  return *std::move(result);
}
} // namespace detail

} // namespace lapidary

/// Evaluates a Status or a Result<T>; returns its error from the calling
/// function, or yields its value:
///   auto bundle = LAPIDARY_TRY(Bundle::open(path));
#define LAPIDARY_TRY(...)                                                      \
  ({                                                                           \
    auto lapidaryResult = (__VA_ARGS__);                                       \
    if (!lapidaryResult.ok()) [[unlikely]]                                     \
      return ::lapidary::detail::takeStatus(lapidaryResult);                   \
    ::lapidary::detail::takeValue(std::move(lapidaryResult));                  \
  })
