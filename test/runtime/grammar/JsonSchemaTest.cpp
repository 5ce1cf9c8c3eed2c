// Schemas as grammars: whatever a walk through the masks gives is JSON that
// satisfies the schema, instances can be written in any tokens, others cannot,
// and what is not supported says so.
#include "runtime/grammar/JsonSchema.h"

#include "GrammarWalk.h"
#include "SchemaValidator.h"

#include <gmock/gmock.h>

using namespace lapidary;
using namespace lapidary::test;
using testing::HasSubstr;
using Json = nlohmann::ordered_json;

namespace {

Result<std::shared_ptr<const Grammar>> compile(const Json &schema) {
  GrammarBuilder builder(0);
  return builder.finish(LAPIDARY_TRY(addSchema(builder, {}, schema, "")));
}

TokenGrammar follow(std::shared_ptr<const Grammar> grammar) {
  return TokenGrammar(std::move(grammar), Vocabulary::tiny().tokens, {});
}

struct Case {
  const char *schema;
  std::vector<const char *> instances, others;
};

const std::vector<Case> &cases() {
  static const std::vector<Case> all = {
      {R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150}},"required":["name","age"],"additionalProperties":false})",
       {R"({"name":"Ann","age":150})",
        R"({"name": "\u00e9\ud83d\ude00\"\\", "age": 0})",
        "{\n  \"name\": \"日本 😀\",\n  \"age\": 42\n}"},
       {R"({"name":"Ann","age":151})", R"({"name":"Ann","age":-1})",
        R"({"name":"Ann"})", R"({"age":1,"name":"Ann"})",
        R"({"name":"\ud83d","age":1})", "{\"name\":\"a\nb\",\"age\":1}",
        R"({"name":"Ann","age":01})", R"({"name":"Ann","age":1,"x":2})",
        R"({"name":"Ann","age":1.5})"}},
      {R"({"type":"object","properties":{"a":{"type":"boolean"},"b":{"type":"null"},"c":{"enum":["x","y\"",3,null,[1,{"k":false}]]}}})",
       {"{}", R"({"b":null})", R"({"a":true,"c":"y\""})",
        R"({"a": false, "b": null, "c": [1, {"k": false}]})", R"({"c":3})"},
       {R"({"c":"z"})", R"({"a":1})", R"({,"a":true})", R"({"a":true,})",
        R"({"c":4})"}},
      {R"({"type":"array","items":{"type":"number"},"minItems":2,"maxItems":4})",
       {"[1,2]", "[0.5, -3e5, 12E-10, -0]", "[\n\t1,\n\t2\n]"},
       {"[]", "[1]", "[1,2,3,4,5]", "[1,2,]", "[01,2]", "[1.,2]", "[.5,2]",
        "[1,+2]"}},
      {R"({"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":{"type":"boolean"}})",
       {"[]", R"(["a"])", R"(["a",1])", R"(["a",1,true,false])"},
       {"[1]", R"(["a","b"])", R"(["a",1,2])"}},
      {R"({"type":"array","prefixItems":[{"type":"string"}],"items":false,"minItems":1})",
       {R"(["a"])"},
       {"[]", R"(["a",1])"}},
      {R"({"type":["integer","string"],"minimum":-12,"maximum":345,"maxLength":3})",
       {"-12", "-9", "0", "7", "99", "100", "345", R"("abc")", R"("")",
        R"("日本語")"},
       {"-13", "346", "-100", "1000", "-0", R"("abcd")", "true"}},
      {R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":1001})",
       {"10", "99", "100", "1000"},
       {"9", "1001", "-10", "9999", "0"}},
      {R"({"type":"integer","maximum":-3})",
       {"-3", "-4", "-10", "-999999999999999999"},
       {"-2", "-0", "0", "3", "-1"}},
      {R"({"type":"integer","minimum":1.5,"maximum":3.5})",
       {"2", "3"},
       {"1", "4"}},
      {R"({"type":"number","minimum":-1.25,"exclusiveMaximum":10.5})",
       {"-1.25", "-1.2", "-1", "-0.999", "0", "-0.0", "10", "10.4999", "9.9",
        "10.0"},
       {"-1.26", "-2", "-1.251", "10.5", "10.50", "11", "1e1"}},
      {R"({"type":"number","exclusiveMinimum":0,"maximum":1})",
       {"1", "1.000", "0.001", "0.5"},
       {"0", "0.0", "-0", "1.001", "2"}},
      {R"({"type":"number","minimum":2.25,"maximum":2.75})",
       {"2.25", "2.250", "2.7", "2.75", "2.3"},
       {"2", "2.2", "2.76", "3", "2.751"}},
      {R"({"type":"string","pattern":"^[A-Z]{2}-\\d{3,4}(x|yz)?$"})",
       {R"("AB-123")", R"("QQ-0000yz")", R"("AB-123x")"},
       {R"("AB-12")", R"("aB-123")", R"("AB-123y")", R"(" AB-123")"}},
      {R"({"type":"string","pattern":"b+","minLength":2,"maxLength":4})",
       {R"("ab")", R"("bb")", R"("xxby")"},
       {R"("b")", R"("aaaa")", R"("aaaab")"}},
      {R"({"type":"string","pattern":"^(a|^b)$|^c"})",
       {R"("a")", R"("b")", R"("cyx")"},
       {R"("ab")", R"("xc")"}},
      {R"({"type":"string","pattern":"^[^a-z\"\\\\]*$"})",
       {R"("")", R"("A\n1é")", R"("\u0001")"},
       {R"("a")", R"("\"")"}},
      {R"({"type":"string","minLength":3})",
       {R"("abc")", R"("日本語あ")"},
       {R"("ab")", R"("日本")"}},
      {R"({"anyOf":[{"type":"string","const":"on"},{"type":"object","properties":{"level":{"type":"integer"}},"required":["level"]}]})",
       {R"("on")", R"({"level":3})"},
       {R"("off")", "{}"}},
      {R"({"type":"object","properties":{"kind":{"type":"string"}},"required":["kind"],"oneOf":[{"properties":{"kind":{"const":"a"},"n":{"type":"integer"}},"required":["n"]},{"properties":{"kind":{"const":"b"}}}]})",
       {R"({"kind":"a","n":1})", R"({"kind":"b"})"},
       {R"({"kind":"a"})", R"({"kind":"c"})"}},
      {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer","minimum":1}},"required":["a"]},{"properties":{"a":{"maximum":5},"b":{"type":"string"}},"required":["b"]}]})",
       {R"({"a":5,"b":""})"},
       {R"({"a":6,"b":""})", R"({"a":0,"b":""})", R"({"a":1})"}},
      {R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"value":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["value","next"]}}})",
       {R"({"value":1,"next":null})",
        R"({"value":1,"next":{"value":2,"next":{"value":3,"next":null}}})"},
       {R"({"value":1})", R"({"value":1,"next":{}})"}},
      {R"({"type":"object","properties":{"name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#"}}},"required":["name"]})",
       {R"({"name":"a","children":[{"name":"b"},{"name":"c","children":[]}]})"},
       {R"({"children":[]})"}},
      {R"({"type":"object","additionalProperties":{"type":"integer"}})",
       {"{}", R"({"a":1})", R"({"":1,"b":2})"},
       {R"({"a":"x"})"}},
      {R"({"type":"object","properties":{"ab":{"type":"string"},"abc":{"type":"string"}},"additionalProperties":{"type":"integer"}})",
       {R"({"ab":"x","abd":1})", R"({"a":1})", R"({"abcd":2,"x":3})", "{}"},
       {R"({"ab":1})", R"({"x":1,"ab":1})", R"({"\u0061b":1})",
        R"({"abc":1})"}},
      {R"({"type":"object","propertyNames":{"pattern":"^[a-z]+$"},"additionalProperties":{"type":"boolean"},"minProperties":1,"maxProperties":2})",
       {R"({"a":true})", R"({"a":true,"b":false})"},
       {"{}", R"({"A":true})", R"({"a":true,"b":true,"c":true})"}},
      {R"({"type":"string","format":"date"})",
       {R"("2024-02-29")", R"("1999-12-31")"},
       {R"("2023-02-29")", R"("2024-04-31")", R"("2024-13-01")"}},
      {R"({"type":"string","format":"date-time"})",
       {R"("2024-02-29T23:59:59Z")", R"("2024-01-01T00:00:00.123+02:00")"},
       {R"("2024-01-01 00:00:00Z")", R"("2024-01-01T24:00:00Z")"}},
      {R"({"type":"string","format":"uuid"})",
       {R"("123e4567-e89b-12d3-a456-426614174000")"},
       {R"("123e4567e89b12d3a456426614174000")"}},
      {R"({"type":"string","format":"email"})",
       {R"("a.b+c@example.org")"},
       {R"("a@")", R"("a b@c.de")", R"(".a@c.de")"}},
      {R"({"type":"string","format":"ipv4"})",
       {R"("192.168.0.255")"},
       {R"("256.1.1.1")", R"("1.2.3")", R"("01.2.3.4")"}},
      {R"({"type":"string","format":"ipv6"})",
       {R"("::1")", R"("2001:db8::8a2e:370:7334")", R"("1:2:3:4:5:6:7:8")",
        R"("::")"},
       {R"(":::")", R"("1:2:3")", R"("12345::")"}},
      {R"({"type":"string","format":"time","maxLength":9})",
       {R"("10:20:30Z")"},
       {R"("10:20:30+01:00")"}},
      {R"({"type":"string","nullable":true,"enum":["a",null]})",
       {R"("a")", "null"},
       {R"("b")"}},
      {"true",
       {"1", "[{}]", R"({"a":[null,"x"]})", "-1.5e3"},
       {"1 ", "", "nul"}},
      {"{}", {"[[[]]]", R"("x")"}, {"tru"}},
      {R"({"const":{"a":[1,"b"]}})",
       {R"({"a":[1,"b"]})", R"({ "a": [1, "b"] })"},
       {R"({"a":[1]})"}},
  };
  return all;
}

TEST(JsonSchema, RandomTextsSatisfyTheSchema) {
  std::mt19937 random(1);
  for (const Case &c : cases()) {
    SCOPED_TRACE(c.schema);
    Json schema = Json::parse(c.schema);
    auto grammar = compile(schema);
    ASSERT_TRUE(grammar.ok()) << grammar.status().message();
    SchemaValidator validator(schema);
    TokenGrammar tokens = follow(*grammar);
    int ended = 0;
    for (int round = 0; round < 40; ++round) {
      std::optional<std::string> text = randomText(tokens, random);
      if (!text)
        continue;
      ++ended;
      Json value = Json::parse(*text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << *text;
      ASSERT_TRUE(validator.allows(value)) << *text;
    }
    EXPECT_GT(ended, 20);
  }
}

TEST(JsonSchema, InstancesComeInAnyTokensAndOthersDoNot) {
  std::mt19937 random(2);
  for (const Case &c : cases()) {
    SCOPED_TRACE(c.schema);
    Json schema = Json::parse(c.schema);
    SchemaValidator validator(schema);
    auto grammar = compile(schema);
    ASSERT_TRUE(grammar.ok()) << grammar.status().message();
    TokenGrammar tokens = follow(*grammar);
    for (const char *text : c.instances) {
      ASSERT_TRUE(validator.allows(Json::parse(text))) << text;
      for (int round = 0; round < 10; ++round)
        ASSERT_TRUE(takesText(tokens, text, random)) << text;
    }
    for (const char *text : c.others)
      ASSERT_FALSE(takesText(tokens, text, random)) << text;
  }
}

TEST(JsonSchema, MasksAgreeWithSteps) {
  const TokenTable &table = Vocabulary::tiny().tokens;
  auto grammar = compile(Json::parse(cases()[0].schema));
  ASSERT_TRUE(grammar.ok());
  TokenGrammar tokens = follow(*grammar);
  TokenGrammar::State state = tokens.start();
  // Through a byte token that begins a character, too.
  std::vector<int32_t> way = {Vocabulary::tiny().id("{"),
                              Vocabulary::tiny().id("\"")};
  for (const char *piece : {"n", "a", "m", "e", "\"", ":", "\"", "<0xF0>",
                            "<0x9F>", "<0x98>", "<0x80>", "\"", ","})
    way.push_back(Vocabulary::tiny().id(piece));
  for (int32_t token : way) {
    auto mask = tokens.mask(state);
    ASSERT_TRUE(mask.ok()) << mask.status().message();
    std::vector<uint32_t> bits(mask->begin(), mask->end());
    for (int32_t id = 0; id < table.vocabularySize(); ++id)
      ASSERT_EQ(isSet(bits, id), tokens.step(state, id) != Automaton::dead)
          << Vocabulary::tiny().tokenizer.piece(id);
    ASSERT_TRUE(isSet(bits, token)) << table.bytes(token);
    state = tokens.step(state, token);
  }
}

TEST(JsonSchema, WhatCannotBeKeptIsNamedWithItsPlace) {
  const std::vector<std::pair<const char *, const char *>> bad = {
      {R"({"not":{"type":"string"}})", "/not': 'not' is not supported"},
      {R"({"type":"object","properties":{"a":{"type":"array","uniqueItems":true}}})",
       "/properties/a/uniqueItems'"},
      {R"({"type":"integer","multipleOf":3})", "/multipleOf'"},
      {R"({"type":"object","patternProperties":{"a":{}}})",
       "/patternProperties'"},
      {R"({"if":{},"then":{}})", "/if'"},
      {R"j({"type":"string","pattern":"a(?=b)"})j", "/pattern': "},
      {R"({"type":"string","pattern":"\\bx"})", "\\b is not supported"},
      {R"({"type":"string","pattern":"(a)\\1"})", "\\1 is not supported"},
      {R"({"type":"string","pattern":"a^b"})", "an anchor within it"},
      {R"({"type":"string","pattern":"[b-a]"})", "from a lower to a higher"},
      {R"({"type":"string","pattern":"(a"})", "')' is missing"},
      {R"({"type":"string","pattern":"a**"})", "quantifier follows"},
      {R"({"type":"string","format":"color"})", "/format': the format 'color'"},
      {R"({"type":"strin"})", "/type': expected object"},
      {R"({"$ref":"http://example.org/x"})", "leads out of the schema"},
      {R"({"$ref":"#/$defs/x"})", "there is no '#/$defs/x'"},
      {R"({"$ref":"#"})", "begins with itself"},
      {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})",
       "can never end"},
      {R"({"type":"integer","minimum":5,"maximum":4})", "no text satisfies"},
      {R"({"enum":[]})", "/enum': expected a list"},
      {R"({"type":"string","minLength":-1})",
       "/minLength': expected a whole number"},
      {R"({"type":"string","maxLength":1000000})", "/maxLength': "},
      {R"({"type":"array","items":{},"minItems":100000000})", "too large"},
      {R"({"type":"object","properties":{"a":{}},"minProperties":2,"additionalProperties":true})",
       "/minProperties'"},
      {R"({"type":"object","properties":[]})",
       "/properties': expected an object"},
      {R"({"allOf":[{"type":"string","pattern":"a"},{"pattern":"b"}]})",
       "two values of 'pattern'"},
      {R"({"type":"object","required":"a"})", "/required': expected a list"},
      {R"([1])", "expected an object or a boolean"},
      {R"({"allOf":[{"$ref":"#"}]})", "lead to each other"},
      {R"({"allOf":[{"type":"string"},{"type":"integer"}]})",
       "no text satisfies"},
  };
  for (const auto &[schema, message] : bad) {
    SCOPED_TRACE(schema);
    auto grammar = compile(Json::parse(schema));
    ASSERT_FALSE(grammar.ok());
    EXPECT_THAT(grammar.status().message(), HasSubstr(message));
  }
}

TEST(JsonSchema, SchemasThatGrowAreStopped) {
  // Each definition uses the one before twice, merged, so that nothing is
  // shared.
  Json schema = {{"$ref", "#/$defs/d40"}};
  Json defs = {{"d0", {{"type", "string"}}}};
  for (int i = 1; i <= 40; ++i) {
    std::string before = "#/$defs/d" + std::to_string(i - 1);
    defs["d" + std::to_string(i)] = {
        {"allOf", {{{"$ref", before}}, {{"$ref", before}}}},
        {"description", std::to_string(i)}};
  }
  schema["$defs"] = defs;
  auto grammar = compile(schema);
  ASSERT_FALSE(grammar.ok());
  EXPECT_THAT(grammar.status().message(), HasSubstr("too often"));

  // Merging is paid for by what is merged, not by how often.
  Json many = Json::object(), names = Json::array(), numbers = Json::array();
  for (int i = 0; i < 4000; ++i)
    many["p" + std::to_string(i)] = {{"type", "string"}, {"minLength", i % 3}};
  for (int i = 0; i < 50000; ++i) {
    names.push_back("n" + std::to_string(i));
    numbers.push_back(i);
  }
  Json wide = {{"allOf", {{{"properties", many}}}}};
  for (int i = 0; i < 3000; ++i)
    wide["allOf"].push_back({{"minProperties", i}});
  EXPECT_THAT(compile(wide).status().message(), HasSubstr("to be merged"));
  EXPECT_TRUE(
      compile(Json{{"allOf", {{{"enum", numbers}}, {{"enum", {5, 7.0, "x"}}}}}})
          .ok());
  Json both = {{"allOf", {{{"enum", names}}, {{"enum", names}}}}};
  both["allOf"][1]["enum"].push_back("other");
  const auto listed = compile(both);
  EXPECT_TRUE(listed.ok()) << listed.status().message();
  // 16 KB of classes, each in every repetition.
  std::string ranges;
  for (uint32_t i = 0; i < 5000; ++i)
    ranges += {char(0xE4 + i / 1024), char(0x80 + i / 16 % 64),
               char(0x80 + i % 16 * 4)};
  EXPECT_THAT(
      compile({{"type", "string"}, {"pattern", "^[" + ranges + "]{60000}$"}})
          .status()
          .message(),
      HasSubstr("ranges"));

  Json deep = {{"type", "string"}};
  for (int i = 0; i < 100; ++i)
    deep = {{"type", "array"}, {"items", deep}};
  EXPECT_THAT(compile(deep).status().message(), HasSubstr("levels deep"));
  std::string text;
  for (int i = 0; i < 100000; ++i)
    text += "[";
  EXPECT_FALSE(parseSchema(text).ok());
  EXPECT_FALSE(parseSchema("{").ok());
  EXPECT_TRUE(parseSchema("{\"type\":\"string\"}").ok());
}

// The deepest nesting is no dead end: what is open can still be closed.
TEST(JsonSchema, ListsOfAThousandValuesAreFollowed) {
  for (bool branches : {false, true}) {
    Json values = Json::array(), schema;
    for (int i = 0; i < 1000; ++i)
      values.push_back("value " + std::to_string(i * 7));
    schema["enum"] = values;
    if (branches) {
      schema = {{"anyOf", Json::array()}};
      for (const Json &value : values)
        schema["anyOf"].push_back({{"const", value}});
    }
    TokenGrammar grammar = follow(*compile(schema));
    ASSERT_TRUE(grammar.mask(grammar.start()).ok());
  }
}

TEST(JsonSchema, AnAnswerCannotTakeForEver) {
  const auto compiled =
      compile({{"type", "string"}, {"pattern", "^.*[a-m].{200}[n-z]$"}});
  ASSERT_TRUE(compiled.ok());
  Automaton automaton(*compiled);
  auto state = automaton.step(automaton.start(), '"');
  uint32_t random = 1;
  int steps = 0;
  // Each text leads to other states, whose making is paid for.
  for (; steps < 10000000 && state != Automaton::dead; ++steps) {
    if (steps % 1000 == 0)
      automaton.allowWork();
    random = random * 1664525 + 1013904223;
    state = automaton.step(state, random >> 31 ? 'a' : 'z');
    if (automaton.size() > 20000)
      state = automaton.compact(state);
  }
  EXPECT_LT(steps, 10000000);
  EXPECT_TRUE(automaton.isSpent());
}

TEST(JsonSchema, NestingHasAnEndThatCanBeReached) {
  auto grammar = compile(Json::parse(
      R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"c":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"string"}]}},"required":["c"]}}})"));
  ASSERT_TRUE(grammar.ok()) << grammar.status().message();
  TokenGrammar tokens = follow(*grammar);
  TokenGrammar::State state = tokens.start();
  const auto take = [&](std::string_view text) {
    for (char c : text) {
      TokenGrammar::State next =
          tokens.step(state, Vocabulary::tiny().id(std::string_view(&c, 1)));
      if (next == Automaton::dead)
        return false;
      state = next;
    }
    return true;
  };
  size_t depth = 0;
  while (depth < 10000 && take("{\"c\":"))
    ++depth;
  EXPECT_GT(depth, 50u);
  // What reads calls follows 100 levels.
  EXPECT_LE(depth, 100u);
  std::mt19937 random(3);
  state = tokens.tidy(state);
  std::string end = "\"\"";
  ASSERT_TRUE(take(end));
  for (size_t i = 0; i < depth; ++i)
    ASSERT_TRUE(take("}"));
  EXPECT_TRUE(tokens.isEnd(state));
}

} // namespace
