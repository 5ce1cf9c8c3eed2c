// Four characters are three bytes.
#include "runtime/core/Base64.h"

#include "runtime/core/Text.h"

namespace lapidary {
namespace {

/// 0 to 63, or -1.
int32_t valueOf(char character) {
  if (character >= 'A' && character <= 'Z')
    return character - 'A';
  if (character >= 'a' && character <= 'z')
    return character - 'a' + 26;
  if (character >= '0' && character <= '9')
    return character - '0' + 52;
  return character == '+' ? 62 : character == '/' ? 63 : -1;
}

} // namespace

Result<std::vector<uint8_t>> decodeBase64(std::string_view text) {
  const size_t whole = text.size();
  while (!text.empty() && text.back() == '=' && whole - text.size() < 2)
    text.remove_suffix(1);
  // One character alone has too few bits for a byte.
  if (text.size() % 4 == 1 || (whole != text.size() && whole % 4 != 0))
    return invalidData(concat("base64 of ", whole, " characters"));
  std::vector<uint8_t> bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int32_t count = 0;
  for (size_t index = 0; index < text.size(); ++index) {
    const int32_t value = valueOf(text[index]);
    if (value < 0)
      return invalidData(concat("character ", index, " is none of base64's"));
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push_back(static_cast<uint8_t>(bits >> count));
    }
  }
  return bytes;
}

} // namespace lapidary
