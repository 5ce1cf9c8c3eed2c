// Positions are in bytes and marks are skipped where characters are looked at,
// so that texts without marks take the short way.
#include "runtime/chat/TemplateText.h"

#include "runtime/model/Tokenizer.h"
#include "runtime/model/Unicode.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace lapidary::chat {

namespace {

constexpr char mark = Tokenizer::protection;

bool hasMarks(std::string_view text) {
  return text.find(mark) != std::string_view::npos;
}

/// The bytes of `needle` at the start of `text`; nothing where it is not there.
std::optional<size_t> matchHere(std::string_view text,
                                std::string_view needle) {
  size_t at = 0;
  for (char c : needle) {
    while (at < text.size() && text[at] == mark)
      ++at;
    if (at == text.size() || text[at++] != c)
      return std::nullopt;
  }
  return at;
}

/// The code point at the start of `text`, with the marks that follow it; marks
/// at the start go with it too.
size_t characterSize(std::string_view text) {
  size_t size = 0;
  while (size < text.size() && text[size] == mark)
    ++size;
  if (size < text.size())
    size += readUtf8(text.substr(size)).size;
  while (size < text.size() && text[size] == mark)
    ++size;
  return size;
}

bool isSpace(std::string_view character) {
  const std::string plain = plainText(character);
  return !plain.empty() && isWhiteSpace(readUtf8(plain).value);
}

/// Of an ASCII or other control or format character, or a space that is not
/// ' '. Characters that Unicode does not assign are printed as they are.
bool isPrintable(uint32_t c) {
  constexpr std::pair<uint32_t, uint32_t> hidden[] = {
      {0x0, 0x1F},         {0x7F, 0xA0},       {0xAD, 0xAD},
      {0x600, 0x605},      {0x61C, 0x61C},     {0x6DD, 0x6DD},
      {0x70F, 0x70F},      {0x890, 0x891},     {0x8E2, 0x8E2},
      {0x1680, 0x1680},    {0x180E, 0x180E},   {0x2000, 0x200F},
      {0x2028, 0x202F},    {0x205F, 0x2064},   {0x2066, 0x206F},
      {0x3000, 0x3000},    {0xE000, 0xF8FF},   {0xFEFF, 0xFEFF},
      {0xFFF9, 0xFFFB},    {0x110BD, 0x110BD}, {0x110CD, 0x110CD},
      {0x13430, 0x13438},  {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A},
      {0xE0001, 0xE0001},  {0xE0020, 0xE007F}, {0xF0000, 0xFFFFD},
      {0x100000, 0x10FFFD}};
  return std::ranges::none_of(hidden, [&](const auto &range) {
    return c >= range.first && c <= range.second;
  });
}

void appendHex(std::string &text, uint32_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    text += "0123456789abcdef"[value >> shift & 15];
}

} // namespace

std::string plainText(std::string_view text) {
  return Tokenizer::unprotected(text);
}

int compareText(std::string_view a, std::string_view b) {
  if (!hasMarks(a) && !hasMarks(b))
    return a.compare(b);
  return plainText(a).compare(plainText(b));
}

size_t textLength(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) {
    return c != mark && (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  }));
}

bool isEmptyText(std::string_view text) {
  return text.find_first_not_of(mark) == std::string_view::npos;
}

std::optional<TextMatch> findText(std::string_view text,
                                  std::string_view needle, size_t from) {
  if (!hasMarks(text.substr(from))) {
    const size_t at = text.find(needle, from);
    if (at == std::string_view::npos)
      return std::nullopt;
    return TextMatch{at, needle.size()};
  }
  for (size_t at = from; at <= text.size(); ++at) {
    if (!needle.empty()) {
      at = text.find(needle[0], at);
      if (at == std::string_view::npos)
        return std::nullopt;
    }
    if (auto size = matchHere(text.substr(at), needle))
      return TextMatch{at, *size};
  }
  return std::nullopt;
}

bool beginsWith(std::string_view text, std::string_view needle) {
  return matchHere(text, needle).has_value();
}

bool endsWith(std::string_view text, std::string_view needle) {
  return hasMarks(text) ? plainText(text).ends_with(needle)
                        : text.ends_with(needle);
}

std::string_view trimText(std::string_view text, Sides sides,
                          const std::optional<std::string> &set) {
  if (!set && !hasMarks(text))
    return sides == Sides::Left    ? stripLeft(text)
           : sides == Sides::Right ? stripRight(text)
                                   : stripWhiteSpace(text);
  const std::vector<std::string_view> pieces = characters(text);
  const auto isCut = [&](std::string_view piece) {
    if (!set)
      return isSpace(piece);
    const std::string plain = plainText(piece);
    return plain.empty() || set->find(plain) != std::string::npos;
  };
  size_t begin = 0, end = pieces.size();
  if (sides != Sides::Right)
    while (begin < end && isCut(pieces[begin]))
      ++begin;
  if (sides != Sides::Left)
    while (end > begin && isCut(pieces[end - 1]))
      --end;
  if (begin == end)
    return {};
  return {pieces[begin].data(),
          static_cast<size_t>(pieces[end - 1].data() + pieces[end - 1].size() -
                              pieces[begin].data())};
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    pieces.push_back(text.substr(0, characterSize(text)));
    text.remove_prefix(pieces.back().size());
  }
  return pieces;
}

std::vector<std::string_view>
splitText(std::string_view text, std::string_view separator, size_t most) {
  std::vector<std::string_view> parts;
  if (!separator.empty()) {
    size_t begin = 0;
    while (parts.size() < most) {
      const auto found = findText(text, separator, begin);
      if (!found)
        break;
      parts.push_back(text.substr(begin, found->at - begin));
      begin = found->at + found->size;
    }
    parts.push_back(text.substr(begin));
    return parts;
  }
  for (text = trimText(text, Sides::Left); !text.empty();
       text = trimText(text, Sides::Left)) {
    size_t end = parts.size() < most ? 0 : trimText(text, Sides::Right).size();
    while (parts.size() < most && end < text.size() &&
           !isSpace(text.substr(end, characterSize(text.substr(end)))))
      end += characterSize(text.substr(end));
    if (parts.size() == most) // The rest, with the space at its end.
      end = text.size();
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::string replaceText(std::string_view text, std::string_view from,
                        std::string_view to, size_t most) {
  std::string result;
  if (from.empty()) {
    // Before every character and at the end.
    size_t done = 0;
    for (std::string_view piece : characters(text)) {
      if (done < most && ++done)
        result += to;
      result += piece;
    }
    if (done < most)
      result += to;
    return result;
  }
  size_t begin = 0;
  for (size_t done = 0; done < most; ++done) {
    const auto found = findText(text, from, begin);
    if (!found)
      break;
    result += text.substr(begin, found->at - begin);
    result += to;
    begin = found->at + found->size;
  }
  return result.append(text.substr(begin));
}

std::string quoteText(std::string_view text) {
  const std::string plain = plainText(text);
  const char quote = plain.find('\'') != std::string::npos &&
                             plain.find('"') == std::string::npos
                         ? '"'
                         : '\'';
  std::string result(1, quote);
  // Marks stay: what is printed is still somebody's text.
  while (!text.empty()) {
    const Utf8Character c = readUtf8(text);
    if (text[0] == quote || text[0] == '\\') {
      result.append(1, '\\').append(1, text[0]);
    } else if (text[0] == '\n' || text[0] == '\t' || text[0] == '\r') {
      result += text[0] == '\n' ? "\\n" : text[0] == '\t' ? "\\t" : "\\r";
    } else if (c.state == Utf8State::Complete && c.value != ' ' &&
               !isPrintable(c.value)) {
      result += c.value < 0x100 ? "\\x" : c.value < 0x10000 ? "\\u" : "\\U";
      appendHex(result, c.value,
                c.value < 0x100     ? 2
                : c.value < 0x10000 ? 4
                                    : 8);
    } else {
      result += text.substr(0, c.size);
    }
    text.remove_prefix(c.size);
  }
  return result + quote;
}

/// The shortest digits that read back as the same number, with an exponent
/// below 1e-4 and from 1e16 on.
std::string printFloat(double value) {
  if (!std::isfinite(value))
    return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  char buffer[64];
  const double size = std::fabs(value);
  const bool hasExponent = size != 0 && (size < 1e-4 || size >= 1e16);
  const auto format =
      hasExponent ? std::chars_format::scientific : std::chars_format::fixed;
  char *end =
      std::to_chars(std::begin(buffer), std::end(buffer), value, format).ptr;
  std::string text(buffer, end);
  return hasExponent || text.find('.') != std::string::npos ? text
                                                            : text + ".0";
}

std::string quoteJson(std::string_view text) {
  std::string result = "\"";
  for (char c : text) {
    constexpr std::string_view from = "\"\\\n\r\t\b\f", to = "\"\\nrtbf";
    if (const size_t known = from.find(c); known != std::string_view::npos) {
      result.append(1, '\\').append(1, to[known]);
    } else if (static_cast<uint8_t>(c) < 0x20) {
      result += "\\u";
      appendHex(result, static_cast<uint8_t>(c), 4);
    } else {
      result += c;
    }
  }
  return result + '"';
}

} // namespace lapidary::chat
