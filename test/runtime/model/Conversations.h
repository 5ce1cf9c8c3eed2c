// Conversations for the synthetic model, with what it finds in them at every
// position.
#pragma once

#include "test/runtime/TestBundle.h"

#include "runtime/model/Engine.h"
#include "runtime/model/PromptFeed.h"

#include <random>

namespace lapidary::synthetic {

inline std::unique_ptr<Engine>
makeEngine(const SessionOptions &options,
           std::shared_ptr<const Bundle> bundle = openBundle()) {
  auto engine = Engine::create(std::move(bundle), options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return engine.ok() ? *std::move(engine) : nullptr;
}

/// What a test compares of a row: all but the tokens in its step.
inline std::vector<float> facts(std::span<const float> row) {
  return {row.begin(), row.begin() + 7};
}

struct Conversation {
  std::vector<int32_t> tokens;
  /// `hidden` values a soft token.
  std::vector<float> media;
  std::vector<std::vector<float>> expected;

  void text(size_t count, unsigned seed) {
    std::mt19937 random(seed);
    for (size_t index = 0; index < count; ++index)
      tokens.push_back(8 + int32_t(random() % 30));
  }
  void item(int32_t token, size_t count, unsigned seed) {
    tokens.insert(tokens.end(), count, token);
    for (size_t row = 0; row < count; ++row) {
      std::vector<float> values(hidden);
      values[0] = float(seed % 10 + row % 7);
      values[hidden - 1] = float(seed + row);
      media.insert(media.end(), values.begin(), values.end());
    }
  }
  void finish() { expected = expectedHidden(tokens, media); }
  /// The tokens [begin, end) as a prompt.
  Prompt prompt(size_t begin, size_t end) const {
    auto soft = [&](size_t from, size_t to) {
      return size_t(std::count_if(tokens.begin() + long(from),
                                  tokens.begin() + long(to), isSoft));
    };
    Prompt prompt;
    prompt.tokens = std::span(tokens).subspan(begin, end - begin);
    if (size_t rows = soft(begin, end))
      prompt.media = {
          std::span(media).subspan(soft(0, begin) * hidden, rows * hidden)};
    return prompt;
  }
  /// A length of which the last `count` tokens are cut off, or fewer: what
  /// follows must be text, which an answer may be.
  size_t textEnd(size_t count) const {
    size_t end = tokens.size();
    while (end > 1 && count-- > 0 && !isSoft(tokens[end - 1]))
      --end;
    return end;
  }
};

inline Conversation textConversation(size_t length, unsigned seed) {
  Conversation conversation;
  conversation.text(length, seed);
  conversation.finish();
  return conversation;
}

/// Text, an image of 16, two images side by side, a sound, video frames.
inline Conversation mediaConversation(unsigned seed = 0) {
  Conversation c;
  c.text(9, seed);
  c.item(imageToken, 16, seed);
  c.text(3, seed + 1);
  c.item(imageToken, 6, seed + 2);
  c.item(videoToken, 9, seed + 3);
  c.text(1, seed + 4);
  c.item(audioToken, 40, seed + 5);
  c.text(20, seed + 6);
  c.item(videoToken, 12, seed + 7);
  c.text(1, seed + 8);
  c.item(videoToken, 12, seed + 9);
  c.text(25, seed + 10);
  c.finish();
  return c;
}

} // namespace lapidary::synthetic
