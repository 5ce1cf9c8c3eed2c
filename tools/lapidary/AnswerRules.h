// What the user asks an answer to be: by options, or by the fields of a request
// beside its messages.
#pragma once

#include "runtime/chat/ChatConstraint.h"
#include "tools/lapidary/RunOptions.h"

namespace lapidary::cli {

/// `request`: the JSON of a request, as it was parsed before; empty: none. Its
/// response_format goes before the options.
Result<ChatRules> readAnswerRules(const RunOptions &options,
                                  const std::string &request);

/// Whether an answer is to be constrained: tools alone are not enough, since
/// their calls are text here.
bool asksForRules(const ChatRules &rules);

} // namespace lapidary::cli
