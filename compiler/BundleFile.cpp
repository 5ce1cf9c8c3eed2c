// A file that appears whole or not at all.
#include "compiler/BundleFile.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace lapidary;

static Status makeError(const char *what, const std::string &path, int error) {
  std::string message =
      std::string("cannot ") + what + " " + path + ": " + std::strerror(error);
  if (error == ENOSPC || error == EDQUOT)
    return outOfMemory(message + "; free some space or choose another -o");
  return ioError(message);
}

Status BundleFile::check(const std::string &path) {
  struct stat existing;
  if (stat(path.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode))
    return invalidArgument("cannot write " + path +
                           ": it exists and is not a regular file");
  size_t slash = path.find_last_of('/');
  // With the dot, a file in the folder's place is told from a folder.
  std::string folder =
      slash == std::string::npos ? "." : path.substr(0, slash) + "/.";
  if (access(folder.c_str(), W_OK | X_OK) != 0)
    return makeError("create", path, errno);
  return {};
}

Result<BundleFile> BundleFile::create(const std::string &path, uint64_t bytes) {
  LAPIDARY_TRY(check(path));
  BundleFile file;
  file.path = path;
  // A killed process of the same number may have left its file.
  constexpr int attempts = 100;
  for (int attempt = 0; attempt < attempts && file.handle < 0; ++attempt) {
    file.temporary = path + ".tmp." + std::to_string(getpid() + attempt);
    file.handle = open(file.temporary.c_str(),
                       O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
    if (file.handle < 0 && errno != EEXIST)
      break;
  }
  if (file.handle < 0) {
    int error = errno;
    file.temporary.clear();
    return makeError("create", path, error);
  }
  // Filesystems without fallocate find out on the way.
  if (fallocate(file.handle, 0, 0, static_cast<off_t>(bytes)) != 0 &&
      errno != EOPNOTSUPP && errno != ENOSYS)
    return makeError(
        ("reserve " + std::to_string(bytes) + " bytes for").c_str(), path,
        errno);
  return file;
}

BundleFile::BundleFile(BundleFile &&other) noexcept
    : path(std::move(other.path)),
      temporary(std::exchange(other.temporary, std::string())),
      handle(std::exchange(other.handle, -1)) {}

BundleFile::~BundleFile() {
  if (handle >= 0)
    close(handle);
  if (!temporary.empty())
    unlink(temporary.c_str());
}

Status BundleFile::write(uint64_t offset, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    ssize_t written =
        pwrite(handle, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR)
        continue;
      return makeError("write", path, errno);
    }
    bytes = bytes.subspan(written);
    offset += written;
  }
  return {};
}

Status BundleFile::read(uint64_t offset, std::span<uint8_t> bytes) const {
  while (!bytes.empty()) {
    ssize_t count =
        pread(handle, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return makeError("read back", path, count < 0 ? errno : EIO);
    bytes = bytes.subspan(count);
    offset += count;
  }
  return {};
}

Status BundleFile::commit() {
  int toClose = std::exchange(handle, -1);
  if (close(toClose) != 0)
    return makeError("write", path, errno);
  if (rename(temporary.c_str(), path.c_str()) != 0)
    return makeError("rename the finished bundle to", path, errno);
  temporary.clear();
  return {};
}
