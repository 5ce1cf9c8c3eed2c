// Tokens sorted by their bytes are the tree in the order of its walk.
#include "runtime/grammar/TokenTable.h"

#include "runtime/core/Text.h"
#include "runtime/model/TokenizerTable.h"

#include <algorithm>

namespace lapidary {
namespace {
/// Longer ones are left out of grammars; real ones have up to some hundred.
constexpr size_t longestToken = 1024;
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
      if (std::optional<uint8_t> byte = tokenizer::byteOf(piece)) {
        table.text += static_cast<char>(*byte);
      } else {
        for (size_t at; (at = piece.find(tokenizer::spaceContent)) !=
                        std::string_view::npos;) {
          table.text += piece.substr(0, at);
          table.text += ' ';
          piece.remove_prefix(at + tokenizer::spaceContent.size());
        }
        table.text += piece;
      }
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

  // Nodes whose `skip` is not known yet: those on the way to the last token.
  std::vector<uint32_t> open;
  std::string_view last;
  for (const Key &key : keys) {
    std::string_view bytes = table.bytes(key.token);
    size_t common =
        std::mismatch(last.begin(), last.end(), bytes.begin(), bytes.end())
            .first -
        last.begin();
    while (open.size() > common) {
      table.tree[open.back()].skip = static_cast<uint32_t>(table.tree.size());
      open.pop_back();
    }
    for (size_t depth = common; depth < bytes.size(); ++depth) {
      open.push_back(static_cast<uint32_t>(table.tree.size()));
      table.tree.push_back({0, static_cast<uint32_t>(table.order.size()),
                            static_cast<uint16_t>(depth),
                            static_cast<uint8_t>(bytes[depth])});
    }
    table.order.push_back(key.token);
    table.deepest =
        std::max(table.deepest, static_cast<uint16_t>(bytes.size()));
    last = bytes;
  }
  for (uint32_t node : open)
    table.tree[node].skip = static_cast<uint32_t>(table.tree.size());
  return table;
}

} // namespace lapidary
