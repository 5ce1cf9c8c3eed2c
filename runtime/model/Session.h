// One conversation with a model: its KV caches, the position in them, and the
// steps that move it. Cuts prompts into chunks, puts media embeddings into
// place and says what each position may see; the device does the arithmetic.
#pragma once

#include "runtime/core/Memory.h"
#include "runtime/devices/Device.h"

#include <functional>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace lapidary {

struct SessionOptions {
  /// Positions that the session can hold; 0: the model's longest.
  int64_t context = 0;
  /// Tokens a prefill step takes at most, a multiple of 16, at most what the
  /// bundle was compiled for. A vision block (an image's soft tokens) must fit
  /// in it: see `requiredChunk`. 0: 512, or less where the bundle or context
  /// has less.
  int64_t chunk = 0;
  /// 0: all that this process may use.
  int32_t threads = 0;
  std::string device = "cpu";
};

/// The memory sheet: what a session takes at its full context.
struct MemoryPlan {
  struct Cache {
    std::string name;
    bool ring = false;
    int64_t rows = 0;
    uint64_t bytes = 0;
  };
  uint64_t weights = 0;
  uint64_t caches = 0;
  uint64_t arenas = 0;
  uint64_t scratch = 0;
  /// Logits and the inputs and outputs of steps.
  uint64_t logits = 0;
  uint64_t total = 0;
  /// The part of it that is touched only when media are embedded.
  uint64_t media = 0;
  /// What the machine has left.
  uint64_t available = 0;
  /// The options after defaults were put in.
  int64_t context = 0;
  int64_t chunk = 0;
  int32_t threads = 0;
  std::vector<Cache> cacheLines;

  bool fits() const { return total <= available; }
  /// OutOfMemory with the sheet's figures when it does not fit.
  Status check() const;
  DeviceOptions deviceOptions() const;
};

/// Loads nothing and allocates nothing but the answer.
Result<MemoryPlan> planMemory(const schema::Program &program,
                              const SessionOptions &options);

/// The chunk to create a session with for a prompt of `tokens`: what `options`
/// give, or more where the longest vision block needs it. An error when the
/// bundle's prefill cannot take that block.
Result<int64_t> requiredChunk(const schema::Program &program,
                              std::span<const int32_t> tokens,
                              const SessionOptions &options = {});

/// Used by one thread at a time, except `cancel`. Holds the bundle alive.
class Session {
public:
  /// Refuses with OutOfMemory and the sheet's figures what will not fit in the
  /// machine's memory.
  static Result<std::unique_ptr<Session>>
  create(std::shared_ptr<const Bundle> bundle,
         const SessionOptions &options = {});

  /// Patches f32[T, patch * patch * 3] in 0..1 with positions i32[T, 2] (x, y)
  /// to embeddings f32[T, hidden].
  Result<std::vector<float>> embedImage(std::span<const float> patches,
                                        std::span<const int32_t> positions);
  /// Frames f32[T, samples a token] to embeddings f32[T, hidden].
  Result<std::vector<float>> embedAudio(std::span<const float> frames);

  struct Prompt {
    /// Ids with every soft token in place.
    std::span<const int32_t> tokens;
    /// The embeddings of each media item, in the order of its soft tokens.
    std::vector<std::span<const float>> media;
  };
  /// Gets the logits of prompt positions as they are computed, in order; valid
  /// during the call. `row` counts from the prompt's first token. An error
  /// stops the prefill.
  using LogitsCallback =
      std::function<Status(int64_t row, std::span<const float> logits)>;

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

  /// Logits of the last position, one a vocabulary entry; empty before the
  /// first step.
  std::span<const float> logits() const;
  /// What the model's last layer gave for each token of the last prefill step,
  /// f32[T, hidden]: of the whole prompt, if that was no longer than a chunk.
  /// Empty after a decode; valid until the next step.
  std::span<const float> hiddenStates() const;
  /// Rows of hidden states to logits f32[T, vocabulary]. The rows may be copies
  /// that were taken from an earlier step; the state stays as it is.
  Status computeLogits(std::span<const float> hidden, std::span<float> logits);
  /// Tokens in the state.
  int64_t position() const { return past; }
  int64_t context() const { return plan.context; }
  /// Back to an empty state; memory of the caches is given back.
  void reset();

  /// For measurements: from here on the state is one of `position` tokens whose
  /// keys and values are all zero. The first call gives the caches all of their
  /// memory.
  Status assumeTokens(int64_t position);
  /// See Device::setProfile.
  void setProfile(Profile *profile) { runner->setProfile(profile); }

  /// The flag is looked at between dispatches while it is set; nullptr: never.
  /// It must live as long as it is set here.
  void setCancelFlag(const std::atomic<bool> *flag) { cancel = flag; }
  const std::atomic<bool> *cancelFlag() const { return cancel; }
  const MemoryPlan &memoryPlan() const { return plan; }
  const Bundle &bundle() const { return *file; }
  const Device &device() const { return *runner; }

private:
  /// An entry point with the buffers of this session in the order of its
  /// bindings.
  struct Entry {
    uint32_t index = 0;
    int64_t maxTokens = 0;
    std::vector<const void *> inputs;
    std::vector<void *> outputs;
  };
  Session() = default;
  Status allocate();
  void bind();
  Entry bindEntry(
      std::string_view name,
      std::initializer_list<std::pair<std::string_view, void *>> buffers) const;
  Status ready();
  Result<std::vector<float>> embedRows(std::string_view name,
                                       std::span<const float> values,
                                       int64_t rowValues,
                                       const int32_t *positions);
  Status checkPrompt(const Prompt &prompt) const;
  /// Runs one step; takes the embeddings of its soft tokens off the front of
  /// `media`.
  Status runChunk(std::span<const int32_t> tokens,
                  std::span<const float *const> &media);
  Status runLogits(const float *hidden, int64_t rows, float *out);
  Status reportLogits(int64_t begin, int64_t end,
                      const LogitsCallback &onLogits, int64_t firstRow,
                      bool last);
  /// Whether media replace the token's embedding.
  bool isSoft(int32_t token) const;
  /// Whether the token belongs to a block that sees itself both ways.
  bool isBlock(int32_t token) const;

  std::shared_ptr<const Bundle> file;
  std::unique_ptr<Device> runner;
  MemoryPlan plan;
  const std::atomic<bool> *cancel = nullptr;
  Entry prefillEntry, decodeEntry, logitsEntry;
  /// Steps' inputs and outputs; reserved at the largest step.
  ReservedMemory tokenBuffer, rowBuffer, visibleBuffer, mediaBuffer,
      hiddenBuffer, logitsBuffer, batchBuffer;
  int64_t past = 0;
  /// Rows of hiddenBuffer that the last step filled.
  int64_t hiddenRows = 0;
  bool takesMedia = false;
  bool hasLogits = false;
  /// Whether the state's last token is of a block, which no later prompt may
  /// continue.
  bool endsInBlock = false;
  bool weightsVerified = false;
  /// By assumeTokens, since the last reset.
  bool touched = false;
};

} // namespace lapidary
