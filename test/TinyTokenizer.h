// The tiny checkpoint's tokenizer.
#pragma once

#include "frontends/formats/Json.h"
#include "frontends/formats/TokenizerJson.h"
#include "runtime/model/Tokenizer.h"

namespace lapidary::test {

inline const Tokenizer &tinyTokenizer() {
  static const std::vector<uint8_t> table = *compileTokenizer(
      *readTextFile(LAPIDARY_TEST_DIR "/models/tiny/tokenizer.json", 1u << 26),
      "tokenizer.json");
  static const Tokenizer tokenizer = *Tokenizer::create(table);
  return tokenizer;
}

} // namespace lapidary::test
