// State files from strangers: bundle hash and content hash are made right, so
// that the fuzzer gets to what the header and the tokens say. What is loaded
// must be good for a step, and what is saved must be what was loaded.
#include "test/runtime/TestBundle.h"

#include "runtime/model/Engine.h"

#include <sys/mman.h>

using namespace lapidary;
using namespace lapidary::synthetic;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

namespace {

constexpr size_t headerBytes = 64, hashAt = 48;

struct Model {
  std::shared_ptr<const Bundle> bundle = openBundle();
  std::unique_ptr<Engine> engine =
      *Engine::create(bundle, {.context = 128, .chunk = 16, .threads = 1});
  std::unique_ptr<Sequence> sequence = *engine->createSequence();
};

Model &model() {
  static Model model;
  return model;
}

std::string saved() {
  return testing::TempDir() + "lapidary-state-fuzz-" + std::to_string(getpid());
}

/// A state to start from: text, a sound, an image.
const Bytes &seedState() {
  static const Bytes seed = [] {
    std::vector<int32_t> tokens = {9,  audioToken, audioToken,
                                   10, imageToken, 11};
    std::vector<float> row(hidden, 1);
    std::vector<const float *> media(3, row.data());
    std::vector<MediaKey> keys(3, hashEmbedding(row));
    Work work;
    work.sequence = model().sequence.get();
    work.tokens = tokens;
    work.media = media;
    work.keys = keys;
    if (!model().engine->step({&work, 1}).ok() ||
        !model().sequence->save(saved()).ok())
      abort();
    return readFile(saved());
  }();
  return seed;
}

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size,
                                          size_t maxSize, unsigned) {
  if (size < headerBytes && seedState().size() <= maxSize) {
    std::copy(seedState().begin(), seedState().end(), data);
    size = seedState().size();
  }
  return LLVMFuzzerMutate(data, size, maxSize);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Bytes file(data, data + size);
  if (size >= headerBytes) {
    std::copy_n(seedState().begin(), 32, file.begin());
    std::fill_n(file.begin() + hashAt, 16, 0);
    XXH128_hash_t hash = XXH3_128bits(file.data(), file.size());
    std::memcpy(file.data() + hashAt, &hash.low64, 8);
    std::memcpy(file.data() + hashAt + 8, &hash.high64, 8);
  }
  static int descriptor = memfd_create("state", 0);
  if (ftruncate(descriptor, 0) != 0 ||
      pwrite(descriptor, file.data(), file.size(), 0) != ssize_t(file.size()))
    return 0;
  Sequence &sequence = *model().sequence;
  Status status = sequence.load("/proc/self/fd/" + std::to_string(descriptor));
  if (!status.ok()) {
    if (sequence.position() != 0)
      abort();
    return 0;
  }
  if (!sequence.save(saved()).ok() || readFile(saved()) != file)
    abort();
  int32_t token = 9;
  Work work;
  work.sequence = &sequence;
  work.tokens = {&token, 1};
  if (sequence.position() < 128 && !model().engine->step({&work, 1}).ok())
    abort();
  sequence.goBack(int64_t(size) % 128);
  return 0;
}
