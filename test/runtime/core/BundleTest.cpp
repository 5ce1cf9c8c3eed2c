// Opening bundles, whole and broken: every cut and every flipped byte is an
// error, and never a crash.
#include "test/runtime/TestBundle.h"

#include "runtime/core/BundleValidation.h"
#include "runtime/model/Session.h"

#include <gmock/gmock.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <thread>

namespace lapidary::synthetic {
namespace {

using testing::HasSubstr;

Bytes smallBundle(TestProgram &program) {
  // The code is not run here.
  program = makeProgram(Bytes(300, 1));
  return writeBundle(program);
}

/// One file that tests alter in place.
class AlteredFile {
public:
  explicit AlteredFile(const Bytes &bytes)
      : file(bytes), descriptor(open(file.path.c_str(), O_RDWR)) {}
  ~AlteredFile() { close(descriptor); }
  void put(uint64_t offset, uint8_t byte) {
    EXPECT_EQ(pwrite(descriptor, &byte, 1, off_t(offset)), 1);
  }
  void cut(uint64_t size) { EXPECT_EQ(ftruncate(descriptor, off_t(size)), 0); }
  Status tryOpen() { return Bundle::open(file.path).status(); }

private:
  TemporaryFile file;
  int descriptor;
};

TEST(Bundle, OpensAndMapsSegments) {
  TestProgram program;
  Bytes bytes = smallBundle(program);
  TemporaryFile file(bytes);
  auto bundle = Bundle::open(file.path);
  ASSERT_TRUE(bundle.ok()) << bundle.status().message();
  EXPECT_EQ((*bundle)->fileBytes(), bytes.size());
  EXPECT_EQ((*bundle)->path(), file.path);
  EXPECT_EQ((*bundle)->program().model()->name()->str(), "synthetic");
  for (uint32_t index = 0; index < program.segments.size(); ++index) {
    auto segment = (*bundle)->segment(index);
    EXPECT_EQ(Bytes(segment.begin(), segment.end()),
              program.segments[index].bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(segment.data()) % 4096, 0u);
  }
  EXPECT_TRUE((*bundle)->segment(99).empty());
  EXPECT_TRUE((*bundle)->verifyWeights().ok());
}

TEST(Bundle, NamesWhatIsNoBundle) {
  auto missing = Bundle::open("/nonexistent/model.lap").status();
  EXPECT_EQ(missing.getCode(), StatusCode::NotFound);
  EXPECT_THAT(missing.message(), HasSubstr("/nonexistent/model.lap"));
  EXPECT_THAT(Bundle::open("/tmp").status().message(),
              HasSubstr("not a regular file"));
  TemporaryFile empty(Bytes{});
  EXPECT_THAT(Bundle::open(empty.path).status().message(),
              HasSubstr("it has 0 bytes"));
  TemporaryFile text(Bytes(100, 'x'));
  EXPECT_THAT(Bundle::open(text.path).status().message(),
              HasSubstr("not a Lapidary bundle"));
}

TEST(Bundle, RefusesOtherVersions) {
  TestProgram program;
  AlteredFile file(smallBundle(program));
  file.put(8, 9);
  EXPECT_EQ(file.tryOpen().getCode(), StatusCode::Unsupported);
  EXPECT_THAT(file.tryOpen().message(), HasSubstr("version 9"));
}

TEST(Bundle, RefusesEveryFlippedByteOfHeaderAndProgram) {
  TestProgram program;
  Bytes bytes = smallBundle(program);
  AlteredFile file(bytes);
  uint64_t end = bundleHeaderBytes + writeProgram(program).size();
  for (uint64_t offset = 0; offset < end; ++offset) {
    file.put(offset, bytes[offset] ^ 0x10);
    EXPECT_FALSE(file.tryOpen().ok()) << "byte " << offset;
    file.put(offset, bytes[offset]);
  }
  EXPECT_TRUE(file.tryOpen().ok());
}

TEST(Bundle, RefusesEveryCut) {
  TestProgram program;
  Bytes bytes = smallBundle(program);
  AlteredFile file(bytes);
  file.cut(bytes.size() - 1);
  EXPECT_THAT(file.tryOpen().message(),
              HasSubstr("expected " + std::to_string(bytes.size())));
  for (uint64_t size = bytes.size(); size-- > 0;) {
    file.cut(size);
    Status status = file.tryOpen();
    ASSERT_FALSE(status.ok()) << size << " bytes";
    if (size >= bundleHeaderBytes)
      ASSERT_THAT(status.message(), HasSubstr("truncated")) << size << " bytes";
    // The first cut of each segment and then fewer: hashing the program each
    // time is what takes long.
    if (size % 4096 > 16 && size % 4096 < 4090 && size > 20000)
      size -= size % 4096 - 16;
  }
}

TEST(Bundle, RefusesAppendedBytes) {
  TestProgram program;
  Bytes bytes = smallBundle(program);
  bytes.resize(bytes.size() + 4096);
  TemporaryFile file(bytes);
  EXPECT_THAT(Bundle::open(file.path).status().message(),
              HasSubstr("its last segment ends at"));
}

TEST(Bundle, RefusesAlteredCodeAndTokenizer) {
  TestProgram program;
  Bytes bytes = smallBundle(program);
  for (int index : {0, 1})
    for (uint64_t offset : {uint64_t(0), program.segments[index].size / 2,
                            program.segments[index].size - 1}) {
      AlteredFile file(bytes);
      file.put(program.segments[index].offset + offset,
               bytes[program.segments[index].offset + offset] ^ 1);
      EXPECT_THAT(file.tryOpen().message(),
                  HasSubstr(index == 0 ? "segment 0 (tokenizer) was altered"
                                       : "segment 1 (code) was altered"));
    }
}

TEST(Bundle, NamesAlteredWeightAndRemembers) {
  TestProgram program = makeProgram();
  Bytes bytes = writeBundle(program);
  bytes[program.segments[3].offset + 4999] ^= 1;
  TemporaryFile file(bytes);
  auto bundle = Bundle::open(file.path);
  ASSERT_TRUE(bundle.ok()) << bundle.status().message();
  Status first = (*bundle)->verifyWeights();
  EXPECT_EQ(first.getCode(), StatusCode::InvalidData);
  EXPECT_THAT(first.message(), HasSubstr("\"other\""));
  bool called = false;
  Status second = (*bundle)->verifyWeights(
      [&](uint64_t, uint64_t) { return called = true; });
  EXPECT_EQ(second.message(), first.message());
  EXPECT_FALSE(called);

  auto session = Session::create(*bundle);
  ASSERT_TRUE(session.ok()) << session.status().message();
  std::vector<int32_t> tokens = {8, 9};
  EXPECT_EQ((*session)->prefill({tokens, {}}).message(), first.message());
  EXPECT_EQ((*session)->decode(8).message(), first.message());
  EXPECT_EQ((*session)->position(), 0);
}

TEST(Bundle, VerifiesWeightsOnceFromManyThreads) {
  auto bundle = openBundle();
  std::atomic<uint64_t> reported = 0;
  std::vector<std::thread> threads;
  for (int index = 0; index < 4; ++index)
    threads.emplace_back([&] {
      EXPECT_TRUE(bundle
                      ->verifyWeights([&](uint64_t done, uint64_t total) {
                        if (done == total)
                          ++reported;
                        return true;
                      })
                      .ok());
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(reported, 1u);
}

TEST(Bundle, StopsVerifyingAndBeginsAnew) {
  auto bundle = openBundle();
  int calls = 0;
  Status stopped = bundle->verifyWeights([&](uint64_t, uint64_t) {
    ++calls;
    return false;
  });
  EXPECT_EQ(stopped.getCode(), StatusCode::Cancelled);
  EXPECT_EQ(calls, 1);
  // What was stopped says nothing about the weights.
  EXPECT_TRUE(
      bundle->verifyWeights([](uint64_t, uint64_t) { return true; }).ok());
}

TEST(Bundle, DoesNotWaitForAPipe) {
  TemporaryFile file(Bytes(1));
  std::string pipe = file.path + ".pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  Status status = Bundle::open(pipe).status();
  unlink(pipe.c_str());
  EXPECT_EQ(status.getCode(), StatusCode::InvalidData);
  EXPECT_THAT(status.message(), HasSubstr("not a regular file"));
}

/// As Bundle::open does with a program whose hash is right, over a buffer of
/// exactly its size.
bool survives(const Bytes &root, uint64_t fileBytes) {
  flatbuffers::Verifier verifier(root.data(), root.size(), 16, 100000);
  if (!schema::VerifyProgramBuffer(verifier))
    return false;
  const schema::Program &program = *schema::GetProgram(root.data());
  if (!validateProgram(program, bundleHeaderBytes + root.size(), fileBytes)
           .ok())
    return false;
  // What validation let through can be planned.
  (void)planMemory(program, {});
  return true;
}

TEST(Bundle, SurvivesEveryFlippedByteWithItsHash) {
  TestProgram program;
  Bytes bytes = smallBundle(program);
  program.selfTests = {
      {"text", {8, 9}, {}, {10}, {1, 2}, {}, {}, {}, {0.5f, 0.25f}}};
  bytes = writeBundle(program);
  Bytes root = writeProgram(program);
  ASSERT_TRUE(survives(root, bytes.size()));
  size_t refused = 0;
  for (size_t offset = 0; offset < root.size(); ++offset)
    for (uint8_t mask : {0x01, 0x40, 0x80, 0xff}) {
      Bytes altered = root;
      altered[offset] ^= mask;
      refused += !survives(altered, bytes.size());
    }
  // Most bytes are offsets and sizes; the rest are names and numbers that may
  // be others.
  EXPECT_GT(refused, root.size());
}

} // namespace
} // namespace lapidary::synthetic
