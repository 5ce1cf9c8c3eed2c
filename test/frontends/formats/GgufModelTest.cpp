// GGUF files as models: the configuration that their metadata says.
#include "frontends/formats/GgufModel.h"

#include "test/frontends/formats/TestGguf.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <functional>

using namespace lapidary;
using namespace lapidary::test;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

/// A small text model: keys that a test leaves out or says otherwise.
class TextFile {
public:
  std::vector<std::string> tokens = {"<pad>", "<eos>",     "<bos>",
                                     "<unk>", "<|image|>", "<|audio|>",
                                     "a",     "<turn|>"};
  std::string leaveOut;
  std::function<void(GgufBuilder &)> add = [](GgufBuilder &) {};
  std::vector<float> ropeFactors = {1, 1e30f};

  std::string build() const {
    GgufBuilder builder;
    auto has = [&](const std::string &key) { return key != leaveOut; };
    auto integer = [&](const std::string &key, uint32_t value) {
      if (has(key))
        builder.integer(key, value);
    };
    if (has("general.architecture"))
      builder.string("general.architecture", "gemma4");
    for (auto [key, value] :
         std::initializer_list<std::pair<const char *, uint32_t>>{
             {"block_count", 3},
             {"context_length", 64},
             {"embedding_length", 4},
             {"feed_forward_length", 6},
             {"attention.head_count", 2},
             {"attention.sliding_window", 16},
             {"attention.key_length", 4},
             {"attention.value_length", 4},
             {"attention.key_length_swa", 2},
             {"attention.value_length_swa", 2},
             {"attention.shared_kv_layers", 0},
             {"rope.dimension_count", 4}})
      integer(std::string("gemma4.") + key, value);
    if (has("gemma4.attention.head_count_kv"))
      builder.array<int32_t>("gemma4.attention.head_count_kv", i32Type,
                             {2, 1, 2});
    if (has("gemma4.attention.sliding_window_pattern"))
      builder.array<uint8_t>("gemma4.attention.sliding_window_pattern",
                             boolType, {1, 0, 1});
    if (has("gemma4.attention.layer_norm_rms_epsilon"))
      builder.number("gemma4.attention.layer_norm_rms_epsilon", 1e-6f);
    builder.number("gemma4.rope.freq_base", 5e5f);
    builder.string("tokenizer.ggml.model", "gemma4");
    builder.strings("tokenizer.ggml.tokens", tokens);
    integer("tokenizer.ggml.bos_token_id", 2);
    integer("tokenizer.ggml.eos_token_id", 1);
    add(builder);
    if (has("rope_freqs.weight"))
      builder.tensor("rope_freqs.weight", f32, {ropeFactors.size()},
                     floats(ropeFactors));
    if (has("token_embd.weight"))
      builder.tensor("token_embd.weight", f32, {4, 8}, counting(32));
    builder.tensor("blk.0.attn_v.weight", f32, {4, 4}, counting(16, 100));
    return builder.build();
  }
};

/// The projections of a model of 4 columns, patches of 2 x 2 pixels.
GgufBuilder mediaFile() {
  GgufBuilder builder;
  builder.string("general.architecture", "clip")
      .string("clip.vision.projector_type", "gemma4uv")
      .integer("clip.vision.projection_dim", 4)
      .integer("clip.vision.embedding_length", 3)
      .integer("clip.vision.patch_size", 1)
      .integer("clip.vision.projector.scale_factor", 2)
      .number("clip.vision.attention.layer_norm_epsilon", 1e-6f)
      .array<float>("clip.vision.image_std", 6, {1, 1, 1})
      .tensor("v.patch_embd.weight", f32, {12, 2}, counting(24))
      .tensor("v.patch_norm.1.bias", f32, {12}, counting(12))
      .tensor("v.position_embd.weight", f32, {1, 3, 2}, counting(6));
  return builder;
}

class GgufModelTest : public GgufFileTest {
protected:
  void expectError(const Result<ModelConfig> &model,
                   const std::string &message) {
    ASSERT_FALSE(model.ok()) << "expected: " << message;
    EXPECT_THAT(model.status().message(), HasSubstr(message));
    EXPECT_THAT(model.status().message(), HasSubstr(".gguf"));
  }
  void expectTextError(const TextFile &text, const std::string &message) {
    expectError(readGgufConfig(open("t.gguf", text.build()), nullptr), message);
  }
  void expectMediaError(const GgufBuilder &media, const std::string &message) {
    expectError(Result<ModelConfig>([&]() -> Result<ModelConfig> {
                  GgufFile text = open("t.gguf", TextFile().build()),
                           file = open("m.gguf", media.build());
                  return readGgufConfig(text, &file);
                }()),
                message);
  }
};

TEST_F(GgufModelTest, TextAlone) {
  TextFile text;
  text.add = [](GgufBuilder &builder) {
    builder.number("general.sampling.top_p", 0.95f)
        .integer("general.sampling.top_k", 7)
        .number("gemma4.final_logit_softcapping", 30)
        .array<int32_t>("tokenizer.ggml.suppress_tokens", i32Type, {5, 4})
        .string("tokenizer.chat_template", "{{ x }}");
  };
  GgufFile file = open("small.model.gguf", text.build());
  auto model = readGgufConfig(file, nullptr);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->name, "small.model");
  EXPECT_EQ(model->text.vocabulary, 8);
  EXPECT_EQ(model->text.hidden, 4);
  EXPECT_EQ(model->text.window, 16);
  EXPECT_EQ(model->text.maxPositions, 64);
  EXPECT_EQ(model->text.eps, 1e-6);
  EXPECT_EQ(model->text.softcap, 30);
  EXPECT_TRUE(model->text.tieEmbeddings);
  EXPECT_TRUE(model->text.bidirectionalVision);
  ASSERT_EQ(model->text.layers.size(), 3u);
  const LayerConfig &full = model->text.layers[1];
  EXPECT_EQ(full.kind, LayerKind::Full);
  EXPECT_EQ(full.headDim, 4);
  EXPECT_EQ(full.keyValueHeads, 1);
  EXPECT_EQ(full.intermediate, 6);
  EXPECT_TRUE(full.keysAreValues);
  EXPECT_EQ(model->text.layers[2].kind, LayerKind::Sliding);
  EXPECT_EQ(model->text.layers[2].headDim, 2);
  EXPECT_EQ(model->text.layers[2].keyValueHeads, 2);
  EXPECT_FALSE(model->text.layers[2].keysAreValues);
  EXPECT_FALSE(model->text.slidingRope.proportional);
  EXPECT_EQ(model->text.slidingRope.theta, 1e4);
  EXPECT_TRUE(model->text.fullRope.proportional);
  EXPECT_EQ(model->text.fullRope.theta, 5e5);
  EXPECT_EQ(model->text.fullRope.rotatedPairs(4), 1);
  EXPECT_FALSE(model->vision || model->audio);
  EXPECT_EQ(model->bosToken, 2);
  EXPECT_THAT(model->stopTokens, ElementsAre(1, 7));
  EXPECT_THAT(model->suppressTokens, ElementsAre(4, 5));
  EXPECT_TRUE(model->sampling.enabled);
  EXPECT_EQ(model->sampling.topK, 7);
  EXPECT_EQ(model->sampling.topP, 0.95);
}

TEST_F(GgufModelTest, WithoutSamplingItIsGreedy) {
  auto model = readGgufConfig(open("t.gguf", TextFile().build()), nullptr);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_FALSE(model->sampling.enabled);
}

TEST_F(GgufModelTest, EveryPartOfAHeadThatCanTurn) {
  for (size_t pairs = 0; pairs <= 49; ++pairs) {
    TextFile text;
    text.ropeFactors.assign(49, 1e30f);
    std::fill_n(text.ropeFactors.begin(), pairs, 1.0f);
    text.leaveOut = "gemma4.attention.key_length";
    text.add = [](GgufBuilder &builder) {
      builder.integer("gemma4.attention.key_length", 98);
    };
    std::string bytes = text.build();
    // The other two keys say 4.
    for (const char *key :
         {"gemma4.attention.value_length", "gemma4.rope.dimension_count"}) {
      size_t at = bytes.find(key);
      at = bytes[at + std::strlen(key)] == '_' ? bytes.find(key, at + 1) : at;
      bytes[at + std::strlen(key) + 4] = 98;
    }
    auto model = readGgufConfig(open("t.gguf", bytes), nullptr);
    ASSERT_TRUE(model.ok()) << model.status().message();
    EXPECT_EQ(model->text.fullRope.rotatedPairs(98), int64_t(pairs));
  }
}

TEST_F(GgufModelTest, KeysThatAreMissingAreNamed) {
  for (const char *key :
       {"general.architecture", "gemma4.block_count", "gemma4.context_length",
        "gemma4.embedding_length", "gemma4.feed_forward_length",
        "gemma4.attention.head_count", "gemma4.attention.head_count_kv",
        "gemma4.attention.sliding_window", "gemma4.attention.key_length",
        "gemma4.attention.key_length_swa",
        "gemma4.attention.sliding_window_pattern",
        "gemma4.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"}) {
    TextFile text;
    text.leaveOut = key;
    expectTextError(text, std::string(key) + ": expected ");
    expectTextError(text, "found no such key");
  }
  for (const char *tensor : {"rope_freqs.weight", "token_embd.weight"}) {
    TextFile text;
    text.leaveOut = tensor;
    expectTextError(text,
                    std::string("tensor ") + tensor + ": expected one of");
  }
}

TEST_F(GgufModelTest, KeysThatWeCannotHonourAreRefused) {
  auto expectKeyError = [&](const std::function<void(GgufBuilder &)> &add,
                            const std::string &message,
                            const std::string &leaveOut = "") {
    TextFile text;
    text.add = add;
    text.leaveOut = leaveOut;
    expectTextError(text, message);
  };
  auto integer = [](const std::string &key, uint32_t value) {
    return [=](GgufBuilder &builder) { builder.integer(key, value); };
  };
  expectKeyError(integer("gemma4.new_thing", 1),
                 "gemma4.new_thing: expected no such key, found u32 1");
  expectKeyError(integer("gemma4.expert_count", 8),
                 "gemma4.expert_count: expected 0, found u32 8");
  expectKeyError(integer("gemma4.embedding_length_per_layer_input", 256),
                 "expected 0, found u32 256");
  expectKeyError(integer("split.count", 2), "split.count: expected a whole");
  expectKeyError(integer("general.quantization_version", 1),
                 "general.quantization_version: expected 2, found u32 1");
  expectKeyError(integer("general.sampling.new_thing", 1),
                 "general.sampling.new_thing: expected no such key");
  expectKeyError(integer("general.sampling.min_p", 1), "min_p: expected 0");
  expectKeyError(
      [](GgufBuilder &builder) {
        builder.string("gemma4.rope.scaling.type", "yarn");
      },
      "gemma4.rope.scaling.type: expected \"none\", found string \"yarn\"");
  expectKeyError(
      [](GgufBuilder &builder) {
        builder.number("gemma4.final_logit_softcapping", NAN);
      },
      "final_logit_softcapping: expected a finite number");
  expectKeyError(integer("gemma4.block_count", 5000),
                 "block_count: expected 1 to 4096", "gemma4.block_count");
  expectKeyError(integer("gemma4.block_count", 4),
                 "sliding_window_pattern: expected an array of 4 bool, found "
                 "an array of 3 bool",
                 "gemma4.block_count");
  expectKeyError(
      [](GgufBuilder &builder) {
        builder.array<uint32_t>("gemma4.attention.head_count", u32Type, {2, 2});
      },
      "head_count: expected an integer or an array of 3",
      "gemma4.attention.head_count");
  expectKeyError(
      integer("gemma4.embedding_length", 0),
      "t.gguf, read as config.json: text_config.hidden_size: expected",
      "gemma4.embedding_length");
  expectKeyError(
      [](GgufBuilder &builder) {
        builder.string("gemma4.context_length", "64");
      },
      "gemma4.context_length: expected an integer, found string \"64\"",
      "gemma4.context_length");
  expectKeyError(integer("tokenizer.ggml.eos_token_id", 8),
                 "eos_token_id: expected", "tokenizer.ggml.eos_token_id");

  TextFile text;
  text.ropeFactors = {1, 8};
  expectTextError(text, "tensor rope_freqs.weight: expected ones and then");
  text.ropeFactors = {1, 1, 1};
  expectTextError(text, "tensor rope_freqs.weight: expected F32 for half");
  text = TextFile();
  text.tokens.push_back("b");
  expectTextError(text, "token_embd.weight: expected a row for each of the 9");
}

TEST_F(GgufModelTest, MediaProjections) {
  GgufFile text = open("t.gguf", TextFile().build());
  GgufBuilder builder = mediaFile();
  GgufFile media = open("m.gguf", builder.build());
  auto model = readGgufConfig(text, &media);
  ASSERT_TRUE(model.ok()) << model.status().message();
  ASSERT_TRUE(model->vision);
  EXPECT_FALSE(model->audio);
  EXPECT_EQ(model->vision->patchSize, 2);
  EXPECT_EQ(model->vision->embed, 3);
  EXPECT_EQ(model->vision->positions, 3);
  EXPECT_EQ(model->vision->maxSoftTokens, 280);
  EXPECT_EQ(model->imageToken, 4);
  EXPECT_EQ(model->videoToken, -1);
  EXPECT_EQ(model->audioToken, -1);

  builder.integer("clip.vision.image_max_pixels", 70 * 4)
      .string("clip.audio.projector_type", "gemma4ua")
      .integer("clip.audio.embedding_length", 5)
      .number("clip.audio.attention.layer_norm_epsilon", 1e-5f)
      .tensor("mm.a.input_projection.weight", f32, {5, 4}, counting(20));
  media = open("m.gguf", builder.build());
  model = readGgufConfig(text, &media);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(model->vision->maxSoftTokens, 70);
  ASSERT_TRUE(model->audio);
  EXPECT_EQ(model->audio->samplesPerToken, 5);
  EXPECT_EQ(model->audio->eps, 1e-5);
  EXPECT_EQ(model->audioToken, 5);
}

TEST_F(GgufModelTest, MediaThatWeCannotHonourAreRefused) {
  auto integer = [](const std::string &key, uint32_t value) {
    return mediaFile().integer(key, value);
  };
  expectMediaError(GgufBuilder().string("general.architecture", "gemma4"),
                   "general.architecture: expected \"clip\"");
  expectMediaError(GgufBuilder()
                       .string("general.architecture", "clip")
                       .string("clip.vision.projector_type", "gemma4v"),
                   "clip.vision.projector_type: expected \"gemma4uv\", found "
                   "string \"gemma4v\"");
  expectMediaError(mediaFile().string("clip.projector_type", "mlp"),
                   "clip.projector_type: expected \"gemma4uv\" or");
  expectMediaError(integer("clip.vision.block_count", 1),
                   "clip.vision.block_count: expected 0");
  expectMediaError(mediaFile().flag("clip.has_audio_encoder", true),
                   "clip.has_audio_encoder: expected false, found bool true");
  expectMediaError(integer("clip.vision.new_thing", 1),
                   "clip.vision.new_thing: expected no such key");
  expectMediaError(
      mediaFile().array<float>("clip.vision.image_mean", 6, {0, 0.5f, 0}),
      "clip.vision.image_mean: expected numbers that are");
  expectMediaError(integer("clip.vision.image_max_pixels", 281),
                   "clip.vision.image_max_pixels: expected a multiple");
  expectMediaError(integer("clip.vision.image_max_pixels", 71 * 4),
                   "max_soft_tokens: expected 70, 140");
}

} // namespace
