// Fuzzes the tokenizer. The first byte of the input chooses: 0, the rest is a
// whole table; 1, changes to the tiny checkpoint's table (three bytes of offset
// and one of value each, ended by offset 0xFFFFFF), then a text; otherwise the
// rest is a text for the tiny tokenizer as it is, whose decoded ids must give
// the text again.
#include "frontends/formats/TokenizerJson.h"
#include "runtime/model/Tokenizer.h"
#include "runtime/model/Unicode.h"

#include <cstdlib>
#include <fstream>
#include <iterator>

using namespace lapidary;

namespace {

const std::vector<uint8_t> &tinyTable() {
  static const std::vector<uint8_t> table = [] {
    std::ifstream file(LAPIDARY_TEST_DIR "/models/tiny/tokenizer.json",
                       std::ios::binary);
    auto compiled = compileTokenizer({std::istreambuf_iterator<char>(file), {}},
                                     "tokenizer.json");
    if (!compiled.ok())
      std::abort();
    return *compiled;
  }();
  return table;
}

void require(bool holds) {
  if (!holds)
    std::abort();
}

std::string stream(const Tokenizer &tokenizer,
                   const std::vector<int32_t> &ids) {
  StreamDecoder decoder(tokenizer, false);
  std::string text;
  for (int32_t id : ids)
    text += decoder.push(id);
  return text + decoder.finish();
}

void useTable(std::span<const uint8_t> table, std::string_view text) {
  auto tokenizer = Tokenizer::create(table);
  if (!tokenizer.ok())
    return;
  auto ids = tokenizer->encode(text);
  for (int32_t id : ids)
    require(id >= 0 && id < tokenizer->vocabularySize());
  static_cast<void>(tokenizer->decode(ids, true));
  static_cast<void>(stream(*tokenizer, ids));
  static_cast<void>(tokenizer->idOf(text.substr(0, 20)));
  for (int32_t id = -1; id < 50; ++id)
    static_cast<void>(tokenizer->piece(id).size() + tokenizer->isSpecial(id));
}

/// The vocabulary writes U+2581 for a space, so both decode to a space.
std::string withSpaces(std::string_view text) {
  std::string result(text);
  for (size_t at = 0;
       (at = result.find("\xE2\x96\x81", at)) != std::string::npos; ++at)
    result.replace(at, 3, " ");
  return result;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  uint8_t choice = *data;
  std::span<const uint8_t> input(data + 1, size - 1);
  if (choice == 0) {
    // A copy of its own begins at a multiple of 16.
    std::vector<uint8_t> table(input.begin(), input.end());
    useTable(table, "<|turn>user\nThe \xF0\x9F\x98\x80<turn|>");
    return 0;
  }
  std::vector<uint8_t> altered;
  if (choice == 1) {
    altered = tinyTable();
    while (input.size() >= 4) {
      size_t offset = input[0] | size_t{input[1]} << 8 | size_t{input[2]} << 16;
      uint8_t value = input[3];
      input = input.subspan(offset == 0xFFFFFF ? 3 : 4);
      if (offset == 0xFFFFFF)
        break;
      altered[offset % altered.size()] = value;
    }
  }
  std::string_view text(reinterpret_cast<const char *>(input.data()),
                        input.size());
  if (choice == 1) {
    useTable(altered, text);
    return 0;
  }
  static const auto tiny = Tokenizer::create(tinyTable());
  require(tiny.ok());
  auto ids = tiny->encode(text);
  if (!isValidUtf8(text))
    return 0;
  require(tiny->decode(ids, false) == withSpaces(text));
  require(stream(*tiny, ids) == withSpaces(text));
  return 0;
}
