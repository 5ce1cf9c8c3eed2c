// Steps of several sequences against a model that tells what it was given: each
// sequence must find what it would find alone.
#include "test/runtime/model/Conversations.h"

#include <gmock/gmock.h>

#include <random>

namespace lapidary::synthetic {
namespace {

using testing::HasSubstr;

/// A conversation on its way through an engine: its prompt in chunks, then its
/// answer token by token.
struct Running {
  const Conversation *conversation;
  std::unique_ptr<Sequence> sequence;
  std::optional<PromptFeed> feed;
  size_t promptTokens = 0;

  bool done() const {
    return size_t(sequence->position()) == conversation->tokens.size();
  }
  /// Work of at most `most` tokens.
  Work next(int64_t most) {
    if (!feed->done())
      return feed->next(most);
    Work work;
    work.sequence = sequence.get();
    work.tokens = std::span<const int32_t>(conversation->tokens)
                      .subspan(size_t(sequence->position()), 1);
    work.generated = true;
    return work;
  }
  void check(const Work &work) {
    if (!work.generated)
      feed->advance(work);
    size_t end = size_t(sequence->position());
    for (size_t row = 0; row * hidden < work.hidden.size(); ++row)
      EXPECT_EQ(facts(work.hidden.subspan(row * hidden, hidden)),
                facts(conversation->expected[end - work.tokens.size() + row]));
    if (work.logitRows > 0) {
      EXPECT_EQ(work.logits.size(), size_t(work.logitRows) * vocabulary);
      EXPECT_EQ(facts(work.logits.last(vocabulary)),
                facts(conversation->expected[end - 1]));
    }
  }
};

Running start(Engine &engine, const Conversation &conversation,
              size_t promptTokens) {
  Running running{&conversation, nullptr, std::nullopt, promptTokens};
  auto sequence = engine.createSequence();
  EXPECT_TRUE(sequence.ok()) << sequence.status().message();
  running.sequence = *std::move(sequence);
  auto feed = PromptFeed::create(engine, *running.sequence,
                                 conversation.prompt(0, promptTokens));
  EXPECT_TRUE(feed.ok()) << feed.status().message();
  running.feed.emplace(*std::move(feed));
  return running;
}

/// Runs all of `conversations` to their ends in steps that mix them at random.
void runMixed(Engine &engine, const std::vector<Conversation> &conversations,
              unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Running> running;
  for (const Conversation &conversation : conversations)
    running.push_back(
        start(engine, conversation, conversation.textEnd(random() % 30)));
  for (size_t stalls = 0; stalls < 50;) {
    std::vector<Work> works;
    std::vector<Running *> workers;
    int64_t left = engine.memoryPlan().chunk;
    size_t first = random() % running.size();
    for (size_t index = 0; index < running.size(); ++index) {
      Running &one = running[(first + index) % running.size()];
      if (one.done() || left == 0 || random() % 4 == 0)
        continue;
      Work work = one.next(random() % 2 ? left : 1 + int64_t(random() % left));
      if (work.tokens.empty())
        continue;
      left -= int64_t(work.tokens.size());
      works.push_back(work);
      workers.push_back(&one);
    }
    if (works.empty()) {
      ++stalls;
      if (std::ranges::all_of(running, &Running::done))
        return;
      continue;
    }
    stalls = 0;
    Status status = engine.step(works);
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t index = 0; index < works.size(); ++index)
      workers[index]->check(works[index]);
  }
  FAIL() << "some sequences never came to their end";
}

/// Around the window of 20, the ring's 32 + chunk rows, and beyond.
std::vector<Conversation> manyConversations() {
  std::vector<Conversation> conversations;
  for (size_t length : {1, 2, 16, 19, 20, 21, 31, 63, 64, 65, 97, 200, 256})
    conversations.push_back(textConversation(length, unsigned(length)));
  conversations.push_back(mediaConversation());
  conversations.push_back(mediaConversation(50));
  return conversations;
}

TEST(Engine, BatchesAreLikeOneByOne) {
  auto bundle = openBundle();
  std::vector<Conversation> conversations = manyConversations();
  for (int32_t threads : {1, 2, 3, 8, 16})
    for (int64_t chunk : {16, 48, 64}) {
      SCOPED_TRACE(testing::Message()
                   << threads << " threads, chunk " << chunk);
      auto engine = makeEngine(
          {.chunk = chunk, .threads = threads, .sequences = 15}, bundle);
      for (unsigned seed = 0; seed < 3; ++seed)
        runMixed(*engine, conversations, seed);
    }
}

TEST(Engine, GivesTheLogitsAskedFor) {
  auto engine = makeEngine({.chunk = 16, .sequences = 3});
  std::vector<Conversation> texts = {
      textConversation(7, 1), textConversation(5, 2), textConversation(4, 3)};
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<Work> works;
  for (const Conversation &text : texts) {
    sequences.push_back(*engine->createSequence());
    Work work;
    work.sequence = sequences.back().get();
    work.tokens = text.tokens;
    works.push_back(work);
  }
  works[0].logitRows = 3;
  works[1].logitRows = 0;
  works[2].logitRows = 4;
  ASSERT_TRUE(engine->step(works).ok());
  EXPECT_EQ(works[1].logits.size(), 0u);
  for (size_t index : {0, 2})
    for (size_t row = 0; row < size_t(works[index].logitRows); ++row)
      EXPECT_EQ(
          facts(works[index].logits.subspan(row * vocabulary, vocabulary)),
          facts(texts[index].expected[texts[index].tokens.size() -
                                      size_t(works[index].logitRows) + row]));
}

TEST(Engine, StopsBetweenStepsAndGoesOn) {
  auto engine = makeEngine({.chunk = 32, .threads = 2, .sequences = 2});
  std::vector<Conversation> texts = {textConversation(90, 1),
                                     textConversation(80, 2)};
  std::vector<Running> running;
  for (const Conversation &text : texts)
    running.push_back(start(*engine, text, 60));
  std::atomic<bool> flag = false;
  engine->setCancelFlag(&flag);
  for (int step = 0; step < 200; ++step) {
    std::vector<Work> works;
    std::vector<Running *> workers;
    for (Running &one : running)
      if (!one.done()) {
        works.push_back(one.next(16));
        workers.push_back(&one);
      }
    if (works.empty())
      break;
    flag = step % 3 == 1;
    std::vector<int64_t> before;
    for (const Work &work : works)
      before.push_back(work.sequence->position());
    Status status = engine->step(works);
    if (flag) {
      EXPECT_EQ(status.getCode(), StatusCode::Cancelled);
      for (size_t index = 0; index < works.size(); ++index)
        EXPECT_EQ(works[index].sequence->position(), before[index]);
      continue;
    }
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t index = 0; index < works.size(); ++index)
      workers[index]->check(works[index]);
  }
  EXPECT_TRUE(running[0].done() && running[1].done());
}

TEST(Engine, RefusesStepsThatCannotBe) {
  auto engine = makeEngine({.context = 40, .chunk = 16, .sequences = 2}),
       other = makeEngine({});
  auto one = *engine->createSequence(), two = *engine->createSequence(),
       stranger = *other->createSequence();
  EXPECT_THAT(engine->createSequence().status().message(),
              HasSubstr("made for 2 sequences, which exist already"));
  std::vector<int32_t> tokens(17, 9), image = {imageToken}, bad = {vocabulary};
  auto work = [](Sequence *sequence, std::span<const int32_t> tokens) {
    Work work;
    work.sequence = sequence;
    work.tokens = tokens;
    return work;
  };
  auto message = [&](std::vector<Work> works) {
    return engine->step(works).message();
  };
  std::span<const int32_t> all = tokens;
  EXPECT_THAT(message({}), HasSubstr("no work"));
  EXPECT_THAT(message({work(nullptr, all)}), HasSubstr("no sequence"));
  EXPECT_THAT(message({work(stranger.get(), all)}),
              HasSubstr("of this engine"));
  EXPECT_THAT(message({work(one.get(), {})}), HasSubstr("no tokens"));
  EXPECT_THAT(message({work(one.get(), bad)}), HasSubstr("has 0 to 47"));
  EXPECT_THAT(message({work(one.get(), image)}),
              HasSubstr("1 soft tokens, but 0 embeddings"));
  EXPECT_THAT(message({work(one.get(), all)}),
              HasSubstr("17 tokens and logits of 1"));
  EXPECT_THAT(
      message({work(one.get(), all.first(9)), work(two.get(), all.first(8))}),
      HasSubstr("a step has 17 tokens"));
  EXPECT_THAT(
      message({work(one.get(), all.first(2)), work(one.get(), all.first(2))}),
      HasSubstr("in a step twice"));
  Work rows = work(one.get(), all.first(10));
  rows.logitRows = 11;
  EXPECT_THAT(message({rows}), HasSubstr("logits of 11 of 10 tokens"));
  rows.logitRows = 10; // of 2 + 5
  EXPECT_THAT(message({rows}), HasSubstr("at most 16 and 7"));
  EXPECT_EQ(one->position(), 0);
  // A placeholder that the model says itself is a token like any.
  Work generated = work(one.get(), image);
  generated.generated = true;
  EXPECT_EQ(message({generated}), "");
  for (size_t count : {16, 16, 7})
    EXPECT_EQ(message({work(one.get(), all.first(count))}), "");
  EXPECT_THAT(message({work(one.get(), all.first(1))}),
              HasSubstr("the context of 40 positions is full"));
  // The other has all of its own context left, and a third comes when one goes.
  EXPECT_EQ(message({work(two.get(), all.first(16))}), "");
  two.reset();
  EXPECT_TRUE(engine->createSequence().ok());
}

TEST(Engine, PlansForItsSequences) {
  auto bundle = openBundle();
  auto one = planMemory(bundle->program(), {.chunk = 32}),
       five = planMemory(bundle->program(), {.chunk = 32, .sequences = 5});
  ASSERT_TRUE(one.ok() && five.ok());
  EXPECT_EQ(five->caches, 5 * one->caches);
  EXPECT_EQ(five->logitRows, one->logitRows + 4);
  EXPECT_EQ(five->logits, one->logits + 4u * 4 * vocabulary);
  auto message = [&](int32_t sequences) {
    return planMemory(bundle->program(), {.chunk = 32, .sequences = sequences})
        .status()
        .message();
  };
  EXPECT_THAT(message(0), HasSubstr("0 sequences"));
  EXPECT_THAT(message(33), HasSubstr("expected 1 to 32"));
  MemoryPlan plan = *five;
  plan.caches = plan.total = plan.available + 1;
  EXPECT_THAT(plan.check().message(), HasSubstr("fewer sequences"));
}

} // namespace
} // namespace lapidary::synthetic
