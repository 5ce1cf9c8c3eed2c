// How values that a tool's declaration, call or schema holds are written in a
// prompt: the pieces of Gemma 4's prompt form below turns.
#pragma once

#include "runtime/core/Status.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <utility>
#include <vector>

namespace lapidary::prompt {

/// Text within the mark that delimits strings.
std::string quote(const std::string &text);

/// "an object", "a string", ...: what an error says it found.
std::string describe(const nlohmann::json &value);
Status wrongType(const std::string &path, const std::string &expected,
                 const nlohmann::json *found);

/// A member, or null if it is absent.
const nlohmann::json *find(const nlohmann::json &object, const char *key);
/// Whether the template takes it as a yes: not absent, null, false, zero or
/// empty.
bool isTrue(const nlohmann::json *value);

/// The members by key, upper and lower case alike, as the template's `dictsort`
/// gives them.
std::vector<std::pair<std::string, const nlohmann::json *>>
sortedItems(const nlohmann::json &object);

/// Appends a value: strings quoted, `true`, objects and lists with their
/// members, null and numbers as Python prints them.
Status appendValue(std::string &text, const nlohmann::json &value,
                   bool quoteKeys, const std::string &path, int depth = 0);

/// Appends a tool's declaration, marks included. `function` is its `function`
/// member.
Status appendDeclaration(std::string &text, const nlohmann::json &function,
                         const std::string &path);

} // namespace lapidary::prompt
