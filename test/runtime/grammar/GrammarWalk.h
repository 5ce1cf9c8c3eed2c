// Ways through a grammar, token by token, for tests: random ones, and those
// that a given text can take.
#pragma once

#include "runtime/grammar/TokenGrammar.h"
#include "test/TinyTokenizer.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace lapidary::test {

/// The tiny checkpoint's tokens.
struct Vocabulary {
  Tokenizer tokenizer;
  TokenTable tokens;
  /// Tokens that text is made of, by their bytes.
  std::multimap<std::string_view, int32_t> byText;

  static const Vocabulary &tiny() {
    static const Vocabulary vocabulary = [] {
      auto tokens = TokenTable::create(tinyTokenizer());
      EXPECT_TRUE(tokens.ok()) << tokens.status().message();
      return Vocabulary{tinyTokenizer(), *std::move(tokens), {}};
    }();
    static const bool filled = [&] {
      auto &byText = const_cast<Vocabulary &>(vocabulary).byText;
      for (int32_t id : vocabulary.tokens.all().tokens)
        byText.emplace(vocabulary.tokens.bytes(id), id);
      return true;
    }();
    static_cast<void>(filled);
    return vocabulary;
  }
  int32_t id(std::string_view content) const {
    return tokenizer.idOf(content).value_or(-1);
  }
};

inline bool isSet(std::span<const uint32_t> bits, int32_t token) {
  return bits[token / 32] >> (token % 32) & 1;
}

/// Any of the tokens that the mask allows. Tokens that close something are
/// preferred, the more the longer the text is, so that walks end.
inline int32_t chooseToken(std::span<const uint32_t> bits,
                           const TokenTable &tokens, size_t length,
                           std::mt19937 &random) {
  std::vector<int32_t> allowed, closing;
  for (int32_t id = 0; id < tokens.vocabularySize(); ++id) {
    if (!isSet(bits, id))
      continue;
    allowed.push_back(id);
    std::string_view bytes = tokens.bytes(id);
    if (bytes.empty() || bytes.find_first_of("\"}]") != bytes.npos)
      closing.push_back(id);
  }
  if (allowed.empty())
    return -1;
  bool close = !closing.empty() && random() % 400 < 40 + length;
  const std::vector<int32_t> &from = close ? closing : allowed;
  if (close && length > 200) // The ones that close most.
    for (int32_t id : from)
      if (tokens.bytes(id).empty() || tokens.bytes(id).size() == 1)
        return id;
  return from[random() % from.size()];
}

/// A random text of the grammar; nothing where it did not end in time.
inline std::optional<std::string> randomText(TokenGrammar &grammar,
                                             std::mt19937 &random) {
  const TokenTable &tokens = Vocabulary::tiny().tokens;
  std::string text;
  TokenGrammar::State state = grammar.start();
  for (size_t length = 0; length < 3000; ++length) {
    if (grammar.canEnd(state) &&
        (grammar.isEnd(state) || random() % 4 == 0 || length > 400))
      return text;
    auto mask = grammar.mask(state);
    if (!mask.ok()) {
      ADD_FAILURE() << mask.status().message() << "\n" << text;
      return std::nullopt;
    }
    int32_t token = chooseToken(*mask, tokens, length, random);
    if (token < 0) {
      ADD_FAILURE() << "no token after " << text;
      return std::nullopt;
    }
    state = grammar.step(state, token);
    if (state == Automaton::dead) {
      ADD_FAILURE() << "the mask allows '" << tokens.bytes(token) << "' after "
                    << text;
      return std::nullopt;
    }
    text += tokens.bytes(token);
  }
  return std::nullopt;
}

/// Whether the text is one of the grammar, cut into random tokens.
inline bool takesText(TokenGrammar &grammar, std::string_view text,
                      std::mt19937 &random) {
  const Vocabulary &vocabulary = Vocabulary::tiny();
  TokenGrammar::State state = grammar.start();
  while (!text.empty()) {
    std::vector<int32_t> fitting;
    for (size_t size = 1; size <= std::min<size_t>(text.size(), 24); ++size) {
      auto [first, last] = vocabulary.byText.equal_range(text.substr(0, size));
      for (; first != last; ++first)
        fitting.push_back(first->second);
    }
    if (fitting.empty())
      return ADD_FAILURE() << "no token for " << text, false;
    int32_t token = fitting[random() % fitting.size()];
    auto mask = grammar.mask(state);
    bool allowed = mask.ok() && isSet(*mask, token);
    TokenGrammar::State next = grammar.step(state, token);
    EXPECT_EQ(allowed, next != Automaton::dead);
    if (!allowed)
      return false;
    state = next;
    text.remove_prefix(vocabulary.tokens.bytes(token).size());
  }
  return grammar.canEnd(state);
}

} // namespace lapidary::test
