// The tensors of GGUF files under the names and in the orders of the checkpoint
// that they were converted from.
#include "frontends/formats/GgufTensors.h"

#include "frontends/formats/EncodedTensor.h"
#include "frontends/formats/GgufBlocks.h"
#include "test/TemporaryFolder.h"
#include "test/frontends/formats/TestGguf.h"

#include <gmock/gmock.h>

using namespace lapidary;
using namespace lapidary::test;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

class GgufTensorsTest : public testing::Test {
protected:
  TemporaryFolder folder;
};

TEST_F(GgufTensorsTest, TensorsHaveTheNamesAndOrdersOfACheckpoint) {
  folder.write(
      "t.gguf",
      GgufBuilder()
          .tensor("rope_freqs.weight", f32, {2}, counting(2))
          .tensor("token_embd.weight", f32, {4, 8}, counting(32))
          .tensor("blk.0.attn_v.weight", f32, {4, 4}, counting(16, 100))
          .build());
  folder.write(
      "m.gguf",
      GgufBuilder()
          .tensor("v.patch_embd.weight", f32, {12, 2}, counting(24))
          .tensor("v.patch_norm.1.bias", f32, {12}, counting(12))
          .tensor("v.position_embd.weight", f32, {1, 3, 2}, counting(6))
          .build());
  auto checkpoint =
      Checkpoint::openGguf(folder.path("t.gguf"), folder.path("m.gguf"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->folder(), folder.path());
  EXPECT_THAT(checkpoint->files(), ElementsAre("t.gguf", "m.gguf"));
  std::vector<std::string> names;
  for (const TensorInfo &tensor : checkpoint->tensors())
    names.push_back(tensor.name);
  EXPECT_THAT(
      names,
      ElementsAre("model.language_model.embed_tokens.weight",
                  "model.language_model.layers.0.self_attn.v_proj.weight",
                  "model.vision_embedder.patch_dense.weight",
                  "model.vision_embedder.patch_ln1.bias",
                  "model.vision_embedder.pos_embedding"));
  auto values = [&](const std::string &name, size_t first, size_t count) {
    const TensorInfo *tensor = checkpoint->find(name);
    std::vector<float> out(count);
    Status status =
        checkpoint->read(*tensor, first * 4,
                         {reinterpret_cast<uint8_t *>(out.data()), count * 4});
    EXPECT_TRUE(status.ok()) << status.message();
    return out;
  };
  EXPECT_THAT(
      values("model.language_model.layers.0.self_attn.v_proj.weight", 1, 2),
      ElementsAre(101, 102));
  // Planes 0..3, 4..7, 8..11 of a row become three values a pixel.
  std::vector<float> row = {0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11};
  EXPECT_EQ(values("model.vision_embedder.patch_ln1.bias", 0, 12), row);
  EXPECT_THAT(values("model.vision_embedder.patch_dense.weight", 11, 3),
              ElementsAre(11, 12, 16));
  // Tables 0, 1, 2 and 3, 4, 5 become two values a position.
  const TensorInfo *positions =
      checkpoint->find("model.vision_embedder.pos_embedding");
  EXPECT_EQ(describeTensor(*positions), "F32 [3, 2, 1]");
  EXPECT_THAT(values(positions->name, 0, 6), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(values(positions->name, 3, 2), ElementsAre(4, 2));
  // A byte of one value and three of the next.
  std::vector<uint8_t> odd(4), whole(8);
  ASSERT_TRUE(checkpoint->read(*positions, 3, odd).ok());
  ASSERT_TRUE(checkpoint->read(*positions, 0, whole).ok());
  EXPECT_TRUE(std::equal(odd.begin(), odd.end(), whole.begin() + 3));
  EXPECT_EQ(checkpoint->read(*positions, 21, odd).getCode(),
            StatusCode::InvalidArgument);
  TensorInfo other;
  other.name = "other";
  EXPECT_EQ(checkpoint->read(other, 0, odd).getCode(),
            StatusCode::InvalidArgument);
}

TEST_F(GgufTensorsTest, BlocksAndTheirFactorAreGivenAsTheyAre) {
  GgufBuilder builder;
  builder.tensor("blk.3.ffn_up.weight", 40, {64, 2}, std::string(72, 'x'))
      .tensor("blk.3.ffn_up.scale", f32, {1}, floats({0.25f}))
      .tensor("blk.3.ffn_up.input_scale", f32, {1}, floats({0.5f}))
      .tensor("output.weight", 77, {64, 2}, "");
  folder.write("t.gguf", builder.build());
  auto checkpoint = Checkpoint::openGguf(folder.path("t.gguf"), "");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  ASSERT_EQ(checkpoint->tensors().size(), 2u);
  const TensorInfo *up =
      checkpoint->find("model.language_model.layers.3.mlp.up_proj.weight");
  ASSERT_NE(up, nullptr);
  EXPECT_EQ(describeTensor(*up), "NVFP4 [2, 64]");
  EXPECT_EQ(up->factor, 0.25f);
  std::vector<uint8_t> bytes(72);
  EXPECT_TRUE(checkpoint->read(*up, 0, bytes).ok());
  EXPECT_EQ(bytes[71], 'x');
  EXPECT_EQ(describeTensor(*checkpoint->find("lm_head.weight")),
            "type id 77 [2, 64]");
}

TEST_F(GgufTensorsTest, ScalesThatAreNoNumbersAreErrorsThatNameTheRow) {
  // Reads all of two rows, the second of which begins with `scale`.
  auto read = [&](uint32_t id, uint64_t columns, const std::string &scale,
                  float factor = 1) -> Status {
    const GgmlType &type = *findGgmlType(id);
    std::string bytes(2 * columns / uint64_t(type.columns) * type.bytes, 0);
    bytes.replace(bytes.size() / 2, scale.size(), scale);
    GgufBuilder builder;
    builder.tensor("blk.3.ffn_up.weight", id, {columns, 2}, bytes);
    if (factor != 1)
      builder.tensor("blk.3.ffn_up.scale", f32, {1}, floats({factor}));
    folder.write("t.gguf", builder.build());
    auto checkpoint =
        LAPIDARY_TRY(Checkpoint::openGguf(folder.path("t.gguf"), ""));
    Scheme scheme;
    scheme.name = type.scheme;
    for (const GgmlField &field : type.fields) {
      SchemeField &own = scheme.fields.emplace_back();
      own.kind = field.kind;
      own.bits = field.bits;
      own.columns = field.columns;
    }
    std::vector<EncodedRow> rows(2, EncodedRow(scheme, int64_t(columns)));
    return readEncodedRows(
        checkpoint,
        *checkpoint.find("model.language_model.layers.3.mlp.up_proj.weight"),
        scheme, 0, rows);
  };
  auto expectReadError = [](const Status &status, const std::string &found) {
    ASSERT_FALSE(status.ok()) << found;
    EXPECT_EQ(status.getCode(), StatusCode::InvalidData);
    EXPECT_THAT(status.message(),
                HasSubstr("t.gguf: tensor "
                          "\"model.language_model.layers.3.mlp.up_proj.weight"
                          "\": expected scales that are finite"));
    EXPECT_THAT(status.message(), HasSubstr("found " + found + " in row 1"));
  };
  constexpr uint32_t q4_0 = 2, q4K = 12, mxFp4 = 39, nvFp4 = 40;
  EXPECT_TRUE(read(q4_0, 32, "\xff\x7b").ok()); // 65504
  expectReadError(read(q4_0, 32, std::string("\x00\x7c", 2)), "inf");
  expectReadError(read(q4_0, 32, "\x01\xfc"), "-nan");
  // The minimum's scale.
  expectReadError(read(q4K, 256, std::string("\0\0\0\x7c", 4)), "inf");
  // 6 * 2^125 is an f32, 6 * 2^126 is none, and the last power is NaN.
  EXPECT_TRUE(read(mxFp4, 32, "\xfc").ok());
  expectReadError(read(mxFp4, 32, "\xfd"), "one that is too large");
  expectReadError(read(mxFp4, 32, "\xff"), "nan");
  EXPECT_TRUE(read(nvFp4, 64, "\x7e", 1e34F).ok());
  expectReadError(read(nvFp4, 64, "\x7e", 1e36F), "one that is too large");
}

TEST_F(GgufTensorsTest, TensorsThatCannotBeReadAreNamed) {
  auto expectTensorError = [&](const GgufBuilder &text,
                               const GgufBuilder &media,
                               const std::string &message) {
    folder.write("t.gguf", text.build());
    folder.write("m.gguf", media.build());
    auto checkpoint =
        Checkpoint::openGguf(folder.path("t.gguf"), folder.path("m.gguf"));
    ASSERT_FALSE(checkpoint.ok()) << "expected: " << message;
    EXPECT_THAT(checkpoint.status().message(), HasSubstr(message));
  };
  GgufBuilder none;
  expectTensorError(
      none,
      GgufBuilder().tensor("v.patch_embd.weight", 8, {192, 1},
                           std::string(204, 'x')),
      "tensor \"v.patch_embd.weight\": expected plain numbers in rows of a "
      "square of pixels of three colors, found Q8_0 [1, 192]");
  expectTensorError(
      none,
      GgufBuilder().tensor("v.patch_norm.1.bias", f32, {11}, counting(11)),
      "expected plain numbers in rows of a square");
  expectTensorError(
      none,
      GgufBuilder().tensor("v.position_embd.weight", f32, {2, 3}, counting(6)),
      "expected a table for each of two axes, found F32 [3, 2]");
  expectTensorError(GgufBuilder()
                        .tensor("output.weight", f32, {1}, counting(1))
                        .tensor("output.scale", f32, {1}, counting(1)),
                    none, "expected NVFP4, because there is output.scale");
  expectTensorError(GgufBuilder().tensor("x", f32, {1}, counting(1)),
                    GgufBuilder().tensor("x", f32, {1}, counting(1)),
                    "tensor \"x\": expected once, found again");
}

} // namespace
