// A file that appears whole or not at all: written beside its name, renamed at
// the end, removed when anything fails before.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <span>
#include <string>

namespace lapidary {

class BundleFile {
public:
  /// Whether a file could be created under this name, as far as that shows
  /// without creating it. For the time before long work.
  static Status check(const std::string &path);
  /// Creates the temporary file and reserves `bytes` on the disk, so that a
  /// full disk is known before the work.
  static Result<BundleFile> create(const std::string &path, uint64_t bytes);
  BundleFile(BundleFile &&other) noexcept;
  BundleFile &operator=(BundleFile &&) = delete;
  /// Removes the temporary file unless `commit` succeeded.
  ~BundleFile();

  /// Safe from several threads.
  Status write(uint64_t offset, std::span<const uint8_t> bytes);
  /// Reads what has been written. Safe from several threads.
  Status read(uint64_t offset, std::span<uint8_t> bytes) const;
  /// Puts the file in place of what had its name.
  Status commit();

private:
  BundleFile() = default;

  std::string path;
  std::string temporary;
  int handle = -1;
};

} // namespace lapidary
