// What may be wrong with a tasks file, each with its line and place, before
// anything runs.
#include "tools/lapidary/EvalTasks.h"

#include "test/TemporaryFolder.h"

#include <gmock/gmock.h>

namespace lapidary::cli {
namespace {

using testing::HasSubstr;

class EvalTasks : public testing::Test {
protected:
  EvalTasks() {
    std::filesystem::create_directories(folder.path("media/sub"));
    folder.write("media/a.png", "x");
    folder.write("media/sub/b.png", "x");
  }

  Result<std::vector<EvalTask>> read(const std::string &text) {
    folder.write("tasks.jsonl", text);
    return readTasks(folder.path());
  }
  /// A task of one user turn whose parts are given, and its media.
  static std::string task(const std::string &parts, const std::string &media) {
    return R"({"kind": "k", "messages": [{"role": "user", "content": [)" +
           parts + R"(]}], "answer": "yes", "media": )" + media + "}\n";
  }
  std::string error(const std::string &text) {
    return read(text).status().message();
  }

  test::TemporaryFolder folder;
};

constexpr const char *image = R"({"type": "image"})";
constexpr const char *video = R"({"type": "video"})";
constexpr const char *sayYes = R"({"type": "text", "text": "Say yes."})";

TEST_F(EvalTasks, ReadsTasks) {
  auto tasks = read(
      task(std::string(video) + "," + image + "," + sayYes,
           R"([{"frames": ["a.png", "sub/b.png"], "fps": 2.5}, "a.png"])") +
      "\n  \r\n" +
      R"({"kind": "z", "messages": [{"role": "user", "content": "Hi"}],)"
      R"( "answer": "", "media": null, "options": null, "weight": 3})");
  ASSERT_TRUE(tasks.ok()) << tasks.status().message();
  ASSERT_EQ(tasks->size(), 2u);
  const EvalTask &first = tasks->front();
  EXPECT_EQ(first.kind, "k");
  EXPECT_EQ(first.answer, "yes");
  EXPECT_THAT(first.conversation.messages.dump(), HasSubstr("Say yes."));
  ASSERT_EQ(first.media.size(), 2u);
  EXPECT_EQ(first.media[0].kind, MediaKind::Video);
  EXPECT_EQ(first.media[0].frames.size(), 2u);
  EXPECT_EQ(first.media[0].frameRate, 2.5);
  EXPECT_EQ(first.media[1].kind, MediaKind::Image);
  EXPECT_EQ(first.media[1].path, folder.path("media/a.png"));
  EXPECT_THAT((*tasks)[1].place, HasSubstr("tasks.jsonl:4"));
}

TEST_F(EvalTasks, NamesTheLine) {
  const std::string good = task(sayYes, "[]");
  EXPECT_THAT(error(good + "{"), HasSubstr("tasks.jsonl:2: expected JSON"));
  EXPECT_THAT(error(good + "[1]"), HasSubstr("tasks.jsonl:2: expected an obj"));
  EXPECT_THAT(error("{}"), HasSubstr("tasks.jsonl:1: kind: expected a string"));
  EXPECT_THAT(error(R"({"kind": 3})"), HasSubstr("kind: expected a string"));
  EXPECT_THAT(error(R"({"kind": "k"})"), HasSubstr("answer: expected"));
  EXPECT_THAT(error(R"({"kind": "k", "answer": "a"})"),
              HasSubstr("messages: expected a list of messages"));
  EXPECT_THAT(
      error(R"({"kind": "k", "answer": "a", "messages": [{"role": "x"}]})"),
      HasSubstr("tasks.jsonl:1: messages[0].role"));
  EXPECT_THAT(error(""), HasSubstr("expected a task a line"));
  EXPECT_THAT(error(std::string(200, '[')), HasSubstr("nested at most 128"));
  EXPECT_THAT(error("{\"kind\": \"\xFF\"}"), HasSubstr("expected JSON"));
  EXPECT_THAT(readTasks(folder.path("none")).status().message(),
              HasSubstr("none/tasks.jsonl"));
}

TEST_F(EvalTasks, MediaStayInTheirFolder) {
  folder.write("secret.png", "x");
  for (const char *name : {"../secret.png", "sub/../../secret.png",
                           "/etc/passwd", "..", "sub/..", "a.png\\u0000"})
    EXPECT_THAT(error(task(image, "[\"" + std::string(name) + "\"]")),
                HasSubstr("media[0]: expected the name of a file in media/"))
        << name;
  EXPECT_THAT(error(task(image, R"([""])")), HasSubstr("expected the name"));
  EXPECT_THAT(error(task(image, "[7]")), HasSubstr("found 7"));
  EXPECT_THAT(error(task(image, R"(["none.png"])")),
              HasSubstr("tasks.jsonl:1: media[0]: there is no file"));
  EXPECT_THAT(error(task(video, R"([{"frames": ["../secret.png"]}])")),
              HasSubstr("media[0].frames[0]: expected the name"));
  // A name may have dots of its own.
  folder.write("media/a..b.png", "x");
  EXPECT_TRUE(read(task(image, R"(["a..b.png"])")).ok());
}

TEST_F(EvalTasks, MediaFitThePrompt) {
  EXPECT_THAT(error(task(image, "[]")),
              HasSubstr("media: expected a list of 1"));
  EXPECT_THAT(error(task(sayYes, R"(["a.png"])")),
              HasSubstr("expected a list of 0"));
  EXPECT_THAT(error(task(image, "3")), HasSubstr("found 3"));
  EXPECT_THAT(error(task(image, R"([{"frames": ["a.png"]}])")),
              HasSubstr("image file, found a list of frames"));
  for (const char *frames : {"{}", R"({"frames": 3})", R"({"frames": []})"})
    EXPECT_THAT(error(task(video, "[" + std::string(frames) + "]")),
                HasSubstr("media[0].frames: expected a list of names"));
  for (const char *fps : {"0", "-1", "1e300", "\"1\"", "null"})
    EXPECT_THAT(error(task(video, R"([{"frames": ["a.png"], "fps": )" +
                                      std::string(fps) + "}]")),
                HasSubstr("media[0].fps: expected frames a second"));
}

} // namespace
} // namespace lapidary::cli
