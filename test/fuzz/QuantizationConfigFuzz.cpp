// What a checkpoint says of how it is quantized: config.json, or ModelOpt's
// file. The first byte chooses.
#include "frontends/formats/QuantizationConfig.h"

#include <cstdlib>
#include <string_view>

static void check(const lapidary::QuantizationConfig &config) {
  // What CompressedTensors.cpp divides by and shifts by.
  for (const lapidary::QuantizedGroup &group : config.groups)
    if (group.bits < 1 || group.bits > 8 || group.rows < 1 ||
        group.columns < 0 || group.columns % 4)
      std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  std::string_view text(reinterpret_cast<const char *>(data + 1), size - 1);
  if (data[0] % 2 == 0) {
    auto found = lapidary::parseQuantizationConfig(text, "fuzz");
    if (found.ok() && *found)
      check(**found);
    return 0;
  }
  auto found = lapidary::parseModelOptConfig(text, "fuzz");
  if (found.ok())
    check(*found);
  return 0;
}
