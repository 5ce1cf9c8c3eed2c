// The C API as a C caller sees it: results, ownership in any order, struct
// sizes of other versions, and what NULL gets.
#include "test/TemporaryFolder.h"
#include "test/runtime/TestBundle.h"

#include "lapidary/lapidary.h"

#include <gmock/gmock.h>

#include <thread>

namespace lapidary::synthetic {
namespace {

using testing::HasSubstr;

class CApiTest : public testing::Test {
protected:
  void SetUp() override {
    TestProgram program = makeProgram();
    TemporaryFile file(writeBundle(program));
    ASSERT_EQ(lapidary_bundle_open(file.path.c_str(), &bundle), LAPIDARY_OK)
        << lapidary_error_message();
    lapidary_session_options options = {};
    options.size = sizeof(options);
    options.context = 100;
    options.threads = 2;
    ASSERT_EQ(lapidary_session_create(bundle, &options, &session), LAPIDARY_OK)
        << lapidary_error_message();
  }
  void TearDown() override {
    lapidary_bundle_close(bundle); // first, on purpose
    lapidary_session_destroy(session);
  }
  lapidary_bundle *bundle = nullptr;
  lapidary_session *session = nullptr;
};

TEST_F(CApiTest, TellsTheModel) {
  EXPECT_STREQ(lapidary_version(), LAPIDARY_VERSION);
  lapidary_model_info info = {};
  info.size = sizeof(info);
  ASSERT_EQ(lapidary_bundle_model(bundle, &info), LAPIDARY_OK);
  EXPECT_EQ(info.context, 256);
  EXPECT_EQ(info.vocabulary, 48);
  EXPECT_EQ(info.hidden, 8);
  EXPECT_EQ(info.bos_token, bosToken);
  EXPECT_EQ(info.image_token, imageToken);
  EXPECT_EQ(info.video_token, videoToken);
  EXPECT_EQ(info.audio_token, audioToken);
  EXPECT_EQ(info.patch_values, 3);
  EXPECT_EQ(info.frame_samples, 4);
  // An older header's struct is filled as far as it goes.
  lapidary_model_info older = {};
  older.size = offsetof(lapidary_model_info, vocabulary);
  older.vocabulary = -5;
  ASSERT_EQ(lapidary_bundle_model(bundle, &older), LAPIDARY_OK);
  EXPECT_EQ(older.context, 256);
  EXPECT_EQ(older.vocabulary, -5);
  EXPECT_EQ(lapidary_bundle_verify(bundle), LAPIDARY_OK);
}

TEST_F(CApiTest, Tokenizes) {
  const char text[] = "t37t40";
  int32_t ids[4] = {-1, -1, -1, -1};
  size_t count = 0;
  ASSERT_EQ(
      lapidary_bundle_tokenize(bundle, text, strlen(text), nullptr, 0, &count),
      LAPIDARY_OK);
  std::vector<int32_t> all(count);
  ASSERT_EQ(lapidary_bundle_tokenize(bundle, text, strlen(text), all.data(),
                                     count, &count),
            LAPIDARY_OK);
  EXPECT_EQ(all.back(), stopToken); // special tokens in the text count as such
  ASSERT_EQ(
      lapidary_bundle_tokenize(bundle, text, strlen(text), ids, 1, &count),
      LAPIDARY_OK);
  EXPECT_EQ(count, all.size());
  EXPECT_EQ(ids[1], -1);

  const int32_t tokens[] = {37, 40, 38};
  char out[16] = {};
  size_t bytes = 0;
  ASSERT_EQ(lapidary_bundle_detokenize(bundle, tokens, 3, 0, out, sizeof(out),
                                       &bytes),
            LAPIDARY_OK);
  EXPECT_EQ(std::string(out, bytes), "t37t38");
  ASSERT_EQ(lapidary_bundle_detokenize(bundle, tokens, 3, 1, out, 4, &bytes),
            LAPIDARY_OK);
  EXPECT_EQ(bytes, 9u);
}

TEST_F(CApiTest, StepsAndLogits) {
  const float *logits = nullptr;
  size_t count = 0;
  EXPECT_EQ(lapidary_session_logits(session, &logits, &count),
            LAPIDARY_INVALID_ARGUMENT);
  const float patches[] = {1, 2, 3, 4, 5, 6}, frames[] = {1, 1, 1, 1};
  const int32_t positions[] = {0, 0, 1, 0};
  float image[16], sound[8];
  ASSERT_EQ(lapidary_session_embed_image(session, patches, positions, 2, image),
            LAPIDARY_OK);
  ASSERT_EQ(lapidary_session_embed_audio(session, frames, 1, sound),
            LAPIDARY_OK);
  const lapidary_media media[] = {{image, 2}, {sound, 1}};
  const int32_t tokens[] = {9, imageToken, imageToken, 9, audioToken};
  ASSERT_EQ(lapidary_session_prefill(session, tokens, 5, media, 2), LAPIDARY_OK)
      << lapidary_error_message();
  ASSERT_EQ(lapidary_session_decode(session, 10), LAPIDARY_OK);
  EXPECT_EQ(lapidary_session_position(session), 6);
  ASSERT_EQ(lapidary_session_logits(session, &logits, &count), LAPIDARY_OK);
  ASSERT_EQ(count, 48u);
  EXPECT_EQ(logits[1], 9 + 6 + 16 + 9 + 4 + 10);
  ASSERT_EQ(lapidary_session_reset(session), LAPIDARY_OK);
  EXPECT_EQ(lapidary_session_position(session), 0);
}

TEST_F(CApiTest, Generates) {
  struct Received {
    std::string text;
    int left = 100;
  } received;
  lapidary_generate_options options = {};
  options.size = sizeof(options);
  options.user = &received;
  options.on_text = [](void *user, const char *text, size_t bytes) {
    auto *into = static_cast<Received *>(user);
    into->text.append(text, bytes);
    return --into->left > 0 ? 1 : 0;
  };
  const int32_t tokens[] = {35};
  int32_t ids[2];
  lapidary_generate_result result = {};
  result.size = sizeof(result);
  ASSERT_EQ(lapidary_session_generate(session, tokens, 1, nullptr, 0, &options,
                                      ids, 2, &result),
            LAPIDARY_OK)
      << lapidary_error_message();
  EXPECT_EQ(received.text, "t36t37t38t39");
  EXPECT_EQ(result.count, 5u);
  EXPECT_EQ(result.finish, LAPIDARY_FINISH_STOP);
  EXPECT_EQ(ids[1], 37);
  received = {"", 2};
  ASSERT_EQ(lapidary_session_generate(session, tokens, 1, nullptr, 0, &options,
                                      nullptr, 0, &result),
            LAPIDARY_OK);
  EXPECT_EQ(result.finish, LAPIDARY_FINISH_CANCELLED);
  EXPECT_EQ(received.text, "t36t37");
  options.max_tokens = 1;
  received = {};
  ASSERT_EQ(lapidary_session_generate(session, tokens, 1, nullptr, 0, &options,
                                      nullptr, 0, &result),
            LAPIDARY_OK);
  EXPECT_EQ(result.finish, LAPIDARY_FINISH_LENGTH);
  EXPECT_EQ(lapidary_session_generate(session, tokens, 1, nullptr, 0, nullptr,
                                      nullptr, 0, nullptr),
            LAPIDARY_OK);
}

TEST_F(CApiTest, GenerateTakesStopStringsAndBiases) {
  std::string received;
  lapidary_generate_options options = {};
  options.size = sizeof(options);
  options.user = &received;
  options.on_text = [](void *user, const char *text, size_t bytes) {
    static_cast<std::string *>(user)->append(text, bytes);
    return 1;
  };
  const char *stop[] = {"none", "7t38"};
  options.stop = stop;
  options.stop_count = 2;
  const int32_t tokens[] = {35};
  lapidary_generate_result result = {};
  result.size = sizeof(result);
  auto generate = [&] {
    received.clear();
    EXPECT_EQ(lapidary_session_reset(session), LAPIDARY_OK);
    return lapidary_session_generate(session, tokens, 1, nullptr, 0, &options,
                                     nullptr, 0, &result);
  };
  ASSERT_EQ(generate(), LAPIDARY_OK) << lapidary_error_message();
  EXPECT_EQ(received, "t36t3");
  EXPECT_EQ(result.finish, LAPIDARY_FINISH_STOP);
  const lapidary_token_bias bias[] = {{39, 1e6f}};
  options.logit_bias = bias;
  options.logit_bias_count = 1;
  options.repeat_penalty = 1.5f;
  options.repeat_last_n = -1;
  options.min_p = 0.5f;
  options.typical_p = 0.5f;
  options.max_tokens = 1;
  ASSERT_EQ(generate(), LAPIDARY_OK) << lapidary_error_message();
  EXPECT_EQ(received, "t39");

  stop[1] = nullptr;
  EXPECT_EQ(generate(), LAPIDARY_INVALID_ARGUMENT);
  EXPECT_THAT(lapidary_error_message(), HasSubstr("stop"));
  options.stop = nullptr;
  EXPECT_EQ(generate(), LAPIDARY_INVALID_ARGUMENT);
  options.stop_count = 0;
  options.repeat_penalty = -1;
  EXPECT_EQ(generate(), LAPIDARY_INVALID_ARGUMENT);
  EXPECT_THAT(lapidary_error_message(), HasSubstr("repeat penalty"));
  // A program of before these fields were there.
  options.repeat_penalty = 0;
  options.size = offsetof(lapidary_generate_options, repeat_last_n);
  ASSERT_EQ(generate(), LAPIDARY_OK) << lapidary_error_message();
  EXPECT_EQ(received, "t36");
}

TEST_F(CApiTest, CancelStopsOneCall) {
  const int32_t tokens[] = {35};
  lapidary_session_cancel(session);
  EXPECT_EQ(lapidary_session_prefill(session, tokens, 1, nullptr, 0),
            LAPIDARY_CANCELLED);
  EXPECT_EQ(lapidary_session_prefill(session, tokens, 1, nullptr, 0),
            LAPIDARY_OK);
  lapidary_session_cancel(session);
  lapidary_generate_result result = {};
  result.size = sizeof(result);
  EXPECT_EQ(lapidary_session_generate(session, tokens, 1, nullptr, 0, nullptr,
                                      nullptr, 0, &result),
            LAPIDARY_OK);
  EXPECT_EQ(result.finish, LAPIDARY_FINISH_CANCELLED);
  EXPECT_EQ(lapidary_session_decode(session, 9), LAPIDARY_OK);
}

TEST_F(CApiTest, ReadsStructsOfOtherVersions) {
  struct {
    lapidary_session_options known;
    int64_t later;
  } newer = {};
  newer.known.size = sizeof(newer);
  lapidary_session *made = nullptr;
  ASSERT_EQ(lapidary_session_create(bundle, &newer.known, &made),
            LAPIDARY_OK); // a later field at its default
  lapidary_session_destroy(made);
  newer.later = 1;
  EXPECT_EQ(lapidary_session_create(bundle, &newer.known, &made),
            LAPIDARY_UNSUPPORTED);
  newer.known.size = 0;
  EXPECT_EQ(lapidary_session_create(bundle, &newer.known, &made),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_THAT(lapidary_error_message(), HasSubstr("options->size is 0"));
  newer.known.size = sizeof(newer.known);
  newer.known.device = "abacus";
  EXPECT_EQ(lapidary_session_create(bundle, &newer.known, &made),
            LAPIDARY_UNSUPPORTED);
}

TEST_F(CApiTest, GuessesAhead) {
  lapidary_session_options options = {};
  options.size = sizeof(options);
  options.context = 100;
  std::vector<int32_t> answers[3];
  uint64_t drafted[3];
  for (int round = 0; round < 3; ++round) {
    options.draft = round == 0   ? 0
                    : round == 1 ? int32_t(LAPIDARY_DRAFT_AUTO)
                                 : 3;
    lapidary_session *made = nullptr;
    ASSERT_EQ(lapidary_session_create(bundle, &options, &made), LAPIDARY_OK)
        << lapidary_error_message();
    // The answer's beginning stands in the prompt, so that there is what to
    // guess from.
    const int32_t tokens[] = {35, 36, 37, 38, 39, 35};
    lapidary_generate_result result = {};
    result.size = sizeof(result);
    answers[round].resize(8);
    ASSERT_EQ(lapidary_session_generate(made, tokens, 6, nullptr, 0, nullptr,
                                        answers[round].data(), 8, &result),
              LAPIDARY_OK)
        << lapidary_error_message();
    EXPECT_LE(result.accepted, result.drafted);
    drafted[round] = result.drafted;
    lapidary_session_destroy(made);
  }
  EXPECT_EQ(answers[1], answers[0]);
  EXPECT_EQ(answers[2], answers[0]);
  EXPECT_EQ(drafted[0], 0u); // without a companion
  EXPECT_GT(drafted[2], 0u);
  lapidary_session *none = nullptr;
  for (int32_t bad : {-3, 1000}) {
    options.draft = bad;
    EXPECT_EQ(lapidary_session_create(bundle, &options, &none),
              LAPIDARY_INVALID_ARGUMENT);
    EXPECT_THAT(lapidary_error_message(), HasSubstr("draft"));
  }
}

TEST_F(CApiTest, TakesLayersForAGpuOnly) {
  lapidary_session_options options = {};
  options.size = sizeof(options);
  lapidary_session *none = nullptr;
  options.gpu_layers = 1;
  EXPECT_EQ(lapidary_session_create(bundle, &options, &none),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_THAT(lapidary_error_message(), HasSubstr("the device is cpu"));
  options.gpu_layers = -2;
  EXPECT_EQ(lapidary_session_create(bundle, &options, &none),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_THAT(lapidary_error_message(), HasSubstr("gpu_layers is -2"));
}

TEST_F(CApiTest, KeepsWhatConversationsShare) {
  std::vector<int32_t> tokens = {30, 36};
  lapidary_generate_options options = {};
  options.size = sizeof(options);
  options.whole = 1;
  lapidary_generate_result result = {};
  result.size = sizeof(result);
  int32_t ids[8];
  auto run = [&] {
    ASSERT_EQ(lapidary_session_generate(session, tokens.data(), tokens.size(),
                                        nullptr, 0, &options, ids, 8, &result),
              LAPIDARY_OK)
        << lapidary_error_message();
  };
  run();
  EXPECT_EQ(result.reused, 0u);
  EXPECT_EQ(result.count, 4u);
  EXPECT_EQ(lapidary_session_position(session), 5);
  tokens.insert(tokens.end(), {37, 38, 39, 20, 35});
  run();
  EXPECT_EQ(result.reused, 5u);
  EXPECT_EQ(result.count, 5u);

  test::TemporaryFolder folder;
  const std::string path = folder.path("state");
  int64_t reached = -1;
  ASSERT_EQ(lapidary_session_go_back(session, 6, &reached), LAPIDARY_OK);
  EXPECT_EQ(reached, 6);
  const float *logits = nullptr;
  size_t count = 0;
  EXPECT_EQ(lapidary_session_logits(session, &logits, &count),
            LAPIDARY_INVALID_ARGUMENT);
  ASSERT_EQ(lapidary_session_save(session, path.c_str()), LAPIDARY_OK);
  ASSERT_EQ(lapidary_session_reset(session), LAPIDARY_OK);
  ASSERT_EQ(lapidary_session_load(session, path.c_str()), LAPIDARY_OK)
      << lapidary_error_message();
  EXPECT_EQ(lapidary_session_position(session), 6);
  run();
  EXPECT_EQ(result.reused, 6u);
  EXPECT_EQ(lapidary_session_go_back(session, 1000, nullptr),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_load(session, folder.path("none").c_str()),
            LAPIDARY_NOT_FOUND);
  EXPECT_EQ(lapidary_session_position(session), 0);
}

TEST_F(CApiTest, RefusesNull) {
  lapidary_bundle *none = nullptr;
  size_t count = 0;
  int32_t token = 8;
  float value = 0;
  EXPECT_EQ(lapidary_bundle_open(nullptr, &none), LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_bundle_open("/nonexistent", nullptr),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_bundle_open("/nonexistent", &none), LAPIDARY_NOT_FOUND);
  EXPECT_EQ(none, nullptr);
  EXPECT_EQ(lapidary_bundle_verify(nullptr), LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_bundle_model(bundle, nullptr), LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_bundle_tokenize(bundle, nullptr, 1, nullptr, 0, &count),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_bundle_tokenize(bundle, "a", 1, nullptr, 1, &count),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(
      lapidary_bundle_detokenize(bundle, nullptr, 1, 0, nullptr, 0, &count),
      LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_create(nullptr, nullptr, &session),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_prefill(nullptr, &token, 1, nullptr, 0),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_prefill(session, nullptr, 1, nullptr, 0),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_prefill(session, &token, 1, nullptr, 1),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_prefill(session, nullptr, 0, nullptr, 0),
            LAPIDARY_INVALID_ARGUMENT);
  const lapidary_media bad[] = {{nullptr, 1}},
                       enormous[] = {{&value, SIZE_MAX / 2}};
  EXPECT_EQ(lapidary_session_prefill(session, &token, 1, bad, 1),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_prefill(session, &token, 1, enormous, 1),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_decode(nullptr, 8), LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_embed_image(session, &value, nullptr, 1, &value),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_embed_audio(session, &value, SIZE_MAX / 2, &value),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_logits(session, nullptr, &count),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_position(nullptr), -1);
  EXPECT_EQ(lapidary_session_reset(nullptr), LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_go_back(nullptr, 0, nullptr),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_go_back(session, -1, nullptr),
            LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_save(session, nullptr), LAPIDARY_INVALID_ARGUMENT);
  EXPECT_EQ(lapidary_session_load(nullptr, "state"), LAPIDARY_INVALID_ARGUMENT);
  lapidary_session_cancel(nullptr);
  lapidary_bundle_close(nullptr);
  lapidary_session_destroy(nullptr);
}

TEST_F(CApiTest, ErrorsBelongToTheirThread) {
  EXPECT_EQ(lapidary_session_decode(session, -7), LAPIDARY_INVALID_ARGUMENT);
  std::thread([] { EXPECT_STREQ(lapidary_error_message(), ""); }).join();
  EXPECT_THAT(lapidary_error_message(), HasSubstr("-7"));
}

} // namespace
} // namespace lapidary::synthetic
