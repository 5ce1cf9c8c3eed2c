// A model ready to run: the device with the weights and the buffers of steps.
// Sequences share it: a step moves several of them at once and reads each
// weight once for all.
#pragma once

#include "runtime/model/Logits.h"
#include "runtime/model/MemoryPlan.h"
#include "runtime/model/Sequence.h"
#include "runtime/model/Snapshots.h"

#include <array>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

namespace lapidary {

class Speculation;

/// What one sequence does in a step.
struct Work {
  Sequence *sequence = nullptr;
  std::span<const int32_t> tokens;
  /// The embedding and the key of each soft token, in order.
  std::span<const float *const> media = {};
  std::span<const MediaKey> keys = {};
  /// The tokens are an answer's: even a placeholder's id has no media then.
  bool generated = false;
  /// Of how many of the last tokens logits are wanted.
  int64_t logitRows = 1;
  /// Of how many of the likeliest tokens: where the device chooses so many for
  /// all of a step, only these are given. 0: of all.
  int64_t reach = 0;

  /// Filled by the step and valid until the next: f32[logitRows, vocabulary],
  /// or nothing and candidates instead of it,
  std::span<const float> logits = {};
  /// and what the last layer gave, f32[tokens, hidden]; empty for the one token
  /// of a step of its own, of which the model gives logits at once, unless it
  /// has a companion.
  std::span<const float> hidden = {};
  /// Of each row the likeliest tokens and their logits, the likeliest first.
  std::span<const float> topLogits = {};
  std::span<const int32_t> topTokens = {};

  /// What a row says.
  TokenScores scores(int64_t row) const;
};

/// What a companion drafts for one sequence.
struct Draft {
  const Sequence *sequence = nullptr;
  /// The token behind the sequence's last position, and what the last layer
  /// gave there.
  int32_t token = 0;
  std::span<const float> hidden = {};
  /// Tokens wanted; there may be fewer, for nothing is drafted behind one that
  /// ends an answer.
  int64_t count = 0;
  /// Filled: what is likely to follow.
  std::vector<int32_t> tokens = {};
};

/// Used by one thread at a time, except the cancel flag. Holds the bundle
/// alive.
class Engine {
public:
  ~Engine();
  /// Refuses with OutOfMemory and the sheet's figures what will not fit in the
  /// machine's memory.
  static Result<std::unique_ptr<Engine>>
  create(std::shared_ptr<const Bundle> bundle,
         const SessionOptions &options = {});

  /// An error beyond `options.sequences` at once.
  Result<std::unique_ptr<Sequence>> createSequence();

  /// Patches f32[T, patch * patch * 3] in 0..1 with positions i32[T, 2] (x, y)
  /// to embeddings f32[T, hidden].
  Result<std::vector<float>> embedImage(std::span<const float> patches,
                                        std::span<const int32_t> positions);
  /// Frames f32[T, samples a token] to embeddings f32[T, hidden].
  Result<std::vector<float>> embedAudio(std::span<const float> frames);

  /// Moves every work's sequence by its tokens: all of them or, after an error
  /// or a cancellation, none. The works' tokens together are at most
  /// `memoryPlan().chunk`, their logits at most `memoryPlan().logitRows`; no
  /// block of vision tokens is cut (see PromptFeed).
  Status step(std::span<Work> works);

  /// Whether the bundle has a companion that drafts tokens.
  bool hasCompanion() const { return draftEntry.has_value(); }
  /// Lets the companion draft; no sequence moves. What a step gave is valid no
  /// longer. Each sequence has a position at least, of this engine.
  Status draft(std::span<Draft> drafts);
  /// The companion's logits behind the last of `tokens`, which follow the
  /// sequence's last position; valid until the next call.
  Result<std::span<const float>> draftLogits(const Sequence &sequence,
                                             std::span<const float> hidden,
                                             std::span<const int32_t> tokens);

  /// What is known of drafts and the time that steps take.
  Speculation &speculation() { return *speculationState; }

  /// Rows of hidden states to logits f32[T, vocabulary]. The rows may be copies
  /// that were taken from an earlier step; no sequence moves.
  Status computeLogits(std::span<const float> hidden, std::span<float> logits);
  /// The same, row by row; the logits are valid during the call.
  using LogitsCallback =
      std::function<Status(int64_t row, std::span<const float> logits)>;
  Status computeLogits(std::span<const float> hidden,
                       const LogitsCallback &onLogits);

  /// Whether media replace the embedding of such a token in a prompt.
  bool isSoft(int32_t token) const;
  /// Whether such a token of a prompt belongs to a block that sees itself both
  /// ways.
  bool isBlock(int32_t token) const;

  /// Whether steps of few tokens take the entry point that is made for them, as
  /// they do unless told otherwise; the self-test runs the other one too.
  void setExtending(bool on) { extending = on; }
  /// Whether each choice of candidates that the device can make is made and
  /// compared with the logits, as the self-test has it. What is wrong with one
  /// is the error of the step or draft that it belongs to.
  void setCheckingCandidates(bool on) { checking = on; }
  /// Likeliest tokens that the device chooses for each row of a step; 0: none.
  int64_t candidates() const { return candidateCount; }
  /// The flag is looked at between dispatches while it is set; nullptr: never.
  /// It must live as long as it is set here.
  void setCancelFlag(const std::atomic<bool> *flag) { cancel = flag; }
  const std::atomic<bool> *cancelFlag() const { return cancel; }
  /// See Device::setProfile.
  void setProfile(Profile *profile) { runner->setProfile(profile); }
  const MemoryPlan &memoryPlan() const { return plan; }
  /// Bytes that snapshots take now: at most `options.snapshotMemory`.
  uint64_t snapshotBytes() const { return snapshots.used(); }
  const Bundle &bundle() const { return *file; }
  const Device &device() const { return *runner; }

private:
  friend class Sequence;
  /// What of a row of logits is to come from the device.
  enum class Wanted : uint8_t { Logits, Candidates, Both };
  /// An entry point with the buffers of this engine in the order of its
  /// bindings; outputs by what is wanted.
  struct Entry {
    uint32_t index = 0;
    int64_t maxTokens = 0;
    std::vector<const void *> inputs;
    std::array<std::vector<void *>, 3> outputs;
  };
  explicit Engine(MemoryPlan sheet);
  Status allocate();
  void bind();
  Entry bindEntry(
      std::string_view name,
      std::initializer_list<std::pair<std::string_view, void *>> buffers) const;
  Wanted choose(std::span<const Work> works) const;
  Status run(const Entry &entry, Wanted wanted);
  void handOut(Work &work, size_t firstRow, Wanted wanted) const;
  Status checkCandidates(int64_t rows) const;
  Status ready();
  Result<std::vector<float>> embedRows(std::string_view name,
                                       std::span<const float> values,
                                       int64_t rowValues,
                                       const int32_t *positions);
  Status checkWorks(std::span<const Work> works) const;
  Status checkWork(const Work &work) const;
  /// Writes a work's tokens to the step's inputs from row `begin` on; `rows`
  /// counts the media rows.
  void fillInputs(const Work &work, int64_t begin, int32_t &rows);
  Status runDecode(Work &work, Wanted wanted);
  Status runPrefill(std::span<Work> works, Wanted wanted);
  Status runLogits(const float *hidden, int64_t rows, float *out,
                   Wanted wanted = Wanted::Logits);
  /// A step of the companion for the first `rows` of `steps`, whose tokens are
  /// in the buffer for tokens: hidden states come from the media's buffer in
  /// the first step and in every second one, else from that for hidden states,
  /// and go to the other one.
  Status runDraft(int64_t rows, int64_t step, Wanted wanted);
  Status draftGroup(std::span<Draft *> group);
  int32_t draftedToken(int64_t row, Wanted wanted);

  std::shared_ptr<const Bundle> file;
  std::unique_ptr<Device> runner;
  MemoryPlan plan;
  Snapshots snapshots;
  const std::atomic<bool> *cancel = nullptr;
  Entry prefillEntry, decodeEntry, logitsEntry;
  /// Prefill for few tokens, if the bundle has that.
  std::optional<Entry> extendEntry;
  /// Of the companion, if there is one: its first step, and those that follow
  /// in turn.
  std::optional<Entry> draftEntry, draftOddEntry, draftEvenEntry;
  bool extending = true, checking = false;
  /// Of steps; drafts have them too if the second one says so.
  int64_t candidateCount = 0;
  bool draftsHaveCandidates = false;
  /// Steps' inputs and outputs; reserved at the largest step.
  ReservedMemory tokenBuffer, rowBuffer, visibleBuffer, mediaBuffer,
      hiddenBuffer, logitsBuffer, clusterBuffer, topLogitsBuffer,
      topTokenBuffer;
  std::vector<Step> steps;
  std::unique_ptr<Speculation> speculationState;
  int32_t liveSequences = 0;
  bool takesMedia = false;
  bool weightsVerified = false;
};

} // namespace lapidary
