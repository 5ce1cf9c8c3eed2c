// States in files: what is loaded goes on as if it had never been away, and
// what is not a whole state of this bundle is refused.
#include "test/TemporaryFolder.h"
#include "test/runtime/model/Conversations.h"

#include <gmock/gmock.h>

namespace lapidary::synthetic {
namespace {

using testing::HasSubstr;

/// Reads [position, end) of the conversation in chunks and checks every row.
void readOn(Engine &engine, Sequence &sequence, const Conversation &c,
            size_t end) {
  auto feed = PromptFeed::create(engine, sequence,
                                 c.prompt(size_t(sequence.position()), end));
  ASSERT_TRUE(feed.ok()) << feed.status().message();
  while (!feed->done()) {
    Work work = feed->next(engine.memoryPlan().chunk);
    auto begin = size_t(sequence.position());
    Status status = engine.step({&work, 1});
    ASSERT_TRUE(status.ok()) << status.message();
    feed->advance(work);
    for (size_t row = 0; row < work.tokens.size(); ++row)
      EXPECT_EQ(facts(work.hidden.subspan(row * hidden, hidden)),
                facts(c.expected[begin + row]));
  }
}

TEST(StateFile, GoesOnWhereItWas) {
  auto bundle = openBundle();
  test::TemporaryFolder folder;
  const std::string path = folder.path("state");
  Conversation text = textConversation(250, 1), media = mediaConversation(2);
  for (const Conversation *c : {&text, &media})
    for (size_t length :
         {1, 15, 16, 17, 19, 20, 21, 25, 47, 48, 49, 64, 65, 72, 112, 140}) {
      if (length > c->tokens.size() - 1 || isVision(c->tokens[length]))
        continue;
      SCOPED_TRACE(length);
      auto engine = makeEngine({.chunk = 16}, bundle);
      auto sequence = *engine->createSequence();
      readOn(*engine, *sequence, *c, length);
      Status status = sequence->save(path);
      ASSERT_TRUE(status.ok()) << status.message();
      readOn(*engine, *sequence, *c, c->tokens.size());
      // Rings of another size hold the same positions elsewhere.
      for (const SessionOptions &options :
           {SessionOptions{.chunk = 16}, SessionOptions{.chunk = 64},
            SessionOptions{.context = int64_t(c->tokens.size()),
                           .chunk = 32}}) {
        auto other = makeEngine(options, bundle);
        auto loaded = *other->createSequence();
        status = loaded->load(path);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(loaded->position(), int64_t(length));
        EXPECT_TRUE(std::ranges::equal(
            loaded->history().tokens(),
            std::span<const int32_t>(c->tokens).first(length)));
        readOn(*other, *loaded, *c, c->tokens.size());
        // It remembers its media, and goes back no further than it can.
        ASSERT_TRUE(loaded->load(path).ok());
        EXPECT_EQ(loaded->history().commonPrefix(sequence->history()),
                  int64_t(length));
        int64_t back = loaded->goBack(int64_t(length) - 1);
        EXPECT_LT(back, int64_t(length));
        readOn(*other, *loaded, *c, c->tokens.size());
      }
    }
}

TEST(StateFile, RemembersWhatRingsHaveLost) {
  auto bundle = openBundle();
  test::TemporaryFolder folder;
  const std::string path = folder.path("state");
  Conversation c = textConversation(80, 3);
  auto engine = makeEngine({.chunk = 16}, bundle);
  auto sequence = *engine->createSequence();
  // The ring of 48 rows has overwritten its first ones when it goes back.
  readOn(*engine, *sequence, c, 52);
  EXPECT_EQ(sequence->goBack(25), 25);
  ASSERT_TRUE(sequence->save(path).ok());
  auto other = makeEngine({.chunk = 16}, bundle);
  auto loaded = *other->createSequence();
  ASSERT_TRUE(loaded->load(path).ok());
  EXPECT_EQ(loaded->goBack(5), 0);
  readOn(*other, *loaded, c, c.tokens.size());
}

class DamagedStateTest : public testing::Test {
protected:
  void SetUp() override {
    readOn(*engine, *sequence, c, 28);
    ASSERT_TRUE(sequence->save(path).ok());
    good = readFile(path);
    // Tokens, soft tokens, then blocks of 64 bytes: 2 of each cache.
    ASSERT_EQ(good.size(), 64u + 28 * 4 + 16 * 24 + 4 * 64);
  }
  Status load(const Bytes &bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc)
        .write(reinterpret_cast<const char *>(bytes.data()),
               std::streamsize(bytes.size()));
    Status status = sequence->load(path);
    EXPECT_EQ(readFile(path), bytes) << "the file was touched";
    if (!status.ok())
      EXPECT_EQ(sequence->position(), 0);
    return status;
  }

  test::TemporaryFolder folder;
  std::string path = folder.path("state");
  std::unique_ptr<Engine> engine = makeEngine({.chunk = 16});
  std::unique_ptr<Sequence> sequence = *engine->createSequence();
  Conversation c = mediaConversation();
  Bytes good;
};

TEST_F(DamagedStateTest, IsRefusedWhereverItIsDamaged) {
  ASSERT_TRUE(load(good).ok());
  for (size_t at = 0; at < good.size(); ++at) {
    Bytes bad = good;
    bad[at] ^= uint8_t(1 << at % 8);
    EXPECT_FALSE(load(bad).ok()) << "byte " << at;
  }
  for (size_t size = 0; size < good.size(); size += 7)
    EXPECT_FALSE(load(Bytes(good.begin(), good.begin() + long(size))).ok());
  Bytes longer = good;
  longer.push_back(0);
  EXPECT_THAT(load(longer).message(), HasSubstr("is damaged: it has"));
  // Nothing of a bad one is left behind.
  ASSERT_TRUE(load(good).ok());
  readOn(*engine, *sequence, c, 100);
}

TEST_F(DamagedStateTest, SaysWhatIsWrong) {
  EXPECT_THAT(load({}).message(), HasSubstr("too few"));
  EXPECT_THAT(load(Bytes(200, 'x')).message(),
              HasSubstr("no state file of Lapidary"));
  Bytes newer = good;
  newer[8] = 2;
  EXPECT_EQ(load(newer).getCode(), StatusCode::Unsupported);
  Bytes altered = good;
  altered.back() ^= 1;
  EXPECT_THAT(load(altered).message(),
              HasSubstr("not those that were written"));
  EXPECT_THAT(load(altered).message(), HasSubstr("remove it to start anew"));
  Bytes huge = good;
  std::fill(huge.begin() + 32, huge.begin() + 40, 0xff);
  EXPECT_THAT(load(huge).message(), HasSubstr("but the context has 256"));
  Bytes soft = good;
  soft[40] = 29;
  EXPECT_THAT(load(soft).message(), HasSubstr("29 soft tokens of 28"));

  EXPECT_EQ(sequence->load(folder.path("none")).getCode(),
            StatusCode::NotFound);
  EXPECT_THAT(sequence->load(folder.path()).message(),
              HasSubstr("no regular file"));
  EXPECT_FALSE(sequence->save(folder.path("none/state")).ok());

  ASSERT_TRUE(load(good).ok());
  auto small = makeEngine({.context = 27});
  auto shorter = *small->createSequence();
  EXPECT_THAT(shorter->load(path).message(),
              HasSubstr("has 28 tokens, but the context has 27"));
  TestProgram other = makeProgram();
  other.segments[2].bytes[0] ^= 1;
  auto foreign = makeEngine({}, openBundle(other));
  auto stranger = *foreign->createSequence();
  EXPECT_THAT(stranger->load(path).message(),
              HasSubstr("is of another bundle"));
}

} // namespace
} // namespace lapidary::synthetic
