// GGUF files: the header, and what is made of one as a model, as a tokenizer
// and as tensors. Two bytes say how long the text model's file is; the media
// projections' file is the rest.
#include "frontends/formats/Gguf.h"
#include "frontends/formats/GgufModel.h"
#include "frontends/formats/GgufTensors.h"
#include "frontends/formats/GgufTokenizer.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

using namespace lapidary;

namespace {

/// A file that only this process sees.
class MemoryFile {
public:
  MemoryFile() : handle(::memfd_create("fuzz", MFD_CLOEXEC)) {}

  std::string path() const { return "/proc/self/fd/" + std::to_string(handle); }
  void write(const uint8_t *data, size_t size) {
    if (handle < 0 || ::ftruncate(handle, 0) != 0 ||
        ::pwrite(handle, data, size, 0) != ssize_t(size))
      std::abort();
  }

private:
  int handle;
};

void check(const GgufFile &file, size_t size) {
  for (const TensorInfo &tensor : file.tensors())
    if (tensor.offset > size || tensor.bytes > size - tensor.offset)
      std::abort();
  for (const auto &[key, value] : file.metadata()) {
    uint64_t last = value.count - 1;
    (void)value.integer(last);
    (void)value.number(last);
    (void)value.flag(last);
    (void)value.string(last);
  }
  (void)compileGgufTokenizer(file);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static MemoryFile textBytes, mediaBytes;
  if (size < 2)
    return 0;
  size_t textSize = std::min<size_t>(data[0] | data[1] << 8, size - 2);
  size_t mediaSize = size - 2 - textSize;
  textBytes.write(data + 2, textSize);
  mediaBytes.write(data + 2 + textSize, mediaSize);
  auto text = GgufFile::open(textBytes.path());
  if (!text.ok())
    return 0;
  check(*text, textSize);
  auto media = GgufFile::open(mediaBytes.path());
  if (media.ok())
    check(*media, mediaSize);
  auto model = readGgufConfig(*text, media.ok() ? &*media : nullptr);
  if (model.ok())
    for (const LayerConfig &layer : model->text.layers)
      if (layer.heads % layer.keyValueHeads || layer.headDim % 2)
        std::abort();
  auto checkpoint = Checkpoint::openGguf(textBytes.path(),
                                         media.ok() ? mediaBytes.path() : "");
  if (!checkpoint.ok())
    return 0;
  for (const TensorInfo &tensor : checkpoint->tensors()) {
    // What a checked header speaks of can be read.
    std::vector<uint8_t> bytes(tensor.bytes);
    if (!checkpoint->read(tensor, 0, bytes).ok())
      std::abort();
  }
  return 0;
}
