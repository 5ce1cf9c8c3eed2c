// The checkpoint's JSON files: what every field means, and that none is ignored
// silently.
#include "frontends/formats/ModelConfig.h"

#include "test/frontends/TestCheckpoint.h"

#include <gmock/gmock.h>

using namespace lapidary;
using namespace lapidary::test;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

class ModelConfigTest : public testing::Test {
protected:
  Result<ModelConfig> parse() {
    return parseModelConfig(
        {"folder/tiny/", config.dump(), generation.dump(), processor.dump()});
  }
  ModelConfig parseGood() {
    auto result = parse();
    if (!result.ok())
      throw std::runtime_error(result.status().message());
    return *result;
  }
  void expectError(const std::string &message) {
    auto result = parse();
    ASSERT_FALSE(result.ok()) << "expected: " << message;
    EXPECT_THAT(result.status().message(), HasSubstr(message));
  }

  static json load(const std::string &name) {
    return json::parse(
        readFile(std::string(LAPIDARY_TEST_DIR) + "/models/tiny/" + name));
  }
  json config = load("config.json");
  json generation = load("generation_config.json");
  json processor = load("processor_config.json");
  json &text = config["text_config"];
};

TEST_F(ModelConfigTest, ReadsTheTinyCheckpoint) {
  auto read = readModelConfig(std::string(LAPIDARY_TEST_DIR) + "/models/tiny");
  ASSERT_TRUE(read.ok()) << read.status().message();
  const ModelConfig &model = *read;
  EXPECT_EQ(model.name, "tiny");
  EXPECT_EQ(model.modelType, "gemma4_unified");
  EXPECT_EQ(model.text.vocabulary, 2048);
  EXPECT_EQ(model.text.hidden, 256);
  EXPECT_EQ(model.text.window, 128);
  EXPECT_EQ(model.text.softcap, 30.0);
  EXPECT_EQ(model.text.eps, 1e-6);
  EXPECT_EQ(model.text.maxPositions, 8192);
  EXPECT_TRUE(model.text.bidirectionalVision);
  EXPECT_TRUE(model.text.tieEmbeddings);
  ASSERT_EQ(model.text.layers.size(), 6u);
  const LayerConfig &sliding = model.text.layers[0],
                    &full = model.text.layers[5];
  EXPECT_EQ(sliding.kind, LayerKind::Sliding);
  EXPECT_EQ(sliding.heads, 8);
  EXPECT_EQ(sliding.keyValueHeads, 4);
  EXPECT_EQ(sliding.headDim, 32);
  EXPECT_EQ(sliding.intermediate, 512);
  EXPECT_FALSE(sliding.keysAreValues);
  EXPECT_EQ(full.kind, LayerKind::Full);
  EXPECT_EQ(full.keyValueHeads, 1);
  EXPECT_EQ(full.headDim, 64);
  EXPECT_TRUE(full.keysAreValues);
  EXPECT_EQ(model.text.slidingRope.rotatedPairs(32), 16);
  EXPECT_EQ(model.text.slidingRope.theta, 1e4);
  EXPECT_EQ(model.text.fullRope.rotatedPairs(64), 8);
  EXPECT_EQ(model.text.fullRope.theta, 1e6);
  ASSERT_TRUE(model.vision && model.audio);
  EXPECT_EQ(model.vision->patchSize, 48);
  EXPECT_EQ(model.vision->patchValues(), 6912);
  EXPECT_EQ(model.vision->embed, 256);
  EXPECT_EQ(model.vision->positions, 1120);
  EXPECT_EQ(model.vision->maxSoftTokens, 70);
  EXPECT_EQ(model.vision->videoSoftTokens, 70);
  EXPECT_EQ(model.vision->videoFrames, 32);
  EXPECT_EQ(model.audio->samplesPerToken, 640);
  EXPECT_EQ(model.audio->maxTokens, 750);
  EXPECT_EQ(model.audio->rate, 16000);
  EXPECT_EQ(model.bosToken, 2);
  EXPECT_EQ(model.padToken, 0);
  EXPECT_EQ(model.imageToken, 2042);
  EXPECT_EQ(model.videoToken, 2046);
  EXPECT_EQ(model.audioToken, 2043);
  EXPECT_THAT(model.stopTokens, ElementsAre(1, 50, 106));
  EXPECT_THAT(model.suppressTokens, ElementsAre(2044, 2045));
  EXPECT_TRUE(model.sampling.enabled);
  EXPECT_EQ(model.sampling.temperature, 1.0);
  EXPECT_EQ(model.sampling.topK, 64);
  EXPECT_EQ(model.sampling.topP, 0.95);
}

TEST_F(ModelConfigTest, TakesAnyLayerTypes) {
  text["layer_types"] = {"full_attention",    "sliding_attention",
                         "full_attention",    "full_attention",
                         "sliding_attention", "full_attention"};
  ModelConfig model = parseGood();
  EXPECT_EQ(model.text.layers[0].kind, LayerKind::Full);
  EXPECT_EQ(model.text.layers[0].headDim, 64);
  EXPECT_EQ(model.text.layers[1].kind, LayerKind::Sliding);
  text.erase("layer_types");
  text["num_hidden_layers"] = 8;
  model = parseGood();
  for (size_t i = 0; i < 8; ++i)
    EXPECT_EQ(model.text.layers[i].kind,
              i == 5 || i == 7 ? LayerKind::Full : LayerKind::Sliding)
        << i;
  text["layer_types"] = {"full_attention"};
  expectError("config.json: text_config.layer_types: expected a list of "
              "num_hidden_layers (8) names");
  text["num_hidden_layers"] = 1;
  text["layer_types"] = {"chunked_attention"};
  expectError("found \"chunked_attention\"");
}

TEST_F(ModelConfigTest, FullLayersHaveTheirOwnHeads) {
  // Without shared keys and values the reference ignores the full layers' own
  // count.
  text["attention_k_eq_v"] = false;
  ModelConfig model = parseGood();
  EXPECT_EQ(model.text.layers[5].keyValueHeads, 4);
  EXPECT_EQ(model.text.layers[5].headDim, 64);
  EXPECT_FALSE(model.text.layers[5].keysAreValues);
  text["attention_k_eq_v"] = true;
  text.erase("global_head_dim");
  text["num_global_key_value_heads"] = nullptr;
  model = parseGood();
  EXPECT_EQ(model.text.layers[5].headDim, 512);
  EXPECT_EQ(model.text.layers[5].keyValueHeads, 4);
}

TEST_F(ModelConfigTest, TakesAConfigPerLayer) {
  text.erase("global_head_dim");
  text.erase("num_global_key_value_heads");
  text["per_layer_config"] = {
      {"5", {{"head_dim", 128}, {"num_key_value_heads", 2}}},
      {"1", {{"head_dim", 16}}}};
  ModelConfig model = parseGood();
  EXPECT_EQ(model.text.layers[5].headDim, 128);
  EXPECT_EQ(model.text.layers[5].keyValueHeads, 2);
  EXPECT_EQ(model.text.layers[1].headDim, 16);
  EXPECT_EQ(model.text.layers[1].keyValueHeads, 4);
  text["global_head_dim"] = 64;
  expectError("per_layer_config: expected what global_head_dim");
  text.erase("global_head_dim");
  text["per_layer_config"] = {{"6", json::object()}};
  expectError("expected layer indices below 6, found \"6\"");
  text["per_layer_config"] = {{"5x", json::object()}};
  expectError("found \"5x\"");
  text["per_layer_config"] = {{"5", {{"sliding_window", 3}}}};
  expectError(
      "text_config.per_layer_config.5.sliding_window: expected no such field");
}

TEST_F(ModelConfigTest, PartsMayBeMissing) {
  config["vision_config"] = nullptr;
  config.erase("audio_config");
  text["final_logit_softcapping"] = nullptr;
  text["use_bidirectional_attention"] = nullptr;
  ModelConfig model = parseGood();
  EXPECT_FALSE(model.vision || model.audio || model.text.softcap ||
               model.text.bidirectionalVision);
  EXPECT_EQ(model.imageToken, -1);
  EXPECT_EQ(model.videoToken, -1);
  EXPECT_EQ(model.audioToken, -1);
  text.erase("use_bidirectional_attention"); // The reference's default.
  EXPECT_TRUE(parseGood().text.bidirectionalVision);
}

TEST_F(ModelConfigTest, DefaultsWithoutTheOtherFiles) {
  auto result = parseModelConfig({"tiny", config.dump(), {}, {}});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_FALSE(result->sampling.enabled);
  EXPECT_THAT(result->stopTokens, ElementsAre(1));
  EXPECT_EQ(result->vision->maxSoftTokens, 280);
  EXPECT_EQ(result->vision->videoSoftTokens, 70);
  EXPECT_EQ(result->audio->maxTokens, 750);
}

TEST_F(ModelConfigTest, NamesTheSupportedModelTypes) {
  config["model_type"] = "llama";
  expectError("folder/tiny/config.json: model_type: expected "
              "\"gemma4_unified\", found \"llama\"");
  config.erase("model_type");
  expectError("model_type: expected \"gemma4_unified\", found nothing");
}

TEST_F(ModelConfigTest, RefusesWhatItCannotHonour) {
  struct Case {
    const char *path;
    json value;
    const char *message;
  };
  const std::vector<Case> cases = {
      {"/text_config/attention_bias", true,
       "text_config.attention_bias: expected false, found true"},
      {"/text_config/hidden_activation", "silu",
       "expected \"gelu_pytorch_tanh\", found \"silu\""},
      {"/text_config/num_kv_shared_layers", 2,
       "num_kv_shared_layers: expected 0, found 2"},
      {"/text_config/use_double_wide_mlp", true,
       "use_double_wide_mlp: expected false"},
      {"/text_config/hidden_size_per_layer_input", 256,
       "hidden_size_per_layer_input: expected 0"},
      {"/text_config/enable_moe_block", true,
       "enable_moe_block: expected false"},
      {"/text_config/num_experts", 8, "num_experts: expected 0"},
      {"/text_config/use_bidirectional_attention", "all",
       "expected \"vision\", found \"all\""},
      {"/text_config/rope_scaling", {{"factor", 8}}, "rope_scaling"},
      {"/text_config/rope_parameters/full_attention/rope_type", "yarn",
       "expected \"default\" or \"proportional\""},
      {"/text_config/rope_parameters/full_attention/factor", 8,
       "full_attention.factor: expected 1, found 8"},
      {"/text_config/rope_parameters/sliding_attention/partial_rotary_factor",
       0.5, "because rope_type is \"default\""},
      {"/text_config/rope_parameters/sliding_attention/beta", 1,
       "sliding_attention.beta: expected no such field"},
      {"/text_config/model_type", "gemma4_text",
       "expected \"gemma4_unified_text\""},
      {"/text_config/attn_logit_softcapping", 50,
       "attn_logit_softcapping: expected no such field"},
      {"/text_config/tie_word_embeddings", false,
       "tie_word_embeddings: expected what text_config"},
      // The checkpoint reads the one beside text_config.
      {"/text_config/quantization_config",
       {{"bits", 4}},
       "text_config.quantization_config: expected no such field"},
      {"/architectures", {"Gemma3ForCausalLM"}, "architectures"},
      {"/vision_config/num_hidden_layers", 27,
       "vision_config.num_hidden_layers: expected no such field"},
      {"/vision_config/output_proj_dims", 512,
       "expected mm_embed_dim (256), found 512"},
      {"/vision_config/model_patch_size", 32,
       "model_patch_size: expected 48, found 32"},
      {"/audio_config/output_proj_dims", 1024,
       "audio_config.output_proj_dims: expected 640"},
      {"/audio_config/conv_depth", 2,
       "audio_config.conv_depth: expected no such field"},
  };
  const json original = config;
  for (const Case &bad : cases) {
    config = original;
    config[json::json_pointer(bad.path)] = bad.value;
    expectError(bad.message);
  }
}

TEST_F(ModelConfigTest, RefusesNonsense) {
  struct Case {
    const char *path;
    json value;
    const char *message;
  };
  const std::vector<Case> cases = {
      {"/text_config/vocab_size", 0, "vocab_size: expected an integer in 1.."},
      {"/text_config/hidden_size", -256, "hidden_size: expected an integer"},
      {"/text_config/hidden_size", "256", "found \"256\""},
      {"/text_config/hidden_size", 18446744073709551615u,
       "found 18446744073709551615"},
      {"/text_config/hidden_size", 256.5, "found 256.5"},
      {"/text_config/head_dim", 33,
       "head_dim: expected an even number, found 33"},
      {"/text_config/num_attention_heads", 6,
       "query heads that are a multiple of the key heads, found 6 and 4"},
      {"/text_config/num_hidden_layers", 1000000000,
       "num_hidden_layers: expected"},
      {"/text_config/rms_norm_eps", -1, "rms_norm_eps: expected a number"},
      {"/text_config/final_logit_softcapping", 0,
       "final_logit_softcapping: expected a number"},
      {"/text_config/bos_token_id", 2048,
       "bos_token_id: expected an integer in 0..2047"},
      {"/text_config/eos_token_id",
       {1, 2048},
       "eos_token_id: expected integers in 0..2047"},
      {"/text_config/rope_parameters", json::array(),
       "rope_parameters: expected an object"},
      {"/text_config/rope_parameters/full_attention", nullptr,
       "full_attention: expected an object"},
      {"/text_config/layer_types", "full_attention",
       "layer_types: expected a list"},
      {"/text_config", nullptr, "text_config: expected an object"},
      {"/vision_config", 3, "vision_config: expected an object, found 3"},
      {"/image_token_id", nullptr,
       "image_token_id: expected a token of the vocabulary"},
      {"/text_config/max_position_embeddings", 31,
       "max_position_embeddings: expected an integer in 32..134217728"},
      {"/text_config/max_position_embeddings", 134217729,
       "max_position_embeddings: expected an integer in 32..134217728"},
      {"/text_config/head_dim", 1 << 20,
       "layer 0: expected a table of rotary angles below 1 GiB, found "
       "2214592512 bytes for head_dim 1048576"},
      {"/vision_config/patch_size", 86,
       "patch_size: expected patch_size * pooling_kernel_size up to 256 "
       "pixels, found 258"},
      {"/audio_token_id", 5000,
       "audio_token_id: expected an integer in 0..2047"},
  };
  const json original = config;
  for (const Case &bad : cases) {
    config = original;
    config[json::json_pointer(bad.path)] = bad.value;
    expectError(bad.message);
  }
  config = json::array();
  expectError("config.json: expected an object");
  auto broken = parseModelConfig({"tiny", "{\"a\": [", {}, {}});
  EXPECT_THAT(broken.status().message(),
              HasSubstr("tiny/config.json: expected JSON"));
  auto deep = parseModelConfig({"tiny", std::string(1 << 20, '['), {}, {}});
  EXPECT_THAT(deep.status().message(), HasSubstr("deeper nesting"));
}

TEST_F(ModelConfigTest, ChecksGenerationConfig) {
  generation["top_k"] = nullptr;
  EXPECT_EQ(parseGood().sampling.topK, 0);
  generation.erase("top_k");
  EXPECT_EQ(parseGood().sampling.topK, 50);
  generation["eos_token_id"] = 7;
  EXPECT_THAT(parseGood().stopTokens, ElementsAre(7));
  generation["repetition_penalty"] = 1.0;
  parseGood();
  generation["repetition_penalty"] = 1.1;
  expectError(
      "generation_config.json: repetition_penalty: expected 1, found 1.1");
  generation.erase("repetition_penalty");
  generation["mirostat"] = 2;
  expectError("generation_config.json: mirostat: expected no such field");
  generation.erase("mirostat");
  generation["suppress_tokens"] = {2048};
  expectError("suppress_tokens: expected integers in 0..2047");
  generation["suppress_tokens"] = nullptr;
  generation["eos_token_id"] = json::array();
  expectError("eos_token_id: expected at least one token");
}

TEST_F(ModelConfigTest, ChecksProcessorConfig) {
  processor["image_processor"]["max_soft_tokens"] = 560;
  processor["audio_seq_length"] = 100;
  ModelConfig model = parseGood();
  EXPECT_EQ(model.vision->maxSoftTokens, 560);
  EXPECT_EQ(model.audio->maxTokens, 100);
  const json original = processor;
  auto expectRefused = [&](const char *path, const json &value,
                           const char *message) {
    processor = original;
    processor[json::json_pointer(path)] = value;
    expectError(message);
  };
  expectRefused("/image_processor/max_soft_tokens", 100,
                "expected 70, 140, 280, 560 or 1120, found 100");
  expectRefused("/image_processor/patch_size", 14,
                "= 48 as in config.json, found 42");
  expectRefused("/image_processor/rescale_factor", 0.5,
                "rescale_factor: expected 1/255");
  expectRefused("/image_processor/resample", 2, "resample: expected 3");
  expectRefused("/image_processor/sharpen", true,
                "image_processor.sharpen: expected no such field");
  expectRefused("/video_processor/image_mean", {0.5, 0.5, 0.5},
                "image_mean: expected [0, 0, 0]");
  expectRefused("/feature_extractor/feature_size", 128,
                "feature_size: expected 640, found 128");
  expectRefused(
      "/tokenizer_helper", 1,
      "processor_config.json: tokenizer_helper: expected no such field");
}

} // namespace
