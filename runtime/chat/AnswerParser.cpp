// `<|channel>thought\n...<channel|>` is thought, `<|tool_call>call:name{...}
// <tool_call|>` a call, and the rest is content.
#include "runtime/chat/AnswerParser.h"

#include "runtime/model/Unicode.h"

namespace lapidary {

namespace {

/// A function's name that is longer is none.
constexpr size_t longestName = 256;

void dropEmpty(AnswerDelta &delta) {
  std::erase_if(delta.calls, [](const AnswerDelta::Call &call) {
    return call.name.empty() && call.arguments.empty();
  });
}

} // namespace

bool endsInThought(std::string_view prompt) {
  const size_t opened = prompt.rfind("<|channel>");
  const size_t closed = prompt.rfind("<channel|>");
  const size_t turn = prompt.rfind("<|turn>");
  return opened != std::string_view::npos &&
         (turn == std::string_view::npos || opened > turn) &&
         (closed == std::string_view::npos || closed < opened);
}

AnswerParser::AnswerParser(const Tokenizer &tokenizer, bool startsInThought)
    : channelBegin(tokenizer.idOf("<|channel>").value_or(-2)),
      channelEnd(tokenizer.idOf("<channel|>").value_or(-2)),
      callBegin(tokenizer.idOf("<|tool_call>").value_or(-2)),
      callEnd(tokenizer.idOf("<tool_call|>").value_or(-2)),
      stringMark(tokenizer.idOf("<|\"|>").value_or(-2)),
      turnEnd(tokenizer.idOf("<turn|>").value_or(-2)),
      responseBegin(tokenizer.idOf("<|tool_response>").value_or(-2)),
      state(startsInThought ? State::Thought : State::Content) {}

std::string &AnswerParser::arguments(AnswerDelta &delta) const {
  if (delta.calls.empty() || delta.calls.back().index != calls - 1)
    delta.calls.push_back({calls - 1, {}, {}});
  return delta.calls.back().arguments;
}

AnswerDelta AnswerParser::push(const AnswerPart &part) {
  AnswerDelta delta;
  if (part.control >= 0)
    takeControl(part.control, delta);
  else if (!part.text.empty())
    takeText(part.text, delta);
  dropEmpty(delta);
  return delta;
}

AnswerDelta AnswerParser::finish() {
  AnswerDelta delta;
  endPlace(false, delta);
  dropEmpty(delta);
  return delta;
}

void AnswerParser::takeText(std::string_view text, AnswerDelta &delta) {
  switch (state) {
  case State::Content:
    delta.content += text;
    return;
  case State::ChannelName: {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos)
      return;
    state = State::Thought;
    return takeText(text.substr(end + 1), delta);
  }
  case State::Thought: {
    pending += text;
    const size_t size = pending.find_last_not_of('\n') + 1;
    delta.reasoning.append(pending, 0, size);
    pending.erase(0, size);
    return;
  }
  case State::CallName: {
    const size_t end = text.find('{');
    pending += text.substr(0, end);
    if (end == std::string_view::npos)
      return;
    beginCall(delta);
    if (state == State::Call)
      current.text(text.substr(end + 1), arguments(delta));
    return;
  }
  case State::Call:
    current.text(text, arguments(delta));
    return;
  case State::Nothing:
    return;
  }
}

/// The name is known. One that is none makes the call's text vanish.
void AnswerParser::beginCall(AnswerDelta &delta) {
  std::string_view name = stripWhiteSpace(pending);
  if (name.starts_with("call:"))
    name = stripWhiteSpace(name.substr(5));
  state = State::Nothing;
  if (name.empty() || name.size() > longestName)
    return;
  state = State::Call;
  delta.calls.push_back({calls++, std::string(name), {}});
  current = {};
  pending.clear();
}

/// Leaves thought or call in order.
void AnswerParser::endPlace(bool isWhole, AnswerDelta &delta) {
  if (state == State::CallName && isWhole)
    beginCall(delta);
  if (state == State::Call)
    current.finish(arguments(delta));
  pending.clear();
  state = State::Content;
}

void AnswerParser::takeControl(int32_t token, AnswerDelta &delta) {
  if (token == stringMark) {
    if (state == State::Call)
      current.stringMark(arguments(delta));
    return;
  }
  const bool begins = token == channelBegin || token == callBegin;
  if (!begins && token != channelEnd && token != callEnd && token != turnEnd &&
      token != responseBegin)
    return;
  // The end of a channel says nothing in a call, nor that of a call elsewhere.
  const bool isCall = state == State::Call || state == State::CallName ||
                      state == State::Nothing;
  if ((token == channelEnd && isCall) || (token == callEnd && !isCall))
    return;
  endPlace(token == callEnd, delta);
  if (begins)
    state = token == channelBegin ? State::ChannelName : State::CallName;
}

} // namespace lapidary
