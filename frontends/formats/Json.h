// JSON from untrusted files: bounded in size and depth, errors as values. And
// a reader of objects that knows which fields nobody asked for.
#pragma once

#include "runtime/core/Status.h"

#include <nlohmann/json.hpp>

#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

/// The whole content of a regular file of at most `limit` bytes.
Result<std::string> readTextFile(const std::string &path, uint64_t limit);

/// Deeper than any file of a checkpoint, and harmless for recursive code.
inline constexpr int maxJsonDepth = 64;

/// `origin` (a file's name) begins every error message.
Result<nlohmann::json> parseJson(std::string_view text,
                                 const std::string &origin,
                                 int maxDepth = maxJsonDepth);

/// The same, with the keys of objects in the order in which they stand.
Result<nlohmann::ordered_json> parseOrderedJson(std::string_view text,
                                                const std::string &origin,
                                                int maxDepth = maxJsonDepth);

/// The same for a text that must be an object.
Result<nlohmann::json> parseJsonObject(std::string_view text,
                                       const std::string &origin);

/// A value as a message shows it: cut in depth and length.
std::string describeJson(const nlohmann::json *value);

/// Reads the fields of one object. Every field that is not asked for by name
/// is an error in `finish`, so that nothing is ignored silently. A field that
/// is absent or null takes its default.
class JsonFields {
public:
  /// `path` is where the object is, for messages: "text_config."; `value` must
  /// outlive the reader and be an object.
  JsonFields(const nlohmann::json &value, std::string origin, std::string path)
      : object(value), origin(std::move(origin)), path(std::move(path)) {}

  /// The value, or null where it is absent or `null`.
  const nlohmann::json *get(const char *key);
  /// Absent altogether, not even null.
  bool has(const char *key) const { return object.contains(key); }

  Result<int64_t> integer(const char *key, int64_t fallback, int64_t least,
                          int64_t most);
  Result<double> number(const char *key, double fallback, double least,
                        double most);
  Result<bool> flag(const char *key, bool fallback);
  Result<std::string> string(const char *key, const std::string &fallback);
  /// An integer or a list of integers; nothing where it is absent.
  Result<std::optional<std::vector<int64_t>>>
  integers(const char *key, int64_t least, int64_t most);
  /// An object; null where it is absent.
  Result<const nlohmann::json *> child(const char *key);

  /// A field that we can only honour when it has one of these values, or none:
  /// they include the reference's default.
  Status expect(const char *key, std::initializer_list<nlohmann::json> values);
  /// Fields that change nothing for us, whatever they say.
  void ignore(std::initializer_list<const char *> keys);
  /// An error that names the first field that nobody asked for.
  Status finish() const;

  Status wrong(const char *key, const std::string &expected,
               const nlohmann::json *found) const;
  std::string where(const char *key) const {
    return origin + ": " + path + key;
  }

private:
  const nlohmann::json &object;
  std::string origin;
  std::string path;
  std::set<std::string, std::less<>> known;
};

} // namespace lapidary
