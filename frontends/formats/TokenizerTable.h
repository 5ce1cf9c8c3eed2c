// A tokenizer as every checkpoint format gives it (tokens, merges, added
// tokens), and its compiled form: the flat table that the runtime reads in
// place.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lapidary {

struct TokenizerModel {
  struct Token {
    /// Empty for an id that no token has.
    std::string content;
    /// Part of the BPE vocabulary, rather than an added token alone.
    bool inVocabulary = false;
    /// Cut out of a text before BPE.
    bool added = false;
    bool special = false;
  };
  struct Merge {
    uint32_t left, right, merged;
  };
  /// By id.
  std::vector<Token> tokens;
  /// By rank; of two for the same pair the later one counts.
  std::vector<Merge> merges;
  std::optional<uint32_t> unknown;
  bool fuseUnknown = false;
  bool byteFallback = false;
};

/// Writes a `TokenizerTable` (runtime/schema/tokenizer.fbs). The same model
/// gives the same bytes. The ids in the model must be below the number of
/// tokens and the contents of its tokens distinct and valid UTF-8.
Result<std::vector<uint8_t>> writeTokenizerTable(const TokenizerModel &model);

} // namespace lapidary
