// From an answer as it grows to what each API sends: one JSON object at the
// end, or events of a stream. No socket and no engine is needed here.
#pragma once

#include "runtime/chat/AnswerParser.h"
#include "tools/serve/ChatRequest.h"

#include <memory>

namespace lapidary::serve {

struct Usage {
  int64_t promptTokens = 0, cachedTokens = 0;
  int64_t answerTokens = 0, reasoningTokens = 0;
  double promptSeconds = 0, answerSeconds = 0;
  int64_t draftedTokens = 0, acceptedTokens = 0;
};

/// A token of an answer as a reply shows it.
struct ReplyToken {
  struct Likely {
    std::string text;
    int32_t id = 0;
    float logprob = 0;
  };
  std::string text;
  int32_t id = 0;
  float logprob = 0;
  std::vector<Likely> top;
};

/// How an answer ended.
struct Ending {
  /// "stop", "length" or "cancelled", as GenerateResult has it.
  std::string reason;
  std::string stopString;
  Usage usage;
};

/// All of one answer.
struct GatheredAnswer {
  struct Call {
    std::string id, name, arguments;
  };
  std::string reasoning, content;
  std::vector<Call> calls;
  std::vector<ReplyToken> tokens;
  Ending ending;

  /// `head` and `answer`: what the ids of calls are made of.
  void add(const AnswerDelta &delta, const std::vector<ReplyToken> &more,
           const std::string &head, size_t answer);
};

/// What all replies to one request say alike.
struct ReplyHead {
  /// Random, without a prefix.
  std::string id;
  std::string model;
  int64_t created = 0;
  bool includeUsage = false;
  bool logprobs = false;
  /// Answers to each prompt, which follow each other.
  size_t choices = 1;
  /// What an answer of /v1/responses repeats of its request.
  Json echoed = Json::object();
};

/// Writes one API's replies; used by one thread.
class ReplyWriter {
public:
  virtual ~ReplyWriter() = default;

  /// The whole answer at once.
  virtual Json whole(const std::vector<GatheredAnswer> &answers) = 0;

  /// Events of a stream, ready to send; any of them may be empty. `tokens`
  /// counts those of the prompt.
  virtual std::string begin(int64_t tokens) = 0;
  virtual std::string push(size_t answer, const AnswerDelta &delta,
                           const std::vector<ReplyToken> &tokens) = 0;
  /// `gathered`: all that was pushed.
  virtual std::string end(size_t answer, const GatheredAnswer &gathered) = 0;
  virtual std::string close(const std::vector<GatheredAnswer> &answers) = 0;
  /// Instead of the rest.
  virtual std::string fail(const ApiError &error) = 0;
};

std::unique_ptr<ReplyWriter> makeReplyWriter(Api api, ReplyHead head);
std::unique_ptr<ReplyWriter> makeChatWriter(ReplyHead head);
std::unique_ptr<ReplyWriter> makeCompletionWriter(ReplyHead head);
std::unique_ptr<ReplyWriter> makeResponsesWriter(ReplyHead head);
std::unique_ptr<ReplyWriter> makeMessagesWriter(ReplyHead head);

/// Characters of [A-Za-z0-9] that nobody can guess.
std::string randomId(size_t length = 24);
/// The usage of all answers together: a prompt that `choices` of them share
/// counts once.
Usage sumUsage(const std::vector<GatheredAnswer> &answers, size_t choices);
/// OpenAI's usage object and llama-server's timings.
Json usageJson(const Usage &usage);
Json timingsJson(const Usage &usage);
/// OpenAI's finish_reason.
const char *finishReason(const GatheredAnswer &answer);
/// Puts what was used into a reply of OpenAI's form.
void addUsage(Json &reply, const Usage &usage);
/// The ends of streams of OpenAI's chats and completions: what was used, where
/// it was asked for, in `envelope`, or what failed; then [DONE].
std::string closeStream(const ReplyHead &head, Json envelope,
                        const std::vector<GatheredAnswer> &answers);
std::string failStream(const ApiError &error);
/// "data: ...\n\n", with `event: NAME` before it where there is one.
std::string sseEvent(const Json &data, const char *event = nullptr);
/// One of chat's entries of logprobs.
Json logprobJson(const ReplyToken &token);
/// Id of a call: the same one in a stream and at its end.
std::string callId(const std::string &head, size_t answer, size_t call);

} // namespace lapidary::serve
