// Thought and content by the channel's marks; calls are left out.
#include "runtime/chat/AnswerParser.h"

namespace lapidary {

AnswerParser::AnswerParser(const Tokenizer &tokenizer, bool startsInThought)
    : tokenizer(tokenizer), inThought(startsInThought) {}

AnswerDelta AnswerParser::push(const AnswerPart &part) {
  AnswerDelta delta;
  if (part.control >= 0) {
    const std::string_view mark = tokenizer.piece(part.control);
    if (mark == "<|channel>")
      inThought = atName = true;
    else if (mark == "<channel|>")
      inThought = false;
    else if (mark == "<|tool_call>" || mark == "<tool_call|>")
      inCall = mark == "<|tool_call>";
    return delta;
  }
  std::string text(part.text);
  if (inCall)
    return delta;
  if (inThought && atName) {
    const size_t end = text.find('\n');
    atName = end == std::string::npos;
    text.erase(0, atName ? text.size() : end + 1);
  }
  (inThought ? delta.reasoning : delta.content) = std::move(text);
  return delta;
}

AnswerDelta AnswerParser::finish() { return {}; }

} // namespace lapidary
