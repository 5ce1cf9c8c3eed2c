// A GGUF file's metadata as the JSON files of a checkpoint would say it, which
// the readers of those then check: what is a sensible model is known in one
// place.
#include "frontends/formats/GgufModel.h"

#include "frontends/formats/GgufKeys.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>

namespace lapidary {

using nlohmann::json;

namespace {

/// Far above any model; the configuration's own limit is checked later.
constexpr int64_t maxLayers = 4096;
/// The format of blocks that all current files have.
constexpr int64_t quantizationVersion = 2;

/// The numbers of the tokens that llama.cpp ends an answer at, and those in
/// whose places media go, are known by name alone.
constexpr std::array<std::string_view, 2> endTokens = {"<turn|>",
                                                       "<|tool_response>"};
struct MediaToken {
  const char *key;
  std::string_view token;
};
constexpr std::array<MediaToken, 3> mediaTokens = {
    {{"image_token_id", "<|image|>"},
     {"video_token_id", "<|video|>"},
     {"audio_token_id", "<|audio|>"}}};

/// What every file has besides the model's own keys.
Status checkGeneral(const GgufFile &file, std::string_view architecture) {
  GgufKeys keys(file, "general.");
  if (auto found = LAPIDARY_TRY(keys.string("architecture"));
      found != architecture)
    return keys.wrong("architecture", quoteName(architecture));
  LAPIDARY_TRY(keys.expectInteger("quantization_version", quantizationVersion));
  GgufKeys split(file, "split.");
  if (split.has("count") && LAPIDARY_TRY(split.integer("count")) > 1)
    return unsupported(file.path() +
                       ": split.count: expected a whole model in one file, "
                       "found a part of one; llama-gguf-split --merge joins "
                       "them");
  return {};
}

class ConfigReader {
public:
  explicit ConfigReader(const GgufFile &file)
      : file(file), keys(file, "gemma4.") {}

  Status readText();
  Status readMedia(const GgufFile &media);
  Status readGeneration();

  json config, generation;
  std::optional<json> processor;

private:
  Status readLayers();
  Status readRopes(int64_t headDim);
  Status checkLayerKeys();
  Status readVision(const GgufFile &media, GgufKeys &clip);
  Status readAudio(GgufKeys &clip);
  Result<std::vector<float>> readFactors(int64_t headDim);
  /// -1 where there is none.
  int64_t findToken(std::string_view content) const;
  Result<const TensorInfo *> tensor(const GgufFile &from, const char *name,
                                    size_t rank) const;

  const GgufFile &file;
  GgufKeys keys;
  json text;
};

int64_t ConfigReader::findToken(std::string_view content) const {
  const GgufValue *tokens = file.get("tokenizer.ggml.tokens");
  for (uint64_t id = 0; tokens && tokens->isArray() && id < tokens->count; ++id)
    if (tokens->string(id) == content)
      return int64_t(id);
  return -1;
}

Result<const TensorInfo *> ConfigReader::tensor(const GgufFile &from,
                                                const char *name,
                                                size_t rank) const {
  const TensorInfo *found = from.find(name);
  if (!found || found->shape.size() != rank)
    return invalidData(from.path() + ": tensor " + name + ": expected one of " +
                       std::to_string(rank) + " dimensions, found " +
                       (found ? describeTensor(*found) : "no such tensor"));
  return found;
}

Status ConfigReader::readText() {
  LAPIDARY_TRY(checkGeneral(file, "gemma4"));
  config["model_type"] = "gemma4_unified";
  int64_t rows = LAPIDARY_TRY(tensor(file, "token_embd.weight", 2))->shape[0];
  const GgufValue *tokens = file.get("tokenizer.ggml.tokens");
  if (tokens && tokens->count > uint64_t(rows))
    return invalidData(file.path() +
                       ": tensor token_embd.weight: expected a row for each "
                       "of the " +
                       std::to_string(tokens->count) + " tokens, found " +
                       std::to_string(rows));
  text["vocab_size"] = rows;
  text["tie_word_embeddings"] = !file.find("output.weight");
  text["hidden_size"] = LAPIDARY_TRY(keys.integer("embedding_length"));
  text["max_position_embeddings"] =
      LAPIDARY_TRY(keys.integer("context_length"));
  text["sliding_window"] =
      LAPIDARY_TRY(keys.integer("attention.sliding_window"));
  text["rms_norm_eps"] =
      LAPIDARY_TRY(keys.number("attention.layer_norm_rms_epsilon"));
  if (keys.has("final_logit_softcapping"))
    text["final_logit_softcapping"] =
        LAPIDARY_TRY(keys.number("final_logit_softcapping"));
  // Parts of other members of the family.
  for (const char *key :
       {"attention.shared_kv_layers", "embedding_length_per_layer_input",
        "expert_count", "expert_used_count", "nextn_predict_layers"})
    LAPIDARY_TRY(keys.expectInteger(key, 0));
  LAPIDARY_TRY(keys.expectFlag("attention.causal", true));
  LAPIDARY_TRY(keys.expectString("rope.scaling.type", "none"));
  // The tokens say how many there are.
  keys.ignore({"vocab_size"});
  LAPIDARY_TRY(readLayers());
  LAPIDARY_TRY(keys.finish());
  config["text_config"] = text;
  for (const MediaToken &media : mediaTokens)
    config[media.key] = nullptr;
  return {};
}

Status ConfigReader::readLayers() {
  int64_t count = LAPIDARY_TRY(keys.integer("block_count"));
  if (count < 1 || count > maxLayers)
    return keys.wrong("block_count", "1 to " + std::to_string(maxLayers));
  auto layers = size_t(count);
  text["num_hidden_layers"] = count;
  auto sliding =
      LAPIDARY_TRY(keys.flags("attention.sliding_window_pattern", layers));
  auto heads = LAPIDARY_TRY(keys.integers("attention.head_count", layers));
  auto keyHeads =
      LAPIDARY_TRY(keys.integers("attention.head_count_kv", layers));
  auto widths = LAPIDARY_TRY(keys.integers("feed_forward_length", layers));
  int64_t full = LAPIDARY_TRY(keys.integer("attention.key_length"));
  int64_t local = LAPIDARY_TRY(keys.integer("attention.key_length_swa"));
  LAPIDARY_TRY(keys.expectInteger("attention.value_length", full));
  LAPIDARY_TRY(keys.expectInteger("attention.value_length_swa", local));
  LAPIDARY_TRY(keys.expectInteger("rope.dimension_count", full));
  LAPIDARY_TRY(keys.expectInteger("rope.dimension_count_swa", local));

  bool keysAreValues = false;
  json kinds = json::array(), perLayer = json::object();
  for (size_t i = 0; i < layers; ++i) {
    kinds.push_back(sliding[i] ? "sliding_attention" : "full_attention");
    perLayer[std::to_string(i)] = {{"head_dim", sliding[i] ? local : full},
                                   {"num_attention_heads", heads[i]},
                                   {"num_key_value_heads", keyHeads[i]},
                                   {"intermediate_size", widths[i]}};
    // Whether full layers have values is left to be seen by their tensors.
    keysAreValues = keysAreValues ||
                    (!sliding[i] &&
                     !file.find("blk." + std::to_string(i) + ".attn_v.weight"));
  }
  text["layer_types"] = std::move(kinds);
  text["per_layer_config"] = std::move(perLayer);
  text["attention_k_eq_v"] = keysAreValues;
  bool anyFull =
      std::find(sliding.begin(), sliding.end(), false) != sliding.end();
  return readRopes(anyFull ? full : 0);
}

/// `headDim` of the full layers, 0 where there are none.
Status ConfigReader::readRopes(int64_t headDim) {
  json local = {{"rope_type", "default"}}, full = {{"rope_type", "default"}};
  if (keys.has("rope.freq_base_swa"))
    local["rope_theta"] = LAPIDARY_TRY(keys.number("rope.freq_base_swa"));
  if (keys.has("rope.freq_base"))
    full["rope_theta"] = LAPIDARY_TRY(keys.number("rope.freq_base"));
  if (headDim) {
    // The part of a head that turns is not a key: the pairs that do not turn
    // have their angles divided by a huge number.
    std::vector<float> factors = LAPIDARY_TRY(readFactors(headDim));
    auto still = std::find_if(factors.begin(), factors.end(),
                              [](float factor) { return factor != 1; });
    bool usual = std::all_of(still, factors.end(),
                             [](float factor) { return factor >= 1e29f; });
    if (!usual)
      return unsupported(
          file.path() +
          ": tensor rope_freqs.weight: expected ones and then 1e30, found "
          "another factor");
    auto turning = double(still - factors.begin());
    // As the reader turns it into pairs again, by truncation.
    double part = turning * 2 / double(headDim);
    if (part * double(headDim) / 2 < turning)
      part = std::nextafter(part, 1.0);
    full["rope_type"] = "proportional";
    full["partial_rotary_factor"] = part;
  }
  text["rope_parameters"] = {{"sliding_attention", local},
                             {"full_attention", full}};
  return {};
}

Result<std::vector<float>> ConfigReader::readFactors(int64_t headDim) {
  const TensorInfo *factors =
      LAPIDARY_TRY(tensor(file, "rope_freqs.weight", 1));
  if (factors->type != ElementType::F32 || headDim % 2 ||
      factors->shape[0] != headDim / 2)
    return invalidData(file.path() +
                       ": tensor rope_freqs.weight: expected "
                       "F32 for half of gemma4.attention."
                       "key_length (" +
                       std::to_string(headDim) + "), found " +
                       describeTensor(*factors));
  std::vector<float> values(size_t(factors->shape[0]));
  LAPIDARY_TRY(file.read(*factors, 0,
                         {reinterpret_cast<uint8_t *>(values.data()),
                          values.size() * sizeof(float)}));
  return values;
}

Status ConfigReader::readMedia(const GgufFile &media) {
  LAPIDARY_TRY(checkGeneral(media, "clip"));
  GgufKeys clip(media, "clip.");
  LAPIDARY_TRY(clip.expectString("vision.projector_type", "gemma4uv"));
  LAPIDARY_TRY(clip.expectString("audio.projector_type", "gemma4ua"));
  // A file with one projection alone may name it here.
  if (clip.has("projector_type")) {
    auto type = LAPIDARY_TRY(clip.string("projector_type"));
    if (type != "gemma4uv" && type != "gemma4ua")
      return clip.wrong("projector_type", "\"gemma4uv\" or \"gemma4ua\"");
  }
  bool vision = media.find("v.patch_embd.weight"),
       audio = media.find("mm.a.input_projection.weight");
  LAPIDARY_TRY(clip.expectFlag("has_vision_encoder", vision));
  LAPIDARY_TRY(clip.expectFlag("has_audio_encoder", audio));
  // Neither projection has layers, so these describe nothing.
  for (const char *key :
       {"vision.block_count", "vision.feed_forward_length",
        "vision.attention.head_count", "audio.block_count",
        "audio.feed_forward_length", "audio.attention.head_count"})
    LAPIDARY_TRY(clip.expectInteger(key, 0));
  clip.ignore({"use_gelu", "use_silu", "vision.image_size",
               "vision.image_min_pixels", "audio.num_mel_bins"});
  if (vision)
    LAPIDARY_TRY(readVision(media, clip));
  if (audio)
    LAPIDARY_TRY(readAudio(clip));
  LAPIDARY_TRY(clip.finish());
  for (const MediaToken &token : mediaTokens)
    if (int64_t id = findToken(token.token); id >= 0)
      config[token.key] = id;
  return {};
}

Status ConfigReader::readVision(const GgufFile &media, GgufKeys &clip) {
  int64_t embed = LAPIDARY_TRY(clip.integer("vision.embedding_length"));
  int64_t patch = LAPIDARY_TRY(clip.integer("vision.patch_size"));
  int64_t pooling = 3;
  if (clip.has("vision.projector.scale_factor"))
    pooling = LAPIDARY_TRY(clip.integer("vision.projector.scale_factor"));
  LAPIDARY_TRY(clip.expectInteger("vision.projection_dim",
                                  text["hidden_size"].get<int64_t>()));
  // Pixels are only divided by 255.
  LAPIDARY_TRY(clip.expectNumbers("vision.image_mean", 0));
  LAPIDARY_TRY(clip.expectNumbers("vision.image_std", 1));
  config["vision_config"] = {
      {"patch_size", patch},
      {"pooling_kernel_size", pooling},
      {"mm_embed_dim", embed},
      {"output_proj_dims", embed},
      {"mm_posemb_size",
       LAPIDARY_TRY(tensor(media, "v.position_embd.weight", 3))->shape[1]},
      {"rms_norm_eps",
       LAPIDARY_TRY(clip.number("vision.attention.layer_norm_epsilon"))}};
  if (!clip.has("vision.image_max_pixels"))
    return {};
  int64_t pixels = LAPIDARY_TRY(clip.integer("vision.image_max_pixels"));
  int64_t tokenPixels = 0;
  if (pixels < 1 || patch < 1 || pooling < 1 ||
      __builtin_mul_overflow(patch, pooling, &tokenPixels) ||
      __builtin_mul_overflow(tokenPixels, tokenPixels, &tokenPixels) ||
      pixels % tokenPixels)
    return clip.wrong("vision.image_max_pixels",
                      "a multiple of a soft token's pixels");
  processor = json::object();
  (*processor)["image_processor"] = {{"patch_size", patch},
                                     {"pooling_kernel_size", pooling},
                                     {"max_soft_tokens", pixels / tokenPixels}};
  return {};
}

Status ConfigReader::readAudio(GgufKeys &clip) {
  LAPIDARY_TRY(clip.expectInteger("audio.projection_dim",
                                  text["hidden_size"].get<int64_t>()));
  config["audio_config"] = {
      {"audio_embed_dim", LAPIDARY_TRY(clip.integer("audio.embedding_length"))},
      {"rms_norm_eps",
       LAPIDARY_TRY(clip.number("audio.attention.layer_norm_epsilon"))}};
  return {};
}

Status ConfigReader::readGeneration() {
  GgufKeys tokens(file, "tokenizer.ggml.");
  json stops = json::array();
  stops.push_back(LAPIDARY_TRY(tokens.integer("eos_token_id")));
  for (const char *key : {"eot_token_id", "eom_token_id"})
    if (tokens.has(key))
      stops.push_back(LAPIDARY_TRY(tokens.integer(key)));
  for (std::string_view token : endTokens)
    if (int64_t id = findToken(token); id >= 0)
      stops.push_back(id);
  generation["eos_token_id"] = std::move(stops);
  generation["bos_token_id"] = LAPIDARY_TRY(tokens.integer("bos_token_id"));
  if (tokens.has("padding_token_id"))
    generation["pad_token_id"] =
        LAPIDARY_TRY(tokens.integer("padding_token_id"));
  if (tokens.has("suppress_tokens"))
    generation["suppress_tokens"] =
        LAPIDARY_TRY(tokens.integers("suppress_tokens"));

  // The converter leaves out whether to sample at all; it writes the rest where
  // the checkpoint has it.
  GgufKeys sampling(file, "general.sampling.");
  struct Key {
    const char *gguf, *json;
  };
  for (const Key &key :
       {Key{"temp", "temperature"}, Key{"top_p", "top_p"},
        Key{"min_p", "min_p"}, Key{"penalty_repeat", "repetition_penalty"}})
    if (sampling.has(key.gguf))
      generation[key.json] = LAPIDARY_TRY(sampling.number(key.gguf));
  if (sampling.has("top_k"))
    generation["top_k"] = LAPIDARY_TRY(sampling.integer("top_k"));
  generation["do_sample"] = generation.contains("temperature") ||
                            generation.contains("top_p") ||
                            generation.contains("top_k");
  // Of no use without the penalty, the threshold and the others.
  sampling.ignore(
      {"penalty_last_n", "xtc_threshold", "mirostat_tau", "mirostat_eta"});
  LAPIDARY_TRY(sampling.expectNumbers("xtc_probability", 0));
  LAPIDARY_TRY(sampling.expectInteger("mirostat", 0));
  return sampling.finish();
}

} // namespace

Result<ModelConfig> readGgufConfig(const GgufFile &text,
                                   const GgufFile *media) {
  ConfigReader reader(text);
  LAPIDARY_TRY(reader.readText());
  if (media)
    LAPIDARY_TRY(reader.readMedia(*media));
  LAPIDARY_TRY(reader.readGeneration());
  ModelConfigTexts texts;
  texts.folder = text.path();
  texts.config = reader.config.dump();
  texts.generation = reader.generation.dump();
  if (reader.processor)
    texts.processor = reader.processor->dump();
  Result<ModelConfig> model = parseModelConfig(texts);
  if (!model.ok()) {
    // The reader takes the file for a folder that has a config.json.
    std::string message = model.status().message();
    if (message.starts_with(text.path() + "/"))
      message.replace(text.path().size(), 1, ", read as ");
    return Status(model.status().getCode(), std::move(message));
  }
  model->name = std::filesystem::path(text.path()).stem().string();
  return model;
}

} // namespace lapidary
