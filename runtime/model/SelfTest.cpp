// Errors are taken in the compiler's own units: absolute for logits, relative
// to the root mean square for embeddings.
#include "runtime/model/SelfTest.h"

#include "runtime/core/Text.h"

#include <algorithm>
#include <cmath>

namespace lapidary {
namespace {

template <typename T>
std::span<const T> view(const flatbuffers::Vector<T> *vector) {
  return vector ? std::span<const T>(vector->data(), vector->size())
                : std::span<const T>();
}

/// NaN is the worst there is.
double worse(double worst, double error) {
  return std::isnan(error) || error > worst ? error : worst;
}

/// The worst difference of every stride-th value, in units of the expected
/// values' root mean square.
double compareEmbeddings(std::span<const float> found,
                         std::span<const float> expected, size_t stride) {
  double squares = 0, worst = 0;
  for (float value : expected)
    squares += double(value) * double(value);
  double unit = std::sqrt(squares / double(expected.size()));
  for (size_t index = 0; index < expected.size(); ++index)
    worst = worse(worst, std::abs(double(found[index * stride]) -
                                  double(expected[index])));
  // All zeros have no unit; then any difference counts as it is.
  return unit > 0 ? worst / unit : worst;
}

Result<SelfTestResult> runSelfTest(Session &session,
                                   const schema::SelfTest &test) {
  SelfTestResult result;
  result.name = test.name()->str();
  result.logitsBound = test.bound();
  result.embeddingsBound = test.embedding_bound();

  std::vector<float> embeddings;
  if (!view(test.patches()).empty())
    embeddings = LAPIDARY_TRY(
        session.embedImage(view(test.patches()), view(test.positions())));
  if (!view(test.frames()).empty()) {
    std::vector<float> sounds =
        LAPIDARY_TRY(session.embedAudio(view(test.frames())));
    embeddings.insert(embeddings.end(), sounds.begin(), sounds.end());
  }
  Session::Prompt prompt{view(test.tokens()), {}};
  result.hasMedia = !embeddings.empty();
  if (result.hasMedia) {
    result.embeddingsError =
        compareEmbeddings(embeddings, view(test.embeddings()),
                          static_cast<size_t>(test.embedding_stride()));
    prompt.media.push_back(embeddings);
  }
  session.engine().setCheckingCandidates(true);
  // By the entry point for prompts, and by that for few tokens.
  for (bool extending : {false, true}) {
    session.reset();
    session.engine().setExtending(extending);
    LAPIDARY_TRY(session.prefill(prompt));
    for (int32_t token : view(test.decoded()))
      LAPIDARY_TRY(session.decode(token));
    std::span<const float> logits = session.logits();
    if (std::span<const int32_t> drafted = view(test.drafted());
        !drafted.empty())
      logits = LAPIDARY_TRY(session.engine().draftLogits(
          session.sequence(),
          session.hiddenStates().last(static_cast<size_t>(
              session.bundle().program().model()->hidden())),
          drafted));
    for (uint32_t index = 0; index < test.logits()->size(); ++index) {
      double found = logits[static_cast<size_t>(test.logit_ids()->Get(index))];
      result.logitsError =
          worse(result.logitsError,
                std::abs(found - double(test.logits()->Get(index))));
    }
  }
  // False for NaN.
  result.pass = result.logitsError <= result.logitsBound &&
                result.embeddingsError <= result.embeddingsBound;
  return result;
}

} // namespace

Result<std::vector<SelfTestResult>>
runSelfTests(std::shared_ptr<const Bundle> bundle,
             const SessionOptions &options) {
  const schema::Program &program = bundle->program();
  SessionOptions chosen = options;
  int64_t longest = 1;
  for (const schema::SelfTest *test : *program.self_tests())
    longest =
        std::max<int64_t>(longest, int64_t(test->tokens()->size()) +
                                       int64_t(view(test->decoded()).size()));
  if (chosen.context == 0)
    chosen.context = longest;
  for (const schema::SelfTest *test : *program.self_tests())
    chosen.chunk =
        LAPIDARY_TRY(requiredChunk(program, view(test->tokens()), chosen));
  std::unique_ptr<Session> session =
      LAPIDARY_TRY(Session::create(bundle, chosen));
  std::vector<SelfTestResult> results;
  for (const schema::SelfTest *test : *program.self_tests()) {
    Result<SelfTestResult> result = runSelfTest(*session, *test);
    if (!result.ok())
      return Status(result.status().getCode(),
                    concat("self-test \"", test->name()->string_view(),
                           "\": ", result.status().message()));
    results.push_back(*std::move(result));
  }
  return results;
}

} // namespace lapidary
