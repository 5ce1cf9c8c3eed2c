// Reads the keys of a GGUF file that begin alike and knows which of them nobody
// asked for, so that nothing is ignored silently.
#pragma once

#include "frontends/formats/Gguf.h"

#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

class GgufKeys {
public:
  /// `prefix`: "gemma4.". The file must outlive the reader.
  GgufKeys(const GgufFile &file, std::string prefix)
      : file(file), prefix(std::move(prefix)) {}

  /// The value, or null where there is none.
  const GgufValue *get(std::string_view key);
  bool has(std::string_view key) { return get(key); }

  /// Keys that must be there. Numbers are finite.
  Result<int64_t> integer(std::string_view key);
  Result<double> number(std::string_view key);
  Result<std::string_view> string(std::string_view key);
  /// An array of `count` flags.
  Result<std::vector<bool>> flags(std::string_view key, size_t count);
  /// An array of `count` integers, or one for all.
  Result<std::vector<int64_t>> integers(std::string_view key, size_t count);
  /// Any array of integers.
  Result<std::vector<int64_t>> integers(std::string_view key);

  /// A key that we can only honour when it has this value, or is not there.
  Status expectInteger(std::string_view key, int64_t value);
  Status expectFlag(std::string_view key, bool value);
  Status expectString(std::string_view key, std::string_view value);
  /// The same for all numbers of an array.
  Status expectNumbers(std::string_view key, double value);
  /// Keys that change nothing for us, whatever they say.
  void ignore(std::initializer_list<std::string_view> keys);
  /// An error that names the first key that nobody asked for.
  Status finish() const;

  Status wrong(std::string_view key, const std::string &expected) const;

private:
  const GgufFile &file;
  std::string prefix;
  std::set<std::string, std::less<>> known;
};

} // namespace lapidary
