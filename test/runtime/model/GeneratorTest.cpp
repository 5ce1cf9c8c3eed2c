// Generation end to end on the synthetic model, which answers every token with
// the next one up to the stop token; and the self-tests and the C API, which
// stand on the same steps.
#include "test/runtime/TestBundle.h"

#include "runtime/model/Generator.h"
#include "runtime/model/SelfTest.h"

#include <gmock/gmock.h>

#include <cmath>
#include <set>
#include <utility>

namespace lapidary::synthetic {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class GeneratorTest : public testing::Test {
protected:
  void open(TestProgram program = makeProgram(),
            const SessionOptions &options = {}) {
    bundle = openBundle(std::move(program));
    auto made = Session::create(bundle, options);
    ASSERT_TRUE(made.ok()) << made.status().message();
    session = *std::move(made);
    auto table = Tokenizer::create(bundle->segment(0));
    ASSERT_TRUE(table.ok()) << table.status().message();
    tokenizer.emplace(*std::move(table));
  }
  GenerateResult run(const std::vector<int32_t> &tokens,
                     const GenerateOptions &options) {
    auto result = generate(*session, *tokenizer, {tokens, {}}, options);
    EXPECT_TRUE(result.ok()) << result.status().message();
    return result.ok() ? *std::move(result) : GenerateResult();
  }

  std::shared_ptr<const Bundle> bundle;
  std::unique_ptr<Session> session;
  std::optional<Tokenizer> tokenizer;
};

TEST_F(GeneratorTest, AnswersUntilTheStopToken) {
  open();
  std::string streamed;
  GenerateOptions options;
  options.onText = [&](std::string_view text) {
    return streamed += text, true;
  };
  options.logprobs = 2;
  GenerateResult result = run({bosToken, 20, 36}, options);
  EXPECT_THAT(result.promptIds, ElementsAre(bosToken, 20, 36));
  EXPECT_THAT(result.ids, ElementsAre(37, 38, 39, 40));
  EXPECT_EQ(result.text, "t37t38t39");
  EXPECT_EQ(streamed, result.text);
  EXPECT_EQ(result.finishReason, "stop");
  ASSERT_EQ(result.logprobs.size(), 4u);
  EXPECT_EQ(result.logprobs[0].id, 37);
  EXPECT_EQ(result.logprobs[0].top.size(), 2u);
  EXPECT_EQ(result.logprobs[0].top[0].id, 37);
  EXPECT_NEAR(result.logprobs[0].top[0].logprob, 0, 1e-6);
  EXPECT_EQ(result.logprobs[0].logprob, result.logprobs[0].top[0].logprob);
  EXPECT_EQ(session->position(), 6); // the stop token is not in the state
  EXPECT_GT(result.prefillSeconds, 0);
  EXPECT_GT(result.decodeSeconds, 0);
  EXPECT_EQ(result.embedSeconds, 0);
}

TEST_F(GeneratorTest, ShowsSpecialTokensWhenAsked) {
  open();
  GenerateOptions options;
  options.specialTokens = true;
  EXPECT_EQ(run({38}, options).text, "t39t40");
}

TEST_F(GeneratorTest, SkipsSuppressedTokens) {
  TestProgram program = makeProgram();
  program.stop = {stopToken};
  program.suppress = {37};
  open(program);
  // After 36 both 36 and 38 are next best; the lower id wins, so it goes round
  // until the length ends.
  GenerateOptions options;
  options.maxTokens = 5;
  GenerateResult result = run({36}, options);
  EXPECT_THAT(result.ids, testing::Not(testing::Contains(37)));
  EXPECT_EQ(result.finishReason, "length");
}

TEST_F(GeneratorTest, EndsAtMaxTokensAndAtTheContextsEnd) {
  open();
  GenerateOptions options;
  options.maxTokens = 2;
  GenerateResult result = run({10}, options);
  EXPECT_THAT(result.ids, ElementsAre(11, 12));
  EXPECT_EQ(result.finishReason, "length");

  open(makeProgram(), {.context = 5});
  result = run({8, 9, 10}, {});
  EXPECT_THAT(
      result.ids,
      ElementsAre(
          11, 12,
          13)); // two of them fit into the state, the third needs no place
  EXPECT_EQ(result.finishReason, "length");
  EXPECT_EQ(session->position(), 5);
}

TEST_F(GeneratorTest, NeverStreamsHalfACharacter) {
  TestProgram program = makeProgram();
  program.suppress.clear();
  open(program);
  std::vector<std::string> parts;
  GenerateOptions options;
  options.maxTokens = 2;
  options.onText = [&](std::string_view text) {
    return parts.emplace_back(text), true;
  };
  GenerateResult result = run({45}, options);
  EXPECT_THAT(result.ids, ElementsAre(46, 47));
  EXPECT_THAT(parts, ElementsAre("é"));
  // Cut in the middle, the rest is replaced at the end, and streamed and
  // returned text agree.
  session->reset();
  parts.clear();
  options.maxTokens = 1;
  result = run({45}, options);
  EXPECT_EQ(result.text, "\uFFFD");
  EXPECT_THAT(parts, ElementsAre("\uFFFD"));
}

TEST_F(GeneratorTest, StopsWhenTheReceiverOrTheFlagSaysSo) {
  open();
  GenerateOptions options;
  options.onText = [](std::string_view text) { return text != "t15"; };
  GenerateResult result = run({10}, options);
  EXPECT_EQ(result.finishReason, "cancelled");
  EXPECT_EQ(result.text, "t11t12t13t14t15");

  std::atomic<bool> cancel = false;
  options.cancel = &cancel;
  options.onText = [&](std::string_view text) {
    return cancel = text == "t13", true;
  };
  session->reset();
  result = run({10}, options);
  EXPECT_EQ(result.finishReason, "cancelled");
  EXPECT_THAT(result.ids, ElementsAre(11, 12, 13));
  session->reset();
  result =
      run({10}, options); // the flag is still set: not even the prompt goes in
  EXPECT_EQ(result.finishReason, "cancelled");
  EXPECT_TRUE(result.ids.empty());
  EXPECT_EQ(session->cancelFlag(), nullptr);
}

TEST_F(GeneratorTest, EmbedsMedia) {
  open();
  std::vector<float> patches = {1, 2, 3, 4, 5, 6}, frames = {1, 1, 1, 1},
                     ready(hidden, 9);
  std::vector<int32_t> positions = {0, 0, 1, 0};
  std::vector<int32_t> tokens = {9,          imageToken, imageToken, 9,
                                 audioToken, imageToken, 9};
  GenerateInput input{
      tokens,
      {MediaInput{.patches = patches,
                  .positions = positions,
                  .frames = {},
                  .embeddings = {}},
       MediaInput{
           .patches = {}, .positions = {}, .frames = frames, .embeddings = {}},
       MediaInput{
           .patches = {}, .positions = {}, .frames = {}, .embeddings = ready}}};
  GenerateOptions options;
  options.maxTokens = 1;
  auto result = generate(*session, *tokenizer, input, options);
  ASSERT_TRUE(result.ok()) << result.status().message();
  // Values: 9, 6, 16, 9, 4, 9, 9; logit 1 is their sum.
  EXPECT_EQ(session->logits()[1], 62);
  EXPECT_GT(result->embedSeconds, 0);
  input.media[2].frames = frames;
  EXPECT_THAT(generate(*session, *tokenizer, input, options).status().message(),
              HasSubstr("one of them"));
  input.media.resize(2);
  EXPECT_THAT(generate(*session, *tokenizer, input, options).status().message(),
              HasSubstr("3 embeddings"));
}

TEST_F(GeneratorTest, RefusesNanWeights) {
  TestProgram program = makeProgram();
  float nan = NAN;
  std::memcpy(program.segments[2].bytes.data() + 20 * hidden * 4, &nan, 4);
  open(program);
  std::vector<int32_t> tokens = {20};
  Status status = generate(*session, *tokenizer, {tokens, {}}, {}).status();
  EXPECT_EQ(status.getCode(), StatusCode::InvalidData);
  EXPECT_THAT(status.message(), HasSubstr("not finite"));
  // The caches forget it.
  session->reset();
  EXPECT_THAT(run({36}, {}).ids, ElementsAre(37, 38, 39, 40));
}

TEST_F(GeneratorTest, RefusesBadOptions) {
  open();
  std::vector<int32_t> tokens = {20};
  GenerateOptions options;
  options.maxTokens = -1;
  EXPECT_FALSE(generate(*session, *tokenizer, {tokens, {}}, options).ok());
  options = {};
  options.logprobs = -1;
  EXPECT_FALSE(generate(*session, *tokenizer, {tokens, {}}, options).ok());
  EXPECT_THAT(generate(*session, *tokenizer, {{}, {}}, {}).status().message(),
              HasSubstr("empty"));
}

TEST_F(GeneratorTest, SuggestsTheModelsSampling) {
  open();
  SamplerOptions options = suggestedSampling(*bundle->program().model());
  EXPECT_EQ(options.temperature, 1);
  EXPECT_EQ(options.topK, 64);
  EXPECT_EQ(options.topP, 0.95f);
}

/// What onPart saw: "text", or <id> for a special token; then its tokens.
struct Parts {
  std::vector<std::string> seen;
  std::vector<std::vector<int32_t>> tokens;
  bool operator()(const AnswerPart &part) {
    seen.push_back(part.control < 0 ? std::string(part.text)
                                    : "<" + std::to_string(part.control) + ">");
    tokens.emplace_back();
    for (const TokenChoice &token : part.tokens)
      tokens.back().push_back(token.id);
    return seen.back() != "stop here";
  }
};

TEST_F(GeneratorTest, PartsAreTextAndSpecialTokens) {
  TestProgram program = makeProgram();
  program.stop = {44};
  program.suppress.clear();
  open(program);
  Parts parts;
  GenerateOptions options;
  options.onPart = std::ref(parts);
  // 40 to 43 are special here and do not end the answer.
  GenerateResult result = run({37}, options);
  EXPECT_THAT(parts.seen, ElementsAre("t38", "t39", "<40>", "<41>", "<42>",
                                      "<43>", "<44>"));
  EXPECT_THAT(parts.tokens[0], ElementsAre(38));
  EXPECT_THAT(parts.tokens[2], ElementsAre(40));
  EXPECT_EQ(result.text, "t38t39");
  EXPECT_TRUE(result.logprobs.empty());

  // Shown, they are text.
  session->reset();
  parts = {};
  options.specialTokens = true;
  run({38}, options);
  EXPECT_THAT(parts.seen,
              ElementsAre("t39", "t40", "t41", "t42", "t43", "t44"));
  // Both halves of a character, and what is left of one.
  session->reset();
  parts = {};
  options.maxTokens = 2;
  run({45}, options);
  EXPECT_THAT(parts.seen, ElementsAre("é"));
  EXPECT_THAT(parts.tokens[0], ElementsAre(46, 47));
  session->reset();
  parts = {};
  options.maxTokens = 1;
  run({45}, options);
  EXPECT_THAT(parts.seen, ElementsAre("\uFFFD"));
  EXPECT_THAT(parts.tokens[0], ElementsAre(46));
}

TEST_F(GeneratorTest, StopStringsEndNoThoughtAndNoCall) {
  open(makeProgram(readFile(LAPIDARY_TEST_KERNELS),
                   makeTokenizer({{13, "<|channel>"},
                                  {17, "<channel|>"},
                                  {20, "<|tool_call>"},
                                  {23, "<tool_call|>"}})));
  GenerateOptions options;
  options.stop = {"t15", "t21t22", "t18t20", "t25"};
  GenerateResult result = run({11}, options);
  EXPECT_EQ(result.text, "t12t14t15t16t18t19t21t22t24");
  EXPECT_EQ(result.stopString, "t25");
  // The prompt may begin the thought.
  session->reset();
  result = run({13, 14}, options);
  EXPECT_EQ(result.text, "t15t16t18t19t21t22t24");
  session->reset();
  result = run({13, 17, 14}, options);
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.stopString, "t15");
}

TEST_F(GeneratorTest, StopStringsSpanTokensAndNeverShow) {
  open();
  Parts parts;
  std::string streamed;
  GenerateOptions options;
  options.onPart = std::ref(parts);
  options.onText = [&](std::string_view text) {
    return streamed += text, true;
  };
  options.logprobs = 1;
  options.stop = {"t15t17", "4t15t1", "nothing"};
  GenerateResult result = run({11}, options);
  EXPECT_EQ(result.text, "t12t13t1");
  EXPECT_EQ(streamed, result.text);
  EXPECT_EQ(result.finishReason, "stop");
  EXPECT_EQ(result.stopString, "4t15t1");
  EXPECT_THAT(result.ids, ElementsAre(12, 13, 14, 15, 16));
  EXPECT_EQ(result.logprobs.size(), 5u);
  EXPECT_THAT(parts.seen, ElementsAre("t12", "t13", "t1"));
  // 14 is seen in part, 15 and 16 not at all.
  EXPECT_THAT(parts.tokens[1], ElementsAre(13));
  EXPECT_THAT(parts.tokens[2], ElementsAre());

  // Held back, and released when it cannot become one.
  session->reset();
  parts = {};
  options.stop = {"t13t15"};
  options.maxTokens = 4;
  result = run({11}, options);
  EXPECT_EQ(result.text, "t12t13t14t15");
  EXPECT_THAT(parts.seen, ElementsAre("t12", "t13t14", "t15"));
  EXPECT_THAT(parts.tokens[1], ElementsAre(13, 14));
  EXPECT_EQ(result.stopString, "");

  // The end releases what is held, and so does a special token.
  session->reset();
  parts = {};
  options.stop = {"t15t16"};
  EXPECT_EQ(run({11}, options).text, "t12t13t14t15");
  EXPECT_THAT(parts.seen, ElementsAre("t12", "t13", "t14", "t15"));
  session->reset();
  options.stop = {"t39t40"};
  options.maxTokens = 0;
  result = run({37}, options);
  EXPECT_EQ(result.text, "t38t39");
  EXPECT_EQ(result.stopString, "");
  session->reset();
  options.specialTokens = true;
  result = run({37}, options);
  EXPECT_EQ(result.text, "t38");
  EXPECT_EQ(result.stopString, "t39t40");

  for (const char *bad : {"", "\xC3"}) {
    options.stop = {bad};
    std::vector<int32_t> tokens = {11};
    EXPECT_THAT(generate(*session, *tokenizer, {tokens, {}}, options)
                    .status()
                    .message(),
                HasSubstr("stop string"));
  }
}

TEST_F(GeneratorTest, PenaltiesCountThePromptAndTheAnswer) {
  open();
  GenerateOptions options;
  options.maxTokens = 6;
  // The model wants the token after the last one. One step of the distance
  // costs less than the penalty.
  options.sampling.penalties.presence = 1e6f;
  GenerateResult result = run({11, 12, 10}, options);
  EXPECT_THAT(result.ids,
              testing::Not(testing::Contains(testing::AnyOf(10, 11, 12))));
  EXPECT_EQ(std::set(result.ids.begin(), result.ids.end()).size(), 6u);
  // Only the last token counts: the way to 11 is free.
  session->reset();
  options.sampling.penalties.lastTokens = 1;
  EXPECT_EQ(run({11, 12, 10}, options).ids.front(), 11);
}

/// Allows tokens of a list in turn, then everything.
class InTurn : public Constraint {
public:
  explicit InTurn(std::vector<int32_t> tokens) : tokens(std::move(tokens)) {}
  bool restrict(std::span<uint32_t> bits) override {
    EXPECT_EQ(bits.size(), 2u);
    for (uint32_t &word : bits)
      EXPECT_EQ(std::exchange(word, 0), ~uint32_t(0));
    if (accepted.size() < tokens.size()) {
      const int32_t token = tokens[accepted.size()];
      bits[static_cast<size_t>(token / 32)] |= uint32_t(1) << (token % 32);
      return true;
    }
    return false;
  }
  Status accept(int32_t token) override {
    accepted.push_back(token);
    return token == 5 ? invalidArgument("not a five") : Status();
  }
  std::vector<int32_t> tokens, accepted;
};

TEST_F(GeneratorTest, ConstraintsChooseAndHearOfEveryToken) {
  open();
  auto constraint = std::make_shared<InTurn>(std::vector<int32_t>{30, 3, 38});
  GenerateOptions options;
  options.constraint = constraint;
  EXPECT_THAT(run({11}, options).ids, ElementsAre(30, 3, 38, 39, 40));
  EXPECT_THAT(constraint->accepted, ElementsAre(30, 3, 38, 39, 40));
  session->reset();
  constraint->tokens = {suppressedToken};
  constraint->accepted.clear();
  std::vector<int32_t> tokens = {11};
  EXPECT_THAT(
      generate(*session, *tokenizer, {tokens, {}}, options).status().message(),
      HasSubstr("constraint"));
  session->reset();
  constraint->tokens = {5};
  EXPECT_THAT(
      generate(*session, *tokenizer, {tokens, {}}, options).status().message(),
      HasSubstr("not a five"));
}

TEST_F(GeneratorTest, TellsTheChosenTokensLogprobAlone) {
  open();
  GenerateOptions options;
  options.chosenLogprobs = true;
  options.maxTokens = 1;
  // Penalties and biases change the choice, not what the model thought.
  options.sampling.logitBias = {{12, -INFINITY}, {20, 1e6f}};
  GenerateResult result = run({11}, options);
  ASSERT_EQ(result.logprobs.size(), 1u);
  EXPECT_EQ(result.logprobs[0].id, 20);
  EXPECT_TRUE(result.logprobs[0].top.empty());
  EXPECT_LT(result.logprobs[0].logprob, -1);
}

TestProgram withSelfTests() {
  TestProgram program = makeProgram();
  // Logits 1 and 3 are the sum of values and the position.
  program.selfTests = {
      {"text", {8, 9}, {}, {}, {1, 3}, {}, {}, {}, {17, 1}},
      {"decode", {8, 9}, {}, {10, 11}, {1, 3}, {}, {}, {}, {38, 3}},
      {"image",
       {8, imageToken, imageToken},
       {0, 0, 1, 0},
       {},
       {1},
       {1, 2, 3, 4, 5, 6},
       {},
       {6, 306, 606, 116, 416, 716},
       {30},
       3},
  };
  return program;
}

TEST(SelfTests, PassOnARightDevice) {
  auto results = runSelfTests(openBundle(withSelfTests()));
  ASSERT_TRUE(results.ok()) << results.status().message();
  ASSERT_EQ(results->size(), 3u);
  EXPECT_EQ((*results)[0].name, "text");
  for (const SelfTestResult &result : *results) {
    EXPECT_TRUE(result.pass) << result.name;
    EXPECT_EQ(result.logitsError, 0);
    EXPECT_EQ(result.embeddingsError, 0);
    EXPECT_EQ(result.logitsBound, 1e-3f);
    EXPECT_EQ(result.embeddingsBound, 1e-3f);
    EXPECT_EQ(result.hasMedia, result.name == "image");
  }
}

TEST(SelfTests, FailOnWrongNumbers) {
  TestProgram program = withSelfTests();
  program.selfTests[0].logits[1] += 0.5f;
  program.selfTests[2].embeddings[2] += 60;
  auto results = runSelfTests(openBundle(program));
  ASSERT_TRUE(results.ok()) << results.status().message();
  EXPECT_FALSE((*results)[0].pass);
  EXPECT_EQ((*results)[0].logitsError, 0.5);
  EXPECT_TRUE((*results)[1].pass);
  EXPECT_FALSE((*results)[2].pass);
  double rms = std::sqrt(
      (36. + 306 * 306 + 666 * 666 + 116 * 116 + 416 * 416 + 716 * 716) / 6);
  EXPECT_NEAR((*results)[2].embeddingsError, 60 / rms, 1e-9);

  // NaN is a failure too, not a pass by comparison.
  float nan = NAN;
  std::memcpy(program.segments[2].bytes.data() + 10 * hidden * 4, &nan, 4);
  results = runSelfTests(openBundle(program));
  ASSERT_TRUE(results.ok());
  EXPECT_FALSE((*results)[1].pass);
}

} // namespace
} // namespace lapidary::synthetic
