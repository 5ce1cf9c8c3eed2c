// What `lapidary inspect` tells of a bundle, gathered once; Inspect.cpp prints
// it for people or as JSON.
#pragma once

#include "runtime/core/Bundle.h"

#include <cstdint>
#include <string>
#include <vector>

namespace lapidary::cli {

struct SchemeSummary {
  std::string scheme;
  uint64_t tensors = 0;
  uint64_t values = 0;
  uint64_t bytes = 0;
};

struct TensorSummary {
  std::string name;
  std::string scheme;
  std::string layout;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
};

struct EntrySummary {
  std::string name;
  int64_t maxTokens = 0;
  uint64_t dispatches = 0;
  uint64_t kernels = 0;
  uint64_t arenaBytes = 0;
};

struct KernelSummary {
  std::string symbol;
  /// Dispatches of it in all entry points.
  uint64_t uses = 0;
};

struct VariantSummary {
  std::string name;
  std::vector<std::string> features;
  uint64_t codeBytes = 0;
  /// Whether this machine has the features.
  bool runsHere = false;
};

struct TargetSummary {
  std::string device;
  std::string architecture;
  std::vector<VariantSummary> variants;
  std::vector<EntrySummary> entries;
  std::vector<KernelSummary> kernels;
};

struct BundleSummary {
  std::vector<SchemeSummary> schemes;
  /// The largest first.
  std::vector<TensorSummary> tensors;
  std::vector<TargetSummary> targets;
  uint64_t weightBytes = 0;
  uint64_t tokenizerBytes = 0;
};

BundleSummary summarize(const Bundle &bundle);

} // namespace lapidary::cli
