// config.json of a Gemma 4 Unified checkpoint. The defaults are the reference
// implementation's, because it leaves out of a file what equals them.
#include "frontends/formats/ModelConfig.h"

#include "frontends/formats/GenerationConfig.h"
#include "frontends/formats/Json.h"
#include "frontends/formats/ProcessorConfig.h"
#include "runtime/core/Limits.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

namespace lapidary {

using nlohmann::json;

namespace {

/// Far above any model; they keep every product of two sizes within 64 bits.
constexpr int64_t maxWidth = 1 << 20;
constexpr int64_t maxVocabulary = 1 << 24;
constexpr int64_t maxLayers = 4096;
constexpr int64_t minContext = 32, maxContext = 1 << 27;
/// Of one table of angles: the 12B model's have 1 MB.
constexpr int64_t maxRopeTableBytes = int64_t(1) << 30;

/// What the reference's base class writes into every config; none of it
/// changes what the model computes.
void ignoreBookkeeping(JsonFields &fields) {
  fields.ignore({"_name_or_path", "architectures", "chunk_size_feed_forward",
                 "dtype", "id2label", "initializer_range", "is_encoder_decoder",
                 "label2id", "output_attentions", "output_hidden_states",
                 "problem_type", "return_dict", "torch_dtype",
                 "transformers_version", "use_cache"});
}

Status checkHeads(const LayerConfig &layer, const std::string &where) {
  if (layer.heads % layer.keyValueHeads)
    return invalidData(
        where +
        ": expected query heads that are a multiple of the key heads, found " +
        std::to_string(layer.heads) + " and " +
        std::to_string(layer.keyValueHeads));
  if (layer.headDim % 2)
    return invalidData(where + ": head_dim: expected an even number, found " +
                       std::to_string(layer.headDim));
  return {};
}

/// Without slashes at the end.
std::string plainFolder(std::string folder) {
  while (folder.size() > 1 && folder.back() == '/')
    folder.pop_back();
  return folder;
}

class ConfigReader {
public:
  explicit ConfigReader(const std::string &folder)
      : origin(folder + "/config.json") {}

  Status readConfig(const std::string &text);
  Status finish();

  ModelConfig model;

private:
  Status readText(const json &object);
  Status readLayers(JsonFields &fields, const LayerConfig &base);
  Status readPerLayer(JsonFields &fields);
  Status readRopes(JsonFields &fields);
  Status checkRopeTables();
  Result<RopeConfig> readRope(const json &object, const std::string &path,
                              const RopeConfig &fallback);
  Status readVision(const json &object);
  Status readAudio(const json &object);
  Result<int64_t> readToken(JsonFields &fields, const char *key,
                            int64_t fallback);
  Status setStops(JsonFields &fields);

  std::string origin;
};

/// A default that this vocabulary does not have is no token at all.
Result<int64_t> ConfigReader::readToken(JsonFields &fields, const char *key,
                                        int64_t fallback) {
  int64_t most = model.text.vocabulary - 1;
  if (fields.has(key))
    fallback = -1;
  return fields.integer(key, fallback <= most ? fallback : -1, 0, most);
}

Status ConfigReader::setStops(JsonFields &fields) {
  auto stops = LAPIDARY_TRY(
      fields.integers("eos_token_id", 0, model.text.vocabulary - 1));
  if (stops)
    model.stopTokens = *std::move(stops);
  return {};
}

Status ConfigReader::readConfig(const std::string &text) {
  json root = LAPIDARY_TRY(parseJsonObject(text, origin));
  JsonFields fields(root, origin, "");
  // First of all, so that another family's config is told so and nothing else.
  LAPIDARY_TRY(fields.expect("model_type", {"gemma4_unified"}));
  if (!fields.get("model_type"))
    return fields.wrong("model_type", "\"gemma4_unified\"", nullptr);
  model.modelType = "gemma4_unified";
  LAPIDARY_TRY(
      fields.expect("architectures",
                    {json::array({"Gemma4UnifiedForConditionalGeneration"})}));
  ignoreBookkeeping(fields);
  // The tensors are read by these (see QuantizationConfig.h).
  fields.ignore({"quantization_config", "compression_config"});

  const json *textObject = LAPIDARY_TRY(fields.child("text_config"));
  if (!textObject)
    return fields.wrong("text_config", "an object", nullptr);
  LAPIDARY_TRY(readText(*textObject));
  // The reference goes by this field; the text's own must not contradict it.
  bool tied = LAPIDARY_TRY(fields.flag("tie_word_embeddings", true));
  auto own = textObject->find("tie_word_embeddings");
  if (own != textObject->end() && tied != model.text.tieEmbeddings)
    return fields.wrong("tie_word_embeddings",
                        "what text_config.tie_word_embeddings says",
                        fields.get("tie_word_embeddings"));
  model.text.tieEmbeddings = tied;
  LAPIDARY_TRY(setStops(fields));

  if (const json *object = LAPIDARY_TRY(fields.child("vision_config")))
    LAPIDARY_TRY(readVision(*object));
  if (const json *object = LAPIDARY_TRY(fields.child("audio_config")))
    LAPIDARY_TRY(readAudio(*object));
  int64_t image = LAPIDARY_TRY(readToken(fields, "image_token_id", 258880));
  int64_t video = LAPIDARY_TRY(readToken(fields, "video_token_id", 258884));
  int64_t audio = LAPIDARY_TRY(readToken(fields, "audio_token_id", 258881));
  // The prompt finds the tokens around media by their names.
  for (const char *key : {"boi_token_id", "eoi_token_id", "boa_token_id",
                          "eoa_token_id", "eoa_token_index"})
    LAPIDARY_TRY(readToken(fields, key, -1));
  if (model.vision && image < 0)
    return fields.wrong(
        "image_token_id",
        "a token of the vocabulary, because there is a vision_config",
        fields.get("image_token_id"));
  if (model.audio && audio < 0)
    return fields.wrong(
        "audio_token_id",
        "a token of the vocabulary, because there is an audio_config",
        fields.get("audio_token_id"));
  model.imageToken = model.vision ? image : -1;
  model.videoToken = model.vision ? video : -1;
  model.audioToken = model.audio ? audio : -1;
  return fields.finish();
}

Status ConfigReader::readText(const json &object) {
  JsonFields fields(object, origin, "text_config.");
  ignoreBookkeeping(fields);
  TextConfig &text = model.text;
  LAPIDARY_TRY(fields.expect("model_type", {"gemma4_unified_text"}));
  LAPIDARY_TRY(fields.expect("hidden_activation", {"gelu_pytorch_tanh"}));
  LAPIDARY_TRY(fields.expect("attention_bias", {false}));
  LAPIDARY_TRY(fields.expect("num_kv_shared_layers", {0}));
  LAPIDARY_TRY(fields.expect("use_double_wide_mlp", {false}));
  // Parts of other members of the family.
  LAPIDARY_TRY(fields.expect("hidden_size_per_layer_input", {0}));
  LAPIDARY_TRY(fields.expect("enable_moe_block", {false}));
  for (const char *key :
       {"num_experts", "top_k_experts", "moe_intermediate_size"})
    LAPIDARY_TRY(fields.expect(key, {0}));
  // Dropout belongs to training; the other is read only with the part above.
  fields.ignore({"attention_dropout", "vocab_size_per_layer_input"});

  text.vocabulary =
      LAPIDARY_TRY(fields.integer("vocab_size", 262144, 1, maxVocabulary));
  text.hidden = LAPIDARY_TRY(fields.integer("hidden_size", 2304, 1, maxWidth));
  text.window =
      LAPIDARY_TRY(fields.integer("sliding_window", 1024, 1, maxContext));
  text.maxPositions = LAPIDARY_TRY(fields.integer(
      "max_position_embeddings", 262144, minContext, maxContext));
  text.eps = LAPIDARY_TRY(fields.number("rms_norm_eps", 1e-6, 0, 1));
  text.tieEmbeddings = LAPIDARY_TRY(fields.flag("tie_word_embeddings", true));
  if (fields.get("final_logit_softcapping"))
    text.softcap =
        LAPIDARY_TRY(fields.number("final_logit_softcapping", 0, 1e-3, 1e6));
  LAPIDARY_TRY(fields.expect("use_bidirectional_attention", {"vision"}));
  // The reference's default is "vision"; null switches it off.
  text.bidirectionalVision = fields.get("use_bidirectional_attention") ||
                             !fields.has("use_bidirectional_attention");

  LayerConfig base;
  base.heads =
      LAPIDARY_TRY(fields.integer("num_attention_heads", 8, 1, maxWidth));
  base.keyValueHeads =
      LAPIDARY_TRY(fields.integer("num_key_value_heads", 4, 1, maxWidth));
  base.headDim = LAPIDARY_TRY(fields.integer("head_dim", 256, 2, maxWidth));
  base.intermediate =
      LAPIDARY_TRY(fields.integer("intermediate_size", 9216, 1, maxWidth));
  LAPIDARY_TRY(readLayers(fields, base));
  LAPIDARY_TRY(readRopes(fields));
  LAPIDARY_TRY(checkRopeTables());

  model.bosToken = LAPIDARY_TRY(readToken(fields, "bos_token_id", 2));
  model.padToken = LAPIDARY_TRY(readToken(fields, "pad_token_id", 0));
  model.stopTokens = {1};
  LAPIDARY_TRY(setStops(fields));
  return fields.finish();
}

Status ConfigReader::readLayers(JsonFields &fields, const LayerConfig &base) {
  int64_t count =
      LAPIDARY_TRY(fields.integer("num_hidden_layers", 30, 1, maxLayers));
  bool keysAreValues = LAPIDARY_TRY(fields.flag("attention_k_eq_v", false));
  int64_t fullHeadDim =
      LAPIDARY_TRY(fields.integer("global_head_dim", 512, 2, maxWidth));
  int64_t fullKeyValueHeads = LAPIDARY_TRY(fields.integer(
      "num_global_key_value_heads", base.keyValueHeads, 1, maxWidth));
  const json *types = fields.get("layer_types");
  if (types && (!types->is_array() || types->size() != size_t(count)))
    return fields.wrong("layer_types",
                        "a list of num_hidden_layers (" +
                            std::to_string(count) + ") names",
                        types);

  std::vector<LayerConfig> &layers = model.text.layers;
  for (int64_t i = 0; i < count; ++i) {
    LayerConfig layer = base;
    // The reference's pattern: every sixth layer is full, and so is the last.
    layer.kind = (i + 1) % 6 == 0 || i + 1 == count ? LayerKind::Full
                                                    : LayerKind::Sliding;
    if (types) {
      const json &type = (*types)[size_t(i)];
      if (type != "sliding_attention" && type != "full_attention")
        return fields.wrong(
            "layer_types",
            "names that are \"sliding_attention\" or \"full_attention\"",
            &type);
      layer.kind =
          type == "full_attention" ? LayerKind::Full : LayerKind::Sliding;
    }
    layer.keysAreValues = keysAreValues && layer.kind == LayerKind::Full;
    layers.push_back(layer);
  }
  if (fields.get("per_layer_config")) {
    LAPIDARY_TRY(readPerLayer(fields));
    // They win over the two fields below, which must not say something else.
    for (const LayerConfig &layer : layers)
      if (layer.kind == LayerKind::Full &&
          ((fields.get("global_head_dim") && layer.headDim != fullHeadDim) ||
           (fields.get("num_global_key_value_heads") && keysAreValues &&
            layer.keyValueHeads != fullKeyValueHeads)))
        return invalidData(fields.where("per_layer_config") +
                           ": expected what global_head_dim and "
                           "num_global_key_value_heads say, found a layer of " +
                           std::to_string(layer.keyValueHeads) +
                           " key heads of " + std::to_string(layer.headDim));
  } else {
    for (LayerConfig &layer : layers) {
      if (layer.kind != LayerKind::Full)
        continue;
      layer.headDim = fullHeadDim;
      // The reference uses the full layers' own count only where keys are
      // values.
      if (keysAreValues)
        layer.keyValueHeads = fullKeyValueHeads;
    }
  }
  for (size_t i = 0; i < layers.size(); ++i)
    LAPIDARY_TRY(checkHeads(layers[i], origin + ": text_config: layer " +
                                           std::to_string(i)));
  return {};
}

/// {"5": {"head_dim": 512, "num_key_value_heads": 1}, ...}
Status ConfigReader::readPerLayer(JsonFields &fields) {
  const json *object = LAPIDARY_TRY(fields.child("per_layer_config"));
  for (const auto &item : object->items()) {
    const std::string &key = item.key();
    size_t index = 0;
    auto [end, error] =
        std::from_chars(key.data(), key.data() + key.size(), index);
    if (error != std::errc() || end != key.data() + key.size() ||
        index >= model.text.layers.size())
      return invalidData(fields.where("per_layer_config") +
                         ": expected layer indices below " +
                         std::to_string(model.text.layers.size()) +
                         ", found \"" + key.substr(0, 100) + '"');
    if (!item.value().is_object())
      return fields.wrong("per_layer_config", "objects", &item.value());
    JsonFields own(item.value(), origin,
                   "text_config.per_layer_config." + key + ".");
    LayerConfig &layer = model.text.layers[index];
    layer.headDim =
        LAPIDARY_TRY(own.integer("head_dim", layer.headDim, 2, maxWidth));
    layer.heads = LAPIDARY_TRY(
        own.integer("num_attention_heads", layer.heads, 1, maxWidth));
    layer.keyValueHeads = LAPIDARY_TRY(
        own.integer("num_key_value_heads", layer.keyValueHeads, 1, maxWidth));
    layer.intermediate = LAPIDARY_TRY(
        own.integer("intermediate_size", layer.intermediate, 1, maxWidth));
    LAPIDARY_TRY(own.finish());
  }
  return {};
}

Status ConfigReader::readRopes(JsonFields &fields) {
  model.text.slidingRope = {false, 1e4, 1};
  model.text.fullRope = {true, 1e6, 0.25};
  LAPIDARY_TRY(fields.expect("rope_scaling", {}));
  const json *object = LAPIDARY_TRY(fields.child("rope_parameters"));
  if (!object)
    return {};
  JsonFields kinds(*object, origin, "text_config.rope_parameters.");
  auto read = [&](const char *key, LayerKind kind, RopeConfig &rope) -> Status {
    const json *found = LAPIDARY_TRY(kinds.child(key));
    bool used = std::any_of(
        model.text.layers.begin(), model.text.layers.end(),
        [&](const LayerConfig &layer) { return layer.kind == kind; });
    if (!found)
      return used ? kinds.wrong(key, "an object", nullptr) : Status();
    rope = LAPIDARY_TRY(readRope(
        *found, std::string("text_config.rope_parameters.") + key + ".", rope));
    return {};
  };
  LAPIDARY_TRY(
      read("sliding_attention", LayerKind::Sliding, model.text.slidingRope));
  LAPIDARY_TRY(read("full_attention", LayerKind::Full, model.text.fullRope));
  return kinds.finish();
}

Status ConfigReader::checkRopeTables() {
  const TextConfig &text = model.text;
  for (size_t i = 0; i < text.layers.size(); ++i) {
    const LayerConfig &layer = text.layers[i];
    const RopeConfig &rope =
        layer.kind == LayerKind::Sliding ? text.slidingRope : text.fullRope;
    // Cosines and sines, in f32; at most 2^18 rows of 2^23 bytes.
    int64_t bytes = RopeConfig::tableRows(text.maxPositions) *
                    rope.rotatedPairs(layer.headDim) * 2 * 4;
    if (bytes >= maxRopeTableBytes)
      return invalidData(
          origin + ": text_config: layer " + std::to_string(i) +
          ": expected a table of rotary angles below 1 GiB, found " +
          std::to_string(bytes) + " bytes for head_dim " +
          std::to_string(layer.headDim) + " and max_position_embeddings " +
          std::to_string(text.maxPositions));
  }
  return {};
}

Result<RopeConfig> ConfigReader::readRope(const json &object,
                                          const std::string &path,
                                          const RopeConfig &fallback) {
  JsonFields fields(object, origin, path);
  RopeConfig rope;
  LAPIDARY_TRY(fields.expect("rope_type", {"default", "proportional"}));
  const json *type = fields.get("rope_type");
  rope.proportional = type && *type == "proportional";
  rope.theta =
      LAPIDARY_TRY(fields.number("rope_theta", fallback.theta, 1, 1e12));
  rope.partialRotaryFactor =
      LAPIDARY_TRY(fields.number("partial_rotary_factor", 1, 0, 1));
  // The reference reads the factor with `proportional` alone.
  if (!rope.proportional && rope.partialRotaryFactor != 1)
    return fields.wrong("partial_rotary_factor",
                        "1, because rope_type is \"default\"",
                        fields.get("partial_rotary_factor"));
  LAPIDARY_TRY(fields.expect("factor", {1}));
  LAPIDARY_TRY(fields.finish());
  return rope;
}

Status ConfigReader::readVision(const json &object) {
  JsonFields fields(object, origin, "vision_config.");
  ignoreBookkeeping(fields);
  LAPIDARY_TRY(fields.expect("model_type", {"gemma4_unified_vision"}));
  VisionConfig vision;
  int64_t patch = LAPIDARY_TRY(fields.integer("patch_size", 16, 1, 1024));
  int64_t pooling =
      LAPIDARY_TRY(fields.integer("pooling_kernel_size", 3, 1, 64));
  vision.patchSize = patch * pooling;
  if (vision.patchSize > maxPatchSize)
    return invalidData(fields.where("patch_size") +
                       ": expected patch_size * pooling_kernel_size up to " +
                       std::to_string(maxPatchSize) + " pixels, found " +
                       std::to_string(vision.patchSize));
  LAPIDARY_TRY(fields.expect("model_patch_size", {vision.patchSize}));
  vision.embed =
      LAPIDARY_TRY(fields.integer("mm_embed_dim", 3840, 1, maxWidth));
  vision.positions =
      LAPIDARY_TRY(fields.integer("mm_posemb_size", 1120, 1, maxWidth));
  // The embedder's output feeds the projection as it is.
  int64_t projected =
      LAPIDARY_TRY(fields.integer("output_proj_dims", 3840, 1, maxWidth));
  if (projected != vision.embed)
    return fields.wrong("output_proj_dims",
                        "mm_embed_dim (" + std::to_string(vision.embed) + ")",
                        fields.get("output_proj_dims"));
  vision.eps = LAPIDARY_TRY(fields.number("rms_norm_eps", 1e-6, 0, 1));
  model.vision = vision;
  return fields.finish();
}

Status ConfigReader::readAudio(const json &object) {
  JsonFields fields(object, origin, "audio_config.");
  ignoreBookkeeping(fields);
  LAPIDARY_TRY(fields.expect("model_type", {"gemma4_unified_audio"}));
  AudioConfig audio;
  audio.samplesPerToken =
      LAPIDARY_TRY(fields.integer("audio_embed_dim", 640, 1, maxWidth));
  // Other names of the same number.
  for (const char *key :
       {"hidden_size", "output_proj_dims", "audio_samples_per_token"})
    LAPIDARY_TRY(fields.expect(key, {audio.samplesPerToken}));
  audio.eps = LAPIDARY_TRY(fields.number("rms_norm_eps", 1e-6, 0, 1));
  model.audio = audio;
  return fields.finish();
}

Status ConfigReader::finish() {
  if (model.stopTokens.empty())
    return invalidData(
        origin + ": eos_token_id: expected at least one token, found none");
  // The reference's default may lie outside a small vocabulary.
  if (model.stopTokens.back() >= model.text.vocabulary)
    return invalidData(origin + ": eos_token_id: expected a token below " +
                       std::to_string(model.text.vocabulary) + ", found " +
                       std::to_string(model.stopTokens.back()));
  for (std::vector<int64_t> *tokens :
       {&model.stopTokens, &model.suppressTokens}) {
    std::sort(tokens->begin(), tokens->end());
    tokens->erase(std::unique(tokens->begin(), tokens->end()), tokens->end());
  }
  return {};
}

} // namespace

int64_t RopeConfig::rotatedPairs(int64_t headDim) const {
  return proportional ? int64_t(partialRotaryFactor * double(headDim) / 2)
                      : headDim / 2;
}

int64_t RopeConfig::tableRows(int64_t positions) {
  return tableLowRows + (positions + tableLowRows - 1) / tableLowRows;
}

Result<ModelConfig> parseModelConfig(const ModelConfigTexts &texts) {
  std::string folder = plainFolder(texts.folder);
  ConfigReader reader(folder);
  reader.model.name = folder.substr(folder.find_last_of('/') + 1);
  LAPIDARY_TRY(reader.readConfig(texts.config));
  LAPIDARY_TRY(applyGenerationConfig(
      texts.generation, folder + "/generation_config.json", reader.model));
  LAPIDARY_TRY(reader.finish());
  LAPIDARY_TRY(applyProcessorConfig(
      texts.processor, folder + "/processor_config.json", reader.model));
  return std::move(reader.model);
}

Result<ModelConfig> readModelConfig(const std::string &folder) {
  constexpr uint64_t limit = 4u << 20;
  ModelConfigTexts texts;
  texts.folder = folder;
  texts.config = LAPIDARY_TRY(readTextFile(folder + "/config.json", limit));
  auto readOptional =
      [&](const char *name) -> Result<std::optional<std::string>> {
    Result<std::string> text = readTextFile(folder + "/" + name, limit);
    if (text.ok())
      return std::optional<std::string>(*std::move(text));
    if (text.status().getCode() == StatusCode::NotFound)
      return std::optional<std::string>();
    return text.status();
  };
  texts.generation = LAPIDARY_TRY(readOptional("generation_config.json"));
  texts.processor = LAPIDARY_TRY(readOptional("processor_config.json"));
  if (!texts.processor &&
      LAPIDARY_TRY(readOptional("preprocessor_config.json")))
    return unsupported(folder + "/preprocessor_config.json: expected "
                                "processor_config.json in its place");
  ModelConfig model = LAPIDARY_TRY(parseModelConfig(texts));
  // "." has a name too.
  std::error_code error;
  std::string name = std::filesystem::canonical(folder, error).filename();
  if (!error && !name.empty())
    model.name = name;
  return model;
}

} // namespace lapidary
