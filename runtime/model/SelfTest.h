// Runs the short inputs that the compiler stored in a bundle on this machine's
// device and compares with what the unquantized model gives for them.
#pragma once

#include "runtime/model/Session.h"

namespace lapidary {

struct SelfTestResult {
  std::string name;
  /// The worst of both errors below.
  double worst = 0;
  double logitsError = 0;
  /// In units of the expected embeddings' root mean square; 0 without media.
  double embeddingsError = 0;
  double bound = 0;
  bool pass = false;
};

/// One result a test, in the bundle's order. `options.context` and `.chunk` are
/// chosen by the tests' needs where they are 0.
Result<std::vector<SelfTestResult>>
runSelfTests(std::shared_ptr<const Bundle> bundle,
             const SessionOptions &options = {});

} // namespace lapidary
