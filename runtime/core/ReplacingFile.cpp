// The temporary file lies in the same folder, for a file can be renamed only
// within its file system.
#include "runtime/core/ReplacingFile.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace lapidary {

namespace {

Status failed(const char *what, const std::string &path) {
  return ioError(std::string("cannot ") + what + " '" + path +
                 "': " + std::strerror(errno));
}

} // namespace

Result<ReplacingFile> ReplacingFile::create(const std::string &path) {
  struct stat existing;
  if (stat(path.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode))
    return invalidArgument("cannot write '" + path +
                           "': it exists and is not a regular file");
  ReplacingFile file;
  file.path = path;
  // A killed process of the same number may have left its file, and another
  // thread may write this one.
  static std::atomic<uint32_t> counter = 0;
  constexpr int attempts = 100;
  for (int attempt = 0; attempt < attempts && file.handle < 0; ++attempt) {
    file.temporary = path + ".tmp." + std::to_string(getpid()) + "." +
                     std::to_string(counter++);
    file.handle = open(file.temporary.c_str(),
                       O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (file.handle < 0 && errno != EEXIST)
      break;
  }
  if (file.handle < 0) {
    const Status status = failed("create", file.temporary);
    file.temporary.clear();
    return status;
  }
  return file;
}

ReplacingFile::ReplacingFile(ReplacingFile &&other) noexcept
    : path(std::move(other.path)),
      temporary(std::exchange(other.temporary, std::string())),
      handle(std::exchange(other.handle, -1)) {}

ReplacingFile::~ReplacingFile() {
  if (handle >= 0)
    close(handle);
  if (!temporary.empty())
    unlink(temporary.c_str());
}

Status ReplacingFile::write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(handle, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return failed("write", path);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return {};
}

Status ReplacingFile::rewriteStart(std::span<const uint8_t> bytes) {
  return lseek(handle, 0, SEEK_SET) == 0 ? write(bytes) : failed("write", path);
}

Status ReplacingFile::commit() {
  if (close(std::exchange(handle, -1)) != 0)
    return failed("write", path);
  if (rename(temporary.c_str(), path.c_str()) != 0)
    return failed("replace", path);
  temporary.clear();
  return {};
}

Status ReplacingFile::commit(std::string_view content) {
  LAPIDARY_TRY(write(
      {reinterpret_cast<const uint8_t *>(content.data()), content.size()}));
  return commit();
}

} // namespace lapidary
