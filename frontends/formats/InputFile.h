// A file that is read in pieces at any offset, never mapped: the memory that
// compiling takes must not grow with the checkpoint.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <span>
#include <string>

namespace lapidary {

/// An open regular file. Reading is safe from several threads.
class InputFile {
public:
  static Result<InputFile> open(const std::string &path);
  InputFile(InputFile &&) noexcept;
  InputFile &operator=(InputFile &&) noexcept;
  ~InputFile();

  const std::string &path() const { return name; }
  /// As it was when the file was opened.
  uint64_t bytes() const { return size; }
  /// Fills `out`; a file that ends before is an error.
  Status read(uint64_t offset, std::span<uint8_t> out) const;

private:
  InputFile() = default;

  std::string name;
  int handle = -1;
  uint64_t size = 0;
};

} // namespace lapidary
