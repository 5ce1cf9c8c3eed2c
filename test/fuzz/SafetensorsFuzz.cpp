// The JSON that comes with a checkpoint: safetensors headers and model
// configurations. The first byte chooses.
#include "frontends/formats/ModelConfig.h"
#include "frontends/formats/Safetensors.h"

#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  std::string text(reinterpret_cast<const char *>(data + 1), size - 1);
  if (data[0] % 2 == 0) {
    // As if as much data as header followed.
    uint64_t begin = 8 + text.size(), end = begin + text.size();
    auto tensors = lapidary::parseSafetensorsHeader(text, begin, end, "fuzz");
    if (!tensors.ok())
      return 0;
    for (const lapidary::TensorInfo &tensor : *tensors)
      if (tensor.offset < begin || tensor.bytes > end - tensor.offset)
        std::abort();
    return 0;
  }
  // The three files, one after the other between zero bytes.
  size_t first = text.find('\0'), second = first == std::string::npos
                                               ? first
                                               : text.find('\0', first + 1);
  lapidary::ModelConfigTexts texts;
  texts.folder = "fuzz";
  texts.config = text.substr(0, first);
  if (first != std::string::npos)
    texts.generation = text.substr(first + 1, second - first - 1);
  if (second != std::string::npos)
    texts.processor = text.substr(second + 1);
  auto model = lapidary::parseModelConfig(texts);
  if (model.ok())
    for (const lapidary::LayerConfig &layer : model->text.layers)
      if (layer.heads % layer.keyValueHeads || layer.headDim % 2)
        std::abort();
  return 0;
}
