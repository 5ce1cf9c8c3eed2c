// The companion's own decoder is described as the model's is, but for layers
// that read another's keys and values; the rest says how the two fit together.
#include "frontends/formats/AssistantConfig.h"

#include "frontends/formats/Json.h"

#include <cmath>
#include <cstring>

namespace lapidary {

using nlohmann::json;

namespace {

constexpr int64_t maxClusters = 1 << 20;

Status wrongField(const std::string &where, const std::string &what,
                  int64_t expected, int64_t found) {
  return invalidData(where + ": expected " + what + " (" +
                     std::to_string(expected) + "), found " +
                     std::to_string(found));
}

/// What the companion's layers read of the model's caches must be of their
/// sizes, and their queries turned as the model's keys are.
Status checkSharing(const std::string &origin, const TextConfig &own,
                    const TextConfig &model) {
  for (size_t index = 0; index < own.layers.size(); ++index) {
    const LayerConfig &layer = own.layers[index];
    bool sliding = layer.kind == LayerKind::Sliding;
    std::string where =
        origin + ": text_config: layer " + std::to_string(index) + ": ";
    size_t shared = findSharedLayer(model, layer.kind);
    if (shared == model.layers.size())
      return invalidData(where +
                         "layer_types: expected a kind of layer that "
                         "the model has, found " +
                         (sliding ? "sliding_attention" : "full_attention"));
    const LayerConfig &source = model.layers[shared];
    if (layer.headDim != source.headDim)
      return wrongField(where + (sliding ? "head_dim" : "global_head_dim"),
                        "that of the model", source.headDim, layer.headDim);
    if (layer.keyValueHeads != source.keyValueHeads)
      return wrongField(where + (sliding ? "num_key_value_heads"
                                         : "num_global_key_value_heads"),
                        "that of the model", source.keyValueHeads,
                        layer.keyValueHeads);
    if (sliding && own.window != model.window)
      return wrongField(origin + ": text_config.sliding_window",
                        "that of the model", model.window, own.window);
    const RopeConfig &rope = sliding ? own.slidingRope : own.fullRope,
                     &other = sliding ? model.slidingRope : model.fullRope;
    if (rope.theta != other.theta ||
        rope.rotatedPairs(layer.headDim) != other.rotatedPairs(layer.headDim))
      return invalidData(
          origin + ": text_config.rope_parameters." +
          (sliding ? "sliding_attention" : "full_attention") +
          ": expected the rotary angles of the model, found others");
  }
  return {};
}

} // namespace

size_t findSharedLayer(const TextConfig &model, LayerKind kind) {
  for (size_t index = model.layers.size(); index-- > 0;)
    if (model.layers[index].kind == kind)
      return index;
  return model.layers.size();
}

Result<AssistantConfig> parseAssistantConfig(const std::string &folder,
                                             const std::string &text,
                                             const ModelConfig &model) {
  std::string origin = folder + "/config.json";
  json root = LAPIDARY_TRY(parseJsonObject(text, origin));
  JsonFields fields(root, origin, "");
  LAPIDARY_TRY(fields.expect("model_type", {"gemma4_unified_assistant"}));
  if (!fields.get("model_type"))
    return fields.wrong("model_type", "\"gemma4_unified_assistant\"", nullptr);
  LAPIDARY_TRY(fields.expect(
      "architectures", {json::array({"Gemma4UnifiedAssistantForCausalLM"})}));
  LAPIDARY_TRY(fields.expect("tie_word_embeddings", {true}));
  fields.ignore({"dtype",
                 "torch_dtype",
                 "transformers_version",
                 "initializer_range",
                 "return_dict",
                 "output_attentions",
                 "output_hidden_states",
                 "id2label",
                 "label2id",
                 "is_encoder_decoder",
                 "problem_type",
                 "_name_or_path",
                 "chunk_size_feed_forward",
                 "use_cache",
                 "bos_token_id",
                 "eos_token_id",
                 "pad_token_id",
                 "image_token_id",
                 "video_token_id",
                 "audio_token_id",
                 "boi_token_id",
                 "eoi_token_id",
                 "boa_token_id",
                 "eoa_token_id",
                 "eoa_token_index"});

  AssistantConfig config;
  int64_t width = LAPIDARY_TRY(
      fields.integer("backbone_hidden_size", 3840, 1, int64_t(1) << 20));
  if (width != model.text.hidden)
    return wrongField(fields.where("backbone_hidden_size"),
                      "the model's hidden_size", model.text.hidden, width);
  bool clustered = LAPIDARY_TRY(fields.flag("use_ordered_embeddings", false));
  int64_t clusters =
      LAPIDARY_TRY(fields.integer("num_centroids", 2048, 1, maxClusters));
  int64_t top = LAPIDARY_TRY(
      fields.integer("centroid_intermediate_top_k", 32, 1, maxClusters));

  const json *own = LAPIDARY_TRY(fields.child("text_config"));
  if (!own)
    return fields.wrong("text_config", "an object", nullptr);
  LAPIDARY_TRY(fields.finish());
  // All of its layers share keys and values, which the reader of models, that
  // have none of these, need not know.
  json decoder = *own;
  JsonFields ownFields(*own, origin, "text_config.");
  int64_t layers = LAPIDARY_TRY(
      ownFields.integer("num_hidden_layers", 30, 1, int64_t(1) << 12));
  int64_t sharing = LAPIDARY_TRY(
      ownFields.integer("num_kv_shared_layers", 0, 0, int64_t(1) << 12));
  if (sharing != 0 && sharing != layers)
    return wrongField(ownFields.where("num_kv_shared_layers"),
                      "num_hidden_layers", layers, sharing);
  decoder.erase("num_kv_shared_layers");
  json whole = {{"model_type", "gemma4_unified"},
                {"text_config", std::move(decoder)}};
  ModelConfig parsed = LAPIDARY_TRY(
      parseModelConfig({folder, whole.dump(), std::nullopt, std::nullopt}));
  config.text = std::move(parsed.text);

  if (config.text.vocabulary != model.text.vocabulary)
    return wrongField(origin + ": text_config.vocab_size", "that of the model",
                      model.text.vocabulary, config.text.vocabulary);
  LAPIDARY_TRY(checkSharing(origin, config.text, model.text));
  if (clustered) {
    if (config.text.vocabulary % clusters)
      return invalidData(fields.where("num_centroids") +
                         ": expected a number that divides the vocabulary of " +
                         std::to_string(config.text.vocabulary) + ", found " +
                         std::to_string(clusters));
    if (top > clusters)
      return wrongField(fields.where("centroid_intermediate_top_k"),
                        "at most num_centroids", clusters, top);
    config.clusters = clusters;
    config.topClusters = top;
  }
  return config;
}

Result<AssistantConfig> readAssistantConfig(const std::string &folder,
                                            const ModelConfig &model) {
  constexpr uint64_t limit = 4u << 20;
  std::string text = LAPIDARY_TRY(readTextFile(folder + "/config.json", limit));
  return parseAssistantConfig(folder, text, model);
}

Status readTokenOrder(const Checkpoint &checkpoint, AssistantConfig &config) {
  if (config.clusters == 0)
    return {};
  std::string name =
      std::string(assistantPrefix) + "masked_embedding.token_ordering";
  auto count = static_cast<size_t>(config.text.vocabulary);
  const TensorInfo *tensor = checkpoint.find(name);
  bool fits =
      tensor && tensor->encoding.empty() &&
      (tensor->type == ElementType::I64 || tensor->type == ElementType::I32) &&
      tensor->shape == std::vector<int64_t>{static_cast<int64_t>(count)};
  if (!fits)
    return invalidData(checkpoint.folder() + ": tensor " + name +
                       ": expected I64 or I32 [" + std::to_string(count) +
                       "], found " +
                       (tensor ? describeTensor(*tensor) : "none"));
  size_t size = elementTypeBytes(tensor->type);
  std::vector<uint8_t> bytes(count * size);
  LAPIDARY_TRY(checkpoint.read(*tensor, 0, bytes));
  std::vector<bool> seen(count);
  for (size_t index = 0; index < count; ++index) {
    int64_t token = 0;
    int32_t narrow = 0;
    if (size == sizeof(token)) {
      std::memcpy(&token, &bytes[index * size], size);
    } else {
      std::memcpy(&narrow, &bytes[index * size], size);
      token = narrow;
    }
    if (token < 0 || token >= static_cast<int64_t>(count) ||
        seen[static_cast<size_t>(token)])
      return invalidData(checkpoint.folder() + ": tensor " + name +
                         ": expected each token below " +
                         std::to_string(count) + " once, found " +
                         std::to_string(token) + " at element " +
                         std::to_string(index));
    seen[static_cast<size_t>(token)] = true;
    config.tokenOrder.push_back(static_cast<int32_t>(token));
  }
  return {};
}

} // namespace lapidary
