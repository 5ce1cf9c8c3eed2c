// What a sequence has read: its tokens, and which media stand behind its soft
// tokens. Two prompts that agree here give the same keys and values.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lapidary {

/// Which media row stands for a soft token: a hash of what it was made of.
struct MediaKey {
  uint64_t low = 0, high = 0;
  bool operator==(const MediaKey &) const = default;
};

/// The key of an embedding as it is.
MediaKey hashEmbedding(std::span<const float> row);

class SequenceHistory {
public:
  struct SoftToken {
    int64_t position = 0;
    MediaKey key;
  };

  int64_t size() const { return static_cast<int64_t>(ids.size()); }
  std::span<const int32_t> tokens() const { return ids; }
  /// In the order of their positions.
  std::span<const SoftToken> softTokens() const { return soft; }

  void append(int32_t token) { ids.push_back(token); }
  void append(int32_t token, const MediaKey &key) {
    soft.push_back({size(), key});
    ids.push_back(token);
  }
  /// Keeps the first `count` tokens.
  void cut(int64_t count);
  /// Whether media stand behind the token at `position`.
  bool isSoft(int64_t position) const;

  /// How many tokens `other` and this begin with alike, media included.
  int64_t commonPrefix(const SequenceHistory &other) const;

private:
  std::vector<int32_t> ids;
  std::vector<SoftToken> soft;
};

} // namespace lapidary
