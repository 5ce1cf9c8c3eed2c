// What the writer of a tokenizer table (frontends/formats/TokenizerTable.cpp)
// and its reader (Tokenizer.cpp) must agree on beyond
// runtime/schema/tokenizer.fbs: the hashes, the limits and the character that
// stands for a space.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <xxhash.h>

namespace lapidary::tokenizer {

constexpr uint32_t tableVersion = 1;
/// No token, no character, an empty slot.
constexpr uint32_t none = UINT32_MAX;
/// Bounds the work that an altered table can cause; written tables need
/// about 30.
constexpr uint32_t maxProbes = 1024;
/// Bounds the walk at every byte of a text; the longest in use have some thirty
/// bytes.
constexpr uint32_t longestAdded = 1024;
/// U+2581, which the vocabulary has in place of the space.
constexpr uint32_t spaceCharacter = 0x2581;
constexpr std::string_view spaceContent = "\xE2\x96\x81";

/// Spreads all bits of the key over the low bits, which choose the slot.
inline uint64_t hashInteger(uint64_t key) {
  key *= 0x9E3779B97F4A7C15; // 2^64 / golden ratio: neighbouring keys land far
                             // apart.
  return key ^ key >> 32;
}
inline uint64_t hashMerge(uint32_t left, uint32_t right) {
  return hashInteger(static_cast<uint64_t>(left) << 32 | right);
}
/// The bit of `joins` for a border between tokens.
inline uint64_t hashJoin(uint32_t last, uint32_t first) {
  return hashInteger(static_cast<uint64_t>(last) << 32 | first);
}
inline uint64_t hashCharacter(uint32_t character) {
  return hashInteger(character);
}
inline uint64_t hashContent(std::string_view content) {
  return XXH3_64bits(content.data(), content.size());
}

/// The byte that a token such as `<0x0A>` stands for. Hexadecimal digits of
/// either case, and "+A" too, because the reference's decoder reads the two
/// characters as Rust reads a number.
inline std::optional<uint8_t> byteOf(std::string_view content) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
  };
  if (content.size() != 6 || !content.starts_with("<0x") || content[5] != '>')
    return std::nullopt;
  int high = content[3] == '+' ? 0 : digit(content[3]), low = digit(content[4]);
  if (high < 0 || low < 0)
    return std::nullopt;
  return static_cast<uint8_t>(high << 4 | low);
}

/// Appends a token's content as text: with spaces.
inline void appendWithSpaces(std::string &text, std::string_view content) {
  for (size_t at;
       (at = content.find(spaceContent)) != std::string_view::npos;) {
    text.append(content.substr(0, at)).append(1, ' ');
    content.remove_prefix(at + spaceContent.size());
  }
  text += content;
}

} // namespace lapidary::tokenizer
