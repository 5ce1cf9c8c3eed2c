// From a prompt's ids and media to an answer: embeds, prefills, samples,
// decodes and turns ids into text as they come. What the tools and the C API
// share.
#pragma once

#include "runtime/model/Constraint.h"
#include "runtime/model/Sampler.h"
#include "runtime/model/Session.h"
#include "runtime/model/StopStrings.h"
#include "runtime/model/Tokenizer.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

/// One image, sound or video frame, ready for the model: patches with
/// positions, or frames, or embeddings that Session::embedImage or embedAudio
/// made before. Exactly one of the three is given.
struct MediaInput {
  std::span<const float> patches;
  std::span<const int32_t> positions;
  std::span<const float> frames;
  std::span<const float> embeddings;
};

struct GenerateInput {
  /// Ids with every soft token in place.
  std::span<const int32_t> tokens;
  /// In the order of their soft tokens.
  std::vector<MediaInput> media;
  /// The tokens are the whole conversation, not what follows the state: what
  /// the sequence has in common with it is kept, the rest of its state is
  /// dropped. Media that are kept are not embedded again.
  bool whole = false;
};

/// What an answer grows by, in the order it comes: a piece of visible text, or
/// one special token.
struct AnswerPart {
  /// Whole UTF-8 characters. What could still become a stop string is held
  /// back; empty for a special token.
  std::string_view text;
  /// The special token, -1 for text.
  int32_t control = -1;
  /// The tokens that this completes, with their logprobs if asked for. Those
  /// that a stop string has some text of belong to no part.
  std::span<const TokenChoice> tokens;
};
/// GenerateOptions::draft: as many as are worth it.
inline constexpr int32_t draftAuto = -1;
/// Which are never more than these: steps of 8 tokens read weights once.
inline constexpr int32_t mostAutoDrafts = 7;

struct GenerateOptions {
  /// Tokens of the answer at most; 0: until the context is full.
  int64_t maxTokens = 0;
  SamplerOptions sampling;
  /// Likeliest tokens to report for each token of the answer; 0: none.
  int32_t logprobs = 0;
  /// Whether each token's own logprob is reported, even with no likeliest ones.
  bool chosenLogprobs = false;
  /// Tokens to guess ahead in each step, with the bundle's companion or, where
  /// it has none, from the text so far: they change no odds, only how fast
  /// choices are made. Sums of f32 may end otherwise in their last bit where
  /// steps have several tokens: a sampled text may then, rarely, be another of
  /// the same odds. At most SessionOptions::drafts; 0: none.
  int32_t draft = 0;
  /// Whether the text shows special tokens, the stop token included. They are
  /// text like any other then.
  bool specialTokens = false;
  /// Says which tokens may come; null: all. For this answer alone.
  std::shared_ptr<Constraint> constraint;
  /// Texts that end the answer and are no part of it, where they come in its
  /// content: thoughts, from <|channel> to <channel|>, and calls, from
  /// <|tool_call> to <tool_call|>, may have them. A special token that is not
  /// shown interrupts them; where special tokens are shown, all is content.
  std::vector<std::string> stop;
  /// Gets text as it comes, as parts have it; false stops.
  std::function<bool(std::string_view)> onText;
  /// Gets text and special tokens as they come; false stops.
  std::function<bool(const AnswerPart &)> onPart;
  /// Stops between dispatches once it is true.
  const std::atomic<bool> *cancel = nullptr;
};

struct GenerateResult {
  std::vector<int32_t> promptIds;
  /// Tokens of a whole prompt that the sequence had already.
  int64_t reusedTokens = 0;
  /// The stop token included.
  std::vector<int32_t> ids;
  /// The stop token left out, unless specialTokens; a stop string always.
  std::string text;
  /// One for each token of `ids`, if they were asked for.
  std::vector<TokenChoice> logprobs;
  /// "stop" (a stop token or a stop string), "length" (maxTokens or the
  /// context's end) or "cancelled" (the flag, or onText or onPart said so).
  std::string finishReason;
  /// The stop string that ended it; empty where none did.
  std::string stopString;
  double embedSeconds = 0;
  double prefillSeconds = 0;
  double decodeSeconds = 0;
  /// Steps after the prompt, tokens that were guessed in them, and those of the
  /// guesses that were right.
  int64_t steps = 0;
  int64_t draftedTokens = 0;
  int64_t acceptedTokens = 0;
};

/// Puts the prompt into the session's state and answers it. A cancellation is a
/// result, not an error: it has what came before.
Result<GenerateResult> generate(Session &session, const Tokenizer &tokenizer,
                                const GenerateInput &input,
                                const GenerateOptions &options);

/// An answer as it grows: chooses tokens and turns them into text until the
/// answer ends. `generate` and Scheduler do the steps between.
class Answer {
public:
  /// `options` and `tokenizer` must live as long.
  static Result<std::unique_ptr<Answer>> create(const schema::Model &model,
                                                const Tokenizer &tokenizer,
                                                const GenerateOptions &options);
  /// Chooses the next token by what the last one's step says: the token to
  /// decode, or nothing where the answer has ended. `full`: the context has no
  /// room. Penalties count `result().promptIds`, as they are before the first
  /// call.
  Result<std::optional<int32_t>> next(const TokenScores &scores, bool full);
  /// How many of the likeliest tokens `next` needs the scores of; 0: of all.
  int64_t reach() const;
  /// Ends the text; `reason` stands where the answer has not ended by itself.
  void finish(const char *reason);
  GenerateResult &result() { return gathered; }

private:
  /// A token whose text is not all out, and where that ends in the text since
  /// the last special token.
  struct PendingToken {
    TokenChoice choice;
    size_t end;
  };

  Answer(const schema::Model &model, const Tokenizer &tokenizer,
         const GenerateOptions &options, Sampler sampler, StopStrings stops)
      : model(model), tokenizer(tokenizer), options(options),
        sampler(std::move(sampler)), stops(std::move(stops)),
        decoder(tokenizer, !options.specialTokens) {}
  Result<int32_t> choose(const TokenScores &scores);
  void takeText(const std::string &text);
  void takeControl(const TokenChoice &choice);
  /// What comes before the first token: penalties and a thought that the prompt
  /// begins.
  void readPrompt();
  void release(size_t end);

  const schema::Model &model;
  const Tokenizer &tokenizer;
  const GenerateOptions &options;
  Sampler sampler;
  StopStrings stops;
  StreamDecoder decoder;
  std::vector<uint32_t> mask;
  /// Text since the last special token: how much came, how much of it is out,
  /// and the rest.
  size_t taken = 0, released = 0;
  std::string held;
  /// Neither within a thought nor within a call: stop strings count.
  bool inContent = true;
  /// Kept for onPart only.
  std::vector<PendingToken> pending;
  bool wantsMore = true;
  GenerateResult gathered;
};

/// A prompt ready for a sequence, and the embeddings behind it.
struct EmbeddedPrompt {
  Prompt prompt;
  int64_t reusedTokens = 0;
  double embedSeconds = 0;
  std::vector<std::vector<float>> storage;
};
/// Takes the sequence back to what the input has in common with it, if the
/// input is whole, and embeds the media of the rest.
Result<EmbeddedPrompt> embedPrompt(Engine &engine, Sequence &sequence,
                                   const GenerateInput &input);
/// The whole input as a sequence would remember it.
Result<SequenceHistory> describeInput(const Engine &engine,
                                      const GenerateInput &input);

/// The sampling that the checkpoint suggests.
SamplerOptions suggestedSampling(const schema::Model &model);

} // namespace lapidary
