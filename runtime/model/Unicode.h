// The little of Unicode that prompts and tokens need: UTF-8 one character at a
// time, and two of Python's string methods that the checkpoint's prompt
// template leans on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lapidary {

/// What stands for a byte that is no part of any character.
constexpr std::string_view replacementCharacter = "\xEF\xBF\xBD";

enum class Utf8State : uint8_t {
  /// A whole character.
  Complete,
  /// The text ends within what may still become a character.
  Truncated,
  /// The first byte cannot begin a character here.
  Invalid,
};

struct Utf8Character {
  Utf8State state;
  /// The bytes it takes: 1 to 4 when complete, else 1.
  uint8_t size;
  /// The Unicode scalar value when complete, else 0.
  uint32_t value;
};

/// Reads the character at the start of `text`, which is not empty. Overlong
/// forms, surrogates and values above U+10FFFF are invalid.
Utf8Character readUtf8(std::string_view text);

/// Whether `text` is whole characters.
bool isValidUtf8(std::string_view text);

void appendUtf8(std::string &text, uint32_t character);

/// Cuts white space off both ends, as Python's str.strip() does.
std::string_view stripWhiteSpace(std::string_view text);
/// As str.lstrip() and str.rstrip().
std::string_view stripLeft(std::string_view text);
std::string_view stripRight(std::string_view text);
/// What those take for white space.
bool isWhiteSpace(uint32_t character);

/// Python's str.lower(), but for the Greek final sigma, which needs its
/// neighbours. Invalid bytes stay.
std::string lowerCase(std::string_view text);

} // namespace lapidary
