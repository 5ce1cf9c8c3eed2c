// Runs the short inputs that the compiler stored in a bundle on this machine's
// device and compares with what the bundle's weights gave for them in the
// compiler's reference interpreter.
#pragma once

#include "runtime/model/Session.h"

namespace lapidary {

struct SelfTestResult {
  std::string name;
  /// The largest absolute difference of logits, and what passes.
  double logitsError = 0;
  double logitsBound = 0;
  /// In units of the expected embeddings' root mean square; 0 without media.
  double embeddingsError = 0;
  double embeddingsBound = 0;
  bool hasMedia = false;
  bool pass = false;
};

/// One result a test, in the bundle's order. `options.context` and `.chunk` are
/// chosen by the tests' needs where they are 0.
Result<std::vector<SelfTestResult>>
runSelfTests(std::shared_ptr<const Bundle> bundle,
             const SessionOptions &options = {});

} // namespace lapidary
