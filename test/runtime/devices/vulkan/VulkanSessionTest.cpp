// Sessions and engines on a Vulkan device give what they give on the CPU: in
// any chunks, with media, with several sequences, and divided between both.
#include "test/runtime/devices/vulkan/VulkanTestBundle.h"

#include "lapidary/lapidary.h"

#include "runtime/devices/vulkan/VulkanDevice.h"
#include "runtime/model/FirstRun.h"
#include "runtime/model/Generator.h"
#include "runtime/model/SelfTest.h"
#include "runtime/model/Session.h"

#include <gmock/gmock.h>

#include <random>

namespace lapidary::synthetic {
namespace {

using testing::HasSubstr;

std::vector<int32_t> textTokens(size_t count, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t &token : tokens)
    token = 8 + int32_t(random() % 30);
  return tokens;
}

/// Self-tests of the model's text; `wrong` by so much.
std::vector<TestSelfTest> makeSelfTests(float wrong = 0) {
  const std::vector<int32_t> tokens = {8, 12, 9, 20};
  const auto rows = expectedHidden(tokens, {});
  TestSelfTest test;
  test.name = "text";
  test.tokens = tokens;
  for (int32_t id = 0; id < 7; ++id) {
    test.logitIds.push_back(id);
    test.logits.push_back(rows.back()[id] + wrong);
  }
  return {test};
}

/// All values but the tokens in the step.
std::vector<float> facts(std::span<const float> row) {
  return {row.begin(), row.begin() + 7};
}

class VulkanSession : public VulkanTest {
protected:
  /// Prompts, decoding, going back and starting anew.
  void converse(const SessionOptions &options,
                std::shared_ptr<const Bundle> bundle) {
    auto session = Session::create(std::move(bundle), options);
    ASSERT_TRUE(session.ok()) << session.status().message();
    for (int round = 0; round < 2; ++round) {
      std::vector<int32_t> tokens = textTokens(120, round + 3);
      for (size_t place : {20, 21, 22, 60, 61})
        tokens[place] = imageToken;
      std::vector<float> media(5 * hidden);
      for (size_t row = 0; row < 5; ++row) {
        media[row * hidden] = 3 + float(row);
        media[row * hidden + hidden - 1] = float(row);
      }
      const auto expected = expectedHidden(tokens, media);
      Session::Prompt prompt{std::span(tokens).first(100), {}};
      prompt.media.push_back(std::span(media).first(3 * hidden));
      prompt.media.push_back(std::span(media).last(2 * hidden));
      Status status = (*session)->prefill(
          prompt, [&](int64_t row, std::span<const float> logits) -> Status {
            EXPECT_EQ(facts(logits), facts(expected[row])) << row;
            return {};
          });
      ASSERT_TRUE(status.ok()) << status.message();
      for (size_t place = 100; place < 120; ++place) {
        status = (*session)->decode(tokens[place]);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(facts((*session)->logits()), facts(expected[place]));
      }
      (*session)->reset();
    }
    const std::vector<float> patches = {1, 2, 3, 4, 5, 6, 7, 8,
                                        9, 1, 2, 3, 4, 5, 6};
    const std::vector<int32_t> positions = {1, 2, 3, 4, 5, 6, 7, 8, 9, 9};
    auto embedded = (*session)->embedImage(patches, positions);
    ASSERT_TRUE(embedded.ok()) << embedded.status().message();
    EXPECT_EQ((*embedded)[hidden], 4 + 5 + 6 + 3 + 40);
    auto sound = (*session)->embedAudio(std::vector<float>(4 * 7, 2));
    ASSERT_TRUE(sound.ok()) << sound.status().message();
    EXPECT_EQ((*sound)[6 * hidden + 2], 10);
  }
};

TEST_F(VulkanSession, GivesWhatTheModelGives) {
  auto bundle = openBundle(makeVulkanProgram(true));
  for (int64_t chunk : {16, 64})
    converse({.chunk = chunk, .device = "vulkan"}, bundle);
}

TEST_F(VulkanSession, GivesTheSameDividedWithTheCpu) {
  auto bundle = openBundle(makeVulkanProgram(true));
  SessionOptions options{.chunk = 32, .threads = 2, .device = "vulkan"};
  for (int32_t layers : {0, 1, 2, 99}) {
    options.gpuLayers = layers;
    converse(options, bundle);
  }
  options.gpuLayers = 0;
  auto session = Session::create(bundle, options);
  ASSERT_TRUE(session.ok());
  EXPECT_THAT((*session)->device().description(),
              HasSubstr("with 0 of 2 layers, cpu plain"));
  EXPECT_THAT(Session::create(openBundle(makeVulkanProgram()), options)
                  .status()
                  .message(),
              HasSubstr("compile the checkpoint with --target cpu"));
  options.device = "cpu";
  options.gpuLayers = 1;
  EXPECT_THAT(Session::create(bundle, options).status().message(),
              HasSubstr("choose one with --device vulkan"));
}

TEST_F(VulkanSession, TheCApiDividesLayers) {
  TestProgram program = makeVulkanProgram(true);
  TemporaryFile file(writeBundle(program));
  lapidary_bundle *bundle = nullptr;
  ASSERT_EQ(lapidary_bundle_open(file.path.c_str(), &bundle), LAPIDARY_OK);
  std::vector<std::vector<float>> found;
  lapidary_session_options options = {};
  options.size = sizeof(options);
  options.context = 64;
  for (int32_t layers : {0, 1, int32_t(LAPIDARY_GPU_LAYERS_NONE)})
    for (const char *device : {"cpu", "vulkan"}) {
      // Of the CPU's own, all layers.
      options.gpu_layers = std::string_view(device) == "cpu" ? 0 : layers;
      options.device = device;
      lapidary_session *session = nullptr;
      ASSERT_EQ(lapidary_session_create(bundle, &options, &session),
                LAPIDARY_OK)
          << lapidary_error_message();
      const std::vector<int32_t> tokens = textTokens(9);
      EXPECT_EQ(lapidary_session_prefill(session, tokens.data(), 9, nullptr, 0),
                LAPIDARY_OK);
      EXPECT_EQ(lapidary_session_decode(session, 10), LAPIDARY_OK);
      const float *logits = nullptr;
      size_t count = 0;
      EXPECT_EQ(lapidary_session_logits(session, &logits, &count), LAPIDARY_OK);
      found.emplace_back(logits, logits + count);
      EXPECT_EQ(found.back(), found.front());
      lapidary_session_destroy(session);
    }
  lapidary_bundle_close(bundle);
}

TEST_F(VulkanSession, RunsSequencesSideBySide) {
  auto bundle = openBundle(makeVulkanProgram(true));
  for (int32_t layers : {-1, 0}) {
    auto engine = Engine::create(
        bundle,
        {.chunk = 32, .device = "vulkan", .gpuLayers = layers, .sequences = 3});
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    std::vector<std::unique_ptr<Sequence>> sequences;
    std::vector<std::vector<int32_t>> tokens;
    for (unsigned index = 0; index < 3; ++index) {
      auto sequence = (*engine)->createSequence();
      ASSERT_TRUE(sequence.ok()) << sequence.status().message();
      sequences.push_back(*std::move(sequence));
      tokens.push_back(textTokens(60, 10 + index));
    }
    for (size_t round = 0; round < 6; ++round) {
      std::vector<Work> works;
      for (size_t index = 0; index < 3; ++index)
        works.push_back(
            {.sequence = sequences[index].get(),
             .tokens = std::span(tokens[index])
                           .subspan(round * (index + 1) * 3, (index + 1) * 3)});
      Status status = (*engine)->step(works);
      ASSERT_TRUE(status.ok()) << status.message();
      for (size_t index = 0; index < 3; ++index)
        EXPECT_EQ(facts(works[index].logits),
                  facts(expectedHidden(tokens[index],
                                       {})[(round + 1) * (index + 1) * 3 - 1]));
    }
  }
}

/// The row of a step on a GPU is that of the step on the CPU.
void expectScores(const Work &found, const Work &expected, int64_t row,
                  bool candidates) {
  const TokenScores scores = found.scores(row), all = expected.scores(row);
  ASSERT_EQ(all.logits.size(), size_t(vocabulary));
  if (!candidates) {
    EXPECT_TRUE(scores.tokens.empty());
    EXPECT_TRUE(std::ranges::equal(scores.logits, all.logits));
    return;
  }
  std::vector<Candidate> best;
  selectBest(all.logits, {}, candidateCount, best);
  std::ranges::sort(best, isBetter);
  ASSERT_EQ(scores.tokens.size(), size_t(candidateCount));
  for (size_t place = 0; place < best.size(); ++place) {
    EXPECT_EQ(scores.tokens[place], best[place].id) << place;
    EXPECT_EQ(scores.logits[place], best[place].logit) << place;
  }
}

TEST_F(VulkanSession, ChoosesCandidates) {
  auto bundle = openBundle(makeVulkanProgram(true, true));
  struct Round {
    int64_t rows;
    std::vector<int64_t> reach;
    bool candidates;
  };
  // All rows of all sequences, or the last; where one needs more, all get all.
  const std::vector<Round> rounds = {
      {1, {1, 8, 3}, true},  {3, {2, 2, 2}, true}, {2, {1, 9, 1}, false},
      {1, {1, 1, 0}, false}, {1, {8}, true},       {1, {0}, false}};
  for (int32_t layers : {-1, 0, 1}) {
    auto gpu = Engine::create(bundle, {.chunk = 32,
                                       .device = "vulkan",
                                       .gpuLayers = layers,
                                       .sequences = 3,
                                       .drafts = 3});
    auto cpu =
        Engine::create(bundle, {.chunk = 32, .sequences = 3, .drafts = 3});
    ASSERT_TRUE(gpu.ok()) << gpu.status().message();
    ASSERT_TRUE(cpu.ok()) << cpu.status().message();
    EXPECT_EQ((*gpu)->candidates(), candidateCount);
    EXPECT_EQ((*cpu)->candidates(), 0);
    std::vector<std::unique_ptr<Sequence>> sequences[2];
    for (int index = 0; index < 3; ++index) {
      sequences[0].push_back(*(*gpu)->createSequence());
      sequences[1].push_back(*(*cpu)->createSequence());
    }
    unsigned seed = 0;
    for (const Round &round : rounds) {
      std::vector<std::vector<int32_t>> tokens;
      std::vector<Work> works[2];
      for (size_t index = 0; index < round.reach.size(); ++index)
        tokens.push_back(textTokens(size_t(round.rows), ++seed));
      for (int device : {0, 1})
        for (size_t index = 0; index < round.reach.size(); ++index)
          works[device].push_back({.sequence = sequences[device][index].get(),
                                   .tokens = tokens[index],
                                   .generated = true,
                                   .logitRows = round.rows,
                                   .reach = round.reach[index]});
      auto bytes = [&] {
        return layers >= 0 ? 0
                           : static_cast<const VulkanDevice &>((*gpu)->device())
                                 .counters()
                                 .outputBytes;
      };
      const uint64_t before = bytes();
      Status status = (*gpu)->step(works[0]);
      ASSERT_TRUE(status.ok()) << status.message();
      if (layers < 0 && round.reach.size() == 1)
        EXPECT_EQ(bytes() - before,
                  round.candidates ? 8u * candidateCount : 4u * vocabulary);
      status = (*cpu)->step(works[1]);
      ASSERT_TRUE(status.ok()) << status.message();
      for (size_t index = 0; index < round.reach.size(); ++index)
        for (int64_t row = 0; row < round.rows; ++row)
          expectScores(works[0][index], works[1][index], row, round.candidates);
    }
  }
}

TEST_F(VulkanSession, AnswersFromCandidates) {
  auto bundle = openBundle(makeVulkanProgram(true, true));
  auto tokenizer =
      Tokenizer::create(bundle->segment(bundle->program().tokenizer()));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const std::vector<int32_t> prompt = textTokens(20, 9);
  auto answer = [&](const char *device, const GenerateOptions &options,
                    bool hasLogits) {
    auto session = Session::create(bundle, {.chunk = 16, .device = device});
    EXPECT_TRUE(session.ok()) << session.status().message();
    GenerateInput input;
    input.tokens = prompt;
    auto result = generate(**session, *tokenizer, input, options);
    EXPECT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(!(*session)->logits().empty(), hasLogits);
    return result->ids;
  };
  GenerateOptions options;
  options.maxTokens = 12;
  for (const SamplerOptions &sampling :
       {SamplerOptions{}, SamplerOptions{.temperature = 2000, .topK = 7},
        SamplerOptions{.temperature = 5000, .topK = 4, .topP = 0.9f, .seed = 3},
        // One more than candidates, with the suppressed token.
        SamplerOptions{.temperature = 2000, .topK = 8}}) {
    options.sampling = sampling;
    EXPECT_EQ(answer("vulkan", options, sampling.topK == 8),
              answer("cpu", options, true));
  }
  options.sampling = {};
  options.logprobs = 1;
  EXPECT_EQ(answer("vulkan", options, true), answer("cpu", options, true));
}

TEST_F(VulkanSession, KeepsStateInFiles) {
  auto bundle = openBundle(makeVulkanProgram(true));
  const std::vector<int32_t> tokens = textTokens(80, 5);
  const auto expected = expectedHidden(tokens, {});
  TemporaryFile file({});
  std::remove(file.path.c_str());
  {
    auto session = Session::create(bundle, {.chunk = 16, .device = "vulkan"});
    ASSERT_TRUE(session.ok()) << session.status().message();
    ASSERT_TRUE((*session)->prefill({std::span(tokens).first(79), {}}).ok());
    Status status = (*session)->sequence().save(file.path);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  // The caches are the same on both devices.
  for (const char *device : {"vulkan", "cpu"}) {
    auto session = Session::create(bundle, {.chunk = 16, .device = device});
    ASSERT_TRUE(session.ok()) << session.status().message();
    Status status = (*session)->load(file.path);
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_TRUE((*session)->decode(tokens[79]).ok());
    EXPECT_EQ(facts((*session)->logits()), facts(expected[79]));
  }
}

TEST_F(VulkanSession, TestsABundleOnItsFirstRun) {
  TestProgram program = makeVulkanProgram(true);
  program.selfTests = makeSelfTests();
  auto bundle = openBundle(program);
  auto marks = [&] {
    int count = 0;
    if (std::filesystem::exists(folder + "/lapidary"))
      for (const auto &entry :
           std::filesystem::directory_iterator(folder + "/lapidary"))
        count += entry.path().extension() == ".tested";
    return count;
  };
  SessionOptions options{.chunk = 16, .device = "vulkan"};
  options.skipSelfTest = true;
  ASSERT_TRUE(Session::create(bundle, options).ok());
  EXPECT_EQ(marks(), 0);
  options.skipSelfTest = false;
  auto session = Session::create(bundle, options);
  ASSERT_TRUE(session.ok()) << session.status().message();
  EXPECT_EQ(marks(), 1);
  ASSERT_TRUE(Session::create(bundle, options).ok());
  EXPECT_EQ(marks(), 1);
}

/// Multiplies a float constant of a module.
void bendConstant(Bytes &code, const schema::Module &module, float value,
                  float by) {
  int found = 0;
  for (size_t at = module.offset(); at < module.offset() + module.size();
       at += 4) {
    float word;
    std::memcpy(&word, code.data() + at, 4);
    if (word != value)
      continue;
    word *= by;
    std::memcpy(code.data() + at, &word, 4);
    ++found;
  }
  EXPECT_EQ(found, 1);
}

TEST_F(VulkanSession, NamesTheFirstWrongKernel) {
  TestProgram program = makeVulkanProgram(true);
  program.selfTests = makeSelfTests();
  // Logits: the tests look at the first seven, which stay right, so the bound
  // is what fails.
  program.selfTests[0].logits[0] += 1;
  program.targets[1].kernels[3].symbol = "main";
  bendConstant(program.segments.back().bytes,
               program.targets[1].variants[1].modules[3], 1000.0f, 100.0f);
  auto bundle = openBundle(program);
  SessionOptions options{.chunk = 16, .device = "vulkan"};
  const Status status = Session::create(bundle, options).status();
  EXPECT_EQ(status.getCode(), StatusCode::Unsupported);
  EXPECT_THAT(status.message(), HasSubstr("self-test \"text\" fails with "
                                          "variant \"base\" on "));
  EXPECT_THAT(status.message(),
              HasSubstr("The first kernel that is wrong is lap_test_logits, "
                        "dispatch 1 of \"decode\": "));
  EXPECT_THAT(status.message(),
              HasSubstr("LAPIDARY_VULKAN=NAME; the bundle has future, base"));
  // Where all kernels are right, nothing is said about them.
  program = makeVulkanProgram(true);
  auto right = findWrongKernel(openBundle(program), options);
  ASSERT_TRUE(right.ok()) << right.status().message();
  EXPECT_EQ(*right, "");
}

TEST_F(VulkanSession, FindsWrongCandidates) {
  TestProgram program = makeVulkanProgram(true, true);
  program.selfTests = makeSelfTests();
  SessionOptions options{.chunk = 16, .device = "vulkan"};
  auto right = Session::create(openBundle(program), options);
  ASSERT_TRUE(right.ok()) << right.status().message();
  // What is above it is chosen: nothing is.
  bendConstant(program.segments.back().bytes,
               program.targets[1].variants[1].modules[6], -3.25e30f, -1);
  const Status status = Session::create(openBundle(program), options).status();
  EXPECT_EQ(status.getCode(), StatusCode::Unsupported);
  EXPECT_THAT(status.message(),
              HasSubstr("self-test \"text\": the kernels that choose "
                        "candidates (top_k) are wrong on vulkan base"));
}

TEST_F(VulkanSession, PlansMemory) {
  auto bundle = openBundle(makeVulkanProgram(true));
  auto cpu = planMemory(bundle->program(), {.chunk = 16}),
       gpu = planMemory(bundle->program(), {.chunk = 16, .device = "vulkan"});
  ASSERT_TRUE(cpu.ok() && gpu.ok());
  EXPECT_EQ(cpu->onDevice, 0u);
  EXPECT_GT(gpu->onDevice, gpu->caches + gpu->arenas);
  EXPECT_EQ(gpu->scratch, 0u);
  EXPECT_TRUE(gpu->fits());
  gpu->deviceAvailable = gpu->onDevice - 1;
  EXPECT_THAT(gpu->check().message(), HasSubstr("on the device"));
  gpu->deviceAvailable = gpu->onDevice;
  EXPECT_TRUE(gpu->fits());
  {
    ScopedVariable limits("LAPIDARY_VULKAN_LIMITS", "binding=1000");
    auto narrow =
        planMemory(bundle->program(), {.chunk = 16, .device = "vulkan"});
    EXPECT_FALSE(narrow->fits());
    EXPECT_THAT(narrow->check().message(),
                HasSubstr("\"layers.0.k\" has 4.10 KB at a context of 256 "
                          "positions, but the device binds at most 1.00 KB"));
    EXPECT_TRUE(planMemory(bundle->program(),
                           {.context = 64, .chunk = 16, .device = "vulkan"})
                    ->cacheBeyondDevice());
  }
  // A plan needs no device.
  ScopedVariable old("VK_ICD_FILENAMES", "/nonexistent.json"),
      now("VK_DRIVER_FILES", "/nonexistent.json");
  EXPECT_TRUE(
      planMemory(bundle->program(), {.chunk = 16, .device = "vulkan"})->fits());
}

} // namespace
} // namespace lapidary::synthetic
