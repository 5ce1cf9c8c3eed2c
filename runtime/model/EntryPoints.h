// What planning a session and running it both ask of a program: its entry
// points by name, and the blocks of vision tokens in a prompt.
#pragma once

#include "runtime/schema/bundle_generated.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace lapidary {

inline int64_t roundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// The index of an entry point by name; nothing when the target has none.
std::optional<uint32_t> findEntry(const schema::Target &target,
                                  std::string_view name);
/// max_tokens of an entry point; 0 when the target has none.
int64_t maxTokens(const schema::Target &target, std::string_view name);

inline bool isVisionToken(const schema::Model &model, int32_t token) {
  return token >= 0 &&
         (token == model.image_token() || token == model.video_token());
}

/// The length of the longest run of vision tokens.
int64_t longestVisionBlock(const schema::Model &model,
                           std::span<const int32_t> tokens);

} // namespace lapidary
