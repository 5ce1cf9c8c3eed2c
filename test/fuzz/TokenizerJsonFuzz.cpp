// Fuzzes the tokenizer.json reader: whatever it accepts must open, and encode
// and decode without a fault. An even first byte stands for the frame of a
// right file, whose model is then the rest of the input, for few inputs get
// past it.
#include "frontends/formats/TokenizerJson.h"
#include "runtime/model/Tokenizer.h"

#include <cstdlib>

using namespace lapidary;

namespace {

const std::string before =
    R"({"version":"1.0","normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},)"
    R"("decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},)"
    R"("content":" "},{"type":"ByteFallback"},{"type":"Fuse"}]},)";

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  std::string json(reinterpret_cast<const char *>(data) + 1, size - 1);
  auto table =
      compileTokenizer(data[0] % 2 ? json : before + json, "fuzz.json");
  if (!table.ok())
    return 0;
  auto tokenizer = Tokenizer::create(*table);
  if (!tokenizer.ok())
    std::abort();
  auto ids = tokenizer->encode(json);
  for (int32_t id : ids)
    if (id < 0 || id >= tokenizer->vocabularySize())
      std::abort();
  static_cast<void>(tokenizer->decode(ids, false));
  return 0;
}
