// Going back to what prompts have in common: whatever is kept, the rest must
// come out as if the whole prompt had been read from an empty state.
#include "test/runtime/model/Conversations.h"

#include "runtime/model/Generator.h"

#include <gmock/gmock.h>

#include <random>

namespace lapidary::synthetic {
namespace {

using testing::HasSubstr;

constexpr uint64_t snapshotSize = 48 * 4; // (window rounded to 32) + 16 rows

/// The conversation's first `count` tokens as a sequence would remember them.
SequenceHistory remember(const Engine &engine, const Conversation &c,
                         size_t count) {
  SequenceHistory history;
  size_t soft = 0;
  for (int32_t token : std::span(c.tokens).first(count))
    if (engine.isSoft(token))
      history.append(token, hashEmbedding(std::span(c.media).subspan(
                                hidden * soft++, hidden)));
    else
      history.append(token);
  return history;
}

/// Brings the sequence to the first `count` tokens of `c` and checks every new
/// one; gives how many were kept.
int64_t go(Engine &engine, Sequence &sequence, const Conversation &c,
           size_t count, std::mt19937 &random, bool marking = false) {
  int64_t kept = sequence.reuse(remember(engine, c, count));
  EXPECT_EQ(kept, sequence.position());
  EXPECT_LT(kept, int64_t(count));
  auto feed =
      PromptFeed::create(engine, sequence, c.prompt(size_t(kept), count));
  EXPECT_TRUE(feed.ok()) << feed.status().message();
  while (feed.ok() && !feed->done()) {
    Work work = feed->next(random() % 2 ? 16 : 1 + int64_t(random() % 16));
    if (work.tokens.empty())
      continue;
    auto begin = size_t(sequence.position());
    Status status = engine.step({&work, 1});
    EXPECT_TRUE(status.ok()) << status.message();
    if (!status.ok())
      return -1;
    feed->advance(work);
    for (size_t row = 0; row < work.tokens.size(); ++row)
      EXPECT_EQ(facts(work.hidden.subspan(row * hidden, hidden)),
                facts(c.expected[begin + row]))
          << "position " << begin + row << " after going back to " << kept;
    if (marking && random() % 3 == 0)
      sequence.mark();
  }
  EXPECT_LE(engine.snapshotBytes(), engine.memoryPlan().snapshots);
  return kept;
}

/// Another conversation with the first `count` tokens of `c`, media included.
Conversation branch(const Conversation &c, size_t count, size_t length,
                    unsigned seed) {
  Conversation other;
  other.tokens.assign(c.tokens.begin(), c.tokens.begin() + long(count));
  size_t soft = size_t(std::ranges::count_if(other.tokens, isSoft));
  other.media.assign(c.media.begin(), c.media.begin() + long(soft * hidden));
  if (isVision(other.tokens.back()))
    other.text(1, seed);
  if (seed % 3 == 0)
    other.item(imageToken, 1 + seed % 9, seed);
  other.text(2, seed);
  if (seed % 4 == 0)
    other.item(audioToken, 3, seed);
  if (other.tokens.size() < length)
    other.text(length - other.tokens.size(), seed + 1);
  other.finish();
  return other;
}

TEST(Reuse, RandomEditsAreLikeAStraightRun) {
  auto bundle = openBundle();
  for (uint64_t snapshots : {uint64_t(0), snapshotSize, 5 * snapshotSize})
    for (unsigned seed = 0; seed < 12; ++seed) {
      SCOPED_TRACE(testing::Message()
                   << snapshots << " bytes of snapshots, seed " << seed);
      auto engine = makeEngine({.chunk = 16,
                                .threads = 1,
                                .sequences = 2,
                                .snapshotMemory = snapshots},
                               bundle);
      std::unique_ptr<Sequence> sequences[] = {*engine->createSequence(),
                                               *engine->createSequence()};
      std::mt19937 random(seed);
      std::vector<Conversation> tree = {textConversation(150, seed),
                                        mediaConversation(seed)};
      for (int edit = 0; edit < 40; ++edit) {
        const Conversation from = tree[random() % tree.size()];
        if (random() % 2) {
          size_t shared = 1 + random() % from.tokens.size();
          tree.push_back(branch(from, shared,
                                shared + 1 + random() % (250 - shared),
                                unsigned(random() % 100)));
        }
        const Conversation to = tree[random() % tree.size()];
        size_t count = to.textEnd(random() % to.tokens.size());
        go(*engine, *sequences[random() % 2], to, count, random, true);
        if (testing::Test::HasFailure())
          return;
      }
    }
}

TEST(Reuse, KeepsAllButTheLastTokenOfWhatItHas) {
  auto engine = makeEngine({.chunk = 16});
  auto sequence = *engine->createSequence();
  std::mt19937 random(1);
  Conversation c = textConversation(200, 1);
  EXPECT_EQ(go(*engine, *sequence, c, 100, random), 0);
  EXPECT_EQ(go(*engine, *sequence, c, 150, random), 100);
  EXPECT_EQ(go(*engine, *sequence, c, 150, random), 149);
  EXPECT_EQ(go(*engine, *sequence, c, 140, random), 139);
}

TEST(Reuse, GoesBackAChunkWithoutSnapshots) {
  auto engine = makeEngine({.chunk = 16});
  auto sequence = *engine->createSequence();
  std::mt19937 random(1);
  Conversation c = textConversation(256, 1);
  for (int64_t back = 1; back <= 16; ++back) {
    go(*engine, *sequence, c, 200, random);
    EXPECT_EQ(sequence->goBack(200 - back), 200 - back);
    go(*engine, *sequence, c, 230, random);
    sequence->reset();
  }
  // The ring's 48 rows hold positions from 152 on, and one sees 20.
  go(*engine, *sequence, c, 200, random);
  EXPECT_EQ(sequence->goBack(171), 171);
  sequence->reset();
  go(*engine, *sequence, c, 200, random);
  EXPECT_EQ(sequence->goBack(170), 0);
  // Nothing is lost before the ring is full.
  go(*engine, *sequence, c, 48, random);
  EXPECT_EQ(sequence->goBack(1), 1);
  go(*engine, *sequence, c, 60, random);
}

void advance(Engine &engine, Sequence &sequence, const Conversation &c,
             int64_t end) {
  while (sequence.position() < end) {
    auto feed = PromptFeed::create(
        engine, sequence, c.prompt(size_t(sequence.position()), size_t(end)));
    Work work = feed->next(16);
    ASSERT_TRUE(engine.step({&work, 1}).ok());
  }
}

TEST(Reuse, SnapshotsLeadBackFurther) {
  auto engine =
      makeEngine({.chunk = 16, .snapshotMemory = 2 * snapshotSize + 1});
  auto sequence = *engine->createSequence();
  std::mt19937 random(1);
  Conversation c = textConversation(256, 1);
  for (int64_t mark : {50, 90, 130}) {
    advance(*engine, *sequence, c, mark);
    sequence->mark();
  }
  EXPECT_EQ(engine->snapshotBytes(), 192u + 128u) << "130 is in the ring still";
  advance(*engine, *sequence, c, 200);
  // Windows of 20 before 90 and 130 lie in 2 and 3 blocks; the one before 50
  // had to go for them.
  EXPECT_EQ(engine->snapshotBytes(), 128u + 192u);
  Conversation other = branch(c, 120, 250, 2);
  EXPECT_EQ(go(*engine, *sequence, other, 250, random), 90);
  // Where they part, the second time there is a snapshot.
  EXPECT_EQ(
      go(*engine, *sequence, c, 240, random),
      remember(*engine, c, 240).commonPrefix(remember(*engine, other, 250)));
  EXPECT_EQ(sequence->goBack(85), 0);
  EXPECT_EQ(engine->snapshotBytes(), 0u) << "of a state that is gone";
  advance(*engine, *sequence, c, 60);
  sequence->mark();
  advance(*engine, *sequence, c, 150);
  EXPECT_GT(engine->snapshotBytes(), 0u);
  sequence.reset();
  EXPECT_EQ(engine->snapshotBytes(), 0u) << "of a sequence that is gone";
}

TEST(Reuse, BlocksAreNeverCut) {
  auto engine = makeEngine({.chunk = 16});
  auto sequence = *engine->createSequence();
  std::mt19937 random(1);
  Conversation c;
  c.text(5, 1);
  c.item(imageToken, 8, 3);
  c.text(10, 2);
  c.finish();
  go(*engine, *sequence, c, 23, random);
  EXPECT_EQ(sequence->goBack(9), 5);
  go(*engine, *sequence, c, 23, random);
  // A shorter and a longer image that begin alike, and another of the same
  // size.
  for (size_t size : {4, 11, 8}) {
    Conversation other;
    other.tokens.assign(c.tokens.begin(), c.tokens.begin() + 5);
    other.item(imageToken, size, size == 8 ? 4 : 3);
    other.text(6, 2);
    other.finish();
    EXPECT_EQ(go(*engine, *sequence, other, other.tokens.size(), random), 5);
    EXPECT_EQ(go(*engine, *sequence, c, 23, random), 5);
  }
  EXPECT_EQ(go(*engine, *sequence, c, 20, random), 19);
  // A sound is read one way: it may be cut.
  Conversation sound;
  sound.text(5, 1);
  sound.item(audioToken, 8, 3);
  sound.text(3, 1);
  sound.finish();
  Conversation shorter;
  shorter.text(5, 1);
  shorter.item(audioToken, 4, 3);
  shorter.text(3, 1);
  shorter.finish();
  go(*engine, *sequence, sound, 16, random);
  EXPECT_EQ(go(*engine, *sequence, shorter, 12, random), 9);
}

TEST(Reuse, RefusesABudgetForNothing) {
  auto bundle = openBundle();
  EXPECT_THAT(planMemory(bundle->program(), {.chunk = 16, .snapshotMemory = 8})
                  .status()
                  .message(),
              HasSubstr("one takes 192 bytes"));
  auto plan =
      planMemory(bundle->program(), {.chunk = 16, .snapshotMemory = 500});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->snapshot, snapshotSize);
  EXPECT_EQ(plan->total,
            planMemory(bundle->program(), {.chunk = 16})->total + 500);
}

TEST(Reuse, GenerateTakesWholeConversations) {
  auto bundle = openBundle();
  auto made = Session::create(bundle, {.chunk = 16});
  ASSERT_TRUE(made.ok());
  Session &session = **made;
  auto tokenizer = Tokenizer::create(bundle->segment(0));
  std::vector<float> patches = {1, 2, 3, 4, 5, 6}, others = {1, 2, 3, 4, 5, 7};
  std::vector<int32_t> positions = {0, 0, 1, 0};
  std::vector<int32_t> tokens = {9, imageToken, imageToken, 10, 36};
  auto image = [&](const std::vector<float> &pixels) {
    return MediaInput{.patches = pixels,
                      .positions = positions,
                      .frames = {},
                      .embeddings = {}};
  };
  auto run = [&](const std::vector<float> &pixels) {
    GenerateInput input{tokens, {image(pixels)}, true};
    auto result = generate(session, *tokenizer, input, {});
    EXPECT_TRUE(result.ok()) << result.status().message();
    return *result;
  };
  GenerateResult first = run(patches);
  EXPECT_EQ(first.reusedTokens, 0);
  EXPECT_EQ(first.text, "t37t38t39");
  // The answer's last token is not in the state.
  tokens.insert(tokens.end(), first.ids.begin(), first.ids.end());
  tokens.push_back(30);
  GenerateResult second = run(patches);
  EXPECT_EQ(second.reusedTokens, 8);
  float straight = session.logits()[1];
  session.reset();
  EXPECT_EQ(run(patches).ids, second.ids);
  EXPECT_EQ(session.logits()[1], straight);
  // Another image: only what stands before it is kept.
  GenerateResult third = run(others);
  EXPECT_EQ(third.reusedTokens, 1);
  EXPECT_EQ(session.logits()[1], straight + 1);
  GenerateInput missing{tokens, {}, true};
  EXPECT_THAT(generate(session, *tokenizer, missing, {}).status().message(),
              HasSubstr("2 soft tokens, but its media have 0"));
}

} // namespace
} // namespace lapidary::synthetic
