// Tokens sorted by their bytes are the tree in the order of its walk.
#include "runtime/grammar/TokenTable.h"

#include "runtime/core/Text.h"
#include "runtime/model/TokenizerTable.h"
#include "runtime/model/Unicode.h"

#include <algorithm>

namespace lapidary {
namespace {
/// Longer ones are left out of grammars; real ones have up to some hundred.
constexpr size_t longestToken = 1024;

bool isPlainText(std::string_view text) {
  size_t length = 0;
  while (!text.empty()) {
    Utf8Character c = readUtf8(text);
    if (c.state != Utf8State::Complete ||
        (c.size == 1 && !TokenTable::isPlain(static_cast<uint8_t>(text[0]))) ||
        ++length > TokenTable::plainLength)
      return false;
    text.remove_prefix(c.size);
  }
  return true;
}

} // namespace

Result<TokenTable> TokenTable::create(const Tokenizer &tokenizer) {
  TokenTable table;
  const int32_t count = tokenizer.vocabularySize();
  table.offsets.reserve(static_cast<size_t>(count) + 1);
  table.offsets.push_back(0);
  // The first eight bytes as a number decide most comparisons.
  struct Key {
    uint64_t prefix;
    int32_t token;
  };
  std::vector<Key> keys;
  for (int32_t token = 0; token < count; ++token) {
    std::string_view piece = tokenizer.piece(token);
    size_t before = table.text.size();
    if (!tokenizer.isSpecial(token) && piece.size() <= longestToken) {
      if (std::optional<uint8_t> byte = tokenizer::byteOf(piece))
        table.text += static_cast<char>(*byte);
      else
        tokenizer::appendWithSpaces(table.text, piece);
    }
    if (table.text.size() > UINT32_MAX)
      return unsupported("the vocabulary has more than 4 GB of text");
    table.offsets.push_back(static_cast<uint32_t>(table.text.size()));
    if (table.text.size() == before)
      continue;
    uint64_t prefix = 0;
    for (size_t i = 0; i < 8; ++i)
      prefix = prefix << 8 | (before + i < table.text.size()
                                  ? static_cast<uint8_t>(table.text[before + i])
                                  : 0);
    keys.push_back({prefix, token});
  }
  std::sort(keys.begin(), keys.end(), [&](const Key &a, const Key &b) {
    if (a.prefix != b.prefix)
      return a.prefix < b.prefix;
    int order = table.bytes(a.token).compare(table.bytes(b.token));
    return order != 0 ? order < 0 : a.token < b.token;
  });

  std::vector<int32_t> sorted, others;
  table.plain.resize((table.size() + 31) / 32);
  for (const Key &key : keys) {
    sorted.push_back(key.token);
    std::string_view bytes = table.bytes(key.token);
    table.deepest =
        std::max(table.deepest, static_cast<uint16_t>(bytes.size()));
    if (isPlainText(bytes))
      table.plain[key.token / 32] |= 1u << key.token % 32;
    else
      others.push_back(key.token);
  }
  table.everything = table.makeTree(sorted);
  table.rest = table.makeTree(others);
  return table;
}

TokenTable::Tree TokenTable::makeTree(std::span<const int32_t> sorted) const {
  Tree tree;
  // Nodes whose `skip` is not known yet: those on the way to the last token.
  std::vector<uint32_t> open;
  std::string_view last;
  for (int32_t token : sorted) {
    std::string_view now = bytes(token);
    size_t common = static_cast<size_t>(
        std::mismatch(last.begin(), last.end(), now.begin(), now.end()).first -
        last.begin());
    while (open.size() > common) {
      tree.nodes[open.back()].skip = static_cast<uint32_t>(tree.nodes.size());
      open.pop_back();
    }
    for (size_t depth = common; depth < now.size(); ++depth) {
      open.push_back(static_cast<uint32_t>(tree.nodes.size()));
      tree.nodes.push_back({0, static_cast<uint32_t>(tree.tokens.size()),
                            static_cast<uint16_t>(depth),
                            static_cast<uint8_t>(now[depth])});
    }
    tree.tokens.push_back(token);
    last = now;
  }
  for (uint32_t node : open)
    tree.nodes[node].skip = static_cast<uint32_t>(tree.nodes.size());
  return tree;
}

} // namespace lapidary
