// Bounded reads with pread.
#include "frontends/formats/InputFile.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace lapidary {

InputFile::InputFile(InputFile &&other) noexcept
    : name(std::move(other.name)), handle(std::exchange(other.handle, -1)),
      size(other.size) {}

InputFile &InputFile::operator=(InputFile &&other) noexcept {
  std::swap(name, other.name);
  std::swap(handle, other.handle);
  std::swap(size, other.size);
  return *this;
}

InputFile::~InputFile() {
  if (handle >= 0)
    ::close(handle);
}

Result<InputFile> InputFile::open(const std::string &path) {
  InputFile file;
  file.name = path;
  // Non-blocking, so that a pipe in a file's place cannot make us wait.
  file.handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.handle < 0) {
    std::string message = path + ": cannot be opened: " + std::strerror(errno);
    return errno == ENOENT ? notFound(std::move(message))
                           : ioError(std::move(message));
  }
  struct stat info;
  if (::fstat(file.handle, &info) != 0)
    return ioError(path + ": " + std::strerror(errno));
  if (!S_ISREG(info.st_mode))
    return invalidData(path + ": expected a regular file");
  file.size = uint64_t(info.st_size);
  return file;
}

Status InputFile::read(uint64_t offset, std::span<uint8_t> out) const {
  while (!out.empty()) {
    // Linux reads at most 2^31 - 4096 bytes a call.
    size_t most = std::min<size_t>(out.size(), size_t(1) << 30);
    ssize_t count = ::pread(handle, out.data(), most, off_t(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return ioError(name + ": cannot be read at byte " +
                     std::to_string(offset) + ": " + std::strerror(errno));
    if (count == 0)
      return ioError(name + ": expected " + std::to_string(out.size()) +
                     " more bytes at byte " + std::to_string(offset) +
                     ", found the end of the file");
    offset += uint64_t(count);
    out = out.subspan(size_t(count));
  }
  return {};
}

} // namespace lapidary
