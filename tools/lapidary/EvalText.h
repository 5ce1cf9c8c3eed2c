// Perplexity over a text in fixed windows, and how far a bundle's predictions
// are from a reference's in the same places.
#pragma once

#include "tools/lapidary/Eval.h"

#include <span>

namespace lapidary::cli {

/// A text as windows that each begin with <bos>. The first half of a window is
/// context; the tokens of the second half are scored.
struct TextWindows {
  /// Without <bos>.
  std::vector<int32_t> tokens;
  /// Tokens of a window, <bos> included.
  int64_t size = 0;
  int64_t count = 0;
  int32_t bos = 0;

  std::vector<int32_t> window(int64_t index) const;
  /// Of a window.
  int64_t scored() const { return size - size / 2; }
};

/// Cuts `text` into windows of `size` tokens; what does not fill a window at
/// the end is left out. White space at both ends does not count. A text that
/// is shorter than a window is one window of its own length; less than two
/// tokens are an error, and so are placeholders of media. `name` is the text's,
/// for messages.
Result<TextWindows> cutWindows(const EvalModel &model, std::string_view text,
                               int64_t size, const std::string &name);

/// An error unless both have the same tokens under the same ids.
Status checkSameVocabulary(const EvalModel &model, const EvalModel &reference);

/// Measures every model over its windows, `windows[i]` being `models[i]`'s;
/// with a reference, whose windows must be the same for all, the divergence
/// from it too. Fills perplexity, divergence and prefill rate of `results[i]`.
Status evaluateText(std::span<const EvalModel> models,
                    std::span<const TextWindows> windows,
                    const EvalModel *reference, const EvalRun &run,
                    std::span<EvalResult> results);

} // namespace lapidary::cli
