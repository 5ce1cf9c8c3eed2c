// The importer: the IR it builds, every form of checkpoint it takes, and what
// it says about those it does not.
#include "frontends/safetensors/Importer.h"

#include "compiler/Reference.h"
#include "test/frontends/TestCheckpoint.h"

#include "mlir/IR/Verifier.h"

#include <gmock/gmock.h>

#include <cmath>

using namespace mlir;
using namespace mlir::lap;
using nlohmann::json;
using testing::HasSubstr;

namespace {

/// A small model of every part, to be varied.
class ImporterTest : public testing::Test {
protected:
  json text = {{"model_type", "gemma4_unified_text"},
               {"vocab_size", 32},
               {"hidden_size", 16},
               {"intermediate_size", 24},
               {"num_hidden_layers", 3},
               {"num_attention_heads", 4},
               {"num_key_value_heads", 2},
               {"head_dim", 8},
               {"global_head_dim", 16},
               {"num_global_key_value_heads", 1},
               {"attention_k_eq_v", true},
               {"sliding_window", 4},
               {"max_position_embeddings", 64},
               {"final_logit_softcapping", 30.0},
               {"layer_types",
                {"sliding_attention", "full_attention", "full_attention"}}};
  json vision = {{"mm_embed_dim", 12},
                 {"output_proj_dims", 12},
                 {"patch_size", 2},
                 {"mm_posemb_size", 9}};
  json audio = {{"audio_embed_dim", 10}};
  std::vector<lapidary::test::TestTensor> tensors;
  lapidary::test::TemporaryFolder folder;
  MLIRContext context;

  void add(const std::string &name, std::vector<int64_t> shape,
           const std::string &type = "BF16") {
    tensors.push_back({name, type, std::move(shape)});
  }

  /// The tensors that the configuration asks for. `valueProjections`: of the
  /// full layers.
  void addTensors(int64_t fullHeads, int64_t fullHeadDim,
                  bool valueProjections) {
    int64_t hidden = text["hidden_size"], width = text["intermediate_size"];
    std::string model = "model.language_model.";
    add(model + "embed_tokens.weight", {text["vocab_size"], hidden});
    for (size_t i = 0; i < text["layer_types"].size(); ++i) {
      bool full = text["layer_types"][i] == "full_attention";
      int64_t dim = full ? fullHeadDim : 8, queries = 4 * dim,
              keys = (full ? fullHeads : 2) * dim;
      std::string layer = model + "layers." + std::to_string(i) + ".";
      for (const char *norm :
           {"input_layernorm", "post_attention_layernorm",
            "pre_feedforward_layernorm", "post_feedforward_layernorm"})
        add(layer + norm + ".weight", {hidden});
      add(layer + "layer_scalar", {1});
      add(layer + "self_attn.q_proj.weight", {queries, hidden});
      add(layer + "self_attn.k_proj.weight", {keys, hidden});
      if (!full || valueProjections)
        add(layer + "self_attn.v_proj.weight", {keys, hidden});
      add(layer + "self_attn.o_proj.weight", {hidden, queries});
      add(layer + "self_attn.q_norm.weight", {dim});
      add(layer + "self_attn.k_norm.weight", {dim});
      add(layer + "mlp.gate_proj.weight", {width, hidden});
      add(layer + "mlp.up_proj.weight", {width, hidden});
      add(layer + "mlp.down_proj.weight", {hidden, width});
    }
    add(model + "norm.weight", {hidden});
    if (!vision.is_null()) {
      // As the published checkpoints name them.
      std::string embedder = "model.embed_vision.";
      for (const char *kind : {"weight", "bias"}) {
        add(embedder + "patch_ln1." + kind, {108});
        add(embedder + "patch_ln2." + kind, {12});
        add(embedder + "pos_norm." + kind, {12});
      }
      add(embedder + "patch_dense.weight", {12, 108});
      add(embedder + "patch_dense.bias", {12});
      add(embedder + "pos_embedding", {9, 2, 12});
      add(embedder + "multimodal_embedder.embedding_projection.weight",
          {hidden, 12});
    }
    if (!audio.is_null())
      add("model.embed_audio.embedding_projection.weight", {hidden, 10});
  }

  lapidary::test::TestTensor &tensor(const std::string &name) {
    for (auto &candidate : tensors)
      if (candidate.name == name)
        return candidate;
    throw std::runtime_error("no tensor " + name);
  }

  void writeConfig() {
    json config = {{"model_type", "gemma4_unified"}, {"text_config", text},
                   {"vision_config", vision},        {"audio_config", audio},
                   {"image_token_id", 20},           {"audio_token_id", 21}};
    if (text.contains("tie_word_embeddings"))
      config["tie_word_embeddings"] = text["tie_word_embeddings"];
    folder.write("config.json", config.dump());
  }

  FailureOr<ImportedModel> import() {
    writeConfig();
    folder.write("model.safetensors", lapidary::test::safetensorsFile(tensors));
    return importCheckpoint(&context, folder.path());
  }

  ImportedModel importGood() {
    auto model = import();
    if (failed(model))
      throw std::runtime_error("the checkpoint does not import");
    EXPECT_TRUE(succeeded(verify(*model->module)));
    return std::move(*model);
  }

  void expectError(const std::vector<std::string> &parts, bool write = true) {
    std::string message;
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
      message += diagnostic.str() + "\n";
    });
    EXPECT_TRUE(
        failed(write ? import() : importCheckpoint(&context, folder.path())));
    for (const std::string &part : parts)
      EXPECT_THAT(message, HasSubstr(part));
  }

  /// Runs three tokens and one more; all logits must be numbers within the cap.
  void expectRuns(const ImportedModel &model) {
    CheckpointValues weights(*model.checkpoint);
    ReferenceInterpreter interpreter(*model.module, weights);
    ReferenceInterpreter::Inputs inputs;
    inputs["tokens"] = ReferenceTensor::ofIndices({3}, {2, 20, 5});
    inputs["media_rows"] = ReferenceTensor::ofIndices({3}, {-1, 0, -1});
    inputs["media"] =
        ReferenceTensor::ofValues({1, 16}, std::vector<float>(16, 0.25f));
    inputs["visible_end"] = ReferenceTensor::ofIndices({3}, {1, 2, 3});
    auto hidden = interpreter.run("prefill", inputs);
    ASSERT_TRUE(succeeded(hidden));
    ReferenceInterpreter::Inputs next;
    next["tokens"] = ReferenceTensor::ofIndices({1}, {7});
    auto logits = interpreter.run("decode", next, 3);
    ASSERT_TRUE(succeeded(logits));
    ASSERT_EQ(logits->values.size(), 32u);
    for (float logit : logits->values)
      EXPECT_LE(std::abs(logit), 30.0f);
  }

  /// Without the whole text in the message.
  static void expectHas(const std::string &all, const char *part) {
    EXPECT_NE(all.find(part), std::string::npos) << "expected: " << part;
  }

  static std::string print(ModuleOp module) {
    std::string out;
    llvm::raw_string_ostream stream(out);
    module.print(stream);
    return out;
  }
  static std::string print(const ImportedModel &model, StringRef function) {
    std::string out;
    llvm::raw_string_ostream stream(out);
    ModuleOp module = *model.module;
    module.lookupSymbol(function)->print(stream);
    return out;
  }
};

TEST_F(ImporterTest, ImportsTheTinyCheckpoint) {
  auto model = importCheckpoint(&context, std::string(LAPIDARY_TEST_DIR) +
                                              "/models/tiny");
  ASSERT_TRUE(succeeded(model));
  ModuleOp module = *model->module;
  for (auto [name, tokens] : {std::pair("prefill", 1120),
                              {"extend", 32},
                              {"decode", 1},
                              {"logits", 16},
                              {"embed_image", 1120},
                              {"embed_audio", 750}}) {
    auto function = module.lookupSymbol<func::FuncOp>(name);
    ASSERT_TRUE(function) << name;
    EXPECT_EQ(function->getAttrOfType<IntegerAttr>("lap.max_tokens").getInt(),
              tokens)
        << name;
  }
  // Every tensor once, where the file has it.
  size_t weights = 0;
  for (WeightOp weight : module.getOps<WeightOp>()) {
    const lapidary::TensorInfo *tensor =
        model->checkpoint->find(weight.getSymName());
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(weight.getOffset(), tensor->offset);
    EXPECT_EQ(weight.getFile(), "model.safetensors");
    ++weights;
  }
  EXPECT_EQ(weights, model->checkpoint->tensors().size());

  std::string all = print(module);
  expectHas(all, "lap.rope_table @rope.sliding {head_dim = 32 : "
                 "i64, positions = 8192 : i64, rotated = 16 "
                 ": i64, theta = 1.000000e+04 : f64}");
  expectHas(all, "lap.rope_table @rope.full {head_dim = 64 : i64, "
                 "positions = 8192 : i64, rotated = 8 : "
                 "i64, theta = 1.000000e+06 : f64}");
  EXPECT_THAT(all, HasSubstr("lap.kv_cache @layers.0 : !lap.kv_cache<heads = "
                             "4, head_dim = 32, window = 128>"));
  EXPECT_THAT(all, HasSubstr("lap.kv_cache @layers.5 : !lap.kv_cache<heads = "
                             "1, head_dim = 64, window = 0>"));

  // Prefill: what an image's tokens see is told to the sliding layers alone.
  auto prefill = module.lookupSymbol<func::FuncOp>("prefill");
  prefill.walk([&](AttentionOp op) {
    bool sliding = op.getCache().getType().getWindow() != 0;
    EXPECT_EQ(op.getVisibleEnd() ? op.getVisibleEnd() == prefill.getArgument(3)
                                 : false,
              sliding);
  });
  prefill.walk([&](EmbeddingOp op) {
    EXPECT_EQ(op.getScale().convertToFloat(), 16.0f);
  });
  // Decode: one token, causal everywhere, then the head.
  auto decode = module.lookupSymbol<func::FuncOp>("decode");
  EXPECT_EQ(decode.getNumArguments(), 2u);
  decode.walk([&](AttentionOp op) {
    EXPECT_FALSE(op.getVisibleEnd());
    EXPECT_EQ(cast<RankedTensorType>(op.getType()).getDimSize(0), 1);
  });
  expectHas(print(*model, "decode"), "lap.softcap");
  // The full layer has no value projection: its keys are used twice.
  EXPECT_FALSE(module.lookupSymbol(
      "model.language_model.layers.5.self_attn.v_proj.weight"));
}

TEST_F(ImporterTest, TakesThePublishedNames) {
  addTensors(1, 16, false);
  ImportedModel model = importGood();
  std::string image = print(model, "embed_image");
  expectHas(image, "@model.embed_vision.multimodal_embedder."
                   "embedding_projection.weight");
  expectHas(image, "eps = 9.99999974E-6"); // Layer norms: 1e-5.
  EXPECT_THAT(
      image,
      HasSubstr("eps = 9.99999997E-7")); // The norm without a weight: 1e-6.
  expectRuns(model);
}

TEST_F(ImporterTest, TakesValueProjectionsInFullLayers) {
  text["attention_k_eq_v"] = false;
  addTensors(2, 16, true);
  ImportedModel model = importGood();
  ModuleOp module = *model.module;
  EXPECT_TRUE(module.lookupSymbol(
      "model.language_model.layers.2.self_attn.v_proj.weight"));
  expectRuns(model);
}

TEST_F(ImporterTest, TakesAModelOfTextAlone) {
  vision = nullptr;
  audio = nullptr;
  text["use_bidirectional_attention"] = nullptr;
  text["final_logit_softcapping"] = nullptr;
  addTensors(1, 16, false);
  ImportedModel model = importGood();
  ModuleOp module = *model.module;
  EXPECT_FALSE(module.lookupSymbol("embed_image"));
  EXPECT_FALSE(module.lookupSymbol("embed_audio"));
  std::string all = print(module);
  EXPECT_EQ(all.find("lap.softcap"), std::string::npos);
  EXPECT_EQ(all.find("visible("), std::string::npos);
  auto prefill = module.lookupSymbol<func::FuncOp>("prefill");
  EXPECT_EQ(prefill->getAttrOfType<IntegerAttr>("lap.max_tokens").getInt(),
            512);
  EXPECT_EQ(prefill.getNumArguments(), 5u);
}

TEST_F(ImporterTest, TakesAnOutputMatrixOfItsOwn) {
  text["tie_word_embeddings"] = false;
  addTensors(1, 16, false);
  add("lm_head.weight", {32, 16});
  ImportedModel model = importGood();
  expectHas(print(model, "logits"), "@lm_head.weight");
  expectRuns(model);
}

TEST_F(ImporterTest, TakesHeadSizesPerLayer) {
  text.erase("global_head_dim");
  text.erase("num_global_key_value_heads");
  text["per_layer_config"] = {
      {"1", {{"head_dim", 16}, {"num_key_value_heads", 1}}},
      {"2", {{"head_dim", 32}, {"num_key_value_heads", 2}}}};
  addTensors(1, 16, false);
  std::string layer = "model.language_model.layers.2.self_attn.";
  tensor(layer + "q_proj.weight").shape = {128, 16};
  tensor(layer + "k_proj.weight").shape = {64, 16};
  tensor(layer + "o_proj.weight").shape = {16, 128};
  tensor(layer + "q_norm.weight").shape =
      tensor(layer + "k_norm.weight").shape = {32};
  ImportedModel model = importGood();
  std::string all = print(*model.module);
  expectHas(all, "@rope.full {head_dim = 16");
  expectHas(all, "@rope.full.32 {head_dim = 32");
  expectRuns(model);
}

TEST_F(ImporterTest, TakesShards) {
  addTensors(1, 16, false);
  std::vector<lapidary::test::TestTensor> first(tensors.begin(),
                                                tensors.begin() + 9),
      second(tensors.begin() + 9, tensors.end());
  json map;
  for (const auto &tensor : first)
    map[tensor.name] = "1.safetensors";
  for (const auto &tensor : second)
    map[tensor.name] = "2.safetensors";
  writeConfig();
  folder.write("1.safetensors", lapidary::test::safetensorsFile(first));
  folder.write("2.safetensors", lapidary::test::safetensorsFile(second));
  folder.write("model.safetensors.index.json",
               json{{"weight_map", map}}.dump());
  auto model = importCheckpoint(&context, folder.path());
  ASSERT_TRUE(succeeded(model));
  expectHas(print(*model->module), "file = \"2.safetensors\"");
  expectRuns(*model);

  first.push_back({"model.extra", "BF16", {1}});
  folder.write("1.safetensors", lapidary::test::safetensorsFile(first));
  expectError({"1.safetensors: model.extra: expected no tensor that the index "
               "does not name"},
              /*write=*/false);
}

TEST_F(ImporterTest, RoundsTheEmbeddingScaleToTheWeightsType) {
  vision = audio = nullptr;
  text["hidden_size"] = 3840;
  text["intermediate_size"] = 2;
  text["num_hidden_layers"] = 1;
  text["layer_types"] = {"full_attention"};
  addTensors(1, 16, false);
  ImportedModel model = importGood();
  ModuleOp module = *model.module;
  module.walk([&](EmbeddingOp op) {
    EXPECT_EQ(op.getScale().convertToFloat(), 62.0f);
  });
}

TEST_F(ImporterTest, NamesWhatIsWrongWithATensor) {
  addTensors(1, 16, false);
  const auto good = tensors;
  auto erase = [&](const std::string &name) {
    llvm::erase_if(tensors, [&](auto &t) { return t.name == name; });
  };

  erase("model.language_model.layers.1.mlp.up_proj.weight");
  expectError({folder.path(),
               "tensor model.language_model.layers.1.mlp.up_proj.weight: "
               "expected F32, F16 or BF16 "
               "[24, 16], found no such tensor"});
  tensors = good;
  erase("model.embed_vision.pos_embedding");
  expectError({"model.embed_vision.pos_embedding or "
               "model.vision_embedder.pos_embedding",
               "[9, 2, 12]"});
  tensors = good;
  tensor("model.language_model.norm.weight").shape = {17};
  expectError({"model.safetensors: tensor model.language_model.norm.weight: "
               "expected F32, F16 or BF16 [16], found "
               "BF16 [17]"});
  tensors = good;
  tensor("model.language_model.norm.weight").type = "I16";
  expectError({"found I16 [16]"});
  tensors = good;
  add("model.language_model.layers.1.self_attn.v_proj.weight", {16, 16});
  add("model.vision_tower.x", {1});
  expectError({"model.safetensors: tensor "
               "model.language_model.layers.1.self_attn.v_proj.weight",
               "BF16 [16, 16] (2 such tensors in all)"});
  tensors = good;
  audio = nullptr; // A capability of the checkpoint is not dropped silently.
  expectError({"tensor model.embed_audio.embedding_projection.weight: expected "
               "no tensor that the configuration"});
  audio = {{"audio_embed_dim", 10}};
  add("model.language_model.rotary_emb.full_attention_inv_freq", {8});
  EXPECT_TRUE(succeeded(import()));
}

TEST_F(ImporterTest, NamesWhatIsWrongWithTheFolder) {
  expectError({"config.json: cannot be opened"}, /*write=*/false);
  addTensors(1, 16, false);
  text["num_kv_shared_layers"] = 1;
  expectError(
      {"config.json: text_config.num_kv_shared_layers: expected 0, found 1"});
  text.erase("num_kv_shared_layers");
  std::filesystem::remove(folder.path("model.safetensors"));
  writeConfig();
  expectError({"expected model.safetensors or model.safetensors.index.json, "
               "found neither"},
              /*write=*/false);
}

} // namespace
