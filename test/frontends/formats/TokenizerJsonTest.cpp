// What the tokenizer.json reader accepts and how it encodes then, what it
// refuses and how it says so, and that its output is always the same.
#include "frontends/formats/TokenizerJson.h"

#include "runtime/model/Tokenizer.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <iterator>

using namespace lapidary;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

std::string readTiny() {
  std::ifstream file(LAPIDARY_TEST_DIR "/models/tiny/tokenizer.json",
                     std::ios::binary);
  EXPECT_TRUE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A tokenizer of the kind, with a handful of tokens.
json small() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false},
    "post_processor": null,
    "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                                 {"type": "ByteFallback"}, {"type": "Fuse"}]},
    "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
              "vocab": {"<s>": 0, "<unk>": 1, "a": 2, "b": 3, "▁": 4, "ab": 5, "aba": 6, "<0xC3>": 7},
              "merges": [["a", "b"], ["ab", "a"]]}})");
}

json small(const std::string &pointer, json value) {
  json root = small();
  root[json::json_pointer(pointer)] = std::move(value);
  return root;
}

std::vector<int32_t> encode(const json &root, std::string_view text) {
  auto table = compileTokenizer(root.dump(), "small.json");
  EXPECT_TRUE(table.ok()) << table.status().message();
  auto tokenizer = Tokenizer::create(*table);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return tokenizer->encode(text);
}

std::string errorOf(const json &root) {
  auto table = compileTokenizer(root.dump(), "small.json");
  return table.ok() ? "no error" : table.status().message();
}

json addedToken(int id, const std::string &content, bool special = true) {
  return {{"id", id},          {"content", content}, {"single_word", false},
          {"lstrip", false},   {"rstrip", false},    {"normalized", false},
          {"special", special}};
}

} // namespace

TEST(TokenizerJsonTest, IsDeterministic) {
  auto first = compileTokenizer(readTiny(), "tiny"),
       second = compileTokenizer(readTiny(), "elsewhere");
  ASSERT_TRUE(first.ok()) << first.status().message();
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(*first, *second);
}

TEST(TokenizerJsonTest, EncodesWithWhatItRead) {
  EXPECT_THAT(encode(small(), "abab a<s>b"), ElementsAre(5, 5, 4, 2, 0, 3));
  EXPECT_THAT(encode(small("/pre_tokenizer", nullptr), "a b"),
              ElementsAre(2, 4, 3));
  EXPECT_THAT(
      encode(small("/model/merges", json::array({"a b", "ab a"})), "aba"),
      ElementsAre(6));
  // The rank decides, not the place in the text; of two for one pair the later
  // counts.
  json ranks = small("/model/merges",
                     json::parse(R"([["b", "a"], ["a", "b"], ["ab", "a"]])"));
  ranks["model"]["vocab"]["ba"] = 8;
  EXPECT_THAT(encode(ranks, "ab"), ElementsAre(5));
  EXPECT_THAT(encode(ranks, "aba"), ElementsAre(2, 8));
  EXPECT_THAT(encode(ranks, "bab"), ElementsAre(8, 3));
  ranks["model"]["merges"].push_back(json::array({"b", "a"}));
  EXPECT_THAT(encode(ranks, "bab"), ElementsAre(3, 5));
}

TEST(TokenizerJsonTest, UnknownCharacters) {
  // Of "é" (C3 A9) only one byte has a token, so it is unknown as a whole.
  EXPECT_THAT(encode(small(), "aééb"), ElementsAre(2, 1, 3));
  EXPECT_THAT(encode(small("/model/fuse_unk", false), "aééb"),
              ElementsAre(2, 1, 1, 3));
  EXPECT_THAT(encode(small("/model/unk_token", nullptr), "aéb"),
              ElementsAre(5));
  EXPECT_THAT(encode(small(), "a\xC3"
                              "b"),
              ElementsAre(2, 7, 3));
  EXPECT_THAT(encode(small("/model/byte_fallback", false), "a\xC3"
                                                           "b"),
              ElementsAre(2, 1, 3));
}

TEST(TokenizerJsonTest, AddedTokens) {
  json root = small();
  root["added_tokens"] = {addedToken(0, "<s>"), addedToken(8, "<s>a", false),
                          addedToken(9, "▁▁", false)};
  auto table = compileTokenizer(root.dump(), "small.json");
  ASSERT_TRUE(table.ok()) << table.status().message();
  auto tokenizer = Tokenizer::create(*table);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ(tokenizer->vocabularySize(), 10);
  // The longest wins; an added token is looked for in the text as it is, before
  // spaces change.
  EXPECT_THAT(tokenizer->encode("<s>ab<s>b"), ElementsAre(8, 3, 0, 3));
  EXPECT_THAT(tokenizer->encode("  ▁▁"), ElementsAre(4, 4, 9));
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{0, 8, 9}, true), "<s>a  ");
  EXPECT_EQ(tokenizer->idOf("<s>a"), 8);
}

TEST(TokenizerJsonTest, HolesInTheVocabularyAreFine) {
  json root = small("/model/vocab/c", 5000);
  auto table = compileTokenizer(root.dump(), "small.json");
  ASSERT_TRUE(table.ok()) << table.status().message();
  auto tokenizer = Tokenizer::create(*table);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ(tokenizer->vocabularySize(), 5001);
  EXPECT_THAT(tokenizer->encode("c"), ElementsAre(5000));
  EXPECT_EQ(tokenizer->piece(4999), "");
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{4999, 5000}, false), "c");
}

TEST(TokenizerJsonTest, RefusesAnotherPipeline) {
  EXPECT_THAT(
      errorOf(small("/normalizer", {{"type", "NFC"}})),
      HasSubstr(
          R"(small.json: normalizer: expected {"content":"▁","pattern":{"String":" "},"type":"Replace"}, )"
          R"(found {"type":"NFC"})"));
  EXPECT_THAT(errorOf(small("/normalizer", nullptr)), HasSubstr("normalizer"));
  EXPECT_THAT(errorOf(small("/normalizer/content", "_")),
              HasSubstr("normalizer"));
  EXPECT_THAT(errorOf(small("/pre_tokenizer", {{"type", "ByteLevel"}})),
              HasSubstr("pre_tokenizer: expected"));
  EXPECT_THAT(errorOf(small("/pre_tokenizer/invert", true)),
              HasSubstr("pre_tokenizer: expected"));
  EXPECT_THAT(errorOf(small("/decoder/decoders/2/type", "Strip")),
              HasSubstr("decoder: expected"));
  EXPECT_THAT(errorOf(small("/truncation", {{"max_length", 5}})),
              HasSubstr("truncation: expected null"));
  EXPECT_THAT(errorOf(small("/padding", json::object())),
              HasSubstr("padding: expected null"));
  EXPECT_THAT(errorOf(small("/version", "2.0")),
              HasSubstr("version: expected \"1.0\", found \"2.0\""));
  EXPECT_THAT(errorOf(small("/extra", 1)),
              HasSubstr("extra: expected no such field"));
}

TEST(TokenizerJsonTest, RefusesAnotherModel) {
  EXPECT_THAT(errorOf(small("/model", 1)),
              HasSubstr("model: expected an object, found 1"));
  EXPECT_THAT(errorOf(small("/model/type", "Unigram")),
              HasSubstr("model.type: expected \"BPE\", found \"Unigram\""));
  EXPECT_THAT(errorOf(small("/model/dropout", 0.1)),
              HasSubstr("model.dropout: expected null or 0.0, found 0.1"));
  EXPECT_THAT(errorOf(small("/model/ignore_merges", true)),
              HasSubstr("model.ignore_merges: expected false"));
  EXPECT_THAT(errorOf(small("/model/continuing_subword_prefix", "##")),
              HasSubstr("continuing_subword_prefix"));
  EXPECT_THAT(errorOf(small("/model/end_of_word_suffix", "</w>")),
              HasSubstr("model.end_of_word_suffix"));
  EXPECT_THAT(errorOf(small("/model/fuse_unk", 1)),
              HasSubstr("model.fuse_unk: expected true or false, found 1"));
  EXPECT_THAT(errorOf(small("/model/extra", 1)),
              HasSubstr("model.extra: expected no such field"));
  EXPECT_THAT(errorOf(small("/model/unk_token", "<none>")),
              HasSubstr("model.unk_token: expected null or a token"));
  EXPECT_THAT(errorOf(small("/model/vocab", json::object())),
              HasSubstr("model.vocab: expected an object"));
  EXPECT_THAT(errorOf(small("/model/vocab/c", -1)),
              HasSubstr("model.vocab[\"c\"]: expected an id below"));
  EXPECT_THAT(errorOf(small("/model/vocab/c", 1.5)), HasSubstr("found 1.5"));
  EXPECT_THAT(errorOf(small("/model/vocab/c", 4000000000u)),
              HasSubstr("found 4000000000"));
  EXPECT_THAT(errorOf(small("/model/vocab/c", 5)),
              HasSubstr("expected an id of its own, found 5"));
}

TEST(TokenizerJsonTest, RefusesBadMerges) {
  EXPECT_THAT(errorOf(small("/model/merges", nullptr)),
              HasSubstr("model.merges: expected an array, found null"));
  EXPECT_THAT(errorOf(small("/model/merges/1", 7)),
              HasSubstr("model.merges[1]: expected"));
  EXPECT_THAT(errorOf(small("/model/merges/1", json::array({"a"}))),
              HasSubstr("model.merges[1]: expected"));
  EXPECT_THAT(errorOf(small("/model/merges/1", json::array({"a", 1}))),
              HasSubstr("model.merges[1]: expected"));
  EXPECT_THAT(errorOf(small("/model/merges/1", "ab")),
              HasSubstr("with a space between, found \"ab\""));
  EXPECT_THAT(errorOf(small("/model/merges/1", "a b a")),
              HasSubstr("model.merges[1]"));
  EXPECT_THAT(errorOf(small("/model/merges/1", json::array({"a", "z"}))),
              HasSubstr("found \"z\", which is not in it"));
  EXPECT_THAT(errorOf(small("/model/merges/1", json::array({"b", "b"}))),
              HasSubstr("found \"bb\", which is not in it"));
}

TEST(TokenizerJsonTest, RefusesAddedTokensThatItCannotHonour) {
  for (const char *flag : {"single_word", "lstrip", "rstrip", "normalized"})
    EXPECT_THAT(
        errorOf(small(std::string("/added_tokens/0/") + flag, true)),
        HasSubstr(std::string("added_tokens[0].") + flag + ": expected false"));
  EXPECT_THAT(errorOf(small("/added_tokens", 1)),
              HasSubstr("added_tokens: expected an array"));
  EXPECT_THAT(errorOf(small("/added_tokens/0", 1)),
              HasSubstr("added_tokens[0]: expected an object"));
  EXPECT_THAT(errorOf(small("/added_tokens/0/content", "")),
              HasSubstr("added_tokens[0].content"));
  EXPECT_THAT(errorOf(small("/added_tokens/0/id", 1)),
              HasSubstr("added_tokens[0].id: expected 0, which \"<s>\" has"));
  EXPECT_THAT(errorOf(small("/added_tokens/0/id", "0")),
              HasSubstr("added_tokens[0].id: expected an id"));
  EXPECT_THAT(errorOf(small("/added_tokens/0/special", 1)),
              HasSubstr("added_tokens[0].special: expected true or"));
  EXPECT_THAT(errorOf(small("/added_tokens/0/strip", true)),
              HasSubstr("added_tokens[0].strip: expected no such"));
  EXPECT_THAT(errorOf(small("/added_tokens/1", addedToken(0, "<s>"))),
              HasSubstr("added_tokens[1].content"));
  EXPECT_THAT(errorOf(small("/added_tokens/1", addedToken(9, "<t>"))),
              HasSubstr("added_tokens[1].id: expected 8"));
  EXPECT_THAT(
      errorOf(small("/added_tokens/1", addedToken(8, std::string(2000, 'x')))),
      HasSubstr("2000 bytes"));
}

TEST(TokenizerJsonTest, RefusesWhatIsNoTokenizer) {
  for (const char *text :
       {"", "{", "[]", "null", "{}", "\xFF", "{\"model\":", "nonsense"}) {
    auto table = compileTokenizer(text, "bad.json");
    ASSERT_FALSE(table.ok()) << text;
    EXPECT_THAT(table.status().message(), HasSubstr("bad.json"));
  }
  // Nesting beyond any stack, where an object should be.
  EXPECT_FALSE(compileTokenizer(std::string(1000000, '['), "bad.json").ok());
  std::string deep = std::string(1000000, '[') + std::string(1000000, ']');
  EXPECT_FALSE(
      compileTokenizer("{\"version\":\"1.0\",\"normalizer\":" + deep + "}",
                       "bad.json")
          .ok());
  std::string tiny = readTiny();
  for (size_t size = 0; size < tiny.size() - 1; size += 4999)
    EXPECT_FALSE(compileTokenizer(tiny.substr(0, size), "cut.json").ok())
        << size;
}
