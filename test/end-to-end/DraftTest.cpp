// The tiny checkpoint with its companion: what it drafts is what the reference
// drafts, and answers are the same with drafts and without, alone and several
// at once, greedy and sampled.
#include "runtime/media/Audio.h"
#include "runtime/media/ImagePreprocess.h"
#include "runtime/model/Scheduler.h"
#include "test/compiler/GoldenCase.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <map>
#include <set>
#include <unistd.h>

namespace lapidary {
namespace {

using test::GoldenCase;

template <typename T> T take(Result<T> result) {
  if (!result.ok())
    throw std::runtime_error(result.status().message());
  return *std::move(result);
}

void check(const Status &status) {
  if (!status.ok())
    throw std::runtime_error(status.message());
}

GenerateOptions makeOptions(int64_t maxTokens, int32_t draft,
                            float temperature = 0, uint64_t seed = 0) {
  GenerateOptions options;
  options.maxTokens = maxTokens;
  options.draft = draft;
  options.sampling.temperature = temperature;
  options.sampling.seed = seed;
  return options;
}

class DraftTest : public testing::Test {
protected:
  static std::shared_ptr<const Bundle> bundle(const char *name = "tiny-mtp") {
    static std::map<std::string, std::shared_ptr<const Bundle>> bundles;
    std::shared_ptr<const Bundle> &found = bundles[name];
    if (!found)
      found = take(
          Bundle::open(std::string(LAPIDARY_TEST_BUNDLES "/") + name + ".lap"));
    return found;
  }
  static const schema::Model &model() { return *bundle()->program().model(); }
  static Tokenizer tokenizer() {
    return take(
        Tokenizer::create(bundle()->segment(bundle()->program().tokenizer())));
  }

  static SessionOptions options(const GoldenCase &golden, int32_t drafts) {
    SessionOptions options{.context = 4096, .chunk = 64, .drafts = drafts};
    options.chunk =
        take(requiredChunk(bundle()->program(), golden.ids, options));
    return options;
  }

  static std::vector<float>
  embedImage(Session &session, const std::string &path, int32_t budget) {
    ImagePatches patches = take(preprocessImage(
        take(readImage(path)), model().vision()->patch_size(), budget));
    return take(session.embedImage(patches.pixels, patches.positions));
  }

  /// The embeddings of a case's media.
  static std::vector<std::vector<float>> embedMedia(Session &session,
                                                    const GoldenCase &golden) {
    std::vector<std::vector<float>> media;
    for (const auto &item : golden.description["media"]) {
      if (item.is_object()) {
        for (const auto &frame : item["frames"])
          media.push_back(embedImage(
              session, golden.folder + "/" + frame.get<std::string>(),
              model().vision()->video_soft_tokens()));
        continue;
      }
      std::string path = golden.folder + "/" + item.get<std::string>();
      if (!path.ends_with(".wav")) {
        media.push_back(
            embedImage(session, path, model().vision()->max_soft_tokens()));
        continue;
      }
      const schema::Audio &audio = *model().audio();
      AudioFrames frames =
          take(preprocessAudio(take(readAudio(path, audio.rate(), 30)),
                               audio.samples_per_token(), audio.max_tokens()));
      media.push_back(take(session.embedAudio(frames.samples)));
    }
    return media;
  }

  static GenerateInput
  makeInput(const GoldenCase &golden,
            const std::vector<std::vector<float>> &embeddings) {
    GenerateInput input{.tokens = golden.ids, .media = {}, .whole = true};
    for (const std::vector<float> &item : embeddings)
      input.media.emplace_back().embeddings = item;
    return input;
  }
};

/// The rounds of the reference, of up to 3 drafts that end with an answer: it
/// went on behind those that were right. Its release took the hidden state of
/// the prompt's first token into its first round, rather than the last one's;
/// and where a draft of the round before was wrong, it left that one's keys and
/// values visible, which nothing else does: then most drafts agree, and
/// elsewhere all must.
TEST_F(DraftTest, DraftsAreTheReferences) {
  size_t exact = 0, loose = 0, looseRight = 0;
  for (const std::string &name : GoldenCase::names()) {
    SCOPED_TRACE(name);
    GoldenCase golden = GoldenCase::load(name);
    auto drafted = golden.description["draft_ids"].get<std::vector<int32_t>>();
    auto session = take(Session::create(bundle(), options(golden, 7)));
    std::vector<std::vector<float>> media = embedMedia(*session, golden);
    check(session->prefill({golden.ids, {media.begin(), media.end()}}));
    // It sees no other.
    auto other = take(Session::create(bundle(), options(golden, 0)));
    check(other->prefill({std::span(golden.ids).first(1), {}}));
    std::vector<float> first(other->hiddenStates().begin(),
                             other->hiddenStates().end());
    auto isEnd = [&](int32_t token) {
      return std::ranges::find(*model().stop_tokens(), token) !=
             model().stop_tokens()->end();
    };
    const auto &answer = golden.greedyIds;
    bool stale = false;
    size_t at = 0, next = 0;
    while (at + 1 < answer.size() && next < drafted.size()) {
      std::vector<int32_t> round;
      // 24 tokens at most, of which the step itself chooses one.
      while (round.size() < std::min<size_t>(3, 24 - at - 2) &&
             next < drafted.size() && (round.empty() || !isEnd(round.back())))
        round.push_back(drafted[next++]);
      std::span<const float> hidden =
          session->hiddenStates().last(size_t(model().hidden()));
      std::vector<float> kept(hidden.begin(), hidden.end());
      Draft draft{.sequence = &session->sequence(),
                  .token = answer[at],
                  .hidden = at == 0 ? first : kept,
                  .count = int64_t(round.size())};
      check(session->engine().draft({&draft, 1}));
      if (stale) {
        loose += round.size();
        for (size_t i = 0; i < std::min(round.size(), draft.tokens.size()); ++i)
          looseRight += round[i] == draft.tokens[i];
      } else {
        EXPECT_EQ(draft.tokens, round) << "behind token " << at;
        exact += round.size();
      }
      size_t right = 0;
      while (right < round.size() && at + 1 + right < answer.size() &&
             round[right] == answer[at + 1 + right])
        ++right;
      stale = right < round.size();
      for (size_t step = 0; step <= right && at + 1 < answer.size(); ++step)
        check(session->decode(answer[at++]));
    }
    EXPECT_EQ(next, drafted.size());
  }
  std::printf("drafts: %zu as the reference's, and %zu of %zu behind a wrong "
              "one\n",
              exact, looseRight, loose);
  EXPECT_GT(exact, 60u);
  EXPECT_GE(looseRight * 10, loose * 8);
}

TEST_F(DraftTest, GreedyAnswersAreTheSame) {
  Tokenizer texts = tokenizer();
  int64_t accepted = 0;
  for (const std::string &name : GoldenCase::names()) {
    SCOPED_TRACE(name);
    GoldenCase golden = GoldenCase::load(name);
    auto session = take(Session::create(bundle(), options(golden, 7)));
    std::vector<std::vector<float>> media = embedMedia(*session, golden);
    for (int32_t draft : {0, 1, 3, 7, draftAuto}) {
      SCOPED_TRACE(draft);
      GenerateOptions with = makeOptions(24, draft);
      GenerateResult result =
          take(generate(*session, texts, makeInput(golden, media), with));
      EXPECT_EQ(result.ids, golden.greedyIds);
      EXPECT_EQ(session->position(),
                int64_t(golden.ids.size() + result.ids.size()) - 1);
      EXPECT_EQ(result.steps + result.acceptedTokens,
                int64_t(result.ids.size()) - 1 +
                    // A draft that ended the answer was not decoded.
                    (result.acceptedTokens > 0 &&
                     result.steps + result.acceptedTokens >=
                         int64_t(result.ids.size())));
      EXPECT_LE(result.acceptedTokens, result.draftedTokens);
      if (draft == 0)
        EXPECT_EQ(result.draftedTokens, 0);
      accepted += result.acceptedTokens;
    }
  }
  EXPECT_GT(accepted, 200);
}

TEST_F(DraftTest, SampledAnswersAreTheSame) {
  Tokenizer texts = tokenizer();
  for (const char *name : {"text_600", "mixed", "tool_answer"}) {
    GoldenCase golden = GoldenCase::load(name);
    auto session = take(Session::create(bundle(), options(golden, 7)));
    std::vector<std::vector<float>> media = embedMedia(*session, golden);
    for (uint64_t seed = 0; seed < 8; ++seed) {
      SCOPED_TRACE(std::string(name) + " " + std::to_string(seed));
      std::vector<std::vector<int32_t>> answers;
      for (int32_t draft : {0, 4, draftAuto}) {
        GenerateOptions with = makeOptions(40, draft, 1, seed);
        with.logprobs = 2;
        GenerateResult result =
            take(generate(*session, texts, makeInput(golden, media), with));
        EXPECT_EQ(result.logprobs.size(), result.ids.size());
        answers.push_back(result.ids);
      }
      EXPECT_EQ(answers[1], answers[0]);
      EXPECT_EQ(answers[2], answers[0]);
    }
  }
}

/// Other seeds with drafts than without, so that nothing but the distribution
/// of three tokens behind the first can be alike.
TEST_F(DraftTest, TheDistributionIsTheSame) {
  Tokenizer texts = tokenizer();
  GoldenCase golden = GoldenCase::load("text_unicode");
  auto session = take(Session::create(bundle(), options(golden, 7)));
  constexpr uint64_t count = 600;
  std::map<int32_t, std::array<double, 2>> tokens[3];
  for (uint64_t seed = 0; seed < 2 * count; ++seed) {
    GenerateOptions with = makeOptions(4, seed % 2 ? 3 : 0, 1.2f, 1000 + seed);
    GenerateResult result =
        take(generate(*session, texts, makeInput(golden, {}), with));
    for (size_t place = 1; place < result.ids.size(); ++place)
      ++tokens[place - 1][result.ids[place]][seed % 2];
  }
  for (auto &place : tokens) {
    // Rare ones count together.
    std::vector<std::array<double, 2>> cells(1);
    for (const auto &[token, counts] : place) {
      if (counts[0] + counts[1] >= 10)
        cells.push_back(counts);
      else
        for (size_t side : {0, 1})
          cells[0][side] += counts[side];
    }
    double sides[2] = {}, statistic = 0;
    for (const auto &cell : cells)
      for (size_t side : {0, 1})
        sides[side] += cell[side];
    for (const auto &cell : cells)
      for (size_t side : {0, 1})
        if (double expected =
                (cell[0] + cell[1]) * sides[side] / (sides[0] + sides[1]))
          statistic +=
              (cell[side] - expected) * (cell[side] - expected) / expected;
    double freedom = double(cells.size()) - 1;
    ASSERT_GT(freedom, 3);
    // Four standard deviations of chi-square.
    EXPECT_LT(statistic, freedom + 4 * std::sqrt(2 * freedom));
  }
}

/// All cases at once, with drafts for each: answers run beside prompts.
TEST_F(DraftTest, BatchesAreTheSame) {
  Tokenizer texts = tokenizer();
  std::vector<GoldenCase> cases;
  std::vector<std::vector<std::vector<float>>> media;
  for (const std::string &name : GoldenCase::names()) {
    cases.push_back(GoldenCase::load(name));
    auto session = take(Session::create(bundle(), options(cases.back(), 0)));
    media.push_back(embedMedia(*session, cases.back()));
  }
  for (int32_t draft : {3, 7, draftAuto}) {
    SCOPED_TRACE(draft);
    auto engine = take(Engine::create(
        bundle(),
        {.context = 4096, .chunk = 128, .sequences = 5, .drafts = 7}));
    auto scheduler = take(Scheduler::create(*engine, texts));
    size_t done = 0;
    int64_t accepted = 0;
    for (size_t index = 0; index < cases.size(); ++index) {
      auto request = std::make_unique<Scheduler::Request>();
      request->input = makeInput(cases[index], media[index]);
      request->options = makeOptions(24, draft);
      request->onDone = [&, index](Result<GenerateResult> result) {
        ASSERT_TRUE(result.ok()) << result.status().message();
        EXPECT_EQ(result->ids, cases[index].greedyIds)
            << GoldenCase::names()[index];
        accepted += result->acceptedTokens;
        ++done;
      };
      scheduler->submit(std::move(request));
    }
    while (!scheduler->idle())
      check(scheduler->step());
    EXPECT_EQ(done, cases.size());
    EXPECT_GT(accepted, 10);
  }
}

/// A sequence that went back from drafts is one that never had them: it can be
/// saved, loaded and gone on with, and the context's end is where it was.
TEST_F(DraftTest, SequencesAreAsWithout) {
  Tokenizer texts = tokenizer();
  GoldenCase golden = GoldenCase::load("text_600");
  std::string path =
      testing::TempDir() + "lapidary-draft-state-" + std::to_string(getpid());
  std::vector<std::vector<int32_t>> answers;
  for (int32_t draft : {0, 5}) {
    SessionOptions with = options(golden, 7);
    with.snapshotMemory = 1 << 20;
    auto session = take(Session::create(bundle(), with));
    GenerateOptions first = makeOptions(60, draft, 1, 7);
    GenerateResult result =
        take(generate(*session, texts, makeInput(golden, {}), first));
    std::vector<int32_t> ids = golden.ids;
    ids.insert(ids.end(), result.ids.begin(), result.ids.end());
    EXPECT_EQ(session->position(), int64_t(ids.size()) - 1);
    check(session->sequence().save(path));
    auto other = take(Session::create(bundle(), with));
    check(other->load(path));
    ids.push_back(107);
    GenerateResult more = take(
        generate(*other, texts, {.tokens = ids, .media = {}, .whole = true},
                 makeOptions(30, draft)));
    EXPECT_EQ(more.reusedTokens, int64_t(ids.size()) - 2);
    answers.push_back(result.ids);
    answers.push_back(more.ids);
  }
  std::remove(path.c_str());
  EXPECT_EQ(answers[2], answers[0]);
  EXPECT_EQ(answers[3], answers[1]);
  // To the last position of a context.
  for (int32_t draft : {0, 7, draftAuto}) {
    SessionOptions with = options(golden, 7);
    with.context = int64_t(golden.ids.size()) + 5;
    auto session = take(Session::create(bundle(), with));
    GenerateResult result = take(generate(
        *session, texts, makeInput(golden, {}), makeOptions(0, draft)));
    std::vector<int32_t> expected(golden.greedyIds.begin(),
                                  golden.greedyIds.begin() + 6);
    EXPECT_EQ(result.ids, expected) << draft;
    EXPECT_EQ(result.finishReason, "length");
  }
}

/// Without a companion the text so far is what drafts come from.
TEST_F(DraftTest, LookupChangesNothing) {
  Tokenizer texts = tokenizer();
  int64_t accepted = 0;
  for (const char *name : {"text_600", "text_3000", "tool_call", "thinking"}) {
    GoldenCase golden = GoldenCase::load(name);
    auto session =
        take(Session::create(bundle("tiny-bf16"), options(golden, 7)));
    for (int32_t draft : {3, draftAuto}) {
      GenerateResult result = take(generate(
          *session, texts, makeInput(golden, {}), makeOptions(24, draft)));
      EXPECT_EQ(result.ids, golden.greedyIds) << name;
      accepted += result.acceptedTokens;
    }
  }
  EXPECT_GT(accepted, 0);
}

} // namespace
} // namespace lapidary
