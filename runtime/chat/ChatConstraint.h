// What a request says about the form of its answer: tools, a schema, a grammar,
// a budget of thought.
#pragma once

#include "runtime/model/Constraint.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace lapidary {

struct ChatRules {
  nlohmann::ordered_json tools;
  enum class ToolChoice : uint8_t { None, Auto, Required };
  ToolChoice toolChoice = ToolChoice::Auto;
  /// The one to call.
  std::string toolName;
  bool parallelCalls = true;
  std::optional<nlohmann::ordered_json> schema;
  bool jsonObject = false;
  /// GBNF.
  std::string grammar;
  /// Tokens of thought at most; -1: no limit.
  int64_t thinkingBudget = -1;
  bool startsInThought = false;
};

} // namespace lapidary
