// The tiny checkpoint's tokenizer, for targets that need one.
#pragma once

#include "frontends/formats/Json.h"
#include "frontends/formats/TokenizerJson.h"
#include "runtime/model/Tokenizer.h"

namespace lapidary {

inline const Tokenizer &fuzzTokenizer() {
  static const std::vector<uint8_t> table = *compileTokenizer(
      *readTextFile(LAPIDARY_TEST_DIR "/models/tiny/tokenizer.json", 1u << 26),
      "tokenizer.json");
  static const Tokenizer tokenizer = *Tokenizer::create(table);
  return tokenizer;
}

} // namespace lapidary
