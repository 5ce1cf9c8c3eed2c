// What the user asks an answer to be: by options, or by the fields of a request
// beside its messages.
#pragma once

#include "runtime/chat/ChatConstraint.h"
#include "tools/lapidary/RunOptions.h"

namespace lapidary::cli {

/// What --json-schema and --grammar ask for; reads their files.
Result<ChatRules> readOptionRules(const RunOptions &options);

/// The rules of a request: what its fields ask for, and otherwise the `usual`
/// ones.
Result<ChatRules> readAnswerRules(const ChatRules &usual,
                                  const nlohmann::ordered_json &request);

/// The same for the answer to a rendered prompt: a thought that it ends in is
/// gone on with, and was asked for.
ChatRules rulesAfter(ChatRules rules, std::string_view prompt);

/// Whether an answer is to be constrained: tools alone are not enough, since
/// their calls are text here.
bool asksForRules(const ChatRules &rules);

} // namespace lapidary::cli
