// What each API's requests become, and what is wrong with those that are not
// taken: the field is named, and nothing else is told.
#include "tools/serve/ChatRequest.h"

#include <gmock/gmock.h>

using namespace lapidary;
using namespace lapidary::serve;

namespace {

using Parser = ChatRequest (*)(const Json &, const RequestLimits &, Problems &);

ChatRequest messagesOf(const Json &body, const RequestLimits &limits,
                       Problems &problems) {
  return parseMessages(body, limits, problems);
}

ChatRequest accept(Parser parser, const std::string &text,
                   const RequestLimits &limits = {}) {
  ApiError error;
  const std::optional<Json> body = parseRequest(text, error);
  EXPECT_TRUE(body) << error.message;
  Problems problems;
  ChatRequest request = parser(body.value_or(Json::object()), limits, problems);
  EXPECT_TRUE(problems.ok()) << problems.error().message;
  return request;
}

/// The field at fault.
std::string refuse(Parser parser, const std::string &text,
                   const RequestLimits &limits = {}) {
  ApiError error;
  const std::optional<Json> body = parseRequest(text, error);
  EXPECT_TRUE(body) << error.message;
  Problems problems;
  parser(body.value_or(Json::object()), limits, problems);
  EXPECT_FALSE(problems.ok()) << text;
  if (problems.ok())
    return "";
  EXPECT_EQ(problems.error().toJson()["error"]["type"],
            problems.error().status == 413 ? "request_too_large"
                                           : "invalid_request_error");
  EXPECT_FALSE(problems.error().message.empty());
  return problems.error().param;
}

const std::string hello =
    R"("messages": [{"role": "user", "content": "Hello"}])";
std::string with(const std::string &more) { return "{" + hello + more + "}"; }

TEST(ServeRequest, BodiesAreObjectsOfBoundedShape) {
  ApiError error;
  EXPECT_FALSE(parseRequest("", error));
  EXPECT_FALSE(parseRequest("[]", error));
  EXPECT_THAT(error.message, testing::HasSubstr("an array"));
  EXPECT_FALSE(parseRequest("{\"a\": 1e999}", error));
  EXPECT_FALSE(parseRequest("{\"a\": \"\xff\"}", error));
  EXPECT_TRUE(parseRequest(
      "{\"a\": " + std::string(100, '[') + std::string(100, ']') + "}", error));
  EXPECT_FALSE(parseRequest("{\"a\": " + std::string(1000000, '['), error));
  EXPECT_THAT(error.message, testing::HasSubstr("nested"));
  std::string wide = "{\"a\": 1";
  for (int i = 0; i < 5000; ++i)
    wide += ",\"k" + std::to_string(i) + "\": 1";
  EXPECT_FALSE(parseRequest(wide + "}", error));
  EXPECT_THAT(error.message, testing::HasSubstr("members"));
  // Members are counted together too, and long keys for more.
  std::string one = "{\"a\": 1";
  for (int i = 0; i < 4000; ++i)
    one += ",\"k" + std::to_string(i) + "\": 1";
  one += "}";
  EXPECT_TRUE(parseRequest("{\"a\": [" + one + "," + one + "]}", error));
  std::string many = one;
  for (int i = 0; i < 8; ++i)
    many += "," + one;
  EXPECT_FALSE(parseRequest("{\"a\": [" + many + "]}", error));
  EXPECT_THAT(error.message, testing::HasSubstr("members"));
  std::string long_ = "{\"a\": 1";
  for (int i = 0; i < 2000; ++i)
    long_ +=
        ",\"" + std::string(1000, 'k') + std::to_string(1000 + i) + "\": 1";
  EXPECT_FALSE(parseRequest(long_ + "}", error));
  // Values take memory, which may not be there.
  size_t taken = 0;
  auto take = [&](size_t bytes) {
    taken = bytes;
    return bytes < 1000;
  };
  EXPECT_TRUE(parseRequest("{\"a\": [1, 2, 3]}", error, take));
  EXPECT_GE(taken, 5 * parsedValueBytes);
  EXPECT_FALSE(
      parseRequest("{\"a\": [1" + std::string(200, ',') + "]}", error, take));
  EXPECT_EQ(error.status, 429);
  // Brackets and colons in strings count for nothing.
  EXPECT_TRUE(parseRequest("{\"a\": \"" + std::string(5000, '[') +
                               std::string(5000, ':') + "\\\"\"}",
                           error));
}

TEST(ServeRequest, ChatTakesItsFields) {
  const ChatRequest request =
      accept(parseChat,
             with(R"(, "model": "m", "stream": true, "n": 2, "max_tokens": 7,
        "stream_options": {"include_usage": true}, "temperature": 0.5,
        "top_p": 0.9, "top_k": 3, "min_p": 0.1, "seed": 42, "stop": "x",
        "logprobs": true, "top_logprobs": 3, "presence_penalty": 1,
        "frequency_penalty": -1, "repeat_penalty": 1.1, "repeat_last_n": -1,
        "logit_bias": {"5": -100, "6": 2.5}, "unknown": [1, {"a": null}])"));
  EXPECT_EQ(request.model, "m");
  EXPECT_TRUE(request.stream && request.includeUsage && request.logprobs);
  EXPECT_EQ(request.choices, 2);
  EXPECT_EQ(request.maxTokens, 7);
  EXPECT_EQ(request.topLogprobs, 3);
  EXPECT_EQ(request.sampling.temperature, 0.5);
  EXPECT_EQ(request.sampling.topK, 3);
  EXPECT_EQ(request.sampling.seed, 42u);
  EXPECT_EQ(request.sampling.repeatLastN, -1);
  EXPECT_THAT(request.stop, testing::ElementsAre("x"));
  EXPECT_THAT(
      request.sampling.logitBias,
      testing::ElementsAre(testing::Pair(5, -100.f), testing::Pair(6, 2.5f)));
  EXPECT_EQ(request.messages.dump(), R"([{"role":"user","content":"Hello"}])");
  EXPECT_EQ(request.templateOptions["enable_thinking"], false);
}

TEST(ServeRequest, NullIsAbsent) {
  const ChatRequest request =
      accept(parseChat, with(R"(, "n": null, "stop": null, "tools": null,
        "response_format": null, "stream_options": null, "seed": null)"));
  EXPECT_EQ(request.choices, 1);
  EXPECT_FALSE(request.sampling.seed);
}

TEST(ServeRequest, WrongTypesNameTheField) {
  const std::pair<const char *, const char *> cases[] = {
      {R"(, "temperature": "hot")", "temperature"},
      {R"(, "temperature": -1)", "temperature"},
      {R"(, "top_p": 2)", "top_p"},
      {R"(, "n": 0)", "n"},
      {R"(, "n": 9)", "n"},
      {R"(, "n": 1.5)", "n"},
      {R"(, "n": 18446744073709551615)", "n"},
      {R"(, "max_tokens": 0)", "max_tokens"},
      {R"(, "max_tokens": 1e30)", "max_tokens"},
      {R"(, "max_completion_tokens": "7")", "max_completion_tokens"},
      {R"(, "stream": 1)", "stream"},
      {R"(, "stream_options": [])", "stream_options"},
      {R"(, "stop": [""])", "stop"},
      {R"(, "stop": 3)", "stop"},
      {R"(, "seed": "x")", "seed"},
      {R"(, "logprobs": 3)", "logprobs"},
      {R"(, "top_logprobs": 3)", "top_logprobs"},
      {R"(, "logit_bias": {"x": 1})", "logit_bias"},
      {R"(, "logit_bias": {"99999999": 1})", "logit_bias"},
      {R"(, "logit_bias": {"1": 101})", "logit_bias"},
      {R"(, "logit_bias": [[1]])", "logit_bias"},
      {R"(, "model": 1)", "model"},
      {R"(, "ignore_eos": true, "grammar": "root ::= \"a\"")", "ignore_eos"},
      {R"(, "ignore_eos": true, "response_format": {"type": "json_object"})",
       "ignore_eos"},
      {R"(, "ignore_eos": true, "tools": [{"function": {"name": "a"}}])",
       "ignore_eos"},
      {R"(, "tools": {})", "tools"},
      {R"(, "tools": [{}])", "tools[0]"},
      {R"(, "tools": [{"function": {"name": "a b"}}])",
       "tools[0].function.name"},
      {R"(, "tools": [{"function": {"name": "a", "parameters": 1}}])",
       "tools[0].function.parameters"},
      {R"(, "tool_choice": "required")", "tool_choice"},
      {R"(, "tool_choice": {"function": {"name": "a"}})", "tool_choice"},
      {R"(, "tool_choice": 7)", "tool_choice"},
      {R"(, "response_format": "json")", "response_format"},
      {R"(, "response_format": {"type": "xml"})", "response_format.type"},
      {R"(, "response_format": {"type": "json_schema"})",
       "response_format.schema"},
      {R"(, "reasoning_effort": "huge")", "reasoning_effort"},
      {R"(, "chat_template_kwargs": {"enable_thinking": "yes"})",
       "chat_template_kwargs.enable_thinking"},
      {R"(, "thinking_budget_tokens": -2)", "thinking_budget_tokens"},
  };
  for (const auto &[more, param] : cases)
    EXPECT_EQ(refuse(parseChat, with(more)), param) << more;
  EXPECT_EQ(
      refuse(parseChat, with(R"(, "model": ")" + std::string(257, 'm') + "\"")),
      "model");
  EXPECT_TRUE(accept(parseChat, with(R"(, "ignore_eos": true)")).ignoreEnd);
}

TEST(ServeRequest, WrongMessagesNameTheirPlace) {
  const std::pair<const char *, const char *> cases[] = {
      {R"({})", "messages"},
      {R"({"messages": {}})", "messages"},
      {R"({"messages": []})", "messages"},
      {R"({"messages": [1]})", "messages[0]"},
      {R"({"messages": [{"content": "x"}]})", "messages[0].role"},
      {R"({"messages": [{"role": "cat", "content": "x"}]})",
       "messages[0].role"},
      {R"({"messages": [{"role": "user"}]})", "messages[0].content"},
      {R"({"messages": [{"role": "user", "content": 5}]})",
       "messages[0].content"},
      {R"({"messages": [{"role": "user", "content": [{"type": "pdf"}]}]})",
       "messages[0].content[0].type"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})",
       "messages[0].content[0].text"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
       "messages[0].content[0].image_url"},
      {R"({"messages": [{"role": "user", "content":
           [{"type": "image_url", "image_url": {"url": "data:x"}}]}]})",
       "messages[0].content[0].image_url.url"},
      {R"({"messages": [{"role": "user", "content":
           [{"type": "image_url", "image_url": {"url": "AAAA",
             "detail": "best"}}]}]})",
       "messages[0].content[0].image_url.detail"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{}]}]})",
       "messages[0].tool_calls[0].function"},
  };
  for (const auto &[text, param] : cases)
    EXPECT_EQ(refuse(parseChat, text), param) << text;
}

TEST(ServeRequest, MediaAreInlineUnlessTheirHostIsAllowed) {
  auto image = [](const std::string &url) {
    return R"({"messages": [{"role": "user", "content": [{"type": "image_url",
      "image_url": {"detail": "high", "url": ")" +
           url + "\"}}]}]}";
  };
  const ChatRequest request =
      accept(parseChat, image("data:image/png;base64,AAEC"));
  ASSERT_EQ(request.media.size(), 1u);
  EXPECT_THAT(request.media[0].bytes, testing::ElementsAre(0, 1, 2));
  EXPECT_EQ(request.media[0].detail, Detail::High);
  EXPECT_EQ(request.messages[0]["content"].dump(), R"([{"type":"image"}])");
  EXPECT_EQ(accept(parseChat, image("AAEC")).media[0].bytes.size(), 3u);

  for (const char *url :
       {"http://example.com/a.png", "https://example.com/a.png",
        "file:///etc/passwd", "ftp://example.com/x", "data:image/png,xx",
        "data:image/png;base64,", "data:image/png;base64,A=B"})
    EXPECT_EQ(refuse(parseChat, image(url)),
              "messages[0].content[0].image_url.url")
        << url;

  RequestLimits limits;
  limits.mediaHosts = {"Example.COM"};
  EXPECT_EQ(
      accept(parseChat, image("https://EXAMPLE.com:8/a"), limits).media[0].url,
      "https://EXAMPLE.com:8/a");
  for (const char *url :
       {"http://example.com.evil.org/", "http://evil.org/example.com",
        "http://example.com@evil.org/", "http://evil.org#example.com",
        "http://evil.org?example.com", "file://example.com/x"})
    refuse(parseChat, image(url), limits);

  limits.maxMedia = 2;
  ApiError error;
  Problems problems;
  parseChat(*parseRequest(image("AAECAAEC"), error), limits, problems);
  ASSERT_FALSE(problems.ok());
  EXPECT_EQ(problems.error().status, 413);
}

TEST(ServeRequest, AVideoMayBeFrames) {
  const ChatRequest request =
      accept(parseChat, R"({"messages": [{"role": "user", "content": [
        {"type": "video_url", "video_url": {"fps": 2, "frames":
          ["AAEC", "data:image/png;base64,AAEC"]}},
        {"type": "input_audio", "input_audio": {"data": "AAEC",
          "format": "wav"}}]}]})");
  ASSERT_EQ(request.media.size(), 2u);
  EXPECT_EQ(request.media[0].kind, MediaKind::Video);
  EXPECT_EQ(request.media[0].frames.size(), 2u);
  EXPECT_EQ(request.media[0].framesPerSecond, 2);
  EXPECT_EQ(request.media[1].kind, MediaKind::Audio);
}

TEST(ServeRequest, EffortsAndBudgetsAreThoughts) {
  EXPECT_FALSE(accept(parseChat, with("")).thinking);
  const ChatRequest low =
      accept(parseChat, with(R"(, "reasoning_effort": "low")"));
  EXPECT_TRUE(low.thinking);
  EXPECT_EQ(low.rules.thinkingBudget, 1024);
  EXPECT_EQ(low.templateOptions["enable_thinking"], true);
  EXPECT_FALSE(
      accept(parseChat, with(R"(, "reasoning_effort": "none")")).thinking);
  const ChatRequest kwargs = accept(parseChat, with(R"(,
    "chat_template_kwargs": {"enable_thinking": true, "own": 5},
    "thinking_budget_tokens": 9)"));
  EXPECT_TRUE(kwargs.thinking);
  EXPECT_EQ(kwargs.rules.thinkingBudget, 9);
  EXPECT_EQ(kwargs.templateOptions["own"], 5);
}

TEST(ServeRequest, ToolsAndSchemasBecomeRules) {
  const std::string tools = R"(, "tools": [{"type": "function", "function":
    {"name": "f", "parameters": {"type": "object"}}}])";
  ChatRequest request = accept(parseChat, with(tools));
  EXPECT_EQ(request.rules.toolChoice, ChatRules::ToolChoice::Auto);
  EXPECT_EQ(request.templateOptions["tools"].size(), 1u);
  request = accept(parseChat, with(tools + R"(, "tool_choice": "none")"));
  EXPECT_FALSE(request.templateOptions.contains("tools"));
  request = accept(parseChat, with(tools + R"(, "parallel_tool_calls": false,
    "tool_choice": {"type": "function", "function": {"name": "f"}})"));
  EXPECT_EQ(request.rules.toolName, "f");
  EXPECT_FALSE(request.rules.parallelCalls);
  const std::string two = R"(, "tools": [{"type": "function", "function":
    {"name": "f"}}, {"type": "function", "function": {"name": "g"}}])";
  request = accept(parseChat, with(two + R"(, "tool_choice": {"type":
    "allowed_tools", "allowed_tools": {"mode": "required", "tools":
    [{"type": "function", "function": {"name": "g"}}]}})"));
  EXPECT_EQ(request.rules.toolChoice, ChatRules::ToolChoice::Required);
  EXPECT_EQ(request.rules.toolName, "");
  ASSERT_EQ(request.templateOptions["tools"].size(), 1u);
  EXPECT_EQ(request.templateOptions["tools"][0]["function"]["name"], "g");
  EXPECT_EQ(refuse(parseChat, with(two + R"(, "tool_choice": {"type":
    "allowed_tools", "allowed_tools": {"mode": "auto", "tools":
    [{"type": "function", "function": {"name": "h"}}]}})")),
            "tool_choice.allowed_tools.tools");
  request = accept(parseChat, with(R"(, "response_format": {"type":
    "json_schema", "json_schema": {"name": "n", "schema": {"b": 1, "a": 2}}})"));
  ASSERT_TRUE(request.rules.schema);
  EXPECT_EQ(request.rules.schema->dump(), R"({"b":1,"a":2})");
  EXPECT_TRUE(
      accept(parseChat, with(R"(, "response_format": {"type": "json_object"})"))
          .rules.jsonObject);
  request = accept(parseChat, with(R"(, "response_format": {"type":
    "json_object", "schema": {"type": "object"}})"));
  EXPECT_TRUE(request.rules.schema);
  EXPECT_FALSE(request.rules.jsonObject);
}

TEST(ServeRequest, CompletionsTakeTextOrTokens) {
  RequestLimits limits;
  limits.vocabulary = 10;
  EXPECT_THAT(accept(parseCompletion, R"({"prompt": "a"})").prompts,
              testing::ElementsAre("a"));
  EXPECT_THAT(accept(parseCompletion, R"({"prompt": ["a", "b"]})").prompts,
              testing::ElementsAre("a", "b"));
  EXPECT_THAT(
      accept(parseCompletion, R"({"prompt": [1, 9]})", limits).promptIds,
      testing::ElementsAre(testing::ElementsAre(1, 9)));
  EXPECT_EQ(accept(parseCompletion, R"({"prompt": [[1], [2]]})", limits)
                .promptIds.size(),
            2u);
  for (const char *text :
       {R"({})", R"({"prompt": []})", R"({"prompt": [10]})",
        R"({"prompt": [-1]})", R"({"prompt": [[1], "a"]})",
        R"({"prompt": [1, "a"]})", R"({"prompt": {}})", R"({"prompt": [[]]})"})
    EXPECT_EQ(refuse(parseCompletion, text, limits), "prompt") << text;
  EXPECT_EQ(refuse(parseCompletion, R"({"prompt": "a", "echo": true})"),
            "echo");
  EXPECT_EQ(refuse(parseCompletion, R"({"prompt": "a", "best_of": 2})"),
            "best_of");
}

TEST(ServeRequest, ResponsesItemsBecomeMessages) {
  const ChatRequest request = accept(parseResponses, R"({
    "instructions": "Be brief.", "max_output_tokens": 5,
    "reasoning": {"effort": "high"},
    "tools": [{"type": "function", "name": "f", "parameters": {}}],
    "text": {"format": {"type": "json_schema", "name": "n",
                        "schema": {"type": "object"}}},
    "input": [
      {"role": "user", "content": [{"type": "input_text", "text": "Hi"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAEC"}]},
      {"type": "reasoning", "summary": []},
      {"type": "function_call", "call_id": "c", "name": "f",
       "arguments": "{}"},
      {"type": "function_call_output", "call_id": "c", "output": "42"}]})");
  ASSERT_EQ(request.messages.size(), 4u);
  EXPECT_EQ(request.messages[0]["role"], "system");
  EXPECT_EQ(request.messages[1]["content"][1]["type"], "image");
  EXPECT_EQ(request.messages[2]["tool_calls"][0]["id"], "c");
  EXPECT_EQ(request.messages[3]["tool_call_id"], "c");
  EXPECT_EQ(request.maxTokens, 5);
  EXPECT_TRUE(request.thinking);
  EXPECT_TRUE(request.rules.schema);
  EXPECT_EQ(request.echoed["instructions"], "Be brief.");
  EXPECT_FALSE(request.echoed.contains("tool_choice"));
  const ChatRequest echoed = accept(parseResponses, R"({"input": "a",
    "metadata": {"k": "v"}, "tool_choice": {"type": "function", "name": "f"},
    "tools": [{"type": "function", "name": "f", "parameters": {}}]})");
  EXPECT_EQ(echoed.echoed["metadata"].dump(), R"({"k":"v"})");
  EXPECT_EQ(echoed.echoed["tool_choice"].dump(),
            R"({"type":"function","name":"f"})");
  const ChatRequest allowed = accept(parseResponses, R"({"input": "a",
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools":
      [{"type": "function", "name": "g"}, {"type": "function", "name": "g"}]},
    "tools": [{"type": "function", "name": "f"},
              {"type": "function", "name": "g"}]})");
  EXPECT_EQ(allowed.rules.tools.size(), 1u);
  EXPECT_EQ(allowed.echoed["tools"].size(), 2u);
  EXPECT_EQ(allowed.echoed["tool_choice"].dump(),
            R"({"type":"allowed_tools","mode":"auto",)"
            R"("tools":[{"type":"function","name":"g"}]})");
  EXPECT_EQ(accept(parseResponses, R"({"input": "a", "tool_choice": "none"})")
                .echoed["tool_choice"],
            "none");
  EXPECT_EQ(refuse(parseResponses, R"({"input": "a", "metadata": {"k": 1}})"),
            "metadata");
  EXPECT_EQ(refuse(parseResponses, R"({"input": 5})"), "input");
  EXPECT_EQ(refuse(parseResponses, R"({"input": "a",
    "previous_response_id": "x"})"),
            "previous_response_id");
  EXPECT_EQ(refuse(parseResponses, R"({"input": "a",
    "tools": [{"type": "web_search"}]})"),
            "tools[0].type");
  EXPECT_EQ(refuse(parseResponses, R"({"input": [{"type": "x"}]})"),
            "input[0].type");
}

TEST(ServeRequest, MessagesBlocksBecomeMessages) {
  const ChatRequest request = accept(messagesOf, R"({
    "max_tokens": 5, "stop_sequences": ["x"],
    "system": [{"type": "text", "text": "Be brief."}],
    "thinking": {"type": "enabled", "budget_tokens": 12},
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "any"},
    "messages": [
      {"role": "user", "content": [{"type": "image", "source": {"type":
        "base64", "media_type": "image/png", "data": "AAEC"}},
        {"type": "text", "text": "Hi"}]},
      {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "c", "content": "42"}]}]})");
  ASSERT_EQ(request.messages.size(), 4u);
  EXPECT_EQ(request.messages[1]["content"][0]["type"], "image");
  EXPECT_EQ(
      request.messages[2]["tool_calls"][0]["function"]["arguments"].dump(),
      R"({"a":1})");
  EXPECT_EQ(request.messages[3]["role"], "tool");
  EXPECT_EQ(request.rules.thinkingBudget, 12);
  EXPECT_EQ(request.rules.toolChoice, ChatRules::ToolChoice::Required);
  // What results hold is moved to the front with them.
  auto image = [](const char *data) {
    return std::string(R"({"type": "image", "source": {"type": "base64",
      "media_type": "image/png", "data": ")") +
           data + "\"}}";
  };
  auto result = [&](const char *data) {
    return R"({"type": "tool_result", "tool_use_id": "c", "content": [)" +
           image(data) + "]}";
  };
  const ChatRequest moved =
      accept(messagesOf, R"({"max_tokens": 5, "messages": [{"role": "user",
      "content": [)" + image("AAAA") +
                             "]}, {\"role\": \"user\", \"content\": [" +
                             image("AQAA") + "," + result("AgAA") + "," +
                             image("AwAA") + "," + result("BAAA") + "]}]}");
  std::vector<int> order;
  for (const MediaSource &medium : moved.media)
    order.push_back(medium.bytes[0]);
  EXPECT_THAT(order, testing::ElementsAre(0, 2, 4, 1, 3));
  EXPECT_EQ(refuse(messagesOf, "{" + hello + "}"), "max_tokens");
  EXPECT_EQ(refuse(messagesOf, with(R"(, "max_tokens": 5, "thinking": {"type":
    "maybe"})")),
            "thinking.type");
  EXPECT_EQ(refuse(messagesOf, R"({"max_tokens": 5, "messages": [{"role":
    "user", "content": [{"type": "document"}]}]})"),
            "messages[0].content[0].type");
}

} // namespace
