// A request in the server's own form, which all four APIs are read into: what
// to say to the model, what comes with it, and how to answer.
#pragma once

#include "runtime/chat/ChatConstraint.h"
#include "runtime/model/Prompt.h"
#include "tools/serve/Fields.h"

#include <utility>
#include <vector>

namespace lapidary::serve {

enum class Api : uint8_t { Chat, Completion, Responses, Messages };

/// OpenAI's `detail` of an image, or a number of soft tokens.
enum class Detail : uint8_t { Auto, Low, High };

/// An image, a sound or a video, as it came.
struct MediaSource {
  MediaKind kind = MediaKind::Image;
  /// The file, or where it is: one of the two.
  std::vector<uint8_t> bytes;
  std::string url;
  /// The field that it came in, for messages.
  std::string place;
  Detail detail = Detail::Auto;
  /// Asked for by number; 0: as `detail` says.
  int32_t softTokens = 0;
  /// A video as pictures, in place of a file, so many a second.
  std::vector<MediaSource> frames;
  double framesPerSecond = 0;
};

struct SamplingFields {
  std::optional<double> temperature, topP, minP, typicalP;
  std::optional<double> repeatPenalty, presencePenalty, frequencyPenalty;
  std::optional<int64_t> topK, repeatLastN;
  std::optional<uint64_t> seed;
  std::vector<std::pair<int32_t, float>> logitBias;
};

struct ChatRequest {
  Api api = Api::Chat;
  /// As the client named it; answers repeat it.
  std::string model;

  /// For the chat template: OpenAI's form, media as {"type": "image"} and so
  /// on, in the order of `media`.
  Json messages = Json::array();
  /// Of the template, `tools` aside.
  Json templateOptions = Json::object();
  std::vector<MediaSource> media;
  /// Of a completion, instead of messages: text, or token ids.
  std::vector<std::string> prompts;
  std::vector<std::vector<int32_t>> promptIds;

  bool stream = false;
  bool includeUsage = false;
  /// Answers to each prompt.
  int32_t choices = 1;
  /// 0: until the context is full.
  int64_t maxTokens = 0;
  /// Seconds for the answer; 0: as long as the server allows.
  double maxSeconds = 0;
  bool logprobs = false;
  int32_t topLogprobs = 0;
  std::vector<std::string> stop;
  SamplingFields sampling;
  bool ignoreEnd = false;
  bool thinking = false;
  ChatRules rules;
  /// What an answer of /v1/responses repeats as it came.
  Json echoed = Json::object();
};

/// Whether rules bind an answer's form, thoughts aside.
inline bool isShaped(const ChatRules &rules) {
  return rules.shapesContent() ||
         rules.toolChoice != ChatRules::ToolChoice::None;
}

/// What requests are held against.
struct RequestLimits {
  /// Bytes of one medium.
  size_t maxMedia = size_t(32) << 20;
  /// Media of one request, each frame of a video counted.
  size_t maxMediaCount = 128;
  int32_t maxChoices = 8;
  /// Tokens of one answer; 0: until the context is full.
  int64_t maxTokens = 0;
  int32_t vocabulary = 1 << 20;
  /// Hosts that media may be fetched from, in any case.
  std::vector<std::string> mediaHosts;
};

/// Each reads one API's body; what is wrong goes to `problems`.
ChatRequest parseChat(const Json &body, const RequestLimits &limits,
                      Problems &problems);
ChatRequest parseCompletion(const Json &body, const RequestLimits &limits,
                            Problems &problems);
ChatRequest parseResponses(const Json &body, const RequestLimits &limits,
                           Problems &problems);
/// `counting`: of /v1/messages/count_tokens, which needs no max_tokens.
ChatRequest parseMessages(const Json &body, const RequestLimits &limits,
                          Problems &problems, bool counting = false);

} // namespace lapidary::serve
