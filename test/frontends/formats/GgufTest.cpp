// GGUF files: what is read, and what each kind of bad file is told.
#include "frontends/formats/Gguf.h"

#include "test/TemporaryFolder.h"
#include "test/frontends/formats/TestGguf.h"

#include <gmock/gmock.h>

using namespace lapidary;
using namespace lapidary::test;
using testing::HasSubstr;

namespace {

class GgufTest : public testing::Test {
protected:
  Result<GgufFile> open(const std::string &bytes) {
    folder.write("m.gguf", bytes);
    return GgufFile::open(folder.path("m.gguf"));
  }
  void expectError(const std::string &bytes, const std::string &message) {
    auto file = open(bytes);
    ASSERT_FALSE(file.ok()) << "expected: " << message;
    EXPECT_THAT(file.status().message(), HasSubstr(message));
    EXPECT_THAT(file.status().message(), HasSubstr("m.gguf"));
  }

  TemporaryFolder folder;
};

GgufBuilder everyType() {
  GgufBuilder builder;
  builder.key("u8", 0, uint8_t(200))
      .key("i8", 1, int8_t(-100))
      .key("u16", 2, uint16_t(60000))
      .key("i16", 3, int16_t(-30000))
      .key("u32", 4, uint32_t(4000000000))
      .key("i32", 5, int32_t(-2000000000))
      .key("f32", 6, 0.95f)
      .key("bool", 7, uint8_t(1))
      .string("string", "h\xC3\xA9")
      .key("u64", 10, uint64_t(1) << 62)
      .key("big", 10, UINT64_MAX)
      .key("i64", 11, int64_t(-5))
      .key("f64", 12, 0.1)
      .strings("strings", {"a", "", "bcd"})
      .array<int16_t>("shorts", 3, {1, -2, 3})
      .array<uint8_t>("flags", 7, {1, 0})
      // Two arrays of arrays: [[u8 1, 2], [string "x"]].
      .raw("nested", 9,
           GgufBytes()
               .number(uint32_t(9))
               .number(uint64_t(2))
               .number(uint32_t(0))
               .number(uint64_t(2))
               .number(uint16_t(0x0201))
               .number(uint32_t(8))
               .number(uint64_t(1))
               .string("x")
               .bytes)
      .tensor("z", 0, {2, 3}, std::string(24, 'z'))
      .tensor("a", 12, {256, 2}, std::string(288, 'a'))
      .tensor("strange", 99, {5}, "")
      .tensor("scalar", 0, {}, "0123");
  return builder;
}

TEST_F(GgufTest, ReadsValuesAndTensors) {
  for (uint32_t version : {2, 3}) {
    GgufBuilder builder = everyType();
    builder.version = version;
    auto file = open(builder.build());
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(file->get("u8")->integer(), 200);
    EXPECT_EQ(file->get("i8")->integer(), -100);
    EXPECT_EQ(file->get("u16")->integer(), 60000);
    EXPECT_EQ(file->get("i16")->integer(), -30000);
    EXPECT_EQ(file->get("u32")->integer(), 4000000000);
    EXPECT_EQ(file->get("i32")->integer(), -2000000000);
    EXPECT_EQ(file->get("f32")->number(), 0.95);
    EXPECT_EQ(file->get("f32")->integer(), std::nullopt);
    EXPECT_EQ(file->get("bool")->flag(), true);
    EXPECT_EQ(file->get("bool")->integer(), std::nullopt);
    EXPECT_EQ(file->get("string")->string(), "h\xC3\xA9");
    EXPECT_EQ(file->get("string")->number(), std::nullopt);
    EXPECT_EQ(file->get("u64")->integer(), int64_t(1) << 62);
    EXPECT_EQ(file->get("big")->integer(), std::nullopt);
    EXPECT_EQ(file->get("i64")->number(), -5);
    EXPECT_EQ(file->get("f64")->number(), 0.1);
    EXPECT_EQ(file->get("strings")->count, 3u);
    EXPECT_EQ(file->get("strings")->string(0), "a");
    EXPECT_EQ(file->get("strings")->string(1), "");
    EXPECT_EQ(file->get("strings")->string(2), "bcd");
    EXPECT_EQ(file->get("strings")->string(3), std::nullopt);
    EXPECT_EQ(file->get("shorts")->integer(1), -2);
    EXPECT_EQ(file->get("shorts")->integer(3), std::nullopt);
    EXPECT_EQ(file->get("flags")->flag(1), false);
    EXPECT_EQ(file->get("nested")->count, 2u);
    EXPECT_EQ(file->get("nested")->string(0), std::nullopt);
    EXPECT_EQ(file->get("none"), nullptr);

    ASSERT_EQ(file->tensors().size(), 4u);
    EXPECT_EQ(describeTensor(*file->find("z")), "F32 [3, 2]");
    EXPECT_EQ(describeTensor(*file->find("a")), "Q4_K [2, 256]");
    EXPECT_EQ(file->find("a")->bytes, 288u);
    EXPECT_EQ(describeTensor(*file->find("strange")), "type id 99 [5]");
    EXPECT_EQ(describeTensor(*file->find("scalar")), "F32 []");
    std::vector<uint8_t> out(4);
    ASSERT_TRUE(file->read(*file->find("scalar"), 0, out).ok());
    EXPECT_EQ(out, (std::vector<uint8_t>{'0', '1', '2', '3'}));
    ASSERT_TRUE(file->read(*file->find("a"), 284, out).ok());
    EXPECT_EQ(out[3], 'a');
    EXPECT_EQ(file->read(*file->find("a"), 285, out).getCode(),
              StatusCode::InvalidArgument);
    EXPECT_EQ(file->read(*file->find("a"), UINT64_MAX, out).getCode(),
              StatusCode::InvalidArgument);
    EXPECT_TRUE(isGgufFile(file->path()));
  }
  folder.write("other", "GGU");
  EXPECT_FALSE(isGgufFile(folder.path("other")));
  EXPECT_FALSE(isGgufFile(folder.path("nothing")));
  EXPECT_FALSE(isGgufFile(folder.path()));
}

TEST_F(GgufTest, AFileThatIsCutIsAnErrorWhereverItIsCut) {
  std::string whole = everyType().build();
  for (size_t size = 0; size < whole.size(); ++size) {
    std::string part = whole.substr(0, size);
    auto header = parseGgufHeader(
        [&](uint64_t offset, std::span<uint8_t> out) -> Status {
          if (offset > part.size() || out.size() > part.size() - offset)
            return ioError("read outside the file");
          std::copy_n(part.begin() + int64_t(offset), out.size(), out.begin());
          return {};
        },
        part.size(), "m.gguf");
    ASSERT_FALSE(header.ok()) << size;
    EXPECT_EQ(header.status().getCode(), StatusCode::InvalidData);
    EXPECT_THAT(header.status().message(), HasSubstr("m.gguf: "));
  }
}

TEST_F(GgufTest, BadHeadersSayWhatIsWrong) {
  expectError("GGML" + std::string(20, '\0'), "expected a GGUF file");
  GgufBuilder builder;
  builder.version = 1;
  expectError(builder.build(), "expected version 2 or 3 of GGUF, found 1");
  builder.version = 0x03000000;
  expectError(builder.build(), "found a big endian one");

  GgufBytes counts;
  counts.bytes = "GGUF";
  counts.number(uint32_t(3)).number(uint64_t(1) << 60).number(uint64_t(0));
  expectError(counts.bytes, "expected tensors within the 8 bytes");
  counts.bytes.resize(8);
  counts.number(uint64_t(65537)).number(uint64_t(0));
  counts.bytes.resize(24 + 65537 * 24);
  expectError(counts.bytes, "expected at most 65536 tensors, found 65537");
  counts.bytes.resize(8);
  counts.number(uint64_t(0)).number(UINT64_MAX);
  expectError(counts.bytes, "expected keys within the 0 bytes");

  auto expectKeyError = [&](uint32_t type, const GgufBytes &value,
                            const std::string &message) {
    expectError(GgufBuilder().raw("k", type, value.bytes).build(),
                "k: " + message);
  };
  expectKeyError(13, GgufBytes(), "expected a value's type from 0 to 12");
  expectKeyError(7, GgufBytes().number(uint8_t(2)),
                 "expected a bool of 0 or 1, found 2");
  expectKeyError(8, GgufBytes().number(uint64_t(9)), "expected 9 bytes at");
  expectKeyError(8, GgufBytes().number(UINT64_MAX),
                 "expected a string of at most");
  expectKeyError(9, GgufBytes().number(uint32_t(4)).number(uint64_t(1) << 62),
                 "expected numbers within the 0 bytes");
  expectKeyError(9, GgufBytes().number(uint32_t(8)).number(uint64_t(1) << 61),
                 "expected strings within the 0 bytes");
  expectKeyError(9, GgufBytes().number(uint32_t(9)).number(uint64_t(1) << 61),
                 "expected arrays within the 0 bytes");
  expectKeyError(
      9, GgufBytes().number(uint32_t(7)).number(uint64_t(1)).number('\x07'),
      "expected a bool");
  GgufBytes deep;
  for (int i = 0; i < 100; ++i)
    deep.number(uint32_t(9)).number(uint64_t(1));
  expectKeyError(9, deep, "expected arrays in at most 8 levels");
  expectError(GgufBuilder().integer("k", 1).integer("k", 1).build(),
              "k: expected once, found twice");

  for (uint32_t alignment : {0u, 48u, 1u << 31})
    expectError(GgufBuilder().integer("general.alignment", alignment).build(),
                "general.alignment: expected a power of two");
  expectError(GgufBuilder().string("general.alignment", "32").build(),
              "general.alignment: expected a power of two up to 2^30, found "
              "another type");
}

TEST_F(GgufTest, BadTensorsSayWhatIsWrong) {
  auto expectTensorError = [&](uint32_t type,
                               const std::vector<uint64_t> &shape,
                               uint64_t offset, const std::string &message) {
    expectError(GgufBuilder()
                    .tensor("first", 0, {16}, std::string(64, 'x'))
                    .tensorAt("t", type, shape, offset)
                    .build(),
                "tensor \"t\": " + message);
  };
  expectTensorError(0, {1, 1, 1, 1, 1}, 0, "expected at most 4 dimensions");
  expectTensorError(0, {UINT64_MAX}, 0, "expected fewer than 2^63 elements");
  expectTensorError(0, {0, UINT64_MAX}, 0, "expected dimensions of 1 or more");
  expectTensorError(0, {7, 0}, 0, "expected dimensions of 1 or more, found 0");
  expectTensorError(0, {1ull << 32, 1ull << 31}, 0,
                    "expected fewer than 2^63 elements");
  expectTensorError(28, {1ull << 62}, 0, "expected fewer than 2^64 bytes");
  expectTensorError(12, {255}, 0,
                    "expected rows of whole blocks of 256 elements, found "
                    "Q4_K [255]");
  expectTensorError(12, {}, 0, "expected rows of whole blocks");
  expectTensorError(0, {4}, 16, "expected an offset that is a multiple of 32");
  expectTensorError(0, {4}, 64, "expected 16 bytes within the file's 64");
  expectTensorError(0, {9}, 32, "expected 36 bytes within the file's 64");
  expectTensorError(0, {4}, 1ull << 63, "expected 16 bytes within the file's");
  expectTensorError(0, {4}, 32,
                    "expected bytes of its own, found an overlap "
                    "with \"first\"");
  expectTensorError(77, {4}, 128, "expected 0 bytes within the file's 64");
  expectError(GgufBuilder()
                  .tensor("t", 0, {1}, "abcd")
                  .tensor("t", 0, {1}, "abcd")
                  .build(),
              "tensor \"t\": expected once, found twice");
}

TEST_F(GgufTest, OffsetsCountFromTheAlignment) {
  GgufBuilder builder;
  builder.alignment = 256;
  builder.integer("general.alignment", 256)
      .tensor("a", 0, {1}, "abcd")
      .tensor("b", 0, {1}, "efgh");
  auto file = open(builder.build());
  ASSERT_TRUE(file.ok()) << file.status().message();
  std::vector<uint8_t> out(4);
  ASSERT_TRUE(file->read(*file->find("b"), 0, out).ok());
  EXPECT_EQ(out[0], 'e');
  EXPECT_EQ(file->find("b")->offset, 512u);
}

} // namespace
