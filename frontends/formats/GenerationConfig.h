// generation_config.json: when an answer ends and how tokens are chosen.
#pragma once

#include "frontends/formats/ModelConfig.h"

namespace lapidary {

/// Overrides what config.json said of the special tokens and fills the
/// sampling; without a text it changes nothing.
Status applyGenerationConfig(const std::optional<std::string> &text,
                             const std::string &origin, ModelConfig &model);

} // namespace lapidary
