// The prompt form against the reference's prompts (golden cases) and against
// what the checkpoint's template made of conversations written for this test
// (prompts.json); media expansion; and errors that name the place.
#include "runtime/model/Prompt.h"

#include "frontends/formats/TokenizerJson.h"
#include "runtime/model/Tokenizer.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

using namespace lapidary;
using nlohmann::json;
using testing::HasSubstr;

namespace {

const std::filesystem::path testFolder = LAPIDARY_TEST_DIR;

std::string readFile(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string errorOf(const std::string &messages,
                    const std::string &options = "null") {
  auto prompt = renderPrompt(json::parse(messages), json::parse(options));
  return prompt.ok() ? "no error" : prompt.status().message();
}

/// An error for these options, with a conversation that is right.
std::string optionsErrorOf(const std::string &options) {
  return errorOf(R"([{"role":"user","content":"x"}])", options);
}

/// An error for this message after a right one.
std::string messageErrorOf(const std::string &message) {
  return errorOf(R"([{"role":"user","content":"x"},)" + message + "]");
}

/// How many soft tokens of each medium a golden case has, read off its token
/// types: 1 image, 2 video, 3 audio.
std::vector<MediaTokens> mediaOf(const json &golden) {
  std::vector<MediaTokens> media;
  auto types = golden["mm_token_type_ids"].get<std::vector<int>>();
  double seconds = 0;
  for (size_t at = 0; at < types.size();) {
    size_t end = at;
    while (end < types.size() && types[end] == types[at])
      ++end;
    auto count = static_cast<int32_t>(end - at);
    if (types[at] == 2) {
      if (media.empty() || media.back().kind != MediaKind::Video) {
        media.push_back({MediaKind::Video, 0, {}});
        seconds = 0;
      }
      media.back().frames.push_back({seconds++, count});
    } else if (types[at]) {
      media.push_back(
          {types[at] == 1 ? MediaKind::Image : MediaKind::Audio, count, {}});
    }
    at = end;
  }
  return media;
}

} // namespace

TEST(PromptTest, GivesTheReferencesPromptAndIds) {
  auto table = compileTokenizer(
      readFile(testFolder / "models/tiny/tokenizer.json"), "tokenizer.json");
  ASSERT_TRUE(table.ok()) << table.status().message();
  auto tokenizer = Tokenizer::create(*table);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  int compared = 0, withMedia = 0;
  for (const auto &entry :
       std::filesystem::directory_iterator(testFolder / "golden")) {
    json golden = json::parse(readFile(entry.path() / "case.json"));
    SCOPED_TRACE(entry.path().filename());
    auto prompt = renderPrompt(golden["messages"], golden["options"]);
    ASSERT_TRUE(prompt.ok()) << prompt.status().message();
    EXPECT_EQ(*prompt, golden["prompt"].get<std::string>());
    auto media = mediaOf(golden);
    EXPECT_EQ(media.size(), golden["media"].size());
    auto expanded = expandMedia(*prompt, media);
    ASSERT_TRUE(expanded.ok()) << expanded.status().message();
    EXPECT_EQ(tokenizer->encode(*expanded),
              golden["input_ids"].get<std::vector<int32_t>>());
    ++compared;
    withMedia += !media.empty();
  }
  EXPECT_GE(compared, 18);
  EXPECT_GE(withMedia, 8);
}

TEST(PromptTest, GivesTheTemplatesPrompt) {
  json cases = json::parse(readFile(testFolder / "runtime/model/prompts.json"));
  ASSERT_GE(cases.size(), 30u);
  for (const json &row : cases) {
    SCOPED_TRACE(row["name"]);
    auto prompt = renderPrompt(row["messages"], row["options"]);
    ASSERT_TRUE(prompt.ok()) << prompt.status().message();
    EXPECT_EQ(*prompt, row["prompt"].get<std::string>());
  }
}

TEST(PromptTest, ErrorsNameThePlaceInMessages) {
  EXPECT_THAT(errorOf("{}"),
              HasSubstr("messages: expected a list, found an object"));
  EXPECT_THAT(errorOf("[]"), HasSubstr("messages: expected one message"));
  EXPECT_THAT(errorOf("[3]"),
              HasSubstr("messages[0]: expected an object, found 3"));
  EXPECT_THAT(messageErrorOf(R"({"content":"x"})"),
              HasSubstr("messages[1].role: expected system"));
  EXPECT_THAT(messageErrorOf(R"({"role":"robot"})"),
              HasSubstr("found \"robot\""));
  EXPECT_THAT(messageErrorOf(R"({"role":7})"), HasSubstr("messages[1].role"));
  EXPECT_THAT(messageErrorOf(R"({"role":"user","content":7})"),
              HasSubstr("messages[1].content: expected a string"));
  EXPECT_THAT(messageErrorOf(R"({"role":"user","content":["x"]})"),
              HasSubstr("messages[1].content[0]: expected"));
  EXPECT_THAT(
      messageErrorOf(
          R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"smell"}]})"),
      HasSubstr("messages[1].content[1].type: expected text, image"));
  EXPECT_THAT(messageErrorOf(R"({"role":"user","content":[{"text":"a"}]})"),
              HasSubstr("content[0].type"));
  EXPECT_THAT(
      messageErrorOf(R"({"role":"user","content":[{"type":"text"}]})"),
      HasSubstr(
          "messages[1].content[0].text: expected a string, found nothing"));
  EXPECT_THAT(messageErrorOf(R"({"role":"tool","name":1,"content":"x"})"),
              HasSubstr("messages[1].name"));
  EXPECT_THAT(
      messageErrorOf(R"({"role":"tool","tool_call_id":1,"content":"x"})"),
      HasSubstr("messages[1].tool_call_id"));
}

TEST(PromptTest, ErrorsNameThePlaceInToolCalls) {
  const auto withCalls = [](const std::string &calls) {
    return messageErrorOf(R"({"role":"assistant","tool_calls":)" + calls + "}");
  };
  EXPECT_THAT(withCalls("{}"),
              HasSubstr("messages[1].tool_calls: expected a list"));
  EXPECT_THAT(withCalls("[1]"),
              HasSubstr("messages[1].tool_calls[0]: expected an object"));
  EXPECT_THAT(withCalls("[{}]"),
              HasSubstr("messages[1].tool_calls[0].function: expected"));
  EXPECT_THAT(withCalls(R"([{"id":5,"function":{"name":"f"}}])"),
              HasSubstr("tool_calls[0].id: expected a string"));
  EXPECT_THAT(withCalls(R"([{"function":{"arguments":{}}}])"),
              HasSubstr("function.name: expected a string"));
  EXPECT_THAT(withCalls(R"([{"function":{"name":"f"}}])"),
              HasSubstr("function.arguments: expected an object"));
  EXPECT_THAT(withCalls(R"([{"function":{"name":"f","arguments":[1]}}])"),
              HasSubstr("function.arguments"));
  EXPECT_THAT(withCalls(R"([{"function":{"name":"f","arguments":"{\"a\":"}}])"),
              HasSubstr("found \"{\"a\":\""));
  EXPECT_THAT(withCalls(R"([{"function":{"name":"f","arguments":"[1]"}}])"),
              HasSubstr("one as JSON text"));
}

TEST(PromptTest, ErrorsNameThePlaceInOptions) {
  EXPECT_THAT(optionsErrorOf("[]"), HasSubstr("options: expected an object"));
  EXPECT_THAT(optionsErrorOf(R"({"enable_thinkng":true})"),
              HasSubstr("options.enable_thinkng: expected tools"));
  EXPECT_THAT(optionsErrorOf(R"({"enable_thinking":"yes"})"),
              HasSubstr("options.enable_thinking: expected true"));
  EXPECT_THAT(optionsErrorOf(R"({"add_generation_prompt":1})"),
              HasSubstr("options.add_generation_prompt"));
  EXPECT_THAT(optionsErrorOf(R"({"tools":{}})"),
              HasSubstr("options.tools: expected a list"));
  EXPECT_THAT(optionsErrorOf(R"({"tools":[{"name":"f"}]})"),
              HasSubstr("options.tools[0]: expected an object with"));
  const auto withFunction = [](const std::string &function) {
    return optionsErrorOf(R"({"tools":[{"function":)" + function + "}]}");
  };
  const auto withSchema = [&](const std::string &schema) {
    return withFunction(
        R"({"name":"f","parameters":{"type":"object","properties":{"a":)" +
        schema + "}}}");
  };
  EXPECT_THAT(
      withFunction("7"),
      HasSubstr("options.tools[0].function: expected an object, found 7"));
  EXPECT_THAT(withFunction("{}"),
              HasSubstr("function.name: expected a string, found nothing"));
  EXPECT_THAT(withFunction(R"({"name":"f","description":[]})"),
              HasSubstr("function.description"));
  EXPECT_THAT(withFunction(R"({"name":"f","parameters":"x"})"),
              HasSubstr("function.parameters: expected an object"));
  EXPECT_THAT(withFunction(R"({"name":"f","parameters":{"required":[1]}})"),
              HasSubstr("parameters.required[0]"));
  EXPECT_THAT(withFunction(R"({"name":"f","parameters":{"properties":[1]}})"),
              HasSubstr("parameters.properties"));
  EXPECT_THAT(withSchema("7"),
              HasSubstr("parameters.properties.a: expected an object"));
  EXPECT_THAT(
      withSchema(R"({"type":7})"),
      HasSubstr("parameters.properties.a.type: expected a type's name"));
  EXPECT_THAT(withSchema(R"({"description":7})"),
              HasSubstr("properties.a.description: expected a string"));
  EXPECT_THAT(withSchema(R"({"type":"string","enum":"x"})"),
              HasSubstr("properties.a.enum: expected a list"));
  EXPECT_THAT(withSchema(R"({"type":"object","properties":{"b":[]}})"),
              HasSubstr("a.properties.b: expected"));
  EXPECT_THAT(
      withSchema(R"({"type":"object","properties":{"b":{}},"required":"b"})"),
      HasSubstr("a.required"));
}

TEST(PromptTest, DeepValuesAreRefusedNotFollowed) {
  std::string deep = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_THAT(
      messageErrorOf(
          R"({"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"a":)" +
          deep + "}}}]}"),
      HasSubstr("levels"));
  std::string schema = R"({"type":"string"})";
  for (int i = 0; i < 200; ++i)
    schema = R"({"type":"object","properties":{"a":)" + schema + "}}";
  EXPECT_THAT(
      optionsErrorOf(R"({"tools":[{"function":{"name":"f","parameters":)" +
                     schema + "}}]}"),
      HasSubstr("levels"));
}

TEST(PromptTest, ExpandsMedia) {
  std::vector<MediaTokens> media = {
      {MediaKind::Image, 2, {}},
      {MediaKind::Video, 0, {{0.9, 1}, {61.5, 2}, {6000, 1}}},
      {MediaKind::Audio, 3, {}}};
  auto text = expandMedia("a<|image|>b<|video|><|audio|>", media);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_EQ(*text, "a<|image><|image|><|image|><image|>b"
                   "00:00 <|image><|video|><image|> 01:01 "
                   "<|image><|video|><|video|><image|> "
                   "100:00 <|image><|video|><image|>"
                   "<|audio><|audio|><|audio|><|audio|><audio|>");
  EXPECT_EQ(*expandMedia("no media, <|image> and <|im|>", {}),
            "no media, <|image> and <|im|>");
}

TEST(PromptTest, RefusesMediaThatDoNotFit) {
  const auto errorFor = [](std::string_view prompt,
                           std::vector<MediaTokens> media) {
    auto text = expandMedia(prompt, media);
    return text.ok() ? "no error" : text.status().message();
  };
  const MediaTokens image = {MediaKind::Image, 70, {}};
  EXPECT_THAT(errorFor("<|image|>", {}), HasSubstr("1 placeholders"));
  EXPECT_THAT(errorFor("x", {image}), HasSubstr("for 1 media"));
  EXPECT_THAT(
      errorFor("x <|audio|>", {image}),
      HasSubstr("media 0 is an image, but the prompt's placeholder there, at "
                "byte 2, is <|audio|>"));
  EXPECT_THAT(errorFor("<|image|>", {{MediaKind::Image, 0, {}}}),
              HasSubstr("media 0: expected 1 or more"));
  EXPECT_THAT(errorFor("<|audio|>", {{MediaKind::Audio, INT32_MAX, {}}}),
              HasSubstr("found 2147483647"));
  EXPECT_THAT(errorFor("<|video|>", {{MediaKind::Video, 5, {}}}),
              HasSubstr("without frames"));
  for (double seconds :
       {-1.0, 1e300, std::nan(""), static_cast<double>(INFINITY)})
    EXPECT_THAT(errorFor("<|video|>", {{MediaKind::Video, 0, {{seconds, 1}}}}),
                HasSubstr("a frame's time"));
}
