// Sorts an answer as it comes: thought, content and tool calls.
#pragma once

#include "runtime/model/Generator.h"

#include <string>
#include <vector>

namespace lapidary {

/// What a part of an answer adds.
struct AnswerDelta {
  struct Call {
    size_t index = 0;
    /// Not empty: the call begins.
    std::string name;
    /// JSON text that follows.
    std::string arguments;
  };
  std::string reasoning, content;
  std::vector<Call> calls;
};

class AnswerParser {
public:
  AnswerParser(const Tokenizer &tokenizer, bool startsInThought);
  AnswerDelta push(const AnswerPart &part);
  AnswerDelta finish();

private:
  const Tokenizer &tokenizer;
  bool inThought, inCall = false, atName = false;
};

} // namespace lapidary
