// What a checkpoint's JSON files say about the model: config.json,
// generation_config.json and processor_config.json, every field of them either
// honoured, known to change nothing, or refused.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

enum class LayerKind : uint8_t { Sliding, Full };

struct RopeConfig {
  /// `proportional`: a part of the head turns. Else the whole head does.
  bool proportional = false;
  double theta = 1e4;
  /// The part, in 0..1.
  double partialRotaryFactor = 1;

  /// Pairs of elements that turn, of the headDim / 2 in a head.
  int64_t rotatedPairs(int64_t headDim) const;

  /// A table of angles has rows for the low part of a position and for the
  /// high one; see lap.rope_table.
  static constexpr int64_t tableLowRows = 512;
  static int64_t tableRows(int64_t positions);
};

struct LayerConfig {
  LayerKind kind = LayerKind::Full;
  int64_t heads = 0;
  int64_t keyValueHeads = 0;
  int64_t headDim = 0;
  int64_t intermediate = 0;
  /// The layer has no value projection: its values are its keys before their
  /// norm.
  bool keysAreValues = false;
};

struct TextConfig {
  int64_t vocabulary = 0;
  int64_t hidden = 0;
  std::vector<LayerConfig> layers;
  /// Positions that a sliding layer's query sees, its own included.
  int64_t window = 0;
  /// Of the logits; nothing for none.
  std::optional<double> softcap;
  double eps = 0;
  int64_t maxPositions = 0;
  RopeConfig slidingRope;
  RopeConfig fullRope;
  /// A run of image or video tokens sees itself both ways in sliding layers.
  bool bidirectionalVision = false;
  bool tieEmbeddings = true;
};

struct VisionConfig {
  /// A soft token's side in pixels (48).
  int64_t patchSize = 0;
  /// The width of the patch projection.
  int64_t embed = 0;
  /// Rows of the position table.
  int64_t positions = 0;
  double eps = 0;
  int64_t maxSoftTokens = 0;
  int64_t videoSoftTokens = 0;
  int64_t videoFrames = 0;

  int64_t patchValues() const { return patchSize * patchSize * 3; }
};

struct AudioConfig {
  int64_t samplesPerToken = 0;
  /// Samples a second.
  int64_t rate = 0;
  int64_t maxTokens = 0;
  double eps = 0;
};

struct SamplingConfig {
  /// False: greedy.
  bool enabled = false;
  double temperature = 1;
  /// 0: off.
  int64_t topK = 0;
  /// 1: off.
  double topP = 1;
};

/// A companion that drafts tokens for the model to verify; its layers have no
/// keys and values of their own and read the model's.
struct AssistantConfig {
  TextConfig text;
  /// The output matrix is divided into clusters of tokens, of which only the
  /// best `topClusters` are looked into; 0: it is not.
  int64_t clusters = 0;
  int64_t topClusters = 0;
  /// Tokens by cluster, as many in each; empty without clusters.
  std::vector<int32_t> tokenOrder;
};

struct ModelConfig {
  /// The folder's name.
  std::string name;
  std::string modelType;
  TextConfig text;
  std::optional<VisionConfig> vision;
  std::optional<AudioConfig> audio;
  int64_t bosToken = -1;
  int64_t padToken = -1;
  /// Ids in the prompt, -1 where the checkpoint has no such input.
  int64_t imageToken = -1;
  int64_t videoToken = -1;
  int64_t audioToken = -1;
  std::vector<int64_t> stopTokens;
  std::vector<int64_t> suppressTokens;
  SamplingConfig sampling;
  std::optional<AssistantConfig> assistant;
};

/// The files' texts, and what messages call them.
struct ModelConfigTexts {
  std::string folder;
  std::string config;
  std::optional<std::string> generation;
  std::optional<std::string> processor;
};

/// Errors name file, field, expected and found.
Result<ModelConfig> parseModelConfig(const ModelConfigTexts &texts);
Result<ModelConfig> readModelConfig(const std::string &folder);

} // namespace lapidary
