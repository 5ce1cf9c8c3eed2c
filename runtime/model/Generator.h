// From a prompt's ids and media to an answer: embeds, prefills, samples,
// decodes and turns ids into text as they come. What the tools and the C API
// share.
#pragma once

#include "runtime/model/Sampler.h"
#include "runtime/model/Session.h"
#include "runtime/model/Tokenizer.h"

#include <atomic>
#include <functional>
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
};

struct GenerateOptions {
  /// Tokens of the answer at most; 0: until the context is full.
  int64_t maxTokens = 0;
  SamplerOptions sampling;
  /// Likeliest tokens to report for each token of the answer; 0: none.
  int32_t logprobs = 0;
  /// Whether the text shows special tokens, the stop token included.
  bool specialTokens = false;
  /// Gets text as it comes, whole UTF-8 characters; false stops.
  std::function<bool(std::string_view)> onText;
  /// Stops between dispatches once it is true.
  const std::atomic<bool> *cancel = nullptr;
};

struct GenerateResult {
  std::vector<int32_t> promptIds;
  /// The stop token included.
  std::vector<int32_t> ids;
  /// The stop token left out, unless specialTokens.
  std::string text;
  /// One list a token of `ids`, best first.
  std::vector<std::vector<TokenLogprob>> logprobs;
  /// "stop" (a stop token), "length" (maxTokens or the context's end) or
  /// "cancelled" (the flag, or onText said so).
  std::string finishReason;
  double embedSeconds = 0;
  double prefillSeconds = 0;
  double decodeSeconds = 0;
};

/// Appends the prompt to the session's state and answers it. A cancellation is
/// a result, not an error: it has what came before.
Result<GenerateResult> generate(Session &session, const Tokenizer &tokenizer,
                                const GenerateInput &input,
                                const GenerateOptions &options);

/// The sampling that the checkpoint suggests.
SamplerOptions suggestedSampling(const schema::Model &model);

} // namespace lapidary
