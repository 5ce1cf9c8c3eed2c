// Whole answers under constraints: what tool choice, schemas and thinking
// budgets allow and forbid, token by token.
#include "runtime/chat/ChatConstraint.h"

#include "../grammar/GrammarWalk.h"
#include "../grammar/SchemaValidator.h"
#include "runtime/schema/bundle_generated.h"

#include <gmock/gmock.h>

#include <regex>

using namespace lapidary;
using namespace lapidary::test;
using testing::HasSubstr;
using Json = nlohmann::ordered_json;
using ToolChoice = ChatRules::ToolChoice;

namespace {

const schema::Model &tinyModel() {
  static const std::vector<uint8_t> bytes = [] {
    schema::ModelT model;
    model.name = "tiny";
    model.architecture = "gemma4_unified";
    model.vocabulary = Vocabulary::tiny().tokens.vocabularySize();
    model.stop_tokens = {1, 106, 50};
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(schema::Model::Pack(builder, &model));
    return std::vector<uint8_t>(builder.GetBufferPointer(),
                                builder.GetBufferPointer() + builder.GetSize());
  }();
  return *flatbuffers::GetRoot<schema::Model>(bytes.data());
}

Result<std::shared_ptr<Constraint>> make(const ChatRules &rules) {
  const Vocabulary &vocabulary = Vocabulary::tiny();
  return makeConstraint(tinyModel(), vocabulary.tokenizer, vocabulary.tokens,
                        rules);
}

std::vector<uint32_t> maskOf(Constraint &constraint) {
  std::vector<uint32_t> bits(
      (Vocabulary::tiny().tokens.vocabularySize() + 31) / 32, ~0u);
  constraint.restrict(bits);
  return bits;
}

/// How far the text, marks written out, is taken: its size where all of it is.
size_t take(const ChatRules &rules, std::string_view text) {
  auto constraint = make(rules);
  if (!constraint.ok()) {
    ADD_FAILURE() << constraint.status().message();
    return 0;
  }
  size_t taken = 0;
  for (int32_t id : Vocabulary::tiny().tokenizer.encode(text)) {
    bool allowed = isSet(maskOf(**constraint), id);
    EXPECT_EQ(allowed, (*constraint)->accept(id).ok());
    if (!allowed)
      return taken;
    std::string_view bytes = Vocabulary::tiny().tokens.bytes(id);
    taken += bytes.empty() ? Vocabulary::tiny().tokenizer.piece(id).size()
                           : bytes.size();
  }
  return taken;
}
bool takes(const ChatRules &rules, std::string_view text) {
  return take(rules, text) == text.size();
}

Json function(const char *name, const char *parameters) {
  return {{"type", "function"},
          {"function",
           {{"name", name},
            {"description", "It does something."},
            {"parameters", Json::parse(parameters)}}}};
}

ChatRules withTools() {
  ChatRules rules;
  rules.tools = Json::array(
      {function("get_weather",
                R"({"type":"object","properties":{"city":{"type":"string"},
"days":{"type":"integer","minimum":1,"maximum":7},"unit":{"enum":["C","F"]}},"required":["city"]})"),
       function(
           "book",
           R"({"type":"object","properties":{"who":{"type":"array","items":{"type":"object",
"properties":{"first name":{"type":"string","maxLength":5},"vip":{"type":"boolean"}},"required":["first name"],"additionalProperties":false}},
"extra":{"type":"object"}},"required":["who"]})"),
       Json{{"type", "function"}, {"function", {{"name", "now"}}}}});
  return rules;
}

const char *call = "<|tool_call>call:get_weather{city:<|\"|>Rome<|\"|>}"
                   "<tool_call|>";

TEST(ChatConstraint, NothingIsAskedNothingIsMade) {
  auto constraint = make({});
  ASSERT_TRUE(constraint.ok());
  EXPECT_EQ(*constraint, nullptr);
}

TEST(ChatConstraint, EachAnswerHasAPlaceOfItsOwn) {
  const Vocabulary &vocabulary = Vocabulary::tiny();
  ChatRules rules;
  rules.grammar = "root ::= \"a\" [b-z]+";
  const auto maker =
      compileRules(tinyModel(), vocabulary.tokenizer, vocabulary.tokens, rules);
  ASSERT_TRUE(maker.ok()) << maker.status().message();
  const auto one = (*maker)(), other = (*maker)();
  const std::vector<uint32_t> atStart = maskOf(*one);
  EXPECT_TRUE(one->accept(vocabulary.tokenizer.encode("a")[0]).ok());
  EXPECT_NE(maskOf(*one), atStart);
  EXPECT_EQ(maskOf(*other), atStart);
  EXPECT_EQ(maskOf(*(*maker)()), atStart);
}

TEST(ChatConstraint, AutoTakesTextAndCalls) {
  ChatRules rules = withTools();
  EXPECT_TRUE(takes(rules, "Hello {\"a\": 1}\n<turn|>"));
  EXPECT_TRUE(takes(rules, std::string("Let me look.") + call + "<turn|>"));
  EXPECT_TRUE(takes(rules, std::string(call) + "<|tool_response>"));
  EXPECT_TRUE(takes(rules, std::string(call) +
                               "<|tool_call>call:now{}<tool_call|><turn|>"));
  EXPECT_TRUE(takes(rules, "<|channel>thought\nHm.\n<channel|>Hi<turn|>"));
  // Marks that make no sense where they are.
  EXPECT_FALSE(takes(rules, "Hi<|tool_response>"));
  EXPECT_FALSE(takes(rules, "Hi<|turn>"));
  EXPECT_FALSE(takes(rules, "Hi<bos>"));
  EXPECT_FALSE(takes(rules, "Hi<|image>"));
  EXPECT_FALSE(takes(rules, "Hi<channel|>"));
  EXPECT_FALSE(takes(rules, "<|channel>other\n"));
  EXPECT_FALSE(takes(rules, std::string(call) + "and"));
  EXPECT_FALSE(takes(rules, "<|channel>thought\nHm.<turn|>"));
  EXPECT_FALSE(takes(rules, std::string("<|channel>thought\n") + call));
}

TEST(ChatConstraint, CallsFollowTheirSchemas) {
  ChatRules rules = withTools();
  const auto holds = [&](std::string_view text) {
    return takes(rules, "<|tool_call>call:" + std::string(text) +
                            "<tool_call|><turn|>");
  };
  // Properties in any order, in the notation of the template.
  EXPECT_TRUE(holds("get_weather{city:<|\"|>Rome, \"Italy\" {}\n日本<|\"|>,"
                    "days:7,unit:<|\"|>F<|\"|>}"));
  EXPECT_TRUE(holds("get_weather{unit:<|\"|>C<|\"|>,city:<|\"|><|\"|>}"));
  EXPECT_TRUE(holds("book{who:[]}"));
  EXPECT_TRUE(holds("book{who:[{first name:<|\"|>Annab<|\"|>,vip:true},"
                    "{first name:<|\"|>Bo<|\"|>}],extra:{a:[1,null,{}],"
                    "b_2:<|\"|>x<|\"|>}}"));
  EXPECT_TRUE(holds("now{}"));
  EXPECT_FALSE(holds("get_weather{}"));
  EXPECT_FALSE(holds("get_weather{days:2}"));
  EXPECT_FALSE(holds("get_weather{city:<|\"|>Rome<|\"|>,days:8}"));
  EXPECT_FALSE(holds("get_weather{city:<|\"|>Rome<|\"|>,city:<|\"|>R<|\"|>}"));
  EXPECT_FALSE(holds("get_weather{city:<|\"|>Rome<|\"|>,unit:<|\"|>K<|\"|>}"));
  EXPECT_FALSE(holds("get_weather{city:\"Rome\"}"));
  EXPECT_FALSE(holds("get_weather{city: <|\"|>Rome<|\"|>}"));
  EXPECT_FALSE(holds("get_weather{city:<|\"|>Rome<turn|><|\"|>}"));
  EXPECT_FALSE(holds("book{who:[{first name:<|\"|>Annabe<|\"|>}]}"));
  EXPECT_FALSE(holds("get_weathers{city:<|\"|>Rome<|\"|>}"));
  EXPECT_FALSE(holds("unknown{}"));
  EXPECT_FALSE(holds("now{a:1}"));
}

TEST(ChatConstraint, ToolChoice) {
  ChatRules rules = withTools();
  rules.toolChoice = ToolChoice::None;
  EXPECT_TRUE(takes(rules, "Hello<turn|>"));
  EXPECT_FALSE(takes(rules, call));

  rules.toolChoice = ToolChoice::Required;
  EXPECT_TRUE(takes(rules, std::string(call) + "<turn|>"));
  EXPECT_TRUE(takes(rules, "<|channel>thought\nHm.\n<channel|>" +
                               std::string(call) + "<turn|>"));
  EXPECT_EQ(take(rules, "Hello"), 0u);
  EXPECT_EQ(take(rules, "<turn|>"), 0u);
  EXPECT_TRUE(takes(rules, std::string(call) + call + "<turn|>"));
  rules.parallelCalls = false;
  EXPECT_EQ(take(rules, std::string(call) + call), std::strlen(call));
  EXPECT_TRUE(takes(rules, std::string(call) + "<turn|>"));

  rules.toolChoice = ToolChoice::Auto;
  rules.toolName = "now";
  EXPECT_TRUE(takes(rules, "<|tool_call>call:now{}<tool_call|><turn|>"));
  EXPECT_FALSE(takes(rules, call));
  EXPECT_EQ(take(rules, "Hello"), 0u);
}

TEST(ChatConstraint, ContentBySchemaOrCalls) {
  ChatRules rules = withTools();
  rules.schema = Json::parse(
      R"({"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]})");
  EXPECT_TRUE(takes(rules, "{\"n\": 12}<turn|>"));
  EXPECT_TRUE(takes(rules, std::string(call) + "<turn|>"));
  EXPECT_TRUE(
      takes(rules, "<|channel>thought\nwell\n<channel|>{\"n\": 1}<eos>"));
  EXPECT_FALSE(takes(rules, "{\"n\": 12}."));
  EXPECT_FALSE(takes(rules, "{\"n\": 12<turn|>"));
  EXPECT_FALSE(takes(rules, std::string("{\"n\": 1}") + call));
  rules.tools = Json();
  EXPECT_FALSE(takes(rules, call));
  rules.schema.reset();
  rules.jsonObject = true;
  EXPECT_TRUE(takes(rules, "{\"a\": [1, {}]}<turn|>"));
  EXPECT_EQ(take(rules, "[1]"), 0u);
  rules.jsonObject = false;
  rules.grammar = "root ::= \"yes\" | \"no\"";
  EXPECT_TRUE(takes(rules, "yes<turn|>"));
  EXPECT_FALSE(takes(rules, "maybe"));
}

/// The ids of an answer that always takes the first of `wanted` that may come.
std::vector<int32_t> answer(const ChatRules &rules,
                            const std::vector<int32_t> &wanted, size_t most) {
  auto constraint = make(rules);
  EXPECT_TRUE(constraint.ok()) << constraint.status().message();
  std::vector<int32_t> ids;
  while (ids.size() < most) {
    std::vector<uint32_t> bits = maskOf(**constraint);
    int32_t chosen = -1;
    for (int32_t id : wanted)
      if (chosen < 0 && isSet(bits, id))
        chosen = id;
    for (int32_t id = 0; chosen < 0 && id < int32_t(bits.size() * 32); ++id)
      if (isSet(bits, id))
        chosen = id;
    if (chosen < 0 || !(*constraint)->accept(chosen).ok())
      break;
    ids.push_back(chosen);
    if (chosen == 106)
      break;
  }
  return ids;
}

TEST(ChatConstraint, TheBudgetClosesTheThought) {
  const Vocabulary &vocabulary = Vocabulary::tiny();
  int32_t a = vocabulary.id("a"), newLine = vocabulary.id("\n"),
          close = vocabulary.id("<channel|>"),
          open = vocabulary.id("<|channel>"), end = vocabulary.id("<turn|>");
  ChatRules rules;
  rules.startsInThought = true;
  rules.thinkingBudget = 5;
  // Four tokens of thought and the line's end; then the content is free, and no
  // further thought begins.
  EXPECT_EQ(answer(rules, {a}, 9),
            (std::vector<int32_t>{a, a, a, a, newLine, close, a, a, a}));
  EXPECT_EQ(answer(rules, {open, a}, 8),
            (std::vector<int32_t>{a, a, a, a, newLine, close, a, a}));
  // The model may end it before.
  EXPECT_EQ(answer(rules, {close, end}, 9), (std::vector<int32_t>{close, end}));
  rules.thinkingBudget = 0;
  EXPECT_EQ(answer(rules, {open, a}, 3), (std::vector<int32_t>{close, a, a}));
  rules.startsInThought = false;
  EXPECT_EQ(answer(rules, {open, a}, 3), (std::vector<int32_t>{a, a, a}));
  // The channel's name is not counted.
  rules.thinkingBudget = 3;
  std::vector<int32_t> ids = answer(rules, {open, a}, 40);
  std::string text = vocabulary.tokenizer.decode(ids, false);
  EXPECT_THAT(text,
              testing::StartsWith("<|channel>thought\naa\n<channel|>aaa"));
  // Together with a schema.
  rules.schema = Json::parse(R"({"const":"x"})");
  EXPECT_EQ(
      vocabulary.tokenizer.decode(answer(rules, {open, a, end}, 40), false),
      "<|channel>thought\naa\n<channel|>\"x\"<turn|>");
}

TEST(ChatConstraint, MistakesAreNamed) {
  const auto message = [](const ChatRules &rules) {
    auto constraint = make(rules);
    return constraint.ok() ? "" : constraint.status().message();
  };
  ChatRules rules = withTools();
  rules.toolName = "fly";
  EXPECT_THAT(message(rules), HasSubstr("'fly' is to be called"));
  rules.tools = Json();
  EXPECT_THAT(message(rules), HasSubstr("there are no tools"));
  rules = withTools();
  rules.tools[1]["function"]["parameters"]["properties"]["who"]["uniqueItems"] =
      true;
  EXPECT_THAT(
      message(rules),
      HasSubstr("/tools/1/function/parameters/properties/who/uniqueItems"));
  rules = withTools();
  rules.tools[0]["function"]["name"] = "a{b";
  EXPECT_THAT(message(rules), HasSubstr("is no name for a function"));
  rules = withTools();
  rules.tools[0].erase("function");
  EXPECT_THAT(message(rules), HasSubstr("has no function"));
  rules = {};
  rules.jsonObject = true;
  rules.grammar = "root ::= \"a\"";
  EXPECT_THAT(message(rules), HasSubstr("only one of"));
}

TEST(ChatConstraint, RulesOfRequests) {
  const auto read = [](const char *request) -> Result<ChatRules> {
    ChatRules rules;
    LAPIDARY_TRY(readChatRules(Json::parse(request), rules));
    return rules;
  };
  auto rules = read(R"({"tools":[{"type":"function"}],"tool_choice":"none",
"parallel_tool_calls":false,"response_format":{"type":"text"}})");
  ASSERT_TRUE(rules.ok());
  EXPECT_EQ(rules->tools.size(), 1u);
  EXPECT_EQ(rules->toolChoice, ToolChoice::None);
  EXPECT_FALSE(rules->parallelCalls);
  EXPECT_FALSE(rules->schema || rules->jsonObject);
  rules = read(R"({"tool_choice":{"type":"function","function":{"name":"f"}},
"response_format":{"type":"json_schema","json_schema":{"schema":{"b":1,"a":2}}},
"tools":[{"function":{"name":"f"}}]})");
  ASSERT_TRUE(rules.ok());
  EXPECT_EQ(rules->toolName, "f");
  EXPECT_EQ(rules->toolChoice, ToolChoice::Required);
  EXPECT_EQ(rules->schema->dump(), R"({"b":1,"a":2})");
  rules = read(R"({"response_format":{"type":"json_object"}})");
  EXPECT_TRUE(rules.ok() && rules->jsonObject);
  rules = read(R"({"response_format":{"type":"json_object","schema":{}},
"tools":null})");
  EXPECT_TRUE(rules.ok() && rules->schema && !rules->jsonObject);
  rules = read(R"({"response_format":{"type":"json_schema","schema":true}})");
  EXPECT_TRUE(rules.ok() && rules->schema);
  EXPECT_TRUE(read("{}").ok());
  rules = read(R"({"tools":[{"type":"function","function":{"name":"f"}},
{"type":"function","function":{"name":"g"}}],"tool_choice":{"type":
"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function",
"function":{"name":"g"}},{"type":"function","name":"g"}]}}})");
  ASSERT_TRUE(rules.ok()) << rules.status().message();
  EXPECT_EQ(rules->tools.size(), 1u);
  EXPECT_EQ(rules->tools[0]["function"]["name"], "g");
  EXPECT_EQ(rules->toolChoice, ToolChoice::Required);
  for (
      const auto &[request, field] :
      std::vector<std::pair<const char *, const char *>>{
          {R"({"tools":{}})", "tools"},
          {R"({"tool_choice":"maybe"})", "tool_choice"},
          {R"({"tool_choice":{"function":{}}})", "tool_choice"},
          {R"({"tool_choice":{"type":"allowed_tools","mode":"auto",
"tools":[{"name":"f"}]}})",
           "tool_choice.tools"},
          {R"({"tool_choice":{"type":"allowed_tools","allowed_tools":{}}})",
           "tool_choice.allowed_tools.mode"},
          {R"({"tool_choice":"required"})", "tool_choice"},
          {R"({"tool_choice":{"name":"f"},"tools":[{"name":"g"}]})",
           "tool_choice"},
          {R"({"parallel_tool_calls":1})", "parallel_tool_calls"},
          {R"({"response_format":"json"})", "response_format"},
          {R"({"response_format":{"type":"xml"}})", "response_format.type"},
          {R"({"response_format":{"type":"json_schema"}})",
           "response_format.schema"},
          {R"({"response_format":{"type":"json_object","schema":true}})",
           "response_format.schema"},
          {R"({"response_format":{"type":"json_schema","json_schema":{"schema":3}}})",
           "response_format.json_schema.schema"}}) {
    rules = read(request);
    ASSERT_FALSE(rules.ok()) << request;
    EXPECT_THAT(rules.status().message(),
                testing::MatchesRegex(std::string(field) + ":? .*"));
  }
}

/// Gemma's notation as JSON, as a reader of it would do.
std::string toJson(const std::vector<int32_t> &ids) {
  const Vocabulary &vocabulary = Vocabulary::tiny();
  int32_t quote = vocabulary.id("<|\"|>");
  std::string json, bytes;
  bool inText = false;
  const auto flush = [&] {
    if (inText)
      json += Json(bytes).dump();
    else
      json += std::regex_replace(bytes, std::regex("([{,])([^{},:\\[\\]]+):"),
                                 "$1\"$2\":");
    bytes.clear();
  };
  for (int32_t id : ids) {
    if (id == quote) {
      flush();
      inText = !inText;
    } else {
      bytes += vocabulary.tokens.bytes(id);
    }
  }
  flush();
  return json;
}

TEST(ChatConstraint, RandomCallsSatisfyTheirSchemas) {
  const Vocabulary &vocabulary = Vocabulary::tiny();
  std::mt19937 random(4);
  ChatRules rules = withTools();
  rules.toolChoice = ToolChoice::Required;
  rules.thinkingBudget = 0;
  int32_t begin = vocabulary.id("<|tool_call>"),
          end = vocabulary.id("<tool_call|>");
  int checked = 0;
  for (int round = 0; round < 60; ++round) {
    auto constraint = make(rules);
    ASSERT_TRUE(constraint.ok()) << constraint.status().message();
    std::vector<int32_t> ids;
    for (size_t length = 0; length < 2000; ++length) {
      int32_t token =
          chooseToken(maskOf(**constraint), vocabulary.tokens, length, random);
      ASSERT_GE(token, 0);
      Status status = (*constraint)->accept(token);
      ASSERT_TRUE(status.ok()) << status.message();
      if (token == begin) {
        ids.clear();
        continue;
      }
      if (token != end) {
        if (token == 1 || token == 106 || token == 50)
          break;
        ids.push_back(token);
        continue;
      }
      // call:NAME{...}
      std::string text;
      size_t name = 0;
      while (text.find('{') == std::string::npos)
        text += vocabulary.tokens.bytes(ids[name++]);
      std::string called = text.substr(5, text.find('{') - 5);
      std::string json = toJson(ids).substr(text.find('{'));
      Json value = Json::parse(json, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << json;
      for (const Json &tool : rules.tools) {
        if (tool["function"]["name"] != called)
          continue;
        ++checked;
        if (tool["function"].contains("parameters")) {
          SchemaValidator validator(tool["function"]["parameters"]);
          EXPECT_TRUE(validator.allows(value)) << json;
        }
      }
    }
  }
  EXPECT_GT(checked, 50);
}

} // namespace
