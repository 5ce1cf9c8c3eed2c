// What --device and its like mean for a session.
#include "runtime/model/MemoryPlan.h"
#include "tools/lapidary/Command.h"
#include "tools/lapidary/Terminal.h"

#include <memory>
#include <optional>

namespace lapidary::cli {

void DeviceChoice::apply(SessionOptions &session) const {
  session.device = device;
  session.gpuLayers = gpuLayers;
  session.skipSelfTest = skipSelfTest;
  auto progress = std::make_shared<std::optional<Progress>>();
  session.progress = [progress](uint64_t done, uint64_t total) {
    if (!*progress)
      progress->emplace("Loading the model");
    (*progress)->update(done, total);
    if (done == total)
      progress->reset();
    return !wasInterrupted();
  };
}

} // namespace lapidary::cli
