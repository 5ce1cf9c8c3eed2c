// Reads a media file into memory. Only regular files: a pipe or a device has
// no size to check before memory is spent on it.
#include "runtime/media/MediaFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace lapidary;

namespace {

struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0)
      close(number);
  }
};

std::string quoted(const char *what, const std::string &path) {
  return std::string(what) + " '" + path + "'";
}

} // namespace

Result<std::vector<uint8_t>> lapidary::readMediaFile(const std::string &path,
                                                     const char *what) {
  // A name with a zero byte would silently open another file.
  if (path.empty() || path.find('\0') != std::string::npos)
    return invalidArgument(quoted(what, path) + ": not a file name");
  // Non-blocking, so that a pipe without a writer is refused and not waited
  // for; it changes nothing for a regular file.
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0) {
    std::string text = quoted(what, path) + ": " + std::strerror(errno);
    return errno == ENOENT || errno == ENOTDIR ? notFound(std::move(text))
                                               : ioError(std::move(text));
  }
  struct stat info;
  if (fstat(file.number, &info) != 0)
    return ioError(quoted(what, path) + ": " + std::strerror(errno));
  if (!S_ISREG(info.st_mode))
    return invalidArgument(
        quoted(what, path) + ": expected a file, found " +
        (S_ISDIR(info.st_mode) ? "a folder" : "a pipe or device"));
  if (info.st_size == 0)
    return invalidData(quoted(what, path) + ": the file is empty");
  if (info.st_size > maxMediaFileBytes)
    return invalidData(
        quoted(what, path) + ": the file has " + std::to_string(info.st_size) +
        " bytes, and the limit is " + std::to_string(maxMediaFileBytes));
  std::vector<uint8_t> bytes(static_cast<size_t>(info.st_size));
  size_t filled = 0;
  while (filled < bytes.size()) {
    ssize_t got =
        read(file.number, bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return ioError(quoted(what, path) + ": " + std::strerror(errno));
    if (got == 0)
      break; // Cut while we read: the decoder will say what is missing.
    filled += static_cast<size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}
