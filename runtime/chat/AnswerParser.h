// Takes an answer apart as it comes: what the model thinks, what it says, and
// the tools that it calls. Special tokens direct it and come out nowhere; text
// that only spells them is text.
#pragma once

#include "runtime/chat/CallArguments.h"
#include "runtime/model/Generator.h"

#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

/// What a part of an answer adds.
struct AnswerDelta {
  struct Call {
    /// Of the answer's calls, from 0.
    size_t index = 0;
    /// Not empty: the call begins.
    std::string name;
    /// JSON text that follows. All of a call's together is an object.
    std::string arguments;
  };
  std::string reasoning, content;
  std::vector<Call> calls;
};

/// Whether a rendered prompt ends inside a thought, so that the answer goes on
/// with it.
bool endsInThought(std::string_view prompt);

class AnswerParser {
public:
  /// `startsInThought`: the prompt has opened the thought channel.
  AnswerParser(const Tokenizer &tokenizer, bool startsInThought);

  AnswerDelta push(const AnswerPart &part);
  /// Ends the answer: a call that is not whole becomes a valid one.
  AnswerDelta finish();

private:
  enum class State : uint8_t {
    Content,
    ChannelName,
    Thought,
    CallName,
    Call,
    /// A call without a name, to its end.
    Nothing,
  };

  void takeText(std::string_view text, AnswerDelta &delta);
  void takeControl(int32_t token, AnswerDelta &delta);
  void beginCall(AnswerDelta &delta);
  /// `isWhole`: by its own end.
  void endPlace(bool isWhole, AnswerDelta &delta);
  /// Where arguments of the call that is read go.
  std::string &arguments(AnswerDelta &delta) const;

  int32_t channelBegin, channelEnd, callBegin, callEnd, stringMark;
  int32_t turnEnd, responseBegin;
  State state;
  /// A channel's or a function's name, or line ends of a thought that are no
  /// part of it if it ends there.
  std::string pending;
  size_t calls = 0;
  chat::CallArguments current;
};

} // namespace lapidary
