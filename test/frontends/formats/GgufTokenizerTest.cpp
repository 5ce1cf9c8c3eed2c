// The tokenizer of a GGUF file: the same table as that of tokenizer.json.
#include "frontends/formats/GgufTokenizer.h"

#include "frontends/formats/Json.h"
#include "frontends/formats/TokenizerJson.h"
#include "test/frontends/formats/TestGguf.h"

#include <gmock/gmock.h>

using namespace lapidary;
using namespace lapidary::test;
using testing::HasSubstr;

namespace {

class GgufTokenizerTest : public GgufFileTest {};

/// The tokenizer of the test checkpoint as the converter writes it.
GgufBuilder tokenizerFile(const nlohmann::json &tokenizer) {
  // The converter calls some special tokens user-defined and some ordinary.
  std::vector<std::string> tokens(tokenizer["model"]["vocab"].size());
  for (const auto &[content, id] : tokenizer["model"]["vocab"].items())
    tokens[id.get<size_t>()] = content;
  std::vector<int32_t> types(tokens.size(), 1);
  for (const auto &added : tokenizer["added_tokens"]) {
    auto content = added["content"].get<std::string>();
    types[added["id"].get<size_t>()] = content == "<|channel>" ? 4
                                       : content == "<|turn>"  ? 1
                                                               : 3;
  }
  std::vector<std::string> merges;
  for (const auto &merge : tokenizer["model"]["merges"])
    merges.push_back(merge[0].get<std::string>() + " " +
                     merge[1].get<std::string>());
  GgufBuilder builder;
  builder.string("tokenizer.ggml.model", "gemma4")
      .strings("tokenizer.ggml.tokens", tokens)
      .array("tokenizer.ggml.token_type", i32Type, types)
      .strings("tokenizer.ggml.merges", merges)
      .integer("tokenizer.ggml.unknown_token_id", 3)
      .flag("tokenizer.ggml.add_space_prefix", false);
  return builder;
}

TEST_F(GgufTokenizerTest, TheTokenizerIsThatOfTheCheckpoint) {
  std::string path = LAPIDARY_TEST_DIR "/models/tiny/tokenizer.json";
  auto text = readTextFile(path, 1 << 24);
  ASSERT_TRUE(text.ok()) << text.status().message();
  auto expected = compileTokenizer(*text, path);
  ASSERT_TRUE(expected.ok()) << expected.status().message();
  auto table = compileGgufTokenizer(
      open("t.gguf", tokenizerFile(nlohmann::json::parse(*text)).build()));
  ASSERT_TRUE(table.ok()) << table.status().message();
  EXPECT_EQ(*table, *expected);
}

TEST_F(GgufTokenizerTest, TokenizersThatWouldGiveOtherIdsAreRefused) {
  auto expectTokenizerError = [&](const GgufBuilder &builder,
                                  const std::string &message) {
    auto table = compileGgufTokenizer(open("t.gguf", builder.build()));
    ASSERT_FALSE(table.ok()) << "expected: " << message;
    EXPECT_THAT(table.status().message(), HasSubstr("t.gguf: "));
    EXPECT_THAT(table.status().message(), HasSubstr(message));
  };
  auto small = [](const std::vector<std::string> &tokens,
                  const std::vector<int32_t> &types,
                  const std::vector<std::string> &merges) {
    return GgufBuilder()
        .string("tokenizer.ggml.model", "gemma4")
        .strings("tokenizer.ggml.tokens", tokens)
        .array("tokenizer.ggml.token_type", i32Type, types)
        .strings("tokenizer.ggml.merges", merges);
  };
  EXPECT_TRUE(
      compileGgufTokenizer(open("t.gguf", small({"a", "b", "", "ab", ""},
                                                {1, 1, 5, 1, 5}, {"a b"})
                                              .build()))
          .ok());
  expectTokenizerError(GgufBuilder(), "tokenizer.ggml.model: expected");
  expectTokenizerError(GgufBuilder().string("tokenizer.ggml.model", "gpt2"),
                       "tokenizer.ggml.model: expected \"gemma4\", found "
                       "string \"gpt2\"");
  expectTokenizerError(small({"a"}, {1, 1}, {}),
                       "token_type: expected an integer or an array of 1");
  expectTokenizerError(small({"a"}, {257}, {}),
                       "token_type[0]: expected a type from 1 to 6, found 257");
  expectTokenizerError(small({"a", "a"}, {1, 1}, {}),
                       "tokens[1]: expected a content of its own, found that "
                       "of token 0");
  expectTokenizerError(small({"\xff"}, {1}, {}), "tokens[0]: expected UTF-8");
  for (const char *merge : {"ab", "a b ", "a  b", " a", ""})
    expectTokenizerError(small({"a", "b", "ab"}, {1, 1, 1}, {merge}),
                         "merges[0]: expected two tokens");
  expectTokenizerError(small({"a", "b"}, {1, 1}, {"a b"}),
                       "merges[0]: expected two tokens, and the two of them "
                       "together as one, found \"a b\"");
  GgufBuilder valid = small({"a"}, {1}, {});
  expectTokenizerError(
      GgufBuilder(valid).integer("tokenizer.ggml.unknown_token_id", 1),
      "unknown_token_id: expected a token below 1, found u32 1");
  expectTokenizerError(
      GgufBuilder(valid).flag("tokenizer.ggml.add_space_prefix", true),
      "add_space_prefix: expected false, found bool true");
  expectTokenizerError(
      GgufBuilder(valid).string("tokenizer.ggml.precompiled_charsmap", "x"),
      "precompiled_charsmap: expected no such key");
}

} // namespace
