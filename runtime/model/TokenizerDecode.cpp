// From ids back to text: whole lists as the reference's decoder does it
// (spaces, byte tokens, joined), and streams.
#include "runtime/model/Tokenizer.h"

#include "runtime/model/TokenizerTable.h"
#include "runtime/model/Unicode.h"

namespace lapidary {

std::string_view Tokenizer::piece(int32_t id) const {
  if (id < 0 || static_cast<uint32_t>(id) >= size)
    return {};
  uint32_t begin = offsets[id], end = offsets[id + 1];
  if (begin > end || end > contents.size())
    return {};
  return {reinterpret_cast<const char *>(contents.data()) + begin, end - begin};
}

bool Tokenizer::isSpecial(int32_t id) const {
  return id >= 0 && static_cast<uint32_t>(id) < size &&
         (special[id / 8] >> (id % 8) & 1);
}

std::string Tokenizer::decode(std::span<const int32_t> ids,
                              bool skipSpecial) const {
  std::string text, bytes;
  const auto flush = [&] {
    if (isValidUtf8(bytes)) {
      text += bytes;
    } else {
      for (size_t i = 0; i < bytes.size(); ++i)
        text += replacementCharacter;
    }
    bytes.clear();
  };
  for (int32_t id : ids) {
    std::string_view content = piece(id);
    if (content.empty() || (skipSpecial && isSpecial(id)))
      continue;
    if (std::optional<uint8_t> byte = tokenizer::byteOf(content)) {
      bytes += static_cast<char>(*byte);
      continue;
    }
    flush();
    tokenizer::appendWithSpaces(text, content);
  }
  flush();
  return text;
}

std::string StreamDecoder::push(int32_t id) {
  std::string_view content = tokenizer.piece(id);
  if (content.empty() || (skipSpecial && tokenizer.isSpecial(id)))
    return {};
  std::optional<uint8_t> byte = tokenizer::byteOf(content);
  if (!byte) {
    std::string text = finish();
    tokenizer::appendWithSpaces(text, content);
    return text;
  }
  pending += static_cast<char>(*byte);
  std::string text;
  while (!pending.empty()) {
    Utf8Character c = readUtf8(pending);
    if (c.state == Utf8State::Truncated)
      break;
    text += c.state == Utf8State::Complete
                ? std::string_view(pending).substr(0, c.size)
                : replacementCharacter;
    pending.erase(0, c.size);
  }
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  for (size_t i = 0; i < pending.size(); ++i)
    text += replacementCharacter;
  pending.clear();
  return text;
}

} // namespace lapidary
