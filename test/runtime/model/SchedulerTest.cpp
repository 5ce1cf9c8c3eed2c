// Answers side by side: each is what `generate` gives alone.
#include "test/runtime/model/Conversations.h"

#include "runtime/model/Scheduler.h"

#include <gmock/gmock.h>

#include <map>

namespace lapidary::synthetic {
namespace {

using testing::HasSubstr;

/// A prompt with the memory behind it.
struct Question {
  std::vector<int32_t> tokens;
  std::vector<float> pixels, samples;
  std::vector<int32_t> positions;
  GenerateOptions options;

  GenerateInput input() const {
    GenerateInput input{tokens, {}, true};
    if (!pixels.empty())
      input.media.push_back({pixels, positions, {}, {}});
    if (!samples.empty())
      input.media.push_back({{}, {}, samples, {}});
    return input;
  }
};

Question ask(unsigned seed) {
  std::mt19937 random(seed);
  Question question;
  auto text = [&](size_t count) {
    for (size_t index = 0; index < count; ++index)
      question.tokens.push_back(8 + int32_t(random() % 30));
  };
  text(1 + random() % 60);
  if (seed % 3 == 0) {
    size_t rows = 1 + random() % 16;
    question.tokens.insert(question.tokens.end(), rows, imageToken);
    for (size_t row = 0; row < rows; ++row) {
      question.pixels.insert(question.pixels.end(), {float(row), 1, 2});
      question.positions.insert(question.positions.end(), {int32_t(row), 1});
    }
  }
  if (seed % 4 == 0) {
    size_t rows = 1 + random() % 20;
    question.tokens.insert(question.tokens.end(), rows, audioToken);
    question.samples.assign(4 * rows, float(seed % 5));
  }
  text(1 + random() % 10);
  question.options.maxTokens = 1 + int64_t(random() % 25);
  question.options.sampling.temperature = seed % 2 ? 0 : 1;
  question.options.sampling.seed = seed;
  question.options.logprobs = seed % 5 == 0 ? 2 : 0;
  return question;
}

class SchedulerTest : public testing::Test {
protected:
  void make(const SessionOptions &options) {
    scheduler.reset();
    engine = makeEngine(options, bundle);
    auto made = Scheduler::create(*engine, tokenizer);
    ASSERT_TRUE(made.ok()) << made.status().message();
    scheduler = *std::move(made);
  }
  void submit(int name, const Question &question) {
    auto request = std::make_unique<Scheduler::Request>();
    request->input = question.input();
    request->options = question.options;
    request->onDone = [this, name](Result<GenerateResult> result) {
      EXPECT_FALSE(results.contains(name));
      results.emplace(name, std::move(result));
    };
    scheduler->submit(std::move(request));
  }
  void runAll() {
    for (int step = 0; !scheduler->idle(); ++step) {
      Status status = scheduler->step();
      ASSERT_TRUE(status.ok()) << status.message();
      ASSERT_LT(step, 10000);
    }
  }
  GenerateResult alone(const Question &question) {
    auto session = Session::create(bundle, {});
    return *generate(**session, tokenizer, question.input(), question.options);
  }
  void compare(int name, const Question &question) {
    ASSERT_TRUE(results.contains(name));
    Result<GenerateResult> &found = results.at(name);
    ASSERT_TRUE(found.ok()) << found.status().message();
    GenerateResult expected = alone(question);
    EXPECT_EQ(found->ids, expected.ids);
    EXPECT_EQ(found->text, expected.text);
    EXPECT_EQ(found->finishReason, expected.finishReason);
    EXPECT_EQ(found->promptIds, expected.promptIds);
    EXPECT_EQ(found->logprobs.size(), expected.logprobs.size());
  }

  std::shared_ptr<const Bundle> bundle = openBundle();
  Tokenizer tokenizer = *Tokenizer::create(bundle->segment(0));
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Scheduler> scheduler;
  std::map<int, Result<GenerateResult>> results;
};

TEST_F(SchedulerTest, AnswersLikeOneByOne) {
  for (int32_t sequences : {1, 3, 8})
    for (uint64_t snapshots : {0, 1000}) {
      SCOPED_TRACE(testing::Message() << sequences << " sequences");
      make({.chunk = 16,
            .threads = 2,
            .sequences = sequences,
            .snapshotMemory = snapshots});
      results.clear();
      std::vector<Question> questions;
      for (unsigned seed = 0; seed < 40; ++seed)
        questions.push_back(ask(seed % 33)); // some come again
      for (size_t index = 0; index < questions.size(); ++index)
        submit(int(index), questions[index]);
      runAll();
      for (size_t index = 0; index < questions.size(); ++index)
        compare(int(index), questions[index]);
    }
}

TEST_F(SchedulerTest, ReadsWhatIsSharedOnce) {
  // Beyond the ring: only a snapshot leads back to the end of what they share.
  make({.chunk = 16, .sequences = 1, .snapshotMemory = 1000});
  std::vector<Question> questions(4);
  for (size_t index = 0; index < 4; ++index) {
    questions[index].tokens.assign(100, 20);
    questions[index].tokens.insert(questions[index].tokens.end(), 60,
                                   int32_t(21 + index));
    questions[index].options.maxTokens = 3;
    submit(int(index), questions[index]);
  }
  runAll();
  for (size_t index = 0; index < 4; ++index)
    compare(int(index), questions[index]);
  EXPECT_EQ(results.at(0)->reusedTokens, 0);
  EXPECT_EQ(results.at(1)->reusedTokens, 0);
  EXPECT_EQ(results.at(2)->reusedTokens, 100);
  EXPECT_EQ(results.at(3)->reusedTokens, 100);
  EXPECT_LE(engine->snapshotBytes(), 1000u);
}

TEST_F(SchedulerTest, AnErrorIsOneRequestsOnly) {
  make({.context = 64, .chunk = 16, .sequences = 2});
  Question good = ask(1), tooLong = ask(2), empty, noMedia = ask(1),
           badOptions = ask(1);
  good.tokens.resize(20, 9);
  tooLong.tokens.resize(65, 9);
  tooLong.pixels.clear();
  noMedia.tokens = {9, imageToken, 9};
  badOptions.options.maxTokens = -1;
  submit(0, tooLong);
  submit(1, good);
  submit(2, empty);
  submit(3, noMedia);
  submit(4, badOptions);
  submit(5, good);
  runAll();
  EXPECT_THAT(results.at(0).status().message(),
              HasSubstr("65 tokens, but of the context's 64"));
  EXPECT_THAT(results.at(2).status().message(), HasSubstr("empty"));
  EXPECT_THAT(results.at(3).status().message(), HasSubstr("its media have 0"));
  EXPECT_THAT(results.at(4).status().message(), HasSubstr("-1 tokens"));
  compare(1, good);
  compare(5, good);
}

TEST_F(SchedulerTest, StopsOneOrAll) {
  make({.chunk = 16, .sequences = 2});
  std::atomic<bool> one = false, all = false;
  Question stopped = ask(1), other = ask(2), waiting = ask(4);
  stopped.tokens = {10};
  stopped.options = {};
  stopped.options.cancel = &one;
  stopped.options.onText = [&](std::string_view text) {
    one = text == "t13";
    return true;
  };
  submit(0, stopped);
  submit(1, other);
  runAll();
  EXPECT_EQ(results.at(0)->finishReason, "cancelled");
  EXPECT_EQ(results.at(0)->text, "t11t12t13");
  compare(1, other);

  // The engine's flag stops a step: everything stays as it was.
  results.clear();
  engine->setCancelFlag(&all);
  submit(0, other);
  ASSERT_TRUE(scheduler->step().ok());
  all = true;
  EXPECT_EQ(scheduler->step().getCode(), StatusCode::Cancelled);
  EXPECT_TRUE(results.empty());
  all = false;
  runAll();
  compare(0, other);

  results.clear();
  Question endless;
  endless.tokens = {10};
  for (int name : {0, 1, 2})
    submit(name, endless);
  ASSERT_TRUE(scheduler->step().ok());
  scheduler->cancelAll();
  EXPECT_TRUE(scheduler->idle());
  EXPECT_EQ(results.at(0)->finishReason, "cancelled");
  EXPECT_EQ(results.at(0)->ids.size(), 1u);
  EXPECT_EQ(results.at(2)->finishReason, "cancelled");
  EXPECT_TRUE(results.at(2)->ids.empty());
}

TEST_F(SchedulerTest, BlocksFindRoomBesideAnswers) {
  make({.chunk = 16, .sequences = 4});
  std::vector<Question> questions(4);
  for (int index = 0; index < 3; ++index) {
    questions[size_t(index)].tokens = {8};
    questions[size_t(index)].options.maxTokens = 30;
  }
  // A whole chunk: never beside the three tokens of the others.
  Question &image = questions[3];
  image.tokens.assign(17, imageToken);
  image.tokens.back() = 9;
  for (int32_t row = 0; row < 16; ++row) {
    image.pixels.insert(image.pixels.end(), {1, 2, 3});
    image.positions.insert(image.positions.end(), {row, 0});
  }
  image.options.maxTokens = 5;
  for (int index = 0; index < 4; ++index)
    submit(index, questions[size_t(index)]);
  for (int step = 0; step < 15; ++step)
    ASSERT_TRUE(scheduler->step().ok());
  EXPECT_TRUE(results.contains(3)) << "the image waited for the others";
  runAll();
  for (int index = 0; index < 4; ++index)
    compare(index, questions[size_t(index)]);
}

} // namespace
} // namespace lapidary::synthetic
