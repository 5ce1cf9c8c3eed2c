// An output file that is there whole or not at all.
#pragma once

#include "runtime/core/Status.h"

#include <string>
#include <string_view>

namespace lapidary::cli {

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

  Status commit(std::string_view content);

private:
  ReplacingFile() = default;

  std::string path, temporary;
  int handle = -1;
};

} // namespace lapidary::cli
