// The tokenizer against ids that the reference gave (golden cases, and cases
// made for this test), on text of any kind and size, and with tables that were
// cut or altered.
#include "runtime/model/Tokenizer.h"

#include "frontends/formats/TokenizerJson.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

using namespace lapidary;
using nlohmann::json;

namespace {

const std::filesystem::path testFolder = LAPIDARY_TEST_DIR;

std::string readFile(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

const std::vector<uint8_t> &tinyTable() {
  static const std::vector<uint8_t> table = [] {
    auto compiled = compileTokenizer(
        readFile(testFolder / "models/tiny/tokenizer.json"), "tokenizer.json");
    EXPECT_TRUE(compiled.ok()) << compiled.status().message();
    return compiled.ok() ? *compiled : std::vector<uint8_t>();
  }();
  return table;
}

Tokenizer openTiny() {
  auto tokenizer = Tokenizer::create(tinyTable());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return *tokenizer;
}

/// Splits the ids over a stream and puts its parts together; every part must be
/// whole characters.
std::string stream(const Tokenizer &tokenizer, const std::vector<int32_t> &ids,
                   bool skipSpecial) {
  StreamDecoder decoder(tokenizer, skipSpecial);
  std::string text;
  const auto append = [&](const std::string &part) {
    // A JSON string refuses anything but valid UTF-8.
    EXPECT_NO_THROW(static_cast<void>(json(part).dump()))
        << testing::PrintToString(part);
    text += part;
  };
  for (int32_t id : ids)
    append(decoder.push(id));
  append(decoder.finish());
  return text;
}

json readCases() {
  return json::parse(
      readFile(testFolder / "runtime/model/tokenizer-cases.json"));
}

/// Everything a caller may do, on a table that may be nonsense: no crash, no id
/// out of range.
void exercise(std::span<const uint8_t> table) {
  auto tokenizer = Tokenizer::create(table);
  if (!tokenizer.ok()) {
    EXPECT_FALSE(tokenizer.status().message().empty());
    return;
  }
  std::vector<int32_t> ids = tokenizer->encode(
      "<bos><|turn>user\nThe quick \xF0\x9F\x98\x80 fox  \n\n\xFF<turn|>");
  for (int32_t id : ids)
    ASSERT_TRUE(id >= 0 && id < tokenizer->vocabularySize()) << id;
  for (int32_t id :
       {-1, 0, 3, 500, tokenizer->vocabularySize(), INT32_MAX, INT32_MIN})
    ids.push_back(id);
  static_cast<void>(tokenizer->decode(ids, true));
  StreamDecoder decoder(*tokenizer, false);
  for (int32_t id : ids)
    static_cast<void>(decoder.push(id));
  static_cast<void>(tokenizer->idOf("<|turn>"));
  static_cast<void>(tokenizer->isSpecial(ids.back()));
}

} // namespace

TEST(TokenizerTest, GivesTheReferencesIdsOnGoldenPrompts) {
  Tokenizer tokenizer = openTiny();
  int compared = 0;
  for (const auto &entry :
       std::filesystem::directory_iterator(testFolder / "golden")) {
    json golden = json::parse(readFile(entry.path() / "case.json"));
    SCOPED_TRACE(entry.path().filename());
    auto greedy = golden["greedy_ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.decode(greedy, false),
              golden["greedy_text"].get<std::string>());
    EXPECT_EQ(stream(tokenizer, greedy, false),
              golden["greedy_text"].get<std::string>());
    if (!golden["media"].empty())
      continue; // PromptTest expands these first.
    auto ids = tokenizer.encode(golden["prompt"].get<std::string>());
    EXPECT_EQ(ids, golden["input_ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(tokenizer.decode(ids, false),
              golden["prompt"].get<std::string>());
    ++compared;
  }
  EXPECT_GE(compared, 9);
}

TEST(TokenizerTest, GivesTheReferencesIdsOnMadeUpTexts) {
  Tokenizer tokenizer = openTiny();
  json cases = readCases();
  ASSERT_GE(cases["encode"].size(), 60u);
  for (const json &row : cases["encode"]) {
    auto text = row["text"].get<std::string>();
    SCOPED_TRACE(testing::PrintToString(text));
    auto ids = tokenizer.encode(text);
    EXPECT_EQ(ids, row["ids"].get<std::vector<int32_t>>());
    for (bool skipSpecial : {false, true}) {
      auto expected = row[skipSpecial ? "plain" : "decoded"].get<std::string>();
      EXPECT_EQ(tokenizer.decode(ids, skipSpecial), expected);
      EXPECT_EQ(stream(tokenizer, ids, skipSpecial), expected);
    }
  }
}

TEST(TokenizerTest, DecodesByteTokensAsTheReferenceDoes) {
  Tokenizer tokenizer = openTiny();
  json cases = readCases();
  ASSERT_GE(cases["decode"].size(), 9u);
  for (const json &row : cases["decode"]) {
    auto ids = row["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.decode(ids, false), row["decoded"].get<std::string>())
        << row;
    EXPECT_EQ(tokenizer.decode(ids, true), row["plain"].get<std::string>())
        << row;
  }
  EXPECT_EQ(tokenizer.decode(
                std::vector<int32_t>{-1, INT32_MAX, 2048, INT32_MIN}, false),
            "");
}

TEST(TokenizerTest, KnowsItsTokens) {
  Tokenizer tokenizer = openTiny();
  EXPECT_EQ(tokenizer.vocabularySize(), 2048);
  EXPECT_EQ(tokenizer.idOf("<|turn>"), 105);
  EXPECT_EQ(tokenizer.idOf("\xE2\x96\x81the"), 462);
  EXPECT_EQ(tokenizer.idOf("<0x0A>"), 119);
  EXPECT_EQ(tokenizer.idOf(""), std::nullopt);
  EXPECT_EQ(tokenizer.idOf("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.piece(105), "<|turn>");
  EXPECT_EQ(tokenizer.piece(-1), "");
  EXPECT_EQ(tokenizer.piece(2048), "");
  EXPECT_TRUE(tokenizer.isSpecial(2046));
  EXPECT_FALSE(tokenizer.isSpecial(462));
  EXPECT_FALSE(tokenizer.isSpecial(-1));
  EXPECT_FALSE(tokenizer.isSpecial(2048));
  for (int32_t id = 0; id < tokenizer.vocabularySize(); ++id)
    ASSERT_EQ(tokenizer.idOf(tokenizer.piece(id)), id);
}

TEST(TokenizerTest, InvalidUtf8BecomesByteTokens) {
  Tokenizer tokenizer = openTiny();
  // A lone continuation, an overlong slash, a surrogate, a cut-off character at
  // the end.
  std::string text = "a\x80"
                     "b\xC0\xAF"
                     "c\xED\xA0\x80"
                     "d\xF0\x9F\x98";
  auto ids = tokenizer.encode(text);
  std::string bytes;
  for (int32_t id : ids)
    bytes += id >= 109 && id < 365 ? std::string(1, static_cast<char>(id - 109))
                                   : std::string(tokenizer.piece(id));
  EXPECT_EQ(bytes, text);
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(tokenizer.decode(ids, false), "a" + bad + "b" + bad + bad + "c" +
                                              bad + bad + bad + "d" + bad +
                                              bad + bad);
}

TEST(TokenizerTest, StreamsWholeCharactersOnly) {
  Tokenizer tokenizer = openTiny();
  StreamDecoder decoder(tokenizer, true);
  const auto byte = [](int value) { return 109 + value; };
  EXPECT_EQ(decoder.push(byte(0xF0)), "");
  EXPECT_EQ(decoder.push(byte(0x9F)), "");
  EXPECT_EQ(decoder.push(2), ""); // A skipped token does not end the run.
  EXPECT_EQ(decoder.push(byte(0x98)), "");
  EXPECT_EQ(decoder.push(byte(0x80)), "\xF0\x9F\x98\x80");
  EXPECT_EQ(decoder.push(462), " the");
  // A character that another token, a byte that cannot follow, or the end cuts
  // short.
  EXPECT_EQ(decoder.push(byte(0xE6)), "");
  EXPECT_EQ(decoder.push(462), "\xEF\xBF\xBD the");
  EXPECT_EQ(decoder.push(byte(0xE6)), "");
  EXPECT_EQ(decoder.push(byte(0xE6)), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.push(byte(0x97)), "");
  EXPECT_EQ(decoder.push(byte(0xA5)), "\xE6\x97\xA5");
  EXPECT_EQ(decoder.push(byte(0xC3)), "");
  EXPECT_EQ(decoder.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.finish(), "");
  EXPECT_EQ(decoder.push(-5), "");
}

TEST(TokenizerTest, StreamEqualsDecodeOnRandomText) {
  Tokenizer tokenizer = openTiny();
  std::mt19937 random(1);
  const std::string parts[] = {" ",
                               "the",
                               "\n",
                               "\xF0\x9F\x98\x80",
                               "\xE6\x97\xA5",
                               "<|turn>",
                               "<",
                               "\t",
                               "q",
                               "  ",
                               "12",
                               "\xC3\xA9",
                               "<0x41>"};
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (unsigned n = random() % 20; n > 0; --n)
      text += parts[random() % std::size(parts)];
    auto ids = tokenizer.encode(text);
    ASSERT_EQ(tokenizer.decode(ids, false), text);
    ASSERT_EQ(stream(tokenizer, ids, false), text);
    ASSERT_EQ(stream(tokenizer, ids, true), tokenizer.decode(ids, true));
  }
}

/// If any of these were quadratic, the test would take minutes to hours.
TEST(TokenizerTest, LongTextsTakeNearLinearTime) {
  Tokenizer tokenizer = openTiny();
  const auto repeat = [](std::string_view part, size_t size) {
    std::string text;
    while (text.size() < size)
      text += part;
    return text;
  };
  const std::string texts[] = {
      repeat("The old fox watched the river.\n", 1 << 20),
      repeat("e", 100000),
      repeat("he", 1 << 20),
      repeat("\n", 1 << 20),
      repeat(" ", 1 << 20),
      repeat("\xF0\x9F\x98\x80", 1 << 20),
      repeat("<|", 1 << 20),
      repeat("<|tool_respons", 1 << 20),
      repeat("<|turn>", 1 << 20)};
  for (const std::string &text : texts)
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text), false), text)
        << text.substr(0, 20);
}

TEST(TokenizerTest, RefusesCutTables) {
  const std::vector<uint8_t> &whole = tinyTable();
  for (size_t size = 0; size < whole.size(); size += size < 512 ? 1 : 997) {
    // In a heap block of its own, so that AddressSanitizer sees every byte
    // beyond it.
    std::vector<uint8_t> cut(whole.begin(),
                             whole.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_FALSE(Tokenizer::create(cut).ok()) << size;
  }
  std::vector<uint8_t> other = whole;
  other[4] = 'X';
  EXPECT_THAT(Tokenizer::create(other).status().message(),
              testing::HasSubstr("identifier"));
  std::vector<uint8_t> shifted(whole.size() + 1);
  std::copy(whole.begin(), whole.end(), shifted.begin() + 1);
  EXPECT_THAT(
      Tokenizer::create(std::span(shifted).subspan(1)).status().message(),
      testing::HasSubstr("multiple of 8"));
}

TEST(TokenizerTest, AlteredTablesNeverCrash) {
  const std::vector<uint8_t> &whole = tinyTable();
  std::vector<uint8_t> altered = whole;
  for (size_t at = 0; at < altered.size(); at += at < 1024 ? 1 : 61)
    for (uint8_t flip : {0x01, 0x80, 0xFF}) {
      altered[at] = whole[at] ^ flip;
      ASSERT_NO_FATAL_FAILURE(exercise(altered)) << at;
      altered[at] = whole[at];
    }
  // Whole stretches of nonsense: full hash tables, trees that lead back to
  // their root, ids beyond the vocabulary.
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    altered = whole;
    size_t begin = 256 + random() % (altered.size() - 256);
    size_t end = std::min(altered.size(), begin + random() % 20000);
    for (size_t at = begin; at < end; ++at)
      altered[at] = static_cast<uint8_t>(i % 3 == 0   ? 0
                                         : i % 3 == 1 ? 0xFE
                                                      : random());
    ASSERT_NO_FATAL_FAILURE(exercise(altered)) << begin << " to " << end;
  }
}
