// Fuzzes base64: what is decoded must be what the text says, bit by bit.
#include "runtime/core/Base64.h"

#include <cstdlib>

using namespace lapidary;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::string_view text(reinterpret_cast<const char *>(data), size);
  const auto bytes = decodeBase64(text);
  if (!bytes.ok()) {
    if (bytes.status().message().empty())
      std::abort();
    return 0;
  }
  constexpr std::string_view alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (bytes->size() > size / 4 * 3 + 2)
    std::abort();
  for (size_t bit = 0; bit < bytes->size() * 8; ++bit) {
    const size_t value = alphabet.find(text[bit / 6]);
    const bool expected = value >> (5 - bit % 6) & 1;
    const bool found = (*bytes)[bit / 8] >> (7 - bit % 8) & 1;
    if (value == std::string_view::npos || expected != found)
      std::abort();
  }
  return 0;
}
