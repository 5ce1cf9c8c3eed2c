// How a checkpoint says that it is quantized: what is taken, what is noted and
// what is refused.
#include "frontends/formats/QuantizationConfig.h"

#include "frontends/formats/ModelConfig.h"
#include "test/TemporaryFolder.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

using namespace lapidary;
using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;

namespace {

class QuantizationConfigTest : public testing::Test {
protected:
  json weights = {{"num_bits", 4},     {"type", "int"},
                  {"symmetric", true}, {"strategy", "group"},
                  {"group_size", 128}, {"dynamic", false}};
  json config = {{"quant_method", "compressed-tensors"},
                 {"format", "pack-quantized"}};
  json algorithm = {{"quant_algo", "FP8"}};

  Result<std::optional<QuantizationConfig>> parse() {
    if (!weights.is_null())
      config["config_groups"]["group_0"]["weights"] = weights;
    json root = {{"model_type", "any"}, {"quantization_config", config}};
    return parseQuantizationConfig(root.dump(), "config.json");
  }
  QuantizationConfig parseGood() {
    auto found = parse();
    if (!found.ok() || !*found)
      throw std::runtime_error(found.status().message());
    return **std::move(found);
  }
  void expectError(const std::vector<std::string> &parts) {
    auto found = parse();
    ASSERT_FALSE(found.ok()) << "expected: " << parts[0];
    EXPECT_THAT(found.status().message(), HasSubstr("config.json: "));
    for (const std::string &part : parts)
      EXPECT_THAT(found.status().message(), HasSubstr(part));
  }
  Result<QuantizationConfig> parseModelOpt() {
    json root = {{"producer", {{"name", "modelopt"}}},
                 {"quantization", algorithm}};
    return parseModelOptConfig(root.dump(), "hf_quant_config.json");
  }
  void expectModelOptError(const std::vector<std::string> &parts) {
    auto found = parseModelOpt();
    ASSERT_FALSE(found.ok()) << "expected: " << parts[0];
    for (const std::string &part : parts)
      EXPECT_THAT(found.status().message(), HasSubstr(part));
  }
};

TEST_F(QuantizationConfigTest, ReadsGroups) {
  weights["symmetric"] = false;
  QuantizationConfig found = parseGood();
  ASSERT_EQ(found.groups.size(), 1u);
  EXPECT_EQ(found.groups[0].storage, QuantizedStorage::PackedInteger);
  EXPECT_EQ(found.groups[0].bits, 4u);
  EXPECT_FALSE(found.groups[0].symmetric);
  EXPECT_EQ(found.groups[0].columns, 128);
  EXPECT_EQ(found.groups[0].rows, 1);
  EXPECT_FALSE(found.cache);
  EXPECT_THAT(found.remarks, IsEmpty());
}

TEST_F(QuantizationConfigTest, GroupSizeSaysTheStrategyWhereNoneIsGiven) {
  weights.erase("strategy");
  EXPECT_EQ(parseGood().groups[0].columns, 128);
  weights["group_size"] = -1;
  EXPECT_EQ(parseGood().groups[0].columns, 0);
  weights["group_size"] = nullptr;
  EXPECT_EQ(parseGood().groups[0].columns, 0);
}

TEST_F(QuantizationConfigTest, NaiveIsIntegersOrFloats) {
  config["format"] = "naive-quantized";
  weights = {{"num_bits", 8}, {"type", "int"}, {"strategy", "channel"}};
  EXPECT_EQ(parseGood().groups[0].storage, QuantizedStorage::Integer);
  weights["type"] = "float";
  EXPECT_EQ(parseGood().groups[0].storage, QuantizedStorage::Float8);
}

TEST_F(QuantizationConfigTest, AGroupsFormatIsItsOwn) {
  config["format"] = "mixed-precision";
  expectError({"group_0.weights", "mixed-precision", "pack-quantized"});
  config["config_groups"]["group_0"]["format"] = "pack-quantized";
  EXPECT_EQ(parseGood().groups.size(), 1u);
}

TEST_F(QuantizationConfigTest, OldNameOfTheField) {
  json root = {{"compression_config", config}};
  root["compression_config"]["config_groups"]["group_0"]["weights"] = weights;
  auto found = parseQuantizationConfig(root.dump(), "config.json");
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ((*found)->groups.size(), 1u);
}

TEST_F(QuantizationConfigTest, NothingWithoutTheField) {
  for (const char *text : {"{}", R"({"quantization_config": null})"}) {
    auto found = parseQuantizationConfig(text, "config.json");
    ASSERT_TRUE(found.ok());
    EXPECT_FALSE(found->has_value());
  }
  auto found = parseQuantizationConfig(R"({"quantization_config": 4})", "f");
  EXPECT_FALSE(found.ok());
}

TEST_F(QuantizationConfigTest, NamesMethodsThatItDoesNotKnow) {
  for (const char *method : {"gptq", "awq", "bitsandbytes", "fp8"}) {
    config["quant_method"] = method;
    expectError({std::string("found \"") + method + '"', "compressed-tensors",
                 "modelopt", "--quant"});
  }
  config.erase("quant_method");
  expectError({"found nothing"});
}

TEST_F(QuantizationConfigTest, NamesFormatsThatItDoesNotKnow) {
  for (const char *format : {"marlin-24", "dense", "sparse-24-bitmask",
                             "mxfp6-pack-quantized", "NVFP4"}) {
    config["format"] = format;
    expectError(
        {std::string("found \"") + format + '"', "pack-quantized", "--quant"});
  }
  config.erase("format");
  expectError({"found none"});
}

TEST_F(QuantizationConfigTest, RefusesWhatChangesTheWeights) {
  auto expectRefused = [&](json &place, const char *key, const json &value) {
    json before = place;
    place[key] = value;
    expectError({key, "found"});
    place = before;
  };
  expectRefused(weights, "num_bits", 9);
  expectRefused(weights, "num_bits", 0);
  expectRefused(weights, "num_bits", "4");
  expectRefused(weights, "type", "float");
  expectRefused(weights, "dynamic", true);
  expectRefused(weights, "actorder", "group");
  expectRefused(weights, "actorder", true);
  expectRefused(weights, "strategy", "token");
  expectRefused(weights, "strategy", "attn_head");
  expectRefused(weights, "group_size", 6);
  expectRefused(weights, "group_size", 0);
  expectRefused(weights, "group_size", -2);
  expectRefused(weights, "group_size", 1 << 20);
  expectRefused(weights, "unheard_of", 1);
  weights["strategy"] = "block";
  for (const json &blocks :
       {json(), json({128}), json({128, 6}), json({0, 128}), json("128x128")})
    expectRefused(weights, "block_structure", blocks);
  weights["strategy"] = "group";
  expectRefused(config, "sparsity_config", {{"format", "sparse-24-bitmask"}});
  expectRefused(config, "transform_config", {{"config_groups", {{"a", 1}}}});
  expectRefused(config, "unheard_of", 1);
  config["sparsity_config"] = {{"format", "dense"}};
  config["transform_config"] = json::object();
  EXPECT_EQ(parseGood().groups.size(), 1u);
  weights = nullptr;
  expectRefused(config, "config_groups", nullptr);
  expectRefused(config, "config_groups", {{"W4A16", {"Linear"}}});
}

TEST_F(QuantizationConfigTest, FormatsSayTheirGroups) {
  config["format"] = "nvfp4-pack-quantized";
  weights = {{"num_bits", 4}, {"type", "float"}, {"strategy", "tensor_group"}};
  weights["group_size"] = 32;
  expectError({"group_size", "expected 16", "found 32"});
  weights["group_size"] = 16;
  EXPECT_EQ(parseGood().groups[0].storage, QuantizedStorage::NvFp4);
  weights["symmetric"] = false;
  expectError({"symmetric", "floats"});
  weights["symmetric"] = true;
  config["format"] = "mxfp4-pack-quantized";
  expectError({"group_size", "expected 32"});
}

TEST_F(QuantizationConfigTest, NotesWhatItLeavesOut) {
  json &group = config["config_groups"]["group_0"];
  group["input_activations"] = {{"num_bits", 8}, {"type", "int"}};
  group["output_activations"] = {{"num_bits", 8}, {"type", "float"}};
  config["config_groups"]["group_1"] = group;
  config["config_groups"]["group_1"].erase("output_activations");
  config["kv_cache_scheme"] = {{"num_bits", 8}};
  QuantizationConfig found = parseGood();
  EXPECT_TRUE(found.cache);
  EXPECT_THAT(found.remarks,
              testing::UnorderedElementsAre(
                  AllOf(HasSubstr("inputs"), HasSubstr("8-bit integers"),
                        HasSubstr("--activations")),
                  AllOf(HasSubstr("outputs"), HasSubstr("8-bit floats")),
                  HasSubstr("keys and values")));
}

TEST_F(QuantizationConfigTest, ModelOptInEitherFile) {
  algorithm = {{"quant_algo", "NVFP4"},
               {"group_size", 16},
               {"kv_cache_quant_algo", "FP8"},
               {"exclude_modules", {"lm_head"}}};
  auto own = parseModelOpt();
  ASSERT_TRUE(own.ok()) << own.status().message();
  ASSERT_EQ(own->groups.size(), 1u);
  EXPECT_EQ(own->groups[0].storage, QuantizedStorage::NvFp4ModelOpt);
  EXPECT_EQ(own->groups[0].columns, 16);
  EXPECT_TRUE(own->cache);
  EXPECT_THAT(own->remarks, testing::SizeIs(2));

  weights = nullptr;
  config = {{"quant_method", "modelopt"},
            {"quant_algo", "NVFP4"},
            {"ignore", {"lm_head"}},
            {"kv_cache_scheme", "FP8"},
            {"quant_library", "modelopt"}};
  QuantizationConfig found = parseGood();
  ASSERT_EQ(found.groups.size(), 1u);
  EXPECT_EQ(found.groups[0].storage, QuantizedStorage::NvFp4ModelOpt);
}

TEST_F(QuantizationConfigTest, ModelOptsMixedLayers) {
  algorithm = {{"quant_algo", "MIXED_PRECISION"},
               {"quantized_layers",
                {{"a", {{"quant_algo", "NVFP4"}, {"group_size", 16}}},
                 {"b", {{"quant_algo", "NVFP4"}, {"group_size", 16}}},
                 {"c", {{"quant_algo", "W8A8_SQ_PER_CHANNEL"}}}}}};
  auto found = parseModelOpt();
  ASSERT_TRUE(found.ok()) << found.status().message();
  ASSERT_EQ(found->groups.size(), 2u);
  EXPECT_EQ(found->groups[1].storage, QuantizedStorage::Integer);
  algorithm["quantized_layers"]["c"]["quant_algo"] = "W4A16_AWQ";
  expectModelOptError({"quantized_layers.c.quant_algo", "W4A16_AWQ"});
  algorithm["quantized_layers"]["c"] = 7;
  expectModelOptError({"quantized_layers.c", "expected an object"});
}

TEST_F(QuantizationConfigTest, RefusesModelOptsOtherAlgorithms) {
  for (const char *name : {"W4A16_AWQ", "NVFP4_AWQ", "FP8_PB_WO", "INT4_AWQ"}) {
    algorithm["quant_algo"] = name;
    expectModelOptError({"quant_algo", name, "FP8, ", "NVFP4", "--quant"});
  }
  algorithm = {{"quant_algo", "NVFP4"}, {"group_size", 32}};
  expectModelOptError({"group_size", "expected 16", "found 32"});
  algorithm = {{"quant_algo", "FP8"}, {"unheard_of", 1}};
  expectModelOptError({"unheard_of"});
  EXPECT_FALSE(parseModelOptConfig("{}", "f").ok());
  EXPECT_FALSE(parseModelOptConfig("[", "f").ok());
}

TEST_F(QuantizationConfigTest, AFolderMayHaveEither) {
  test::TemporaryFolder folder;
  auto read = [&] { return readQuantizationConfig(folder.path()); };
  ASSERT_TRUE(read().ok());
  EXPECT_FALSE(read()->has_value());
  json own = {{"quantization", {{"quant_algo", "FP8"}}}};
  folder.write("hf_quant_config.json", own.dump());
  ASSERT_TRUE(read().ok());
  EXPECT_EQ((*read())->groups[0].storage, QuantizedStorage::Float8);
  // config.json goes first.
  folder.write("config.json", "{}");
  EXPECT_TRUE(read()->has_value());
  json root = {{"quantization_config", {{"quant_method", "gptq"}}}};
  folder.write("config.json", root.dump());
  EXPECT_FALSE(read().ok());
}

} // namespace
