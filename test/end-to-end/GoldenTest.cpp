// The compiled tiny checkpoint against the reference implementation, number by
// number: every golden case through the runtime's Session, with the code of
// every instruction set that this machine has. The command line's side of it
// (ids and text) is test/tools/golden.test.
#include "runtime/media/Audio.h"
#include "runtime/media/ImagePreprocess.h"
#include "runtime/model/Session.h"
#include "test/compiler/GoldenCase.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace lapidary {
namespace {

using test::GoldenCase;
using test::GoldenTensor;

/// What the design demands of bf16 weights with f32 sums.
constexpr double logitsBound = 2e-2;
/// No layer lies between the weights and these.
constexpr double embeddingsBound = 1e-2;
/// Both sides may be off by the bound towards each other: only a choice by more
/// than that is the reference's choice too.
constexpr double clearGap = 2 * logitsBound;

template <typename T> T take(Result<T> result) {
  if (!result.ok())
    throw std::runtime_error(result.status().message());
  return *std::move(result);
}

/// The worst difference; not finite when one of the values is not.
double largestDifference(std::span<const float> found,
                         std::span<const float> expected) {
  double largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    double difference = std::abs(double(found[i]) - double(expected[i]));
    largest = difference <= largest ? largest : difference;
  }
  return largest;
}

struct Choice {
  int32_t token = 0;
  double gap = 0;
};

/// The largest logit, and how far it is ahead of the next.
Choice choose(std::span<const float> row) {
  auto best = std::max_element(row.begin(), row.end());
  float next = -INFINITY;
  for (auto value = row.begin(); value != row.end(); ++value)
    if (value != best)
      next = std::max(next, *value);
  return {int32_t(best - row.begin()), double(*best) - double(next)};
}

/// The variable that names the variant, set for the test's time.
class ForcedVariant {
public:
  explicit ForcedVariant(const std::string &name) {
    if (const char *value = std::getenv(variable))
      before = value;
    setenv(variable, name.c_str(), 1);
  }
  ~ForcedVariant() {
    if (before)
      setenv(variable, before->c_str(), 1);
    else
      unsetenv(variable);
  }

private:
  static constexpr const char *variable = "LAPIDARY_CPU";
  std::optional<std::string> before;
};

class GoldenFixture : public testing::Test {
protected:
  /// The errors of one case, the worst of all its runs.
  struct Worst {
    double prompt = 0, greedy = 0, image = 0, audio = 0;
    /// Prompt positions whose choice was clear enough to be compared.
    size_t chosen = 0;
  };

  std::vector<std::vector<float>> embedMedia(Session &session);
  std::vector<float> embedImage(Session &session, const std::string &file,
                                int32_t budget);
  std::vector<float> embedAudio(Session &session, const std::string &file);
  void compareEmbeddings(const char *name, const std::vector<float> &found,
                         double &worst);

  static std::shared_ptr<const Bundle> bundle() {
    static std::shared_ptr<const Bundle> tiny =
        take(Bundle::open(LAPIDARY_TEST_BUNDLES "/tiny-bf16.lap"));
    return tiny;
  }
  const schema::Model &model() const { return *bundle()->program().model(); }

  GoldenCase golden;
  Worst worst;
};

class GoldenBatchTest : public GoldenFixture {};

class GoldenTest
    : public GoldenFixture,
      public testing::WithParamInterface<std::tuple<std::string, std::string>> {
protected:
  void run(Session &session);
};

std::vector<float> GoldenFixture::embedImage(Session &session,
                                             const std::string &file,
                                             int32_t budget) {
  Image image = take(readImage(golden.folder + "/" + file));
  ImagePatches patches =
      take(preprocessImage(image, model().vision()->patch_size(), budget));
  return take(session.embedImage(patches.pixels, patches.positions));
}

std::vector<float> GoldenFixture::embedAudio(Session &session,
                                             const std::string &file) {
  const schema::Audio &audio = *model().audio();
  std::vector<float> samples =
      take(readAudio(golden.folder + "/" + file, audio.rate(), 30));
  AudioFrames frames = take(
      preprocessAudio(samples, audio.samples_per_token(), audio.max_tokens()));
  return take(session.embedAudio(frames.samples));
}

void GoldenFixture::compareEmbeddings(const char *name,
                                      const std::vector<float> &found,
                                      double &worstError) {
  GoldenTensor expected = golden.tensor(name);
  ASSERT_FALSE(expected.values.empty()) << name;
  // The reference keeps the first rows of the first item.
  ASSERT_GE(found.size(), expected.values.size()) << name;
  double error = largestDifference(found, expected.values);
  EXPECT_LE(error, embeddingsBound) << name;
  worstError = std::max(worstError, error);
}

/// One entry an image, sound or frame, in the prompt's order.
std::vector<std::vector<float>> GoldenFixture::embedMedia(Session &session) {
  std::vector<std::vector<float>> media;
  bool imageSeen = false, audioSeen = false;
  for (const auto &item : golden.description["media"]) {
    if (item.is_object()) {
      for (const auto &frame : item["frames"])
        media.push_back(
            embedImage(session, frame, model().vision()->video_soft_tokens()));
      continue;
    }
    std::string file = item;
    if (file.ends_with(".wav")) {
      media.push_back(embedAudio(session, file));
      if (!audioSeen)
        compareEmbeddings("audio_embeddings", media.back(), worst.audio);
      audioSeen = true;
    } else {
      media.push_back(
          embedImage(session, file, model().vision()->max_soft_tokens()));
      if (!imageSeen)
        compareEmbeddings("image_embeddings", media.back(), worst.image);
      imageSeen = true;
    }
  }
  return media;
}

/// The whole case from an empty state.
void GoldenTest::run(Session &session) {
  std::vector<std::vector<float>> media = embedMedia(session);
  Session::Prompt prompt{golden.ids, {media.begin(), media.end()}};
  GoldenTensor last = golden.tensor("logits"),
               greedy = golden.tensor("greedy_logits"),
               best = golden.tensor("argmax");
  auto vocabulary = static_cast<size_t>(model().vocabulary());
  size_t count = golden.ids.size();
  ASSERT_EQ(last.shape, (std::vector<int64_t>{8, int64_t(vocabulary)}));
  ASSERT_EQ(greedy.shape,
            (std::vector<int64_t>{int64_t(golden.greedyIds.size()),
                                  int64_t(vocabulary)}));
  ASSERT_EQ(best.indices.size(), count);

  size_t rows = 0, chosen = 0;
  double promptError = 0;
  Status status = session.prefill(
      prompt, [&](int64_t row, std::span<const float> logits) -> Status {
        EXPECT_EQ(row, int64_t(rows++));
        EXPECT_EQ(logits.size(), vocabulary);
        if (size_t(row) + 8 >= count) {
          double error = largestDifference(
              logits,
              std::span(last.values)
                  .subspan((size_t(row) + 8 - count) * vocabulary, vocabulary));
          promptError = error <= promptError ? promptError : error;
        }
        // Inside an image the reference's forward pass lets the full layer see
        // the image both ways too, against its documentation. Nothing but the
        // choice at those positions follows from it here, where the only full
        // layer is the last.
        int32_t type = golden.types[size_t(row)];
        Choice choice = choose(logits);
        if (choice.gap > clearGap && type != 1 && type != 2) {
          EXPECT_EQ(choice.token, best.indices[size_t(row)])
              << "position " << row;
          ++chosen;
        }
        return {};
      });
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(rows, count);
  EXPECT_LE(promptError, logitsBound);
  EXPECT_EQ(session.position(), int64_t(count));
  worst.prompt = std::max(worst.prompt, promptError);
  worst.chosen = chosen;

  for (size_t step = 0; step < golden.greedyIds.size(); ++step) {
    if (step > 0) {
      status = session.decode(golden.greedyIds[step - 1]);
      ASSERT_TRUE(status.ok()) << status.message();
    }
    ASSERT_EQ(session.logits().size(), vocabulary);
    double error = largestDifference(
        session.logits(),
        std::span(greedy.values).subspan(step * vocabulary, vocabulary));
    EXPECT_LE(error, logitsBound) << "step " << step;
    worst.greedy = std::max(worst.greedy, error);
  }
}

TEST_P(GoldenTest, LogitsAndEmbeddingsAreTheReferences) {
  auto [name, variant] = GetParam();
  ForcedVariant forced(variant);
  golden = GoldenCase::load(name);
  for (int64_t chunk : {512, 64})
    for (int32_t threads : {1, 2}) {
      SCOPED_TRACE("chunk " + std::to_string(chunk) + ", threads " +
                   std::to_string(threads));
      SessionOptions options;
      options.chunk = chunk;
      options.threads = threads;
      options.chunk =
          take(requiredChunk(bundle()->program(), golden.ids, options));
      Result<std::unique_ptr<Session>> session =
          Session::create(bundle(), options);
      if (!session.ok() &&
          session.status().getCode() == StatusCode::Unsupported)
        GTEST_SKIP() << session.status().message();
      ASSERT_TRUE(session.ok()) << session.status().message();
      run(**session);
      // A session that was emptied gives the same.
      (*session)->reset();
      if (chunk == 64 && threads == 2)
        run(**session);
    }
  std::printf("golden %-12s %-6s worst error: prompt logits %.2e, greedy "
              "logits %.2e, image %.2e, audio %.2e; %zu of %zu choices\n",
              name.c_str(), variant.c_str(), worst.prompt, worst.greedy,
              worst.image, worst.audio, worst.chosen, golden.ids.size());
}

/// All cases at once: their prompts go in side by side, whoever is through is
/// decoded while others still read.
TEST_F(GoldenBatchTest, BatchesAreTheReferences) {
  auto session = take(Session::create(bundle()));
  std::vector<GoldenCase> cases;
  std::vector<std::vector<std::vector<float>>> media;
  SessionOptions options{.context = 4096, .chunk = 128};
  for (const std::string &name : GoldenCase::names()) {
    golden = GoldenCase::load(name);
    media.push_back(embedMedia(*session));
    options.chunk =
        take(requiredChunk(bundle()->program(), golden.ids, options));
    cases.push_back(golden);
  }
  options.sequences = int32_t(cases.size());
  auto engine = take(Engine::create(bundle(), options));
  const auto vocabulary = size_t(model().vocabulary());

  struct Running {
    std::unique_ptr<Sequence> sequence;
    PromptFeed feed;
    size_t decoded = 0;
  };
  std::vector<Running> running;
  for (size_t index = 0; index < cases.size(); ++index) {
    auto sequence = take(engine->createSequence());
    auto feed = take(PromptFeed::create(
        *engine, *sequence,
        {cases[index].ids, {media[index].begin(), media[index].end()}}));
    running.push_back({std::move(sequence), std::move(feed)});
  }
  double worstError = 0;
  for (size_t steps = 0;; ++steps) {
    std::vector<Work> works;
    std::vector<size_t> owners;
    int64_t left = options.chunk;
    // Another one is first each time, so that a block gets a whole chunk.
    for (size_t turn = 0; turn < cases.size() && left > 0; ++turn) {
      size_t index = (turn + steps) % cases.size();
      Running &one = running[index];
      Work work;
      if (!one.feed.done()) {
        work = one.feed.next(left);
      } else if (one.decoded + 1 < cases[index].greedyIds.size()) {
        work.sequence = one.sequence.get();
        work.tokens =
            std::span(cases[index].greedyIds).subspan(one.decoded++, 1);
        work.generated = true;
      }
      if (work.tokens.empty())
        continue;
      left -= int64_t(work.tokens.size());
      works.push_back(work);
      owners.push_back(index);
    }
    if (works.empty())
      break;
    Status status = engine->step(works);
    ASSERT_TRUE(status.ok()) << status.message();
    for (size_t work = 0; work < works.size(); ++work) {
      Running &one = running[owners[work]];
      if (!works[work].generated)
        one.feed.advance(works[work]);
      if (works[work].logitRows == 0)
        continue;
      GoldenTensor greedy = cases[owners[work]].tensor("greedy_logits");
      double error =
          largestDifference(works[work].logits,
                            std::span(greedy.values)
                                .subspan(one.decoded * vocabulary, vocabulary));
      EXPECT_LE(error, logitsBound)
          << GoldenCase::names()[owners[work]] << " step " << one.decoded;
      worstError = error <= worstError ? worstError : error;
    }
  }
  for (size_t index = 0; index < cases.size(); ++index)
    EXPECT_EQ(size_t(running[index].sequence->position()),
              cases[index].ids.size() + cases[index].greedyIds.size() - 1);
  std::printf("golden, all at once: worst error of greedy logits %.2e\n",
              worstError);
}

/// Every case again and again from a place in its middle, or from what it has
/// in common with the case before.
TEST_F(GoldenBatchTest, ReuseIsTheReference) {
  auto session = take(Session::create(bundle()));
  const auto vocabulary = size_t(model().vocabulary()),
             width = size_t(model().hidden());
  double worstError = 0;
  int64_t reused = 0;
  auto engine = take(Engine::create(
      bundle(), {.context = 4096, .chunk = 512, .snapshotMemory = 64 << 20}));
  auto sequence = take(engine->createSequence());
  std::string state =
      testing::TempDir() + "lapidary-golden-state-" + std::to_string(getpid());
  for (const std::string &name : GoldenCase::names()) {
    SCOPED_TRACE(name);
    golden = GoldenCase::load(name);
    std::vector<float> media;
    for (const std::vector<float> &item : embedMedia(*session))
      media.insert(media.end(), item.begin(), item.end());
    SequenceHistory whole;
    std::vector<size_t> softBefore;
    for (size_t soft = 0; int32_t token : golden.ids) {
      softBefore.push_back(soft);
      if (engine->isSoft(token))
        whole.append(token, hashEmbedding(std::span(media).subspan(
                                width * soft++, width)));
      else
        whole.append(token);
    }
    GoldenTensor greedy = golden.tensor("greedy_logits");
    for (size_t part : {0, 1, 2, 3}) {
      auto begin = size_t(sequence->reuse(whole));
      if (part > 0)
        begin = size_t(sequence->goBack(int64_t(golden.ids.size() * part / 4)));
      if (part == 3) {
        ASSERT_TRUE(sequence->save(state).ok());
        ASSERT_TRUE(sequence->load(state).ok());
      }
      reused += int64_t(begin);
      Prompt prompt;
      prompt.tokens = std::span(golden.ids).subspan(begin);
      if (softBefore[begin] * width < media.size())
        prompt.media = {std::span(media).subspan(softBefore[begin] * width)};
      auto feed = take(PromptFeed::create(*engine, *sequence, prompt));
      Work work;
      for (size_t step = 0; step < golden.greedyIds.size();) {
        if (!feed.done()) {
          work = feed.next(512);
        } else {
          work = {};
          work.sequence = sequence.get();
          work.tokens = std::span(golden.greedyIds).subspan(step - 1, 1);
          work.generated = true;
        }
        Status status = engine->step({&work, 1});
        ASSERT_TRUE(status.ok()) << status.message();
        if (!work.generated)
          feed.advance(work);
        if (!feed.done())
          continue;
        double error = largestDifference(
            work.logits,
            std::span(greedy.values).subspan(step * vocabulary, vocabulary));
        EXPECT_LE(error, logitsBound) << "part " << part << " step " << step;
        worstError = error <= worstError ? worstError : error;
        ++step;
      }
    }
  }
  std::remove(state.c_str());
  EXPECT_GT(reused, 1000);
  std::printf("golden, with %lld tokens reused: worst error of greedy logits "
              "%.2e\n",
              static_cast<long long>(reused), worstError);
}

/// Snapshots come by themselves in a prompt that is far longer than the rings.
TEST_F(GoldenBatchTest, LongPromptsCanBeGoneBackIn) {
  auto engine = take(Engine::create(
      bundle(), {.context = 8192, .chunk = 512, .snapshotMemory = 64 << 20}));
  auto sequence = take(engine->createSequence());
  std::vector<int32_t> tokens = {2};
  for (uint32_t state = 1; tokens.size() < 6000;) {
    state = state * 1664525 + 1013904223;
    int32_t token = 400 + int32_t(state >> 16) % 300;
    if (!engine->isSoft(token))
      tokens.push_back(token);
  }
  auto readAll = [&] {
    auto feed = take(PromptFeed::create(
        *engine, *sequence,
        {std::span(tokens).subspan(size_t(sequence->position()))}));
    Work work;
    while (!feed.done()) {
      work = feed.next(512);
      if (Status status = engine->step({&work, 1}); !status.ok())
        throw std::runtime_error(status.message());
      feed.advance(work);
    }
    return std::vector<float>(work.logits.begin(), work.logits.end());
  };
  std::vector<float> straight = readAll();
  EXPECT_GT(engine->snapshotBytes(), 0u);
  EXPECT_LE(engine->snapshotBytes(), 64u << 20);
  EXPECT_EQ(sequence->goBack(5000), 4096);
  EXPECT_LE(largestDifference(readAll(), straight), logitsBound);
  EXPECT_EQ(sequence->goBack(4000), 0);
}

/// Which variants there are to test, so that a new one is not forgotten.
TEST(GoldenBundleTest, HasTheVariantsThatAreTested) {
  Result<std::shared_ptr<const Bundle>> tiny =
      Bundle::open(LAPIDARY_TEST_BUNDLES "/tiny-bf16.lap");
  ASSERT_TRUE(tiny.ok()) << tiny.status().message();
  std::vector<std::string> names;
  for (const auto *variant : *(*tiny)->program().targets()->Get(0)->variants())
    names.push_back(variant->name()->str());
  EXPECT_THAT(names, testing::ElementsAre("avx512", "avx2"));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, GoldenTest,
    testing::Combine(testing::ValuesIn(GoldenCase::names()),
                     testing::Values("avx512", "avx2")),
    [](const auto &info) {
      return std::get<0>(info.param) + "_" + std::get<1>(info.param);
    });

} // namespace
} // namespace lapidary
