// A line is written by one call; a kill can tear the last one only.
#include "tools/lapidary/BatchOutput.h"

#include "frontends/formats/Json.h"
#include "runtime/core/Text.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace lapidary::cli {

namespace {

Status failed(const char *what, const std::string &path) {
  return ioError(
      concat("cannot ", what, " '", path, "': ", std::strerror(errno)));
}

} // namespace

Result<BatchOutput> BatchOutput::open(const std::string &path) {
  BatchOutput output;
  output.path = path;
  output.handle =
      ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
  struct stat information;
  if (output.handle < 0 || fstat(output.handle, &information) != 0)
    return failed("write", path);
  if (!S_ISREG(information.st_mode))
    return invalidArgument("cannot write '" + path +
                           "': it exists and is not a regular file");
  if (flock(output.handle, LOCK_EX | LOCK_NB) != 0)
    return ioError("another process writes '" + path + "'");
  LAPIDARY_TRY(output.readEarlier());
  return output;
}

Status BatchOutput::readEarlier() {
  std::unique_ptr<FILE, int (*)(FILE *)> file(fopen(path.c_str(), "re"),
                                              fclose);
  if (!file)
    return failed("read", path);
  char *line = nullptr;
  size_t room = 0;
  off_t whole = 0;
  Status status;
  for (ssize_t size; (size = getline(&line, &room, file.get())) > 0;) {
    const bool torn = line[size - 1] != '\n';
    const std::string_view text(line, static_cast<size_t>(size) - !torn),
        start = R"({"line":)"; // as every line of ours begins
    if (torn && start.substr(0, text.size()) == text.substr(0, start.size()))
      break; // it will be written anew
    Result<nlohmann::json> parsed = parseJson(text, path);
    const bool ours = !torn && parsed.ok() && parsed->is_object() &&
                      parsed->contains("id") && parsed->contains("line") &&
                      (*parsed)["line"] == next + 1;
    if (!ours) {
      status =
          invalidData(concat("'", path, "' exists, and its line ", next + 1,
                             " is not one of an output of lapidary batch; "
                             "remove it or choose another name"));
      break;
    }
    ids.emplace_back((*parsed)["id"]);
    ++next;
    whole += size;
  }
  std::free(line);
  LAPIDARY_TRY(std::move(status));
  if (ftruncate(handle, whole) != 0 || lseek(handle, whole, SEEK_SET) < 0)
    return failed("write", path);
  return {};
}

BatchOutput::BatchOutput(BatchOutput &&other) noexcept
    : path(std::move(other.path)), handle(std::exchange(other.handle, -1)),
      ids(std::move(other.ids)), next(other.next),
      early(std::move(other.early)) {}

BatchOutput::~BatchOutput() {
  if (handle >= 0)
    close(handle);
}

Status BatchOutput::put(uint64_t number, const nlohmann::ordered_json &line) {
  using nlohmann::ordered_json;
  early[number] =
      line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  while (!early.empty() && early.begin()->first == next) {
    std::string_view text = early.begin()->second;
    while (!text.empty()) {
      const ssize_t count = write(handle, text.data(), text.size());
      if (count < 0 && errno == EINTR)
        continue;
      if (count < 0)
        return failed("write", path);
      text.remove_prefix(static_cast<size_t>(count));
    }
    early.erase(early.begin());
    ++next;
  }
  return {};
}

} // namespace lapidary::cli
