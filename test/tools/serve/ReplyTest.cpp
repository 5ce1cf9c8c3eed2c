// Replies of all APIs: whole ones, and streams whose events put together say
// the same.
#include "tools/serve/Reply.h"

#include <gmock/gmock.h>

using namespace lapidary;
using namespace lapidary::serve;

namespace {

struct SseEvent {
  std::string name;
  Json data;
};

std::vector<SseEvent> eventsOf(const std::string &stream) {
  std::vector<SseEvent> events;
  for (size_t at = 0; at < stream.size();) {
    const size_t end = stream.find("\n\n", at);
    EXPECT_NE(end, std::string::npos);
    std::string event = stream.substr(at, end - at);
    at = end + 2;
    SseEvent read;
    if (event.starts_with("event: ")) {
      const size_t line = event.find('\n');
      read.name = event.substr(7, line - 7);
      event.erase(0, line + 1);
    }
    EXPECT_TRUE(event.starts_with("data: ")) << event;
    EXPECT_EQ(event.find('\n'), std::string::npos);
    if (event == "data: [DONE]")
      read.name = "done";
    else
      read.data = Json::parse(event.substr(6));
    events.push_back(std::move(read));
  }
  return events;
}

/// A thought, a text and two calls, as an answer comes.
struct Example {
  std::vector<AnswerDelta> deltas;
  GatheredAnswer gathered;

  explicit Example(const std::string &head) {
    deltas.resize(6);
    deltas[0].reasoning = "Let me";
    deltas[1].reasoning = " see.";
    deltas[2].content = "So:";
    deltas[2].calls = {{0, "first", ""}};
    deltas[3].calls = {{0, "", R"({"a")"}};
    deltas[4].calls = {{0, "", ":1}"}, {1, "second", "{"}};
    deltas[5].calls = {{1, "", "}"}};
    for (const AnswerDelta &delta : deltas)
      gathered.add(delta, {}, head, 0);
    gathered.ending = {"stop", "", {10, 4, 6, 2, 0.5, 0.25}};
  }
};

ReplyHead makeHead() {
  ReplyHead head;
  head.id = "abcdefghijklmnopqrstuvwx";
  head.model = "m";
  head.created = 5;
  head.includeUsage = true;
  return head;
}

std::vector<SseEvent> play(Api api, const Example &example) {
  const auto writer = makeReplyWriter(api, makeHead());
  std::string stream = writer->begin(10);
  for (const AnswerDelta &delta : example.deltas)
    stream += writer->push(0, delta, {});
  stream += writer->end(0, example.gathered);
  stream += writer->close({example.gathered});
  return eventsOf(stream);
}

TEST(ServeReply, ChatStreamsSayWhatTheWholeSays) {
  const Example example(makeHead().id);
  const Json whole =
      makeReplyWriter(Api::Chat, makeHead())->whole({example.gathered});
  const Json &message = whole["choices"][0]["message"];
  EXPECT_EQ(message["content"], "So:");
  EXPECT_EQ(message["reasoning_content"], "Let me see.");
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], R"({"a":1})");
  EXPECT_EQ(message["tool_calls"][1]["function"]["name"], "second");
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_EQ(whole["usage"]["total_tokens"], 16);
  EXPECT_EQ(whole["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
  EXPECT_EQ(whole["timings"]["predicted_per_second"], 24.0);

  std::string content, reasoning;
  std::vector<Json> calls(2);
  const std::vector<SseEvent> events = play(Api::Chat, example);
  for (size_t index = 0; index + 2 < events.size(); ++index) {
    const Json &delta = events[index].data["choices"][0]["delta"];
    EXPECT_EQ(index == 0, delta.contains("role"));
    content += delta.value("content", "");
    reasoning += delta.value("reasoning_content", "");
    for (const Json &call : delta.value("tool_calls", Json::array())) {
      Json &gathered = calls[call["index"].get<size_t>()];
      if (call.contains("id"))
        gathered = {{"id", call["id"]},
                    {"type", "function"},
                    {"function",
                     {{"name", call["function"]["name"]}, {"arguments", ""}}}};
      gathered["function"]["arguments"] =
          gathered["function"]["arguments"].get<std::string>() +
          call["function"]["arguments"].get<std::string>();
    }
  }
  EXPECT_EQ(Json(content), message["content"]);
  EXPECT_EQ(Json(reasoning), message["reasoning_content"]);
  EXPECT_EQ(Json(calls).dump(), message["tool_calls"].dump());
  EXPECT_EQ(events[events.size() - 2].data["usage"], whole["usage"]);
  EXPECT_TRUE(events[events.size() - 2].data["choices"].empty());
  EXPECT_EQ(events.back().name, "done");
}

TEST(ServeReply, MessagesStreamsOpenAndCloseBlocks) {
  const Example example(makeHead().id);
  const Json whole =
      makeReplyWriter(Api::Messages, makeHead())->whole({example.gathered});
  EXPECT_EQ(whole["stop_reason"], "tool_use");
  ASSERT_EQ(whole["content"].size(), 4u);
  EXPECT_EQ(whole["content"][2]["input"].dump(), R"({"a":1})");

  std::vector<Json> blocks;
  bool open = false;
  for (const SseEvent &event : play(Api::Messages, example)) {
    EXPECT_EQ(Json(event.name), event.data["type"]);
    if (event.name == "content_block_start") {
      EXPECT_FALSE(open);
      EXPECT_EQ(event.data["index"], blocks.size());
      blocks.push_back(event.data["content_block"]);
      open = true;
    } else if (event.name == "content_block_delta") {
      ASSERT_TRUE(open);
      EXPECT_EQ(event.data["index"], blocks.size() - 1);
      const Json &delta = event.data["delta"];
      for (const char *key : {"text", "thinking", "partial_json"})
        if (delta.contains(key))
          blocks.back()[key] =
              blocks.back().value(key, "") + delta[key].get<std::string>();
    } else if (event.name == "content_block_stop") {
      EXPECT_TRUE(open);
      open = false;
    }
  }
  EXPECT_FALSE(open);
  ASSERT_EQ(blocks.size(), 4u);
  for (size_t index = 2; index < 4; ++index) {
    blocks[index]["input"] =
        Json::parse(blocks[index]["partial_json"].get<std::string>());
    blocks[index].erase("partial_json");
  }
  EXPECT_EQ(Json(blocks).dump(), whole["content"].dump());
}

TEST(ServeReply, ResponsesStreamsAddAndEndItems) {
  const Example example(makeHead().id);
  const Json whole =
      makeReplyWriter(Api::Responses, makeHead())->whole({example.gathered});
  EXPECT_EQ(whole["status"], "completed");
  Json output = Json::array();
  int64_t number = 0;
  for (const SseEvent &event : play(Api::Responses, example)) {
    EXPECT_EQ(Json(event.name), event.data["type"]);
    EXPECT_EQ(event.data["sequence_number"], number++);
    if (event.name == "response.output_item.done") {
      EXPECT_EQ(event.data["output_index"], output.size());
      output.push_back(event.data["item"]);
    }
    if (event.name == "response.completed") {
      EXPECT_EQ(event.data["response"].dump(), whole.dump());
    }
  }
  EXPECT_EQ(output.dump(), whole["output"].dump());
}

TEST(ServeReply, CompletionsGoOnInTheirOffsets) {
  ReplyHead head = makeHead();
  head.logprobs = true;
  head.choices = 2;
  const auto writer = makeReplyWriter(Api::Completion, head);
  GatheredAnswer one, two;
  AnswerDelta delta;
  delta.content = "ab";
  const ReplyToken token{"ab", 7, -0.5, {{"ab", 7, -0.5}}};
  one.add(delta, {token, token}, head.id, 0);
  one.ending = {"length", "", {3, 1, 2, 0, 1, 1}};
  two = one;
  const Json whole = writer->whole({one, two});
  EXPECT_EQ(whole["choices"][0]["logprobs"]["text_offset"].dump(), "[0,2]");
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "length");
  // The prompt is one.
  EXPECT_EQ(whole["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(whole["usage"]["completion_tokens"], 4);
  writer->push(1, delta, {token});
  const auto events = eventsOf(writer->push(1, delta, {token}));
  EXPECT_EQ(events[0].data["choices"][0]["logprobs"]["text_offset"].dump(),
            "[2]");
}

TEST(ServeReply, BytesThatAreNoTextStayValidJson) {
  ReplyHead head = makeHead();
  head.logprobs = true;
  GatheredAnswer answer;
  answer.add({}, {{"\xe2\x96", 3, -1, {}}}, head.id, 0);
  answer.ending.reason = "stop";
  const Json whole = makeReplyWriter(Api::Chat, head)->whole({answer});
  const Json read = Json::parse(dumpJson(whole));
  EXPECT_EQ(read["choices"][0]["logprobs"]["content"][0]["bytes"].dump(),
            "[226,150]");
}

TEST(ServeReply, ErrorsEndStreamsInEachForm) {
  const ApiError error{500, "broken"};
  EXPECT_EQ(eventsOf(makeReplyWriter(Api::Chat, makeHead())->fail(error))[0]
                .data["error"]["message"],
            "broken");
  EXPECT_EQ(
      eventsOf(makeReplyWriter(Api::Messages, makeHead())->fail(error))[0].name,
      "error");
  EXPECT_EQ(
      eventsOf(makeReplyWriter(Api::Responses, makeHead())->fail(error))[0]
          .data["response"]["status"],
      "failed");
}

} // namespace
