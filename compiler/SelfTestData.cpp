// The self-test that a bundle carries.
#include "compiler/SelfTestData.h"

#include "compiler/Reference.h"

#include <cmath>

using namespace mlir;
using namespace mlir::lap;

namespace {

/// Tokens of a text, of a sound and of an image.
constexpr int64_t textTokens = 6, mediaTokens = 2, decodedTokens = 2;
/// Logits compared, spread over the vocabulary.
constexpr int64_t comparedLogits = 256;
/// Embedding values compared an item.
constexpr int64_t comparedEmbeddings = 512;
/// The largest difference in units of the logits' root mean square (at least
/// 1), at `boundLayers` layers; errors of layers add up like independent ones,
/// with the square root of their number. Without quantization what remains is
/// f16 caches and the order of sums.
constexpr double exactBound = 0.02, quantizedBound = 0.25, boundLayers = 6;

class SelfTestBuilder {
public:
  SelfTestBuilder(ModuleOp model, const lapidary::ModelConfig &config,
                  const lapidary::Checkpoint &checkpoint, bool quantized)
      : interpreter(model, checkpoint), config(config), quantized(quantized) {}

  FailureOr<std::vector<SelfTestData>> build();

private:
  LogicalResult addText(bool decode);
  LogicalResult addImage();
  LogicalResult addAudio();
  /// The n-th of the texts' ids: spread over the vocabulary, no soft token.
  int32_t getToken(int64_t n) const;
  /// Prefills, decodes, and stores the last logits; `media` are embeddings.
  LogicalResult finish(SelfTestData &test, const ReferenceTensor &media);
  void storeEmbeddings(SelfTestData &test, const ReferenceTensor &embeddings);

  ReferenceInterpreter interpreter;
  const lapidary::ModelConfig &config;
  bool quantized;
  std::vector<SelfTestData> tests;
};

} // namespace

int32_t SelfTestBuilder::getToken(int64_t n) const {
  int64_t token = (7919 * (n + 1)) % config.text.vocabulary;
  while (token == config.imageToken || token == config.videoToken ||
         token == config.audioToken)
    token = (token + 1) % config.text.vocabulary;
  return token;
}

void SelfTestBuilder::storeEmbeddings(SelfTestData &test,
                                      const ReferenceTensor &embeddings) {
  int64_t count = embeddings.values.size();
  test.embedding_stride =
      std::max<int64_t>(1, llvm::divideCeil(count, comparedEmbeddings));
  for (int64_t i = 0; i < count; i += test.embedding_stride)
    test.embeddings.push_back(embeddings.values[i]);
}

LogicalResult SelfTestBuilder::finish(SelfTestData &test,
                                      const ReferenceTensor &media) {
  interpreter.reset();
  int64_t count = test.tokens.size();
  std::vector<int32_t> rows, ends;
  int32_t row = 0;
  auto isVision = [&](int32_t token) {
    return config.vision &&
           (token == config.imageToken || token == config.videoToken);
  };
  for (int64_t i = 0; i < count; ++i) {
    bool isAudio = config.audio && test.tokens[i] == config.audioToken;
    rows.push_back(isVision(test.tokens[i]) || isAudio ? row++ : -1);
    int64_t end = i + 1;
    if (config.text.bidirectionalVision && isVision(test.tokens[i]))
      while (end < count && isVision(test.tokens[end]))
        ++end;
    ends.push_back(end);
  }
  ReferenceInterpreter::Inputs inputs;
  inputs["tokens"] = ReferenceTensor::ofIndices({count}, test.tokens);
  inputs["media_rows"] = ReferenceTensor::ofIndices({count}, rows);
  inputs["media"] = media;
  inputs["visible_end"] = ReferenceTensor::ofIndices({count}, ends);
  auto hidden = interpreter.run("prefill", inputs);
  if (failed(hidden))
    return failure();

  FailureOr<ReferenceTensor> logits;
  if (test.decoded.empty()) {
    int64_t width = config.text.hidden;
    ReferenceInterpreter::Inputs last;
    last["hidden"] = ReferenceTensor::ofValues(
        {1, width}, {hidden->values.end() - width, hidden->values.end()});
    logits = interpreter.run("logits", last);
  }
  int64_t past = count;
  for (int32_t token : test.decoded) {
    ReferenceInterpreter::Inputs next;
    next["tokens"] = ReferenceTensor::ofIndices({1}, {token});
    logits = interpreter.run("decode", next, past++);
    if (failed(logits))
      return failure();
  }
  if (failed(logits))
    return failure();

  const std::vector<float> &values = logits->values;
  int64_t vocabulary = values.size(), best = 0;
  double squares = 0;
  for (int64_t i = 0; i < vocabulary; ++i) {
    if (values[i] > values[best])
      best = i;
    squares += static_cast<double>(values[i]) * values[i];
  }
  int64_t stride =
      std::max<int64_t>(1, llvm::divideCeil(vocabulary, comparedLogits));
  for (int64_t i = 0; i < vocabulary; i += stride)
    test.logit_ids.push_back(i);
  if (best % stride)
    test.logit_ids.push_back(best);
  for (int32_t id : test.logit_ids)
    test.logits.push_back(values[id]);
  test.bound = static_cast<float>(
      (quantized ? quantizedBound : exactBound) *
      std::max(1.0, std::sqrt(config.text.layers.size() / boundLayers)) *
      std::max(1.0, std::sqrt(squares / static_cast<double>(vocabulary))));
  tests.push_back(test);
  return success();
}

LogicalResult SelfTestBuilder::addText(bool decode) {
  SelfTestData test;
  test.name = decode ? "decode" : "text";
  if (config.bosToken >= 0)
    test.tokens.push_back(config.bosToken);
  for (int64_t i = 0; i < textTokens; ++i)
    test.tokens.push_back(getToken(i));
  if (decode)
    for (int64_t i = 0; i < decodedTokens; ++i)
      test.decoded.push_back(getToken(textTokens + i));
  return finish(test, ReferenceTensor::ofValues({0, config.text.hidden}, {}));
}

LogicalResult SelfTestBuilder::addImage() {
  SelfTestData test;
  test.name = "image";
  int64_t values = config.vision->patchValues();
  for (int64_t i = 0; i < mediaTokens * values; ++i)
    test.patches.push_back(static_cast<float>((i * 2654435761u >> 8) % 256) /
                           255);
  for (int32_t i = 0; i < mediaTokens; ++i) // A row of patches: x grows.
    test.positions.insert(test.positions.end(), {i, 0});
  ReferenceInterpreter::Inputs inputs;
  inputs["patches"] =
      ReferenceTensor::ofValues({mediaTokens, values}, test.patches);
  inputs["positions"] =
      ReferenceTensor::ofIndices({mediaTokens, 2}, test.positions);
  auto embeddings = interpreter.run("embed_image", inputs);
  if (failed(embeddings))
    return failure();
  storeEmbeddings(test, *embeddings);
  test.tokens = {getToken(0)};
  test.tokens.insert(test.tokens.end(), mediaTokens, config.imageToken);
  test.tokens.push_back(getToken(1));
  return finish(test, *embeddings);
}

LogicalResult SelfTestBuilder::addAudio() {
  SelfTestData test;
  test.name = "audio";
  int64_t samples = config.audio->samplesPerToken;
  for (int64_t i = 0; i < mediaTokens * samples; ++i)
    test.frames.push_back(
        static_cast<float>(static_cast<int64_t>(i * 2654435761u >> 8) % 256 -
                           128) /
        256);
  ReferenceInterpreter::Inputs inputs;
  inputs["frames"] =
      ReferenceTensor::ofValues({mediaTokens, samples}, test.frames);
  auto embeddings = interpreter.run("embed_audio", inputs);
  if (failed(embeddings))
    return failure();
  storeEmbeddings(test, *embeddings);
  test.tokens = {getToken(0)};
  test.tokens.insert(test.tokens.end(), mediaTokens, config.audioToken);
  test.tokens.push_back(getToken(1));
  return finish(test, *embeddings);
}

FailureOr<std::vector<SelfTestData>> SelfTestBuilder::build() {
  if (failed(addText(/*decode=*/false)) || failed(addText(/*decode=*/true)))
    return failure();
  if (config.vision && config.imageToken >= 0 && failed(addImage()))
    return failure();
  if (config.audio && config.audioToken >= 0 && failed(addAudio()))
    return failure();
  return std::move(tests);
}

FailureOr<std::vector<SelfTestData>>
mlir::lap::computeSelfTests(ModuleOp model, const lapidary::ModelConfig &config,
                            const lapidary::Checkpoint &checkpoint,
                            bool quantized) {
  return SelfTestBuilder(model, config, checkpoint, quantized).build();
}
