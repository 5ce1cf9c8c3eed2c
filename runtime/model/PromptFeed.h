// A prompt on its way into a sequence, chunk by chunk: where it may be cut, and
// which row of media stands for which token.
#pragma once

#include "runtime/model/Engine.h"

namespace lapidary {

struct Prompt {
  /// Ids with every soft token in place.
  std::span<const int32_t> tokens = {};
  /// The embeddings of each media item, in the order of its soft tokens.
  std::vector<std::span<const float>> media = {};
  /// A key a soft token; hashes of the embeddings where it is empty.
  std::vector<MediaKey> keys = {};
};

class PromptFeed {
public:
  /// Checks everything about the prompt before any work. What it points to must
  /// live as long as the feed.
  static Result<PromptFeed> create(const Engine &engine, Sequence &sequence,
                                   Prompt prompt);

  bool done() const { return begin == prompt.tokens.size(); }
  /// Tokens that steps have taken.
  int64_t position() const { return static_cast<int64_t>(begin); }
  /// Work for a step with room for `most` tokens. It has no tokens where a
  /// vision block comes next that needs more room; a whole chunk is enough for
  /// any. Logits are wanted of the prompt's last token only.
  Work next(int64_t most) const;
  /// After a step with what `next` gave.
  void advance(const Work &work);

private:
  PromptFeed() = default;
  Status check() const;

  const Engine *engine = nullptr;
  Sequence *sequence = nullptr;
  Prompt prompt;
  /// One a soft token.
  std::vector<const float *> rows;
  size_t begin = 0, rowBegin = 0;
};

} // namespace lapidary
