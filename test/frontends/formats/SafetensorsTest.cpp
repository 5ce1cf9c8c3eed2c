// Safetensors files: what is read, and what each kind of bad file is told.
#include "frontends/formats/Safetensors.h"

#include "test/frontends/TestCheckpoint.h"

#include <gmock/gmock.h>

#include <chrono>
#include <thread>

using namespace lapidary;
using namespace lapidary::test;
using testing::HasSubstr;

namespace {

class SafetensorsTest : public testing::Test {
protected:
  Result<SafetensorsFile> open(const std::string &bytes) {
    folder.write("m.safetensors", bytes);
    return SafetensorsFile::open(folder.path("m.safetensors"));
  }
  void expectError(const std::string &bytes, const std::string &message) {
    auto file = open(bytes);
    ASSERT_FALSE(file.ok()) << "expected: " << message;
    EXPECT_THAT(file.status().message(), HasSubstr(message));
    EXPECT_THAT(file.status().message(), HasSubstr("m.safetensors"));
  }
  /// One tensor "a" with these fields over 8 bytes of data.
  void expectTensorError(const std::string &fields,
                         const std::string &message) {
    expectError(safetensorsBytes("{\"a\":{" + fields + "}}", "01234567"),
                message);
  }

  TemporaryFolder folder;
};

TEST_F(SafetensorsTest, ReadsTensorsByNameAndRange) {
  auto file = open(safetensorsFile({{"z", "U8", {5}, "hello"},
                                    {"a", "F32", {2, 1}, "abcdefgh"},
                                    {"e", "F16", {0, 7}, ""}}));
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->tensors()[0].name, "a");
  EXPECT_EQ(describeTensor(file->tensors()[0]), "F32 [2, 1]");
  EXPECT_EQ(file->find("b"), nullptr);
  EXPECT_EQ(file->find("e")->bytes, 0u);

  const TensorInfo *hello = file->find("z");
  ASSERT_NE(hello, nullptr);
  std::string out(3, ' ');
  std::span<uint8_t> range(reinterpret_cast<uint8_t *>(out.data()), out.size());
  ASSERT_TRUE(file->read(*hello, 1, range).ok());
  EXPECT_EQ(out, "ell");
  EXPECT_TRUE(file->read(*hello, 2, range).ok());
  EXPECT_EQ(file->read(*hello, 3, range).getCode(),
            StatusCode::InvalidArgument);
  EXPECT_EQ(file->read(*hello, UINT64_MAX, range).getCode(),
            StatusCode::InvalidArgument);
}

TEST_F(SafetensorsTest, RefusesEveryTruncation) {
  std::string whole =
      safetensorsFile({{"a", "F32", {2}, "abcdefgh"}, {"b", "U8", {3}, "xyz"}});
  ASSERT_TRUE(open(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(open(whole.substr(0, size)).ok()) << size;
  expectError(whole.substr(0, whole.size() - 1), "is the file cut short?");
  expectError(whole.substr(0, 7), "8 bytes of the header's length");
}

TEST_F(SafetensorsTest, RefusesHugeHeaders) {
  std::string length = {0, 0, 0, 0, 0, 0, 0, 16}; // 2^60
  expectError(length + "{}", "found one of 1152921504606846976");
  expectError(std::string(8, '\xff') + "{}",
              "found one of 18446744073709551615");
  // Within a sparse file, and still more than any header is.
  folder.write("big.safetensors",
               safetensorsBytes(std::string(), "").replace(3, 1, 1, '\x07'));
  std::filesystem::resize_file(folder.path("big.safetensors"), uint64_t(1)
                                                                   << 30);
  auto file = SafetensorsFile::open(folder.path("big.safetensors"));
  ASSERT_FALSE(file.ok());
  EXPECT_THAT(file.status().message(),
              HasSubstr("header of at most 100000000 bytes"));
}

TEST_F(SafetensorsTest, RefusesBadRanges) {
  expectTensorError(R"("dtype":"U8","shape":[4],"data_offsets":[5,9])",
                    "within the file's 8 bytes of data, found 9");
  expectTensorError(R"("dtype":"U8","shape":[4],"data_offsets":[4,0])",
                    "expected begin <= end");
  expectTensorError(R"("dtype":"U8","shape":[4],"data_offsets":[-4,0])",
                    "not negative, found -4");
  expectTensorError(
      R"("dtype":"U8","shape":[0],"data_offsets":[9223372036854775807,9223372036854775807])",
      "within the file's 8 bytes");
  expectTensorError(
      R"("dtype":"U8","shape":[4],"data_offsets":[0,18446744073709551615])",
      "below 2^63");
  expectTensorError(R"("dtype":"U8","shape":[4],"data_offsets":[0])",
                    "expected [begin, end], found 1 numbers");
  expectTensorError(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])",
                    "the 12 bytes of F32 [3], found 8");
  std::string overlap =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
      R"("b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})";
  expectError(
      safetensorsBytes(overlap, "01234567"),
      "tensor \"b\": expected bytes of its own, found an overlap with \"a\"");
}

TEST_F(SafetensorsTest, RefusesBadShapes) {
  expectTensorError(R"("dtype":"U8","shape":[-1],"data_offsets":[0,1])",
                    "shape: expected integers that are not negative");
  expectTensorError(R"("dtype":"U8","shape":[1.5],"data_offsets":[0,1])",
                    "shape: expected integers");
  expectTensorError(
      R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])",
      "fewer than 2^64 bytes");
  expectTensorError(
      R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1])",
      "at most 16");
  expectTensorError(R"("dtype":"U8","shape":[[1]],"data_offsets":[0,1])",
                    "found an array");
}

TEST_F(SafetensorsTest, RefusesBadHeaders) {
  expectTensorError(R"("dtype":"F4","shape":[8],"data_offsets":[0,8])",
                    "dtype: expected BF16");
  expectTensorError(R"("dtype":1,"shape":[8],"data_offsets":[0,8])",
                    "expected a string");
  expectTensorError(R"("dtype":"U8","shape":[8])", "found no data_offsets");
  expectTensorError(
      R"("dtype":"U8","shape":[8],"data_offsets":[0,8],"stride":[1])",
      "found \"stride\"");
  expectTensorError(
      R"("dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8])",
      "once each");
  std::string twice =
      R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})";
  expectError(safetensorsBytes(twice, ""),
              "tensor \"a\": expected once, found twice");
  expectError(safetensorsBytes("[]", ""), "expected an object of tensors");
  expectError(safetensorsBytes(R"({"a":[]})", ""),
              "expected an object, found an array");
  expectError(safetensorsBytes(R"({"__metadata__":{"a":1}})", ""),
              "expected strings");
  expectError(safetensorsBytes("{\"a\":", ""), "expected JSON");
  expectError(safetensorsBytes(std::string(1000000, '['), ""),
              "expected an object of tensors");
  expectError(safetensorsBytes("", ""), "expected JSON");
}

TEST_F(SafetensorsTest, RefusesWhatIsNoFile) {
  EXPECT_EQ(SafetensorsFile::open(folder.path("missing")).status().getCode(),
            StatusCode::NotFound);
  EXPECT_THAT(SafetensorsFile::open(folder.path()).status().message(),
              HasSubstr("expected a regular file"));
}

TEST_F(SafetensorsTest, OpensThousandsOfTensorsFast) {
  std::vector<TestTensor> tensors;
  for (int i = 0; i < 6000; ++i)
    tensors.push_back({"model.language_model.layers." + std::to_string(i) +
                           ".self_attn.q_proj.weight",
                       "BF16",
                       {1, 1}});
  auto file = open(safetensorsFile(tensors));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->tensors().size(), 6000u);
}

class CheckpointTest : public testing::Test {
protected:
  void SetUp() override {
    folder.write("one.safetensors", safetensorsFile({{"a", "U8", {2}, "aa"},
                                                     {"c", "U8", {2}, "cc"}}));
    folder.write("two.safetensors", safetensorsFile({{"b", "U8", {3}, "bbb"}}));
  }
  Result<Checkpoint> open(const std::string &index) {
    folder.write("model.safetensors.index.json", index);
    return Checkpoint::open(folder.path());
  }
  void expectError(const std::string &index, const std::string &message) {
    auto checkpoint = open(index);
    ASSERT_FALSE(checkpoint.ok()) << "expected: " << message;
    EXPECT_THAT(checkpoint.status().message(), HasSubstr(message));
  }

  TemporaryFolder folder;
};

TEST_F(CheckpointTest, ReadsShards) {
  auto checkpoint = open(
      R"({"metadata":{"total_size":7},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  ASSERT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_THAT(checkpoint->unindexed(),
              testing::ElementsAre("one.safetensors: c"));
  EXPECT_EQ(checkpoint->fileOf(*checkpoint->find("b")), "two.safetensors");

  // From several threads at once.
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int repeat = 0; repeat < 200; ++repeat)
        for (std::string name : {"a", "b"}) {
          const TensorInfo *tensor = checkpoint->find(name);
          std::string out(tensor->bytes, ' ');
          Status status = checkpoint->read(
              *tensor, 0,
              {reinterpret_cast<uint8_t *>(out.data()), out.size()});
          good += status.ok() && out == std::string(tensor->bytes, name[0]);
        }
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(good, 8 * 200 * 2);
}

TEST_F(CheckpointTest, TakesTheSingleFileFirst) {
  folder.write("model.safetensors", safetensorsFile({{"x", "U8", {1}, "x"}}));
  auto checkpoint = open("not even JSON");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_NE(checkpoint->find("x"), nullptr);
}

TEST_F(CheckpointTest, RefusesBadIndices) {
  expectError(R"({"weight_map":{"a":"three.safetensors"}})",
              "three.safetensors: cannot be opened");
  expectError(R"({"weight_map":{"b":"one.safetensors"}})",
              "b: expected in shard one.safetensors, found no such tensor");
  for (std::string name : {"../one.safetensors", "/etc/passwd",
                           "sub/one.safetensors", "..", ".", "", "a\\\\b"})
    expectError("{\"weight_map\":{\"a\":\"" + name + "\"}}",
                "expected the name of a file in the folder");
  expectError(R"({"weight_map":{"a":1}})",
              "expected the name of a file in the folder, found 1");
  expectError(R"({"weight_map":[]})", "weight_map: expected an object");
  expectError(R"({})", "weight_map: expected an object, found nothing");
  expectError(R"([])", "expected an object");
  expectError(R"({"weight_map":{},"shards":2})",
              "shards: expected no such field");
  expectError("{", "expected JSON");
  expectError(std::string(100000, '['), "deeper nesting");
}

TEST_F(CheckpointTest, NamesWhatItLookedFor) {
  TemporaryFolder empty;
  auto checkpoint = Checkpoint::open(empty.path());
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_EQ(checkpoint.status().getCode(), StatusCode::NotFound);
  EXPECT_THAT(checkpoint.status().message(),
              HasSubstr("model.safetensors.index.json, found neither"));
}

} // namespace
