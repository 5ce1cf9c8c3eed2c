// The fields of a request's JSON: bounded when it is parsed, typed when they
// are read. The first thing that is wrong is kept as the error that the client
// gets; fields that nobody asks for are ignored, as OpenAI's API does.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace lapidary::serve {

/// Keeps the order of keys, which schemas and arguments are shown in.
using Json = nlohmann::ordered_json;

/// What OpenAI's error object says.
struct ApiError {
  int status = 400;
  std::string message = {};
  /// The field at fault; empty: none.
  std::string param = {};
  /// Empty: the status.
  std::string code = {};

  Json toJson() const;
  /// The form of Anthropic's API.
  Json toAnthropic() const;
};

/// What a client is told while the server stops.
inline ApiError stoppingError() { return {503, "the server is stopping"}; }

/// Nesting that a request may have, tools' schemas included.
inline constexpr int maxRequestDepth = 128;
/// Members that one object of a request may have: objects that keep their
/// order are searched one by one.
inline constexpr size_t maxObjectMembers = 4096;
/// What these searches may cost in all of a request: a comparison of two short
/// keys is one.
inline constexpr size_t maxKeyComparisons = size_t(32) << 20;
/// Bytes that a value takes once it is parsed, its text aside.
inline constexpr size_t parsedValueBytes = 64;

/// A request's text; nothing with `error` set where it is no JSON object.
/// `take` is asked for the memory of its values before they are made.
std::optional<Json>
parseRequest(std::string_view text, ApiError &error,
             const std::function<bool(size_t)> &take = nullptr);

/// JSON text that any bytes come through, as one line.
std::string dumpJson(const Json &value);
/// What a value is, for messages: "a string", "null".
const char *kindOf(const Json &value);

/// Where the first error of a request goes.
class Problems {
public:
  bool ok() const { return !found; }
  const ApiError &error() const { return *found; }
  void add(const std::string &param, const std::string &message,
           int status = 400) {
    if (!found)
      found = ApiError{status, message, param};
  }

private:
  std::optional<ApiError> found;
};

/// One object's fields. What is absent or null has its default; what is wrong
/// goes to the problems, and then has its default too.
class Fields {
public:
  /// `path` is put before a field's name in messages: "messages[2].".
  Fields(const Json &object, std::string path, Problems &problems)
      : object(object), path(std::move(path)), problems(problems) {}

  /// Null where it is absent or null.
  const Json *get(const char *key) const;
  std::optional<double> number(const char *key, double least,
                               double most) const;
  /// A whole number; one that is written as 3.0 is one too.
  std::optional<int64_t> integer(const char *key, int64_t least,
                                 int64_t most) const;
  bool flag(const char *key, bool fallback = false) const;
  std::optional<std::string> string(const char *key) const;
  /// A string that must be there.
  std::string required(const char *key) const;
  const Json *array(const char *key) const;
  const Json *child(const char *key) const;

  std::string where(std::string_view key) const {
    return path + std::string(key);
  }
  void wrong(const char *key, const std::string &expected,
             const Json &found) const;
  void fail(const char *key, const std::string &message) const {
    problems.add(where(key), message);
  }

private:
  const Json &object;
  std::string path;
  Problems &problems;
};

} // namespace lapidary::serve
