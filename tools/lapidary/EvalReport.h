// How `lapidary eval` shows its results: for programs, for people, as a
// picture.
#pragma once

#include "tools/lapidary/Eval.h"
#include "tools/lapidary/SvgPlot.h"

#include <nlohmann/json.hpp>

#include <span>

namespace lapidary::cli {

/// One object a bundle; a measure that was not taken is null.
nlohmann::ordered_json evalJson(const EvalResult &result);

/// A row a bundle, with columns for what was measured, and below it a row a
/// kind of task.
std::string evalTable(std::span<const EvalResult> results);

/// Quality against the files' sizes; the divergence where `compared`, else
/// perplexity.
ScatterPlot evalPlot(std::span<const EvalResult> results, bool compared);

} // namespace lapidary::cli
