// The session against a model that tells what it was given: positions, masks,
// media rows and caches must come out the same however the prompt was cut.
#include "test/runtime/TestBundle.h"

#include "runtime/model/Session.h"

#include <gmock/gmock.h>

#include <random>

namespace lapidary::synthetic {
namespace {

using testing::HasSubstr;

std::unique_ptr<Session>
makeSession(const SessionOptions &options,
            std::shared_ptr<const Bundle> bundle = openBundle()) {
  auto session = Session::create(std::move(bundle), options);
  EXPECT_TRUE(session.ok()) << session.status().message();
  return session.ok() ? *std::move(session) : nullptr;
}

/// The embeddings of `rows` soft tokens: distinct small numbers.
std::vector<float> makeMedia(size_t rows, float first) {
  std::vector<float> media(rows * hidden);
  for (size_t row = 0; row < rows; ++row) {
    media[row * hidden] = first + float(row % 7);
    media[row * hidden + hidden - 1] = first + float(row);
  }
  return media;
}

/// What the test compares of a row: all but the tokens in its step.
std::vector<float> facts(std::span<const float> row) {
  return {row.begin(), row.begin() + 7};
}

/// Prefills and compares every row from `past` on with the expected rows of the
/// whole conversation.
void checkPrefill(Session &session, const Session::Prompt &prompt,
                  const std::vector<std::vector<float>> &expected) {
  int64_t past = session.position(), next = 0;
  Status status = session.prefill(
      prompt, [&](int64_t row, std::span<const float> logits) -> Status {
        EXPECT_EQ(row, next++);
        EXPECT_EQ(logits.size(), size_t(vocabulary));
        EXPECT_EQ(facts(logits), facts(expected[past + row]))
            << "row " << past + row;
        return {};
      });
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(next, int64_t(prompt.tokens.size()));
  EXPECT_EQ(session.position(), past + int64_t(prompt.tokens.size()));
  ASSERT_EQ(session.logits().size(), size_t(vocabulary));
  EXPECT_EQ(facts(session.logits()), facts(expected[session.position() - 1]));
}

std::vector<int32_t> textTokens(size_t count, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t &token : tokens)
    token = 8 + int32_t(random() % 30);
  return tokens;
}

TEST(Session, PrefillIsTheSameInAnyChunks) {
  auto bundle = openBundle();
  std::vector<int32_t> tokens = textTokens(200);
  auto expected = expectedHidden(tokens, {});
  for (int64_t chunk : {0, 16, 32, 48, 64})
    for (int32_t threads : {1, 3}) {
      auto session = makeSession({.chunk = chunk, .threads = threads}, bundle);
      checkPrefill(*session, {tokens, {}}, expected);
      EXPECT_EQ(session->logits()[7],
                float((200 - 1) % session->memoryPlan().chunk +
                      1)); // tokens in the last step
    }
}

TEST(Session, ContinuesWithPrefillAndDecode) {
  std::vector<int32_t> tokens = textTokens(256, 2);
  auto expected = expectedHidden(tokens, {});
  auto session = makeSession({.chunk = 16});
  for (int round = 0; round < 2; ++round) {
    std::span<const int32_t> rest = tokens;
    for (size_t step : {1, 37, 16, 50}) {
      checkPrefill(*session, {rest.first(step), {}}, expected);
      rest = rest.subspan(step);
      for (int decode = 0; decode < 5; ++decode, rest = rest.subspan(1)) {
        ASSERT_TRUE(session->decode(rest[0]).ok());
        EXPECT_EQ(facts(session->logits()),
                  facts(expected[session->position() - 1]));
      }
    }
    while (!rest.empty()) {
      ASSERT_TRUE(session->decode(rest[0]).ok());
      EXPECT_EQ(facts(session->logits()),
                facts(expected[session->position() - 1]));
      rest = rest.subspan(1);
    }
    // Full: nothing more goes in, and the state stays.
    EXPECT_THAT(session->decode(9).message(),
                HasSubstr("the context of 256 positions is full"));
    EXPECT_THAT(session->prefill({textTokens(1), {}}).message(),
                HasSubstr("0 are left"));
    EXPECT_EQ(session->position(), 256);
    session->reset();
    EXPECT_EQ(session->position(), 0);
    EXPECT_TRUE(session->logits().empty());
  }
}

/// text, an image of 16, text, two images side by side, a sound, text, video
/// frames.
struct MediaPrompt {
  std::vector<int32_t> tokens;
  std::vector<std::vector<float>> media;
  std::vector<float> all;

  void text(size_t count) {
    for (int32_t token : textTokens(count, unsigned(tokens.size())))
      tokens.push_back(token);
  }
  void item(int32_t token, size_t count) {
    tokens.insert(tokens.end(), count, token);
    media.push_back(makeMedia(count, float(10 * media.size())));
    all.insert(all.end(), media.back().begin(), media.back().end());
  }
  Session::Prompt prompt() const {
    Session::Prompt prompt{tokens, {}};
    for (const auto &rows : media)
      prompt.media.emplace_back(rows);
    return prompt;
  }
};

MediaPrompt mediaPrompt() {
  MediaPrompt p;
  p.text(9);
  p.item(imageToken, 16);
  p.text(3);
  p.item(imageToken, 6);
  p.item(videoToken, 9);
  p.text(1);
  p.item(audioToken, 40);
  p.text(20);
  p.item(videoToken, 12);
  p.text(1);
  p.item(videoToken, 12);
  p.text(4);
  return p;
}

TEST(Session, VisionBlocksStayWhole) {
  auto bundle = openBundle();
  MediaPrompt p = mediaPrompt();
  auto expected = expectedHidden(p.tokens, p.all);
  for (int64_t chunk : {16, 32, 48, 64}) {
    auto session = makeSession({.chunk = chunk}, bundle);
    checkPrefill(*session, p.prompt(), expected);
  }
  EXPECT_EQ(*requiredChunk(bundle->program(), p.tokens, {.chunk = 16}), 16);
}

TEST(Session, VisionBlocksOfACausalModelAreLikeText) {
  TestProgram program = makeProgram();
  program.bidirectional = false;
  auto bundle = openBundle(program);
  MediaPrompt p = mediaPrompt();
  p.item(imageToken, 40); // longer than the chunk, which is fine here
  auto expected = expectedHidden(p.tokens, p.all, false);
  auto session = makeSession({.chunk = 16}, bundle);
  checkPrefill(*session, p.prompt(), expected);
  EXPECT_EQ(*requiredChunk(bundle->program(), p.tokens, {.chunk = 16}), 16);
}

TEST(Session, NamesTheChunkThatABlockNeeds) {
  auto bundle = openBundle();
  MediaPrompt p;
  p.text(5);
  p.item(imageToken, 33);
  auto session = makeSession({.chunk = 32}, bundle);
  Status status = session->prefill(p.prompt());
  EXPECT_EQ(status.getCode(), StatusCode::InvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("chunk of 48 or more"));
  EXPECT_EQ(session->position(), 0);
  auto chunk = requiredChunk(bundle->program(), p.tokens, {.chunk = 32});
  ASSERT_TRUE(chunk.ok());
  EXPECT_EQ(*chunk, 48);
  session = makeSession({.chunk = *chunk}, bundle);
  checkPrefill(*session, p.prompt(), expectedHidden(p.tokens, p.all));

  MediaPrompt tooLong;
  tooLong.item(imageToken, 65);
  EXPECT_THAT(
      requiredChunk(bundle->program(), tooLong.tokens).status().message(),
      HasSubstr("steps of at most 64"));
}

TEST(Session, RefusesToContinueABlock) {
  auto session = makeSession({});
  MediaPrompt p;
  p.text(3);
  p.item(imageToken, 4);
  ASSERT_TRUE(session->prefill(p.prompt()).ok());
  MediaPrompt more;
  more.item(imageToken, 4);
  EXPECT_THAT(session->prefill(more.prompt()).message(),
              HasSubstr("right after image tokens"));
  ASSERT_TRUE(session->decode(9).ok());
  EXPECT_TRUE(session->prefill(more.prompt()).ok());
}

TEST(Session, ChecksThePromptBeforeAnyWork) {
  auto session = makeSession({.context = 100});
  std::vector<int32_t> tokens = textTokens(101);
  EXPECT_THAT(session->prefill({tokens, {}}).message(),
              HasSubstr("101 tokens, but of the context's 100"));
  EXPECT_THAT(session->prefill({}).message(), HasSubstr("the prompt is empty"));
  for (int32_t bad : {-1, vocabulary, INT32_MAX, INT32_MIN}) {
    std::vector<int32_t> outside = {8, bad};
    EXPECT_THAT(session->prefill({outside, {}}).message(),
                HasSubstr("token 1 of the prompt is"));
    EXPECT_THAT(session->decode(bad).message(),
                HasSubstr("the vocabulary has 0 to 47"));
  }
  std::vector<int32_t> image = {8, imageToken, imageToken};
  std::vector<float> one = makeMedia(1, 0), odd(hidden + 1);
  EXPECT_THAT(session->prefill({image, {}}).message(),
              HasSubstr("2 soft tokens, but its media have 0"));
  EXPECT_THAT(session->prefill({image, {one}}).message(),
              HasSubstr("2 soft tokens, but its media have 1"));
  EXPECT_THAT(session->prefill({image, {one, one, one}}).message(),
              HasSubstr("its media have 3"));
  EXPECT_THAT(session->prefill({image, {odd}}).message(),
              HasSubstr("media item 0 has 9"));
  EXPECT_THAT(
      session->prefill({image, {one, std::span<const float>()}}).message(),
      HasSubstr("media item 1 has 0"));
  EXPECT_EQ(session->position(), 0);
  EXPECT_TRUE(session->prefill({image, {one, one}}).ok());
}

TEST(Session, EmbedsInBatches) {
  auto session = makeSession({});
  std::vector<float> patches;
  std::vector<int32_t> positions;
  for (int index = 0; index < 11; ++index) {
    patches.insert(patches.end(), {float(index), 0.5f, 0.25f});
    positions.insert(positions.end(), {index, 99 - index});
  }
  auto embeddings = session->embedImage(patches, positions);
  ASSERT_TRUE(embeddings.ok()) << embeddings.status().message();
  ASSERT_EQ(embeddings->size(), 11u * hidden);
  for (int index = 0; index < 11; ++index)
    for (int d = 0; d < hidden; ++d)
      EXPECT_EQ((*embeddings)[index * hidden + d],
                index + 0.75f + index + 10 * (99 - index) + 100 * d);

  std::vector<float> frames(4 * 7, 2);
  auto sounds = session->embedAudio(frames);
  ASSERT_TRUE(sounds.ok());
  ASSERT_EQ(sounds->size(), 7u * hidden);
  EXPECT_EQ((*sounds)[6 * hidden + 3], 11);

  EXPECT_THAT(
      session->embedImage(patches, {positions.data(), 20}).status().message(),
      HasSubstr("20 position values"));
  positions[5] = 100;
  EXPECT_THAT(session->embedImage(patches, positions).status().message(),
              HasSubstr("at coordinate 100"));
  positions[5] = -1;
  EXPECT_FALSE(session->embedImage(patches, positions).ok());
  EXPECT_FALSE(session->embedImage({}, {}).ok());
  EXPECT_THAT(session->embedAudio({frames.data(), 5}).status().message(),
              HasSubstr("a sound has 5 samples"));
}

TEST(Session, SaysWhichModalityIsMissing) {
  TestProgram program = makeProgram();
  program.hasVision = program.hasAudio = false;
  auto &entries = program.targets[0].entries;
  entries.erase(entries.begin() + 3, entries.begin() + 5);
  auto session = makeSession({}, openBundle(program));
  std::vector<float> values(12);
  std::vector<int32_t> positions(8);
  EXPECT_EQ(session->embedImage(values, positions).status().getCode(),
            StatusCode::Unsupported);
  EXPECT_EQ(session->embedAudio(values).status().getCode(),
            StatusCode::Unsupported);
}

TEST(Session, GivesOnlyTheRowsAskedFor) {
  auto session = makeSession({.chunk = 16});
  std::vector<int32_t> tokens = textTokens(50);
  std::vector<int64_t> rows;
  ASSERT_TRUE(session
                  ->prefill(
                      {tokens, {}},
                      [&](int64_t row, std::span<const float>) {
                        rows.push_back(row);
                        return Status();
                      },
                      30)
                  .ok());
  ASSERT_EQ(rows.size(), 20u);
  EXPECT_EQ(rows.front(), 30);
  session->reset();
  Status status =
      session->prefill({tokens, {}}, [](int64_t row, std::span<const float>) {
        return row == 20 ? cancelled("enough") : Status();
      });
  EXPECT_EQ(status.message(), "enough");
  EXPECT_EQ(session->position(), 32); // the chunk of row 20 is in the state
  EXPECT_TRUE(session->logits().empty());
}

TEST(Session, GivesHiddenStatesAndTheirLogitsLater) {
  auto session = makeSession({.chunk = 32});
  EXPECT_TRUE(session->hiddenStates().empty());
  std::vector<int32_t> tokens = textTokens(50);
  std::vector<std::vector<float>> rows;
  ASSERT_TRUE(session
                  ->prefill({tokens, {}},
                            [&](int64_t, std::span<const float> logits) {
                              rows.emplace_back(logits.begin(), logits.end());
                              return Status();
                            })
                  .ok());
  // The last chunk's: 50 = 32 + 18.
  ASSERT_EQ(session->hiddenStates().size(), 18u * hidden);
  std::vector<float> states(session->hiddenStates().begin(),
                            session->hiddenStates().end());
  ASSERT_TRUE(session->decode(9).ok());
  EXPECT_TRUE(session->hiddenStates().empty());

  // More rows than the entry point takes at once, long after the step.
  std::vector<float> logits(18u * vocabulary);
  ASSERT_TRUE(session->computeLogits(states, logits).ok());
  for (size_t row = 0; row < 18; ++row)
    EXPECT_EQ(facts({logits.data() + row * vocabulary, vocabulary}),
              facts(rows[32 + row]));
  EXPECT_EQ(session->position(), 51);

  EXPECT_THAT(session->computeLogits({}, {}).message(),
              HasSubstr("expected 8 and 48 for each row"));
  EXPECT_FALSE(session
                   ->computeLogits({states.data(), hidden + 1},
                                   {logits.data(), vocabulary})
                   .ok());
  EXPECT_FALSE(session
                   ->computeLogits({states.data(), 2 * hidden},
                                   {logits.data(), vocabulary})
                   .ok());
  session->reset();
  EXPECT_TRUE(session->hiddenStates().empty());
}

TEST(Session, StopsWhenCancelled) {
  auto session = makeSession({.chunk = 16});
  std::atomic<bool> flag = false;
  session->setCancelFlag(&flag);
  std::vector<int32_t> tokens = textTokens(100);
  Status status =
      session->prefill({tokens, {}}, [&](int64_t row, std::span<const float>) {
        if (row == 40)
          flag = true;
        return Status();
      });
  EXPECT_EQ(status.getCode(), StatusCode::Cancelled);
  EXPECT_EQ(session->position(), 48);
  EXPECT_EQ(session->decode(9).getCode(), StatusCode::Cancelled);
  EXPECT_EQ(session->position(), 48);
  // The state is sound: going on gives what an undisturbed session gives.
  flag = false;
  checkPrefill(*session, {std::span<const int32_t>(tokens).subspan(48), {}},
               expectedHidden(tokens, {}));
}

TEST(Session, ChecksItsOptions) {
  auto bundle = openBundle();
  auto message = [&](const SessionOptions &options) {
    return Session::create(bundle, options).status().message();
  };
  EXPECT_THAT(message({.context = 257}), HasSubstr("the model has 1 to 256"));
  EXPECT_THAT(message({.context = -1}), HasSubstr("a context of -1"));
  EXPECT_THAT(message({.chunk = 24}), HasSubstr("a multiple of 16 up to 64"));
  EXPECT_THAT(message({.chunk = 80}), HasSubstr("a chunk of 80"));
  EXPECT_THAT(message({.threads = -1}), HasSubstr("-1 threads"));
  EXPECT_THAT(message({.threads = 1025}),
              HasSubstr("1025 threads were asked for, expected 1 to 1024"));
  EXPECT_THAT(message({.device = "abacus"}), HasSubstr("unknown device"));
}

TEST(Session, PlansItsMemory) {
  auto bundle = openBundle();
  auto plan = planMemory(bundle->program(),
                         {.context = 100, .chunk = 32, .threads = 3});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->weights, vocabulary * hidden * 4u + 5000u);
  ASSERT_EQ(plan->cacheLines.size(), 2u);
  EXPECT_EQ(plan->cacheLines[0].name, "layers.0.k");
  EXPECT_TRUE(plan->cacheLines[0].ring);
  EXPECT_EQ(plan->cacheLines[0].rows,
            32 + 32); // the window of 20 in blocks of 16, and the chunk
  EXPECT_EQ(plan->cacheLines[1].rows, 112);
  EXPECT_EQ(plan->caches, 2u * 4096);
  EXPECT_EQ(plan->arenas, 256u + prefillMax * hidden * 4);
  EXPECT_EQ(plan->scratch, 3u * (4096 + 4096));
  EXPECT_EQ(plan->logits, 4u * (vocabulary * 6 + 2 * 32 * hidden + 3 * 32));
  EXPECT_EQ(plan->total, plan->weights + plan->caches + plan->arenas +
                             plan->scratch + plan->logits);
  EXPECT_GT(plan->available, 0u);
  EXPECT_EQ(planMemory(bundle->program(), {})->context, 256);
  EXPECT_EQ(planMemory(bundle->program(), {})->chunk, 64);
  EXPECT_EQ(planMemory(bundle->program(), {.context = 20})->chunk, 32);
  // A ring has no more rows than the context has positions.
  plan = planMemory(bundle->program(), {.context = 33, .chunk = 32});
  EXPECT_EQ(plan->cacheLines[0].rows, 48);
  EXPECT_EQ(plan->cacheLines[1].rows, 48);
}

TEST(Session, ScratchIsForAStepOfTheChunk) {
  TestProgram program = makeProgram();
  program.targets[0].kernels[1].scratch = {0, 8192};
  auto bundle = openBundle(program);
  for (int64_t chunk : {16, 32, 64})
    EXPECT_EQ(
        planMemory(bundle->program(), {.chunk = chunk, .threads = 1})->scratch,
        uint64_t(chunk * 8192 + 4096));
  // Entry points that the chunk does not cut have their own largest step.
  program = makeProgram();
  program.targets[0].kernels[6].scratch = {0, 4096};
  bundle = openBundle(program);
  EXPECT_EQ(planMemory(bundle->program(), {.chunk = 16, .threads = 1})->scratch,
            200u * 4096 + 4096);
}

TEST(Session, RingsWithinAShortContextGiveTheSame) {
  std::vector<int32_t> tokens = textTokens(40, 3);
  auto expected = expectedHidden(tokens, {});
  // The ring alone would have 32 + 32 rows.
  auto session = makeSession({.context = 40, .chunk = 32});
  EXPECT_EQ(session->memoryPlan().cacheLines[0].rows, 48);
  checkPrefill(*session, {std::span<const int32_t>(tokens).first(36), {}},
               expected);
  for (size_t index = 36; index < 40; ++index) {
    ASSERT_TRUE(session->decode(tokens[index]).ok());
    EXPECT_EQ(facts(session->logits()), facts(expected[index]));
  }
}

TEST(Session, RefusesWhatWillNotFit) {
  TestProgram program = makeProgram();
  program.context = int64_t(1) << 30;
  program.caches[1].rowBytes = uint64_t(1) << 20;
  auto bundle = openBundle(program);
  Status status = Session::create(bundle).status();
  EXPECT_EQ(status.getCode(), StatusCode::OutOfMemory);
  EXPECT_THAT(status.message(), HasSubstr("caches 1.13 PB"));
  EXPECT_THAT(status.message(),
              HasSubstr("left; a smaller context needs less"));
  EXPECT_TRUE(Session::create(bundle, {.context = 100}).ok());

  // What does not help is not advised.
  MemoryPlan plan;
  plan.weights = 9;
  plan.total = 10;
  plan.available = 5;
  EXPECT_THAT(plan.check().message(), testing::EndsWith("left"));
  plan.scratch = 10;
  EXPECT_THAT(plan.check().message(),
              testing::EndsWith("; fewer threads need less"));
  plan.available = 10;
  EXPECT_TRUE(plan.check().ok());

  program.caches.resize(2000, program.caches[1]);
  for (size_t index = 2; index < program.caches.size(); ++index) {
    program.caches[index].name += std::to_string(index);
    program.caches[index].rowBytes = uint64_t(1) << 24;
  }
  EXPECT_THAT(Session::create(openBundle(program)).status().message(),
              HasSubstr("64 bits"));
}

} // namespace
} // namespace lapidary::synthetic
