// The bytes of every token of a vocabulary as one tree, so that a grammar looks
// at what tokens have in common once.
#pragma once

#include "runtime/model/Tokenizer.h"

namespace lapidary {

/// Made once for a tokenizer and shared by all answers; read only.
class TokenTable {
public:
  /// In the order of a walk that visits a node before what is below it.
  struct Node {
    /// Where the walk goes on if nothing below this node is wanted.
    uint32_t skip;
    /// Index into `tokens` of the first token at or below this node. Those of
    /// the node itself end where the next node's begin.
    uint32_t tokens;
    uint16_t depth;
    uint8_t byte;
  };
  struct Tree {
    std::vector<Node> nodes;
    /// In the order of their bytes.
    std::vector<int32_t> tokens;
  };

  /// Takes some tens of milliseconds for 262,144 tokens.
  static Result<TokenTable> create(const Tokenizer &tokenizer);

  int32_t vocabularySize() const { return static_cast<int32_t>(size()); }
  /// The bytes that a token adds to the text; empty for control tokens and ids
  /// without a token.
  std::string_view bytes(int32_t token) const {
    if (token < 0 || static_cast<size_t>(token) >= size())
      return {};
    return std::string_view(text).substr(offsets[token],
                                         offsets[token + 1] - offsets[token]);
  }
  /// All tokens that have bytes.
  const Tree &all() const { return everything; }
  /// Most tokens are plain: whole characters, at most `plainLength` of them,
  /// and none that means something within JSON's strings (isPlain). Where a
  /// grammar takes any plain characters, they need no walk.
  static constexpr size_t plainLength = 12;
  static constexpr bool isPlain(uint8_t ascii) {
    return ascii >= ' ' && ascii < 0x7F && ascii != '"' && ascii != '\\';
  }
  /// One bit a token.
  std::span<const uint32_t> plainTokens() const { return plain; }
  /// The tokens that are not plain.
  const Tree &others() const { return rest; }
  /// Bytes of the longest token.
  uint16_t longest() const { return deepest; }

private:
  Tree makeTree(std::span<const int32_t> sorted) const;
  size_t size() const { return offsets.size() - 1; }
  std::string text;
  std::vector<uint32_t> offsets;
  Tree everything, rest;
  std::vector<uint32_t> plain;
  uint16_t deepest = 0;
};

} // namespace lapidary
