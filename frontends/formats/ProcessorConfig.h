// processor_config.json: how media become soft tokens.
#pragma once

#include "frontends/formats/ModelConfig.h"

namespace lapidary {

/// Fills the budgets of the modalities that `model` has; without a text the
/// reference's defaults.
Status applyProcessorConfig(const std::optional<std::string> &text,
                            const std::string &origin, ModelConfig &model);

} // namespace lapidary
