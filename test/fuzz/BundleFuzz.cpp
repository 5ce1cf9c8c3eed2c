// Bundles from strangers: the header's hash is made right, so that the fuzzer
// gets to the FlatBuffers verifier, to validation and to what plans and names
// from the program. No code runs: whoever can write a right hash for machine
// code is trusted as far as the file is.
#include "test/runtime/TestBundle.h"

#include "runtime/core/BundleValidation.h"
#include "runtime/model/Session.h"

#include <sys/mman.h>

using namespace lapidary;
using namespace lapidary::synthetic;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

namespace {

/// A whole program to start from, with everything that a program can have.
const Bytes &seedProgram() {
  static const Bytes seed = [] {
    TestProgram program = makeProgram(Bytes(300, 1), Bytes(100, 2));
    program.selfTests = {
        {"text", {8, 9}, {}, {10}, {1, 2}, {}, {}, {}, {0.5f, 0.25f}},
        {"image",
         {8, imageToken},
         {3, 4},
         {},
         {1},
         {.1f, .2f, .3f},
         {},
         std::vector<float>(8, 1),
         {1}}};
    layOut(program.segments, bundleHeaderBytes + writeProgram(program).size());
    return writeProgram(program);
  }();
  return seed;
}

/// The size that the file should have by the program, so that validation gets
/// past it; 0 when that is not sane.
uint64_t fileSize(const schema::Program &program, uint64_t end) {
  for (const schema::Segment *segment : *program.segments())
    if (segment->size() < (1 << 30) && segment->offset() < (1 << 30))
      end = std::max(end, segment->offset() + segment->size());
  return end;
}

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size,
                                          size_t maxSize, unsigned) {
  if (size < 64 && seedProgram().size() <= maxSize) {
    std::copy(seedProgram().begin(), seedProgram().end(), data);
    size = seedProgram().size();
  }
  return LLVMFuzzerMutate(data, size, maxSize);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // Aligned and of its exact size, so that every byte read past it is seen.
  Bytes root(data, data + size);
  flatbuffers::Verifier verifier(root.data(), root.size(), 16, 100000);
  if (size >= 8 && schema::VerifyProgramBuffer(verifier)) {
    const schema::Program &program = *schema::GetProgram(root.data());
    uint64_t end = bundleHeaderBytes + size;
    if (validateProgram(program, end, fileSize(program, end)).ok()) {
      (void)planMemory(program, {});
      (void)planMemory(program, {.context = 1, .chunk = 16, .threads = 1});
      for (const schema::SelfTest *selfTest : *program.self_tests())
        (void)requiredChunk(
            program, {selfTest->tokens()->data(), selfTest->tokens()->size()});
    }
  }
  // And as a file, through the whole of Bundle::open.
  Bytes file(bundleHeaderBytes + size);
  std::copy(data, data + size, file.begin() + bundleHeaderBytes);
  sealHeader(file, size);
  static int descriptor = memfd_create("bundle", 0);
  if (ftruncate(descriptor, 0) != 0 ||
      pwrite(descriptor, file.data(), file.size(), 0) != ssize_t(file.size()))
    return 0;
  auto bundle = Bundle::open("/proc/self/fd/" + std::to_string(descriptor));
  if (bundle.ok())
    (void)(*bundle)->verifyWeights();
  return 0;
}
