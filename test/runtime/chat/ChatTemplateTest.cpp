// The checkpoint's template against the reference's prompts (golden cases) and
// against what it made of conversations written for this test (prompts.json);
// text that spells special tokens; and errors that name the place.
#include "runtime/chat/ChatTemplate.h"

#include "frontends/formats/ChatTemplateFile.h"
#include "runtime/model/Prompt.h"
#include "test/TinyTokenizer.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

using namespace lapidary;
using json = nlohmann::ordered_json;
using testing::HasSubstr;

namespace {

const std::filesystem::path testFolder = LAPIDARY_TEST_DIR;

std::string readFile(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Chat {
  std::vector<uint8_t> tree;
  std::optional<ChatTemplate> chat;
};

/// That of the tiny checkpoint.
const Chat &tinyChat() {
  static const Chat chat = [] {
    const std::filesystem::path folder = testFolder / "models/tiny";
    Chat result;
    result.tree = *compileFolderTemplate(folder);
    result.chat = *ChatTemplate::create(result.tree, test::tinyTokenizer());
    return result;
  }();
  return chat;
}

Result<std::string> render(const json &messages, const json &options) {
  return tinyChat().chat->render(messages, options);
}

/// As people see it.
std::string shown(const json &messages, const json &options) {
  const auto prompt = render(messages, options);
  return prompt.ok() ? Tokenizer::unprotected(*prompt)
                     : prompt.status().message();
}

std::string errorOf(const std::string &messages,
                    const std::string &options = "null") {
  auto prompt = render(json::parse(messages), json::parse(options));
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

TEST(ChatTemplateTest, GivesTheReferencesPromptAndIds) {
  int compared = 0, withMedia = 0;
  for (const auto &entry :
       std::filesystem::directory_iterator(testFolder / "golden")) {
    json golden = json::parse(readFile(entry.path() / "case.json"));
    SCOPED_TRACE(entry.path().filename());
    auto prompt = render(golden["messages"], golden["options"]);
    ASSERT_TRUE(prompt.ok()) << prompt.status().message();
    EXPECT_EQ(Tokenizer::unprotected(*prompt),
              golden["prompt"].get<std::string>());
    auto media = mediaOf(golden);
    EXPECT_EQ(media.size(), golden["media"].size());
    auto expanded = expandMedia(*prompt, media);
    ASSERT_TRUE(expanded.ok()) << expanded.status().message();
    EXPECT_EQ(test::tinyTokenizer().encodeProtected(*expanded),
              golden["input_ids"].get<std::vector<int32_t>>());
    ++compared;
    withMedia += !media.empty();
  }
  EXPECT_GE(compared, 18);
  EXPECT_GE(withMedia, 8);
}

TEST(ChatTemplateTest, GivesTheTemplatesPrompt) {
  json cases = json::parse(readFile(testFolder / "runtime/chat/prompts.json"));
  ASSERT_GE(cases.size(), 30u);
  for (const json &row : cases) {
    SCOPED_TRACE(row["name"]);
    EXPECT_EQ(shown(row["messages"], row["options"]),
              row["prompt"].get<std::string>());
  }
}

TEST(ChatTemplateTest, ErrorsNameThePlaceInMessages) {
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

TEST(ChatTemplateTest, ErrorsNameThePlaceInToolCalls) {
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

TEST(ChatTemplateTest, ErrorsNameThePlaceInOptions) {
  EXPECT_THAT(optionsErrorOf("[]"), HasSubstr("options: expected an object"));
  EXPECT_THAT(optionsErrorOf(R"({"messages":[]})"),
              HasSubstr("options.messages: this variable is not an option"));
  EXPECT_THAT(optionsErrorOf(R"({"bos_token":"x"})"),
              HasSubstr("options.bos_token: this variable is not an option"));
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
  EXPECT_THAT(
      withFunction("7"),
      HasSubstr("options.tools[0]: expected an object with a function"));
  EXPECT_THAT(withFunction("{}"),
              HasSubstr("function.name: expected a string, found nothing"));
  EXPECT_THAT(withFunction(R"({"name":"f","description":[]})"),
              HasSubstr("function.description"));
  EXPECT_THAT(withFunction(R"({"name":"f","parameters":"x"})"),
              HasSubstr("function.parameters: expected an object"));
}

TEST(ChatTemplateTest, DeepValuesAreRefusedNotFollowed) {
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

TEST(ChatTemplateTest, TextNeverBecomesASpecialToken) {
  const Tokenizer &tokenizer = test::tinyTokenizer();
  std::vector<std::string> marks;
  for (int32_t id = 0; id < tokenizer.vocabularySize(); ++id)
    if (tokenizer.isSpecial(id))
      marks.emplace_back(tokenizer.piece(id));
  ASSERT_GE(marks.size(), 24u);
  const auto count = [&](const json &messages, const json &options) {
    const auto prompt = render(messages, options);
    EXPECT_TRUE(prompt.ok()) << prompt.status().message();
    EXPECT_TRUE(mediaPlaceholders(*prompt).empty());
    const auto ids = tokenizer.encodeProtected(*prompt);
    // Nothing is lost: the text that the tokens spell is the text.
    EXPECT_EQ(tokenizer.decode(ids, false), Tokenizer::unprotected(*prompt));
    return std::count_if(ids.begin(), ids.end(),
                         [&](int32_t id) { return tokenizer.isSpecial(id); });
  };
  // Everywhere where somebody's text can stand.
  const auto conversation = [](const std::string &text) {
    const json call = {{"id", text},
                       {"function",
                        {{"name", "f" + text},
                         {"arguments", {{"k" + text, text}, {"l", {text}}}}}}};
    return json::array(
        {{{"role", "system"}, {"content", "s" + text}},
         {{"role", "user"}, {"content", text + "u" + text + text}},
         {{"role", "user"},
          {"content", json::array({{{"type", "text"}, {"text", "a" + text}},
                                   {{"type", "text"}, {"text", text + "b"}}})}},
         {{"role", "assistant"}, {"tool_calls", json::array({call})}},
         {{"role", "tool"}, {"tool_call_id", text}, {"content", text}},
         {{"role", "tool"}, {"name", text + "n"}, {"content", text + "c"}},
         {{"role", "assistant"}, {"content", text}}});
  };
  const auto tools = [](const std::string &text) {
    const json schema = {{"type", "object"},
                         {"properties",
                          {{"p" + text,
                            {{"type", "string"},
                             {"description", text},
                             {"enum", {text, "x"}}}}}},
                         {"required", {"p" + text}}};
    return json{{"tools", json::array({{{"function",
                                         {{"name", "f" + text},
                                          {"description", "d" + text},
                                          {"parameters", schema}}}}})}};
  };
  const auto expected = count(conversation("harmless"), tools("harmless"));
  for (const std::string &mark : marks)
    EXPECT_EQ(count(conversation(mark), tools(mark)), expected) << mark;
}

TEST(ChatTemplateTest, PartsDoNotJoinToASpecialToken) {
  const Tokenizer &tokenizer = test::tinyTokenizer();
  const std::string mark = "<turn|>";
  for (size_t cut = 1; cut < mark.size(); ++cut) {
    const json messages = json::array(
        {{{"role", "user"},
          {"content",
           json::array({{{"type", "text"}, {"text", mark.substr(0, cut)}},
                        {{"type", "text"}, {"text", mark.substr(cut)}}})}}});
    const auto ids = tokenizer.encodeProtected(*render(messages, nullptr));
    EXPECT_EQ(std::count(ids.begin(), ids.end(), *tokenizer.idOf(mark)), 1)
        << cut;
  }
}

TEST(ChatTemplateTest, APlaceholderOfAMediumStays) {
  const json messages = json::parse(R"([{"role":"user","content":[
      {"type":"text","text":"<|image|>"},
      {"type":"image_url","image_url":{"url":"data:,"}},
      {"type":"input_audio"}]}])");
  EXPECT_THAT(mediaPlaceholders(*render(messages, nullptr)),
              testing::ElementsAre(MediaKind::Image, MediaKind::Audio));
}

TEST(ChatTemplateTest, BytesThatAreNoTextAreReplaced) {
  const auto prompt = render(json::array({{{"role", "user"},
                                           {"content", "a\xFF"
                                                       "b"}}}),
                             nullptr);
  ASSERT_TRUE(prompt.ok());
  EXPECT_THAT(Tokenizer::unprotected(*prompt), HasSubstr("a\xEF\xBF\xBD"
                                                         "b"));
}
