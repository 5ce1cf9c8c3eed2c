// One conversation with an engine of its own: the plain way to run a model.
#pragma once

#include "runtime/model/Engine.h"
#include "runtime/model/PromptFeed.h"

namespace lapidary {

/// Used by one thread at a time, except the cancel flag. Holds the bundle
/// alive.
class Session {
public:
  using Prompt = lapidary::Prompt;
  /// Refuses with OutOfMemory and the sheet's figures what will not fit in the
  /// machine's memory.
  static Result<std::unique_ptr<Session>>
  create(std::shared_ptr<const Bundle> bundle,
         const SessionOptions &options = {});

  Result<std::vector<float>> embedImage(std::span<const float> patches,
                                        std::span<const int32_t> positions) {
    return runner->embedImage(patches, positions);
  }
  Result<std::vector<float>> embedAudio(std::span<const float> frames) {
    return runner->embedAudio(frames);
  }

  /// Gets the logits of prompt positions as they are computed, in order; valid
  /// during the call. `row` counts from the prompt's first token. An error
  /// stops the prefill.
  using LogitsCallback = Engine::LogitsCallback;

  /// Appends `prompt` to the state; logits() then holds the last position's.
  /// Everything about the prompt is checked before any work. After an error or
  /// a cancellation on the way, position() is where the last whole chunk ended.
  Status prefill(const Prompt &prompt) { return prefill(prompt, {}); }
  /// The same; gives the logits of rows `firstRow` and later to `onLogits`, if
  /// there is one.
  Status prefill(const Prompt &prompt, const LogitsCallback &onLogits,
                 int64_t firstRow = 0);
  /// Appends one token.
  Status decode(int32_t token);

  /// A step of this sequence alone, of which `last` keeps the last row.
  Status step(Work &work, class Speculation &speculation);
  /// What the last step gave.
  const Work &lastWork() const { return last; }

  /// Logits of the last position, one a vocabulary entry; empty before the
  /// first step, after one that failed and after one of an answer for which a
  /// GPU's candidates were enough.
  std::span<const float> logits() const { return last.logits; }
  /// What the model's last layer gave for each token of the last prefill step,
  /// f32[T, hidden]: of the whole prompt, if that was no longer than a chunk.
  /// Empty after a decode; valid until the next step.
  std::span<const float> hiddenStates() const { return last.hidden; }
  /// Rows of hidden states to logits f32[T, vocabulary]. The rows may be copies
  /// that were taken from an earlier step; the state stays as it is.
  Status computeLogits(std::span<const float> hidden, std::span<float> logits) {
    return runner->computeLogits(hidden, logits);
  }
  /// Tokens in the state.
  int64_t position() const { return state->position(); }
  int64_t context() const { return memoryPlan().context; }
  /// Back to an empty state; memory of the caches is given back.
  void reset();
  /// See Sequence. There are no logits afterwards.
  int64_t goBack(int64_t position) {
    last = {};
    return state->goBack(position);
  }
  Status load(const std::string &path) {
    last = {};
    return state->load(path);
  }

  /// For who moves the sequence itself: there are no logits until the next
  /// step.
  void forgetLogits() { last = {}; }
  /// See Sequence::assume.
  Status assumeTokens(int64_t position) {
    last = {};
    return state->assume(position);
  }
  /// See Device::setProfile.
  void setProfile(Profile *profile) { runner->setProfile(profile); }

  /// See Engine::setCancelFlag.
  void setCancelFlag(const std::atomic<bool> *flag) {
    runner->setCancelFlag(flag);
  }
  const std::atomic<bool> *cancelFlag() const { return runner->cancelFlag(); }
  const MemoryPlan &memoryPlan() const { return runner->memoryPlan(); }
  const Bundle &bundle() const { return runner->bundle(); }
  const Device &device() const { return runner->device(); }
  Engine &engine() { return *runner; }
  Sequence &sequence() { return *state; }

private:
  Session() = default;
  Status step(Work work);

  std::unique_ptr<Engine> runner;
  std::unique_ptr<Sequence> state;
  /// What the last step gave.
  Work last;
};

} // namespace lapidary
