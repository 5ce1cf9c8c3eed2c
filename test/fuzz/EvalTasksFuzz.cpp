// Fuzzes tasks.jsonl: whatever its lines say, no medium is taken from outside
// of the folder.
#include "tools/lapidary/EvalTasks.h"

#include <cstdlib>
#include <filesystem>

using namespace lapidary;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::string folder = LAPIDARY_TEST_DIR "/models/eval";
  auto tasks =
      cli::parseTasks({reinterpret_cast<const char *>(data), size}, folder);
  if (!tasks.ok()) {
    if (tasks.status().message().empty())
      std::abort();
    return 0;
  }
  const std::string inside = folder + "/media/";
  for (const cli::EvalTask &task : *tasks)
    for (const cli::MediaFile &file : task.media) {
      std::vector<std::string> paths = file.frames;
      paths.push_back(file.path);
      for (const std::string &path : paths)
        if (!std::filesystem::path(path)
                 .lexically_normal()
                 .string()
                 .starts_with(inside))
          std::abort();
    }
  return 0;
}
