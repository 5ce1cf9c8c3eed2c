// A folder of its own for a test, removed at the end.
#pragma once

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>

namespace lapidary::test {

class TemporaryFolder {
public:
  TemporaryFolder() {
    static std::atomic<int> counter = 0;
    folder = std::filesystem::temp_directory_path() /
             ("lapidary-test-" + std::to_string(::getpid()) + "-" +
              std::to_string(counter++));
    std::filesystem::create_directories(folder);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  TemporaryFolder(const TemporaryFolder &) = delete;
  TemporaryFolder &operator=(const TemporaryFolder &) = delete;

  std::string path() const { return folder.string(); }
  std::string path(const std::string &name) const {
    return (folder / name).string();
  }
  void write(const std::string &name, const std::string &content) const {
    std::ofstream(path(name), std::ios::binary) << content;
  }

private:
  std::filesystem::path folder;
};

} // namespace lapidary::test
