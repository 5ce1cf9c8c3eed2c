// Python's string methods on prompt text. In it a byte that UTF-8 does not
// have marks places that no special token may span (Tokenizer::protect): it
// counts for nothing here, but stays where it is, so that a template can
// neither see it nor take the protection off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary::chat {

/// The text without its marks.
std::string plainText(std::string_view text);
/// As strcmp on plain texts, by code points.
int compareText(std::string_view a, std::string_view b);
/// In code points.
size_t textLength(std::string_view text);
/// Whether that is 0, found out at the first code point.
bool isEmptyText(std::string_view text);
/// Where `needle`, which is plain, begins in `text` at or after `from`, and the
/// bytes it takes there.
struct TextMatch {
  size_t at, size;
};
std::optional<TextMatch> findText(std::string_view text,
                                  std::string_view needle, size_t from = 0);
bool beginsWith(std::string_view text, std::string_view needle);
bool endsWith(std::string_view text, std::string_view needle);

enum class Sides : uint8_t { Left = 1, Right = 2, Both = 3 };
/// Without characters at its ends that are white space, or in `characters`.
std::string_view trimText(std::string_view text, Sides sides,
                          const std::optional<std::string> &characters = {});

/// The code points of a text, each with the marks that follow it.
std::vector<std::string_view> characters(std::string_view text);
/// str.split(): at most `most` cuts, of white space where `separator` is empty.
std::vector<std::string_view>
splitText(std::string_view text, std::string_view separator, size_t most);
std::string replaceText(std::string_view text, std::string_view from,
                        std::string_view to, size_t most);

/// Python's repr() of a string, and of a float.
std::string quoteText(std::string_view text);
std::string printFloat(double value);
/// As json.dumps(ensure_ascii=False) writes a string.
std::string quoteJson(std::string_view text);

} // namespace lapidary::chat
