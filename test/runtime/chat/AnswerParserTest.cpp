// Answers in all cuts: what comes out does not depend on where the parts end,
// arguments are always JSON, and no special token comes out anywhere.
#include "runtime/chat/AnswerParser.h"

#include "test/TinyTokenizer.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <random>

using namespace lapidary;
using nlohmann::ordered_json;

namespace {

struct Piece {
  std::string text;
  int32_t control = -1;
};

/// `\1...\2` in a text is the special token that is spelled between.
std::vector<Piece> pieces(std::string_view answer) {
  std::vector<Piece> result;
  while (!answer.empty()) {
    if (answer[0] == '\1') {
      const size_t end = answer.find('\2');
      result.push_back(
          {"", *test::tinyTokenizer().idOf(answer.substr(1, end - 1))});
      answer.remove_prefix(end + 1);
      continue;
    }
    const size_t end = std::min(answer.find('\1'), answer.size());
    result.push_back({std::string(answer.substr(0, end))});
    answer.remove_prefix(end);
  }
  return result;
}

struct Gathered {
  std::string reasoning, content;
  std::vector<std::pair<std::string, std::string>> calls;
  bool operator==(const Gathered &) const = default;
};

void add(Gathered &all, const AnswerDelta &delta) {
  all.reasoning += delta.reasoning;
  all.content += delta.content;
  for (const AnswerDelta::Call &call : delta.calls) {
    EXPECT_FALSE(call.name.empty() && call.arguments.empty());
    // A call begins once, and in order.
    EXPECT_EQ(call.name.empty(), call.index < all.calls.size());
    if (!call.name.empty()) {
      EXPECT_EQ(call.index, all.calls.size());
      all.calls.emplace_back(call.name, "");
    }
    ASSERT_LT(call.index, all.calls.size());
    all.calls[call.index].second += call.arguments;
  }
}

/// With text cut into parts of `size` bytes.
Gathered parse(std::string_view answer, size_t size = SIZE_MAX,
               bool startsInThought = false) {
  AnswerParser parser(test::tinyTokenizer(), startsInThought);
  Gathered all;
  for (const Piece &piece : pieces(answer)) {
    if (piece.control >= 0) {
      add(all, parser.push({"", piece.control, {}}));
      continue;
    }
    for (size_t at = 0; at < piece.text.size();
         at += std::min(size, piece.text.size()))
      add(all,
          parser.push({std::string_view(piece.text).substr(at, size), -1, {}}));
  }
  add(all, parser.finish());
  for (const auto &[name, arguments] : all.calls)
    EXPECT_TRUE(ordered_json::parse(arguments, nullptr, false).is_object())
        << arguments;
  return all;
}

/// The arguments of the only call whose braces and what is between are given.
std::string argumentsOf(const std::string &text) {
  const std::string answer =
      "\1<|tool_call>\2call:f" + text + "\1<tool_call|>\2";
  const Gathered whole = parse(answer);
  EXPECT_EQ(parse(answer, 1), whole);
  EXPECT_EQ(parse(answer, 3), whole);
  if (whole.calls.size() != 1)
    return "no call";
  EXPECT_EQ(whole.content + whole.reasoning, "");
  return whole.calls[0].second;
}

#define Q "\1<|\"|>\2"

} // namespace

TEST(AnswerParserTest, SplitsThoughtFromContent) {
  const Gathered answer =
      parse("\1<|channel>\2thought\nI "
            "think.\n\nYes.\n\1<channel|>\2Hello\n\1<turn|>\2",
            2);
  EXPECT_EQ(answer.reasoning, "I think.\n\nYes.");
  EXPECT_EQ(answer.content, "Hello\n");
  EXPECT_EQ(parse("deep\1<channel|>\2done", 1, true).reasoning, "deep");
  EXPECT_EQ(parse("deep\1<channel|>\2done", 1, true).content, "done");
  EXPECT_EQ(parse("\1<|channel>\2thought\n\1<channel|>\2x").reasoning, "");
  EXPECT_EQ(parse("\1<|channel>\2\1<channel|>\2x").content, "x");
  EXPECT_EQ(parse("\1<|channel>\2thought\nnot ended").reasoning, "not ended");
}

TEST(AnswerParserTest, SpelledMarksAreText) {
  const std::string text =
      "a <|channel>thought\n<|tool_call>call:f{}<tool_call|>";
  EXPECT_EQ(parse(text, 1).content, text);
  EXPECT_EQ(argumentsOf("{a:" Q "<|\"|>,b:<tool_call|>}" Q "}"),
            R"({"a":"<|\"|>,b:<tool_call|>}"})");
}

TEST(AnswerParserTest, WritesArgumentsAsJson) {
  EXPECT_EQ(argumentsOf("{}"), "{}");
  EXPECT_EQ(argumentsOf("{city:" Q "Paris" Q ",days:3}"),
            R"({"city":"Paris","days":3})");
  EXPECT_EQ(argumentsOf("{a:true,b:false,c:null,d:None,e:-1.5e+3,f:0}"),
            R"({"a":true,"b":false,"c":null,"d":null,"e":-1.5e+3,"f":0})");
  EXPECT_EQ(argumentsOf("{o:{l:[1,{x:[]},[" Q "a" Q "," Q "b" Q "]],e:{}}}"),
            R"({"o":{"l":[1,{"x":[]},["a","b"]],"e":{}}})");
  EXPECT_EQ(argumentsOf("{s:" Q "{\"a\": [1, 2]}, }\n\t\\" Q "}"),
            R"({"s":"{\"a\": [1, 2]}, }\n\t\\"})");
  EXPECT_EQ(argumentsOf("{" Q "a b" Q ":1, c : 2 }"), R"({"a b":1,"c":2})");
  EXPECT_EQ(argumentsOf("{s:" Q Q "}"), R"({"s":""})");
}

TEST(AnswerParserTest, BrokenArgumentsAreJsonToo) {
  EXPECT_EQ(argumentsOf(""), "{}");
  EXPECT_EQ(argumentsOf("{a:"), R"({"a":null})");
  EXPECT_EQ(argumentsOf("{a:,b:1}"), R"({"a":null,"b":1})");
  EXPECT_EQ(argumentsOf("{a"), "{}");
  EXPECT_EQ(argumentsOf("{a:[1,"), R"({"a":[1]})");
  EXPECT_EQ(argumentsOf("{a:[1}"), R"({"a":[1]})");
  EXPECT_EQ(argumentsOf("{a:1]}"), R"({"a":1})");
  EXPECT_EQ(argumentsOf("{a:" Q "never ended"), R"({"a":"never ended"})");
  EXPECT_EQ(argumentsOf("{a:01,b:1.,c:word,d:-}"),
            R"({"a":"01","b":"1.","c":"word","d":"-"})");
  EXPECT_EQ(argumentsOf(R"({"a":"x, }\"y","b":"z"})"),
            R"({"a":"x, }\"y","b":"z"})");
  EXPECT_EQ(argumentsOf("{a:1}} junk {b:2}"), R"({"a":1})");
  EXPECT_EQ(argumentsOf("{a:8e852}"), R"({"a":"8e852"})");
  EXPECT_EQ(argumentsOf("{a:" Q "x" Q "y,b:1}"), R"({"a":"x","b":1})");
  const std::string deep = argumentsOf("{a:" + std::string(1000, '['));
  EXPECT_TRUE(ordered_json::parse(deep, nullptr, false).is_object());
}

TEST(AnswerParserTest, SeveralCallsAndWhatIsAroundThem) {
  const Gathered answer =
      parse("\1<|channel>\2thought\nhm\1<channel|>\2Let me see."
            "\1<|tool_call>\2call:a{x:1}\1<tool_call|>\2"
            "\1<|tool_call>\2call:b{}\1<tool_call|>\2\1<|tool_response>\2",
            1);
  EXPECT_EQ(answer.reasoning, "hm");
  EXPECT_EQ(answer.content, "Let me see.");
  ASSERT_EQ(answer.calls.size(), 2u);
  EXPECT_EQ(answer.calls[0],
            std::pair(std::string("a"), std::string("{\"x\":1}")));
  EXPECT_EQ(answer.calls[1], std::pair(std::string("b"), std::string("{}")));
  // A call without a name, or whose name is cut off, is none.
  EXPECT_TRUE(parse("\1<|tool_call>\2{a:1}\1<tool_call|>\2").calls.empty());
  EXPECT_TRUE(parse("\1<|tool_call>\2call:get_w").calls.empty());
  EXPECT_EQ(parse("\1<|tool_call>\2{a:1}\1<tool_call|>\2rest").content, "rest");
}

TEST(AnswerParserTest, AnythingGivesJsonAndNoMarks) {
  std::mt19937 random(6);
  const std::vector<std::string> parts = {"\1<|channel>\2",
                                          "\1<channel|>\2",
                                          "\1<|tool_call>\2",
                                          "\1<tool_call|>\2",
                                          "\1<turn|>\2",
                                          Q,
                                          "\1<|image|>\2",
                                          "call:f{",
                                          "{",
                                          "}",
                                          "[",
                                          "]",
                                          ":",
                                          ",",
                                          "\"",
                                          "\\",
                                          "a",
                                          "1",
                                          "thought\n",
                                          "\n"};
  for (int round = 0; round < 3000; ++round) {
    std::string answer = round % 2 ? "\1<|tool_call>\2call:f{" : "";
    for (int i = 0; i < 20; ++i)
      answer += parts[random() % parts.size()];
    const Gathered whole = parse(answer);
    EXPECT_EQ(parse(answer, 1), whole);
    for (const std::string &text : {whole.content, whole.reasoning})
      EXPECT_EQ(text.find("<|"), std::string::npos);
  }
}

TEST(AnswerParserTest, KnowsPromptsThatEndInAThought) {
  const std::string turn = "<bos><|turn>user\nHi<turn|>\n<|turn>model\n";
  EXPECT_TRUE(endsInThought(turn + "<|channel>thought\n"));
  EXPECT_TRUE(endsInThought(turn + "<|channel>thought\nWell, "));
  EXPECT_FALSE(endsInThought(turn));
  EXPECT_FALSE(endsInThought(turn + "<|channel>thought\n<channel|>"));
  EXPECT_TRUE(endsInThought(turn + "<|channel>a<channel|><|channel>thought\n"));
  // Of an earlier turn.
  EXPECT_FALSE(endsInThought(turn + "<|channel>thought\n<turn|>\n" + turn));
  EXPECT_FALSE(endsInThought(""));
}
