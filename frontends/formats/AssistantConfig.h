// config.json of a companion for multi-token prediction
// (gemma4_unified_assistant), held against that of the model it drafts for.
#pragma once

#include "frontends/formats/ModelConfig.h"
#include "frontends/formats/Safetensors.h"

namespace lapidary {

/// In front of the names of a companion's tensors.
inline constexpr const char *assistantPrefix = "assistant.";

/// The index of the model's layer whose keys and values a companion's layer of
/// that kind reads: the last one of the kind; the number of layers where there
/// is none.
size_t findSharedLayer(const TextConfig &model, LayerKind kind);

/// `folder` is for messages. Widths, heads and rotary angles must fit the
/// model's; an error names the field.
Result<AssistantConfig> parseAssistantConfig(const std::string &folder,
                                             const std::string &text,
                                             const ModelConfig &model);
Result<AssistantConfig> readAssistantConfig(const std::string &folder,
                                            const ModelConfig &model);

/// Reads the tokens' order of a companion with clusters from its tensor, which
/// must name each token once.
Status readTokenOrder(const Checkpoint &checkpoint, AssistantConfig &config);

} // namespace lapidary
