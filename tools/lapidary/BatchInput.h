// A line of `lapidary batch`'s input: one request as JSON.
#pragma once

#include "runtime/chat/ChatConstraint.h"
#include "runtime/chat/ChatTemplate.h"
#include "runtime/grammar/TokenTable.h"
#include "tools/lapidary/Conversation.h"
#include "tools/lapidary/RunOptions.h"

#include <string>
#include <string_view>

namespace lapidary::cli {

struct BatchRequest {
  PreparedPrompt prompt;
  GenerateOptions options;
};

/// What the line calls itself: a string, a number or null; null too for a line
/// that is no object.
nlohmann::ordered_json batchId(std::string_view line);

/// The soft tokens that the line's images ask for at most; 0 where it has no
/// media or is no request.
int64_t batchImageTokens(const schema::Model &model, std::string_view line);

/// What requests are prepared with.
struct BatchModel {
  const schema::Model &model;
  Tokenizer tokenizer;
  ChatTemplate chat;
  TokenTable tokens;
  /// What the command line asks of every answer.
  ChatRules rules;
};

/// Reads a request and its media; `folder` is where relative paths begin.
/// The model must live as long as the request.
Result<BatchRequest> readBatchLine(const BatchModel &model,
                                   const RunOptions &defaults,
                                   const std::string &folder,
                                   std::string_view line);

} // namespace lapidary::cli
