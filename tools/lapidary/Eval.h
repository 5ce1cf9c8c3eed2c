// `lapidary eval`: what its parts give each other. EvalText.h measures over a
// text, EvalTasks.h over tasks; EvalReport.h shows the outcome.
#pragma once

#include "runtime/core/Bundle.h"
#include "runtime/model/Tokenizer.h"
#include "tools/lapidary/Command.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lapidary::cli {

/// An open bundle under evaluation.
struct EvalModel {
  std::shared_ptr<const Bundle> bundle;
  Tokenizer tokenizer;

  const schema::Model &model() const { return *bundle->program().model(); }
};

/// The measures of one bundle; nothing where none was asked for.
struct EvalResult {
  std::string file;
  uint64_t bytes = 0;
  std::optional<double> bitsPerWeight;
  std::optional<double> perplexity, perplexityError;
  std::optional<uint64_t> scoredTokens;
  std::optional<double> klMean, klP999, top1;
  std::optional<double> accuracy;
  /// In the order in which kinds appear in the tasks.
  std::vector<std::pair<std::string, double>> accuracyByKind;
  std::optional<double> prefillRate, decodeRate;
};

/// How the bundles are run.
struct EvalRun {
  int32_t threads = 0;
  DeviceChoice device;
  const std::atomic<bool> *cancel = nullptr;
};

/// Stored bits over values of all matrices (weights of rank 2) of the
/// checkpoint; nothing where there is no matrix.
std::optional<double> bitsPerWeight(const schema::Program &program);

} // namespace lapidary::cli
