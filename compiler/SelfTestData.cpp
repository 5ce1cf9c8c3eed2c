// The self-test that a bundle carries.
#include "compiler/SelfTestData.h"

#include "compiler/Reference.h"

#include <cmath>

using namespace mlir;
using namespace mlir::lap;

namespace {

/// Tokens of the text; the last ones are decoded one by one in "decode".
constexpr int64_t textTokens = 8, decodedTokens = 2;
/// Tokens that the companion goes on from.
constexpr int64_t draftedTokens = 2;
/// Soft tokens of each medium.
constexpr int64_t mediaTokens = 2;
/// Logits compared, spread over the vocabulary.
constexpr int64_t comparedLogits = 256;
/// Embedding values compared a test.
constexpr int64_t comparedEmbeddings = 512;
/// The largest differences of logits at `boundLayers` layers or less, absolute
/// and in units of their root mean square, whichever is more; errors of layers
/// add up like independent ones, with the square root of their number. What
/// differs is the order of sums, as both sides keep rounded caches, whose last
/// bit goes either way; where activations are rounded to 8 bits or caches are,
/// numbers at the edge of two do, too.
constexpr double exactBound = 0.04, exactShare = 0.01, roundedShare = 0.1,
                 boundLayers = 6;
/// Embeddings: in units of their root mean square.
constexpr double exactEmbeddingBound = 0.01, roundedEmbeddingBound = 0.05;

/// All tests are beginnings of one sequence (a text, an image, a frame of a
/// video, a sound), so that one run of the model over it gives all expected
/// logits: later positions do not change earlier ones.
class SelfTestBuilder {
public:
  explicit SelfTestBuilder(const SelfTestInputs &inputs)
      : inputs(inputs), config(inputs.config) {}

  std::vector<SelfTestData> draft();
  FailureOr<std::vector<SelfTestData>> compute(const WeightValues &weights);

private:
  void addText();
  /// Appends soft tokens and a text token.
  void addMedia(StringRef name, int64_t token);
  /// A test of the sequence so far.
  void addTest(StringRef name);
  void addTests();
  LogicalResult embedMedia(ReferenceInterpreter &interpreter);
  FailureOr<ReferenceTensor> runSequence(ReferenceInterpreter &interpreter);
  LogicalResult runDrafts(ReferenceInterpreter &interpreter, SelfTestData &test,
                          std::vector<float> &logits);
  void finish(SelfTestData &test, ArrayRef<float> logits);
  /// The n-th of the texts' ids: spread over the vocabulary, no soft token.
  int32_t getToken(int64_t n) const;
  bool isVision(int32_t token) const {
    return config.vision &&
           (token == config.imageToken || token == config.videoToken);
  }
  bool isSoft(int32_t token) const {
    return isVision(token) || (config.audio && token == config.audioToken);
  }

  const SelfTestInputs &inputs;
  const lapidary::ModelConfig &config;
  /// The sequence, its media, and the row of it that each test ends with.
  std::vector<int32_t> tokens;
  std::vector<float> patches, frames, embeddings;
  /// What the model's last layer gave for the sequence.
  std::vector<float> hiddenStates;
  std::vector<int32_t> positions;
  std::vector<SelfTestData> tests;
  std::vector<int64_t> lastRows;
};

} // namespace

int32_t SelfTestBuilder::getToken(int64_t n) const {
  int64_t token = (7919 * (n + 1)) % config.text.vocabulary;
  while (token == config.imageToken || token == config.videoToken ||
         token == config.audioToken)
    token = (token + 1) % config.text.vocabulary;
  return token;
}

void SelfTestBuilder::addTest(StringRef name) {
  SelfTestData test;
  test.name = name.str();
  test.tokens = tokens;
  test.patches = patches;
  test.positions = positions;
  test.frames = frames;
  tests.push_back(std::move(test));
  lastRows.push_back(tokens.size() - 1);
}

void SelfTestBuilder::addText() {
  if (config.bosToken >= 0)
    tokens.push_back(config.bosToken);
  while (static_cast<int64_t>(tokens.size()) < textTokens)
    tokens.push_back(getToken(tokens.size()));
  addTest("text");
  addTest("decode");
  SelfTestData &decode = tests.back();
  decode.decoded.assign(decode.tokens.end() - decodedTokens,
                        decode.tokens.end());
  decode.tokens.resize(textTokens - decodedTokens);
}

void SelfTestBuilder::addMedia(StringRef name, int64_t token) {
  tokens.insert(tokens.end(), mediaTokens, token);
  if (isVision(token)) {
    int64_t values = config.vision->patchValues();
    // A row of patches for each medium: x grows, then y.
    int32_t row = patches.size() / (mediaTokens * values);
    for (int32_t column = 0; column < mediaTokens; ++column) {
      positions.insert(positions.end(), {column, row});
      for (int64_t i = 0; i < values; ++i)
        patches.push_back(
            static_cast<float>((patches.size() * 2654435761u >> 8) % 256) /
            255);
    }
  } else {
    for (int64_t i = 0; i < mediaTokens * config.audio->samplesPerToken; ++i)
      frames.push_back(
          static_cast<float>(
              static_cast<int64_t>((i * 2654435761u >> 8) % 256) - 128) /
          256);
  }
  tokens.push_back(getToken(tokens.size()));
  addTest(name);
}

LogicalResult SelfTestBuilder::embedMedia(ReferenceInterpreter &interpreter) {
  auto append = [&](FailureOr<ReferenceTensor> rows) -> LogicalResult {
    if (failed(rows))
      return failure();
    embeddings.insert(embeddings.end(), rows->values.begin(),
                      rows->values.end());
    return success();
  };
  ReferenceInterpreter::Inputs inputs;
  if (!patches.empty()) {
    int64_t count = positions.size() / 2;
    inputs["patches"] = ReferenceTensor::ofValues(
        {count, config.vision->patchValues()}, patches);
    inputs["positions"] = ReferenceTensor::ofIndices({count, 2}, positions);
    if (failed(append(interpreter.run("embed_image", inputs))))
      return failure();
  }
  if (!frames.empty()) {
    int64_t samples = config.audio->samplesPerToken;
    int64_t count = frames.size() / samples;
    inputs["frames"] = ReferenceTensor::ofValues({count, samples}, frames);
    if (failed(append(interpreter.run("embed_audio", inputs))))
      return failure();
  }
  return success();
}

/// The logits after each test's last token, a row a test.
FailureOr<ReferenceTensor>
SelfTestBuilder::runSequence(ReferenceInterpreter &interpreter) {
  int64_t count = tokens.size(), width = config.text.hidden;
  std::vector<int32_t> rows, ends;
  int32_t row = 0;
  for (int64_t i = 0; i < count; ++i) {
    rows.push_back(isSoft(tokens[i]) ? row++ : -1);
    int64_t end = i + 1;
    if (config.text.bidirectionalVision && isVision(tokens[i]))
      while (end < count && isVision(tokens[end]))
        ++end;
    ends.push_back(end);
  }
  ReferenceInterpreter::Inputs inputs;
  inputs["tokens"] = ReferenceTensor::ofIndices({count}, tokens);
  inputs["media_rows"] = ReferenceTensor::ofIndices({count}, rows);
  inputs["media"] = ReferenceTensor::ofValues({row, width}, embeddings);
  inputs["visible_end"] = ReferenceTensor::ofIndices({count}, ends);
  auto hidden = interpreter.run("prefill", inputs);
  if (failed(hidden))
    return failure();
  hiddenStates = hidden->values;
  std::vector<float> last;
  for (int64_t at : lastRows)
    last.insert(last.end(), hidden->values.begin() + at * width,
                hidden->values.begin() + (at + 1) * width);
  ReferenceInterpreter::Inputs head;
  head["hidden"] = ReferenceTensor::ofValues(
      {static_cast<int64_t>(lastRows.size()), width}, std::move(last));
  return interpreter.run("logits", head);
}

void SelfTestBuilder::finish(SelfTestData &test, ArrayRef<float> logits) {
  int64_t soft =
      llvm::count_if(test.tokens, [&](int32_t token) { return isSoft(token); });
  // Embeddings are in the order of soft tokens, so those of a beginning of the
  // sequence are a beginning of all.
  int64_t values = soft * config.text.hidden;
  bool rounded = inputs.caches == KvFormat::Q8_0 ||
                 llvm::any_of(inputs.activations, [](const auto &entry) {
                   return entry.second != Activations::F32;
                 });
  test.embedding_stride =
      std::max<int64_t>(1, llvm::divideCeil(values, comparedEmbeddings));
  for (int64_t i = 0; i < values; i += test.embedding_stride)
    test.embeddings.push_back(embeddings[i]);
  if (soft)
    test.embedding_bound = static_cast<float>(rounded ? roundedEmbeddingBound
                                                      : exactEmbeddingBound);

  int64_t vocabulary = logits.size();
  int64_t best = llvm::max_element(logits) - logits.begin();
  int64_t stride =
      std::max<int64_t>(1, llvm::divideCeil(vocabulary, comparedLogits));
  for (int64_t i = 0; i < vocabulary; i += stride)
    test.logit_ids.push_back(i);
  // One more, also where the best is among them: the size is known before.
  test.logit_ids.push_back(
      best % stride || vocabulary == 1 ? best : (best + 1) % vocabulary);
  for (int32_t id : test.logit_ids)
    test.logits.push_back(logits[id]);
  double squares = 0;
  for (float value : logits)
    squares += static_cast<double>(value) * value;
  double size =
      std::max(1.0, std::sqrt(squares / static_cast<double>(vocabulary)));
  double bound =
      rounded ? roundedShare * size : std::max(exactBound, exactShare * size);
  test.bound = static_cast<float>(
      bound *
      std::max(1.0, std::sqrt(config.text.layers.size() / boundLayers)));
}

void SelfTestBuilder::addTests() {
  addText();
  if (config.vision && config.imageToken >= 0)
    addMedia("image", config.imageToken);
  if (config.vision && config.videoToken >= 0)
    addMedia("video", config.videoToken);
  if (config.audio && config.audioToken >= 0)
    addMedia("audio", config.audioToken);
  if (config.assistant) {
    addTest("draft");
    for (int64_t i = 0; i < draftedTokens; ++i)
      tests.back().drafted.push_back(getToken(tokens.size() + i));
  }
}

/// Replaces the model's logits by the companion's.
LogicalResult SelfTestBuilder::runDrafts(ReferenceInterpreter &interpreter,
                                         SelfTestData &test,
                                         std::vector<float> &logits) {
  int64_t width = config.text.hidden, count = test.tokens.size();
  std::vector<float> hidden(hiddenStates.begin() + (count - 1) * width,
                            hiddenStates.begin() + count * width);
  StringRef entry = "draft";
  for (int32_t token : test.drafted) {
    ReferenceInterpreter::Inputs inputs;
    inputs["tokens"] = ReferenceTensor::ofIndices({1}, {token});
    inputs["hidden"] = ReferenceTensor::ofValues({1, width}, hidden);
    auto results = interpreter.runAll(entry, inputs, count - 1);
    if (failed(results))
      return failure();
    hidden = (*results)[0].values;
    logits = (*results)[1].values;
    entry = "draft_next";
  }
  return success();
}

std::vector<SelfTestData> SelfTestBuilder::draft() {
  addTests();
  embeddings.resize(
      llvm::count_if(tokens, [&](int32_t token) { return isSoft(token); }) *
      config.text.hidden);
  const std::vector<float> zeros(config.text.vocabulary);
  for (SelfTestData &test : tests)
    finish(test, zeros);
  return std::move(tests);
}

FailureOr<std::vector<SelfTestData>>
SelfTestBuilder::compute(const WeightValues &weights) {
  ReferenceInterpreter interpreter(inputs.model, weights);
  interpreter.caches = inputs.caches;
  interpreter.activations = inputs.activations;
  addTests();
  if (failed(embedMedia(interpreter)))
    return failure();
  FailureOr<ReferenceTensor> logits = runSequence(interpreter);
  if (failed(logits))
    return failure();
  int64_t vocabulary = config.text.vocabulary;
  for (auto [number, test] : llvm::enumerate(tests)) {
    auto begin = logits->values.begin() + number * vocabulary;
    std::vector<float> own(begin, begin + vocabulary);
    // Only behind the last position are the caches as they were there.
    if (!test.drafted.empty() && failed(runDrafts(interpreter, test, own)))
      return failure();
    finish(test, own);
  }
  return std::move(tests);
}

std::vector<SelfTestData>
mlir::lap::draftSelfTests(const SelfTestInputs &inputs) {
  return SelfTestBuilder(inputs).draft();
}

FailureOr<std::vector<SelfTestData>>
mlir::lap::computeSelfTests(const SelfTestInputs &inputs,
                            const WeightValues &weights) {
  return SelfTestBuilder(inputs).compute(weights);
}
