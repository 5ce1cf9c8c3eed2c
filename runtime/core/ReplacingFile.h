// An output file that is there whole or not at all.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace lapidary {

/// Takes the place of `path` when all of it is written; until then there is a
/// temporary file beside it, which goes away with the object.
class ReplacingFile {
public:
  /// Refuses at once what could not be written later.
  static Result<ReplacingFile> create(const std::string &path);
  ReplacingFile(ReplacingFile &&other) noexcept;
  ReplacingFile(const ReplacingFile &) = delete;
  ReplacingFile &operator=(const ReplacingFile &) = delete;
  ~ReplacingFile();

  Status write(std::span<const uint8_t> bytes);
  /// Writes over the file's first bytes, which are known last.
  Status rewriteStart(std::span<const uint8_t> bytes);
  /// All of it is there: the file takes its place.
  Status commit();
  Status commit(std::string_view content);

private:
  ReplacingFile() = default;

  std::string path, temporary;
  int handle = -1;
};

} // namespace lapidary
