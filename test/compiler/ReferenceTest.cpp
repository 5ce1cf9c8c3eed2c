// The reference interpreter against the reference implementation: every golden
// case, in f32 on both sides. And its loops against plainer ones.
#include "compiler/Reference.h"
#include "compiler/ReferenceMath.h"
#include "compiler/SourceFormat.h"
#include "frontends/safetensors/Importer.h"
#include "runtime/media/Audio.h"
#include "runtime/media/ImagePreprocess.h"
#include "test/compiler/GoldenCase.h"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace mlir::lap;
using lapidary::test::GoldenCase;
using lapidary::test::GoldenTensor;

namespace {

/// Both sides compute in f32 and sum in different orders.
constexpr float logitsBound = 1e-3f;

/// The tiny checkpoint, imported once.
class Tiny {
public:
  static Tiny &get() {
    static Tiny tiny;
    return tiny;
  }
  MLIRContext context;
  ImportedModel model;

private:
  Tiny() {
    auto imported = importCheckpoint(&context, std::string(LAPIDARY_TEST_DIR) +
                                                   "/models/tiny");
    if (failed(imported))
      throw std::runtime_error("the tiny checkpoint does not import");
    model = std::move(*imported);
  }
};

float largestDifference(ArrayRef<float> found, ArrayRef<float> expected) {
  EXPECT_EQ(found.size(), expected.size());
  float largest = 0;
  for (size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
    // A NaN must not hide.
    float difference = std::abs(found[i] - expected[i]);
    largest = difference <= largest ? largest : difference;
  }
  return largest;
}

int32_t argmax(ArrayRef<float> row) {
  return int32_t(std::max_element(row.begin(), row.end()) - row.begin());
}

class ReferenceTest : public testing::TestWithParam<std::string> {
protected:
  ReferenceTensor run(StringRef function,
                      const ReferenceInterpreter::Inputs &inputs,
                      int64_t past = 0) {
    auto result = interpreter.run(function, inputs, past);
    if (failed(result))
      throw std::runtime_error("@" + function.str() + " failed");
    return std::move(*result);
  }

  /// Embeddings of all media, in the order of the prompt's placeholders.
  ReferenceTensor embedMedia(const GoldenCase &golden) {
    int64_t width = model.config.text.hidden;
    ReferenceTensor media = ReferenceTensor::ofValues({0, width}, {});
    auto append = [&](ReferenceTensor part, const char *kind) {
      auto &first = firstEmbeddings[kind];
      if (first.empty())
        first = part.values;
      media.values.insert(media.values.end(), part.values.begin(),
                          part.values.end());
      media.shape[0] += part.shape[0];
    };
    for (const auto &item : golden.description["media"]) {
      if (item.is_object()) {
        for (const auto &frame : item["frames"])
          append(embedImage(golden.folder + "/" + frame.get<std::string>(),
                            model.config.vision->videoSoftTokens),
                 "video");
        continue;
      }
      std::string path = golden.folder + "/" + item.get<std::string>();
      if (path.ends_with(".wav"))
        append(embedAudio(path), "audio");
      else
        append(embedImage(path, model.config.vision->maxSoftTokens), "image");
    }
    return media;
  }

  ReferenceTensor embedImage(const std::string &path, int64_t budget) {
    auto image = lapidary::readImage(path);
    if (!image.ok())
      throw std::runtime_error(image.status().message());
    auto patches = lapidary::preprocessImage(
        *image, int32_t(model.config.vision->patchSize), int32_t(budget));
    if (!patches.ok())
      throw std::runtime_error(patches.status().message());
    ReferenceInterpreter::Inputs inputs;
    int64_t count = patches->count();
    inputs["patches"] = ReferenceTensor::ofValues(
        {count, model.config.vision->patchValues()}, patches->pixels);
    inputs["positions"] =
        ReferenceTensor::ofIndices({count, 2}, patches->positions);
    return run("embed_image", inputs);
  }

  ReferenceTensor embedAudio(const std::string &path) {
    const lapidary::AudioConfig &audio = *model.config.audio;
    auto samples = lapidary::readAudio(path, int32_t(audio.rate), 30);
    if (!samples.ok())
      throw std::runtime_error(samples.status().message());
    auto frames = lapidary::preprocessAudio(
        *samples, int32_t(audio.samplesPerToken), int32_t(audio.maxTokens));
    if (!frames.ok())
      throw std::runtime_error(frames.status().message());
    ReferenceInterpreter::Inputs inputs;
    inputs["frames"] = ReferenceTensor::ofValues(
        {frames->count, audio.samplesPerToken}, frames->samples);
    return run("embed_audio", inputs);
  }

  /// Prefill of the tokens [begin, end) of a case.
  ReferenceTensor prefill(const GoldenCase &golden,
                          const ReferenceTensor &media, size_t begin,
                          size_t end) {
    auto slice = [&](const std::vector<int32_t> &all) {
      return ReferenceTensor::ofIndices(
          {int64_t(end - begin)},
          {all.begin() + int64_t(begin), all.begin() + int64_t(end)});
    };
    ReferenceInterpreter::Inputs inputs;
    inputs["tokens"] = slice(golden.ids);
    inputs["media_rows"] = slice(golden.mediaRows());
    inputs["media"] = media;
    inputs["visible_end"] = slice(golden.visibleEnds());
    return run("prefill", inputs, int64_t(begin));
  }

  ReferenceTensor logits(ReferenceTensor hidden) {
    ReferenceInterpreter::Inputs inputs;
    inputs["hidden"] = std::move(hidden);
    return run("logits", inputs);
  }

  /// The first rows of an embedder's output, which the case keeps.
  void checkEmbeddings(const GoldenCase &golden, const char *kind) {
    GoldenTensor expected = golden.tensor(std::string(kind) + "_embeddings");
    if (expected.shape.empty())
      return;
    ArrayRef<float> found = firstEmbeddings[kind];
    ASSERT_GE(found.size(), expected.values.size());
    float error = largestDifference(found.take_front(expected.values.size()),
                                    expected.values);
    RecordProperty(std::string(kind) + "_embeddings_error",
                   std::to_string(error));
    EXPECT_LE(error, logitsBound) << kind;
  }

  ImportedModel &model = Tiny::get().model;
  CheckpointValues weights{*model.checkpoint};
  ReferenceInterpreter interpreter{*model.module, weights};
  std::map<std::string, std::vector<float>> firstEmbeddings;
};

TEST_P(ReferenceTest, MatchesTheGoldenCase) {
  GoldenCase golden = GoldenCase::load(GetParam());
  auto vocabulary = size_t(model.config.text.vocabulary);
  ReferenceTensor media = embedMedia(golden);
  checkEmbeddings(golden, "image");
  checkEmbeddings(golden, "audio");
  ASSERT_EQ(media.shape[0], llvm::count_if(golden.types, [](int32_t type) {
              return type != 0;
            }));

  std::vector<std::vector<float>> layers;
  interpreter.observer = [&](Operation *op, const ReferenceTensor &tensor) {
    if (isa<ScatterEmbeddingsOp, ScaleOp>(op))
      layers.push_back(tensor.values);
  };
  ReferenceTensor hidden = prefill(golden, media, 0, golden.ids.size());
  interpreter.observer = [&](Operation *op, const ReferenceTensor &tensor) {
    // The reference's last hidden state is the normalized one.
    if (isa<RmsNormOp>(op))
      layers.back() = tensor.values;
  };
  ReferenceTensor all = logits(std::move(hidden));
  interpreter.observer = {};

  GoldenTensor states = golden.tensor("hidden_states");
  if (!states.shape.empty()) {
    ASSERT_EQ(states.shape[0], int64_t(layers.size()));
    size_t count = layers[0].size();
    for (size_t i = 0; i < layers.size(); ++i)
      EXPECT_LE(largestDifference(
                    layers[i], ArrayRef(states.values).slice(i * count, count)),
                logitsBound)
          << i;
  }

  // `argmax` comes from the reference's plain forward(), which lets full layers
  // see an image both ways too; its generate(), and so every answer, keeps them
  // causal ("Gemma 4 explicitly disables bidirectional attention on global
  // attention layers"), and so do we. Nothing but the choice inside an image
  // differs here, where the only full layer is the last.
  std::vector<int32_t> expectedBest = golden.tensor("argmax").indices;
  ASSERT_EQ(expectedBest.size(), golden.ids.size());
  for (size_t t = 0; t < golden.ids.size(); ++t)
    if (golden.types[t] != 1 && golden.types[t] != 2)
      EXPECT_EQ(argmax(ArrayRef(all.values).slice(t * vocabulary, vocabulary)),
                expectedBest[t])
          << "position " << t;
  GoldenTensor expected = golden.tensor("logits");
  ASSERT_FALSE(expected.shape.empty());
  float promptError = largestDifference(
      ArrayRef(all.values).take_back(expected.values.size()), expected.values);
  EXPECT_LE(promptError, logitsBound);

  GoldenTensor steps = golden.tensor("greedy_logits");
  std::vector<float> next = ArrayRef(all.values).take_back(vocabulary).vec();
  std::vector<int32_t> chosen;
  float greedyError = 0;
  for (size_t step = 0; step < golden.greedyIds.size(); ++step) {
    greedyError = std::max(
        greedyError,
        largestDifference(
            next, ArrayRef(steps.values).slice(step * vocabulary, vocabulary)));
    for (int64_t token : model.config.suppressTokens)
      next[size_t(token)] = -INFINITY;
    chosen.push_back(argmax(next));
    ReferenceInterpreter::Inputs inputs;
    inputs["tokens"] = ReferenceTensor::ofIndices({1}, {chosen.back()});
    next = run("decode", inputs, int64_t(golden.ids.size() + step)).values;
  }
  EXPECT_EQ(chosen, golden.greedyIds);
  EXPECT_LE(greedyError, logitsBound);
  RecordProperty("prompt_logits_error", std::to_string(promptError));
  RecordProperty("greedy_logits_error", std::to_string(greedyError));
}

INSTANTIATE_TEST_SUITE_P(Golden, ReferenceTest,
                         testing::ValuesIn(GoldenCase::names()),
                         [](const auto &info) { return info.param; });

using ReferenceInterpreterTest = ReferenceTest;

TEST_F(ReferenceInterpreterTest, ChunksChangeNothing) {
  GoldenCase golden = GoldenCase::load("text_600");
  ReferenceTensor none =
      ReferenceTensor::ofValues({0, model.config.text.hidden}, {});
  ReferenceTensor whole = prefill(golden, none, 0, 300);
  interpreter.reset();
  prefill(golden, none, 0, 7);
  prefill(golden, none, 7, 290);
  // What was computed behind `past` is forgotten.
  prefill(golden, none, 7, 180);
  ReferenceTensor last = prefill(golden, none, 180, 300);
  EXPECT_LE(
      largestDifference(last.values,
                        ArrayRef(whole.values).take_back(last.values.size())),
      1e-4f);
}

TEST_F(ReferenceInterpreterTest, ReportsBadInputs) {
  std::string message;
  ScopedDiagnosticHandler handler(
      &Tiny::get().context,
      [&](Diagnostic &diagnostic) { message = diagnostic.str(); });
  auto expectError = [&](StringRef function,
                         const ReferenceInterpreter::Inputs &inputs,
                         int64_t past, const char *expected) {
    message.clear();
    EXPECT_TRUE(failed(interpreter.run(function, inputs, past)));
    EXPECT_THAT(message, testing::HasSubstr(expected));
  };
  ReferenceInterpreter::Inputs inputs;
  expectError("train", inputs, 0, "expected a function @train");
  expectError("decode", inputs, 0, "expected an input \"tokens\" of type");
  inputs["tokens"] = ReferenceTensor::ofIndices({2}, {1, 2});
  expectError("decode", inputs, 0, "expected an input \"tokens\" of type");
  inputs["tokens"] = ReferenceTensor::ofIndices({1}, {2048});
  expectError("decode", inputs, 0, "expected ids below 2048, found 2048");
  inputs["tokens"] = ReferenceTensor::ofIndices({1}, {-1});
  expectError("decode", inputs, 0, "found -1");
  inputs["tokens"] = ReferenceTensor::ofIndices({1}, {2});
  expectError("decode", inputs, 1,
              "expected past of at most the cache's 0 positions, found 1");
  expectError("decode", inputs, -1, "expected past of 0 or more");
  expectError("decode", inputs, 8192, "expected positions below 8192");
  ReferenceInterpreter::Inputs image;
  image["patches"] =
      ReferenceTensor::ofValues({1, 6912}, std::vector<float>(6912, 0.5f));
  image["positions"] = ReferenceTensor::ofIndices({1, 2}, {0, 1120});
  expectError("embed_image", image, 0,
              "expected positions below 1120, found 1120");
  image["positions"] = ReferenceTensor::ofIndices({2, 2}, {0, 0, 0, 0});
  expectError("embed_image", image, 0, "as many as of the others");
}

TEST(ReferenceMathTest, StreamedProductIsTheProduct) {
  // Rows and columns that no block and no vector divides, and more than one
  // block.
  for (auto [rows, columns, tokens] : std::vector<std::array<int64_t, 3>>{
           {1, 1, 1}, {37, 19, 5}, {700, 517, 6}}) {
    std::vector<float> matrix, input, bias, out(size_t(tokens * rows));
    for (int64_t i = 0; i < rows * columns; ++i)
      matrix.push_back(float((i * 2654435761u >> 7) % 127) / 8 - 7.875f);
    for (int64_t i = 0; i < tokens * columns; ++i)
      input.push_back(float(i % 23) / 16 - 0.5f);
    for (int64_t i = 0; i < rows; ++i)
      bias.push_back(float(i % 5));
    auto read = [&, columns = columns](int64_t first, std::span<float> to) {
      std::copy_n(matrix.begin() + first * columns, to.size(), to.begin());
      return lapidary::Status();
    };
    ASSERT_TRUE(lapidary::multiplyStreamed(rows, columns, read, input, tokens,
                                           bias, out)
                    .ok());
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t m = 0; m < rows; ++m) {
        double sum = bias[size_t(m)], magnitude = 0;
        for (int64_t k = 0; k < columns; ++k) {
          double product = double(input[size_t(t * columns + k)]) *
                           double(matrix[size_t(m * columns + k)]);
          sum += product;
          magnitude += std::abs(product);
        }
        // 16 lanes: a chain of columns / 16 roundings, each half a unit in the
        // last place of at most the magnitude.
        double bound = (double(columns) / 16 + 2) * 0x1p-24 *
                       (magnitude + bias[size_t(m)]);
        ASSERT_NEAR(out[size_t(t * rows + m)], sum, bound) << t << " " << m;
      }
  }
}

TEST(ReferenceMathTest, StreamedProductEndsWithTheReadersError) {
  std::vector<float> out(4);
  lapidary::Status status = lapidary::multiplyStreamed(
      4, 2,
      [](int64_t, std::span<float>) {
        return lapidary::invalidData("the disk is gone");
      },
      std::vector<float>{1, 2}, 1, {}, out);
  EXPECT_EQ(status.message(), "the disk is gone");
}

TEST(ReferenceMathTest, RoundsActivations) {
  std::vector<float> values = {1.00390625f, -3, 0x1.018p0f, 0};
  lapidary::roundToBf16(values);
  EXPECT_EQ(values, (std::vector<float>{1, -3, 0x1.02p0f, 0}));
  // A scale a run: 127 of the one is 2, of the other 254; a run of zeros stays.
  values = {2, 1, -2, 254, 3.4f, -1.6f, 0, 0, 0};
  lapidary::roundToInt8(values, 9, 3);
  EXPECT_FLOAT_EQ(values[0], 2);
  EXPECT_FLOAT_EQ(values[1], 64 * 2 / 127.0f);
  EXPECT_FLOAT_EQ(values[2], -2);
  EXPECT_FLOAT_EQ(values[3], 254);
  EXPECT_FLOAT_EQ(values[4], 4);
  EXPECT_FLOAT_EQ(values[5], -2);
  EXPECT_FLOAT_EQ(values[8], 0);
  // A row's end ends its run.
  values = {1, 127, 5, 10};
  lapidary::roundToInt8(values, 2, 32);
  EXPECT_EQ(values[0], 1);
  EXPECT_FLOAT_EQ(values[2], 64 * 10 / 127.0f);
}

TEST(ReferenceMathTest, WidensEveryHalf) {
  std::vector<uint16_t> bits(65536);
  std::iota(bits.begin(), bits.end(), uint16_t(0));
  std::vector<float> values(bits.size());
  convertToFloat(SourceFormat::F16,
                 reinterpret_cast<const uint8_t *>(bits.data()),
                 int64_t(bits.size()), values.data());
  for (uint32_t half = 0; half < bits.size(); ++half) {
    APFloat expected(APFloat::IEEEhalf(), APInt(16, half));
    if (expected.isNaN())
      ASSERT_TRUE(std::isnan(values[half])) << half;
    else
      ASSERT_EQ(std::bit_cast<uint32_t>(values[half]),
                std::bit_cast<uint32_t>(expected.convertToFloat()))
          << half;
  }
}

TEST(ReferenceMathTest, AttentionSeesItsWindowAlone) {
  // One head of 2; keys of 0, so that every visible value counts the same.
  lapidary::AttentionShape shape{1, 1, 2, /*window=*/3};
  std::vector<float> keys(20, 0.0f), values, query{1, 1, 1, 1}, out(4);
  for (int position = 0; position < 10; ++position) {
    values.push_back(float(position));
    values.push_back(1);
  }
  // Tokens at positions 5 and 6; the first one sees ahead, up to 7.
  lapidary::attend(shape, query, keys, values, 5, std::vector<int32_t>{8, 7},
                   out);
  EXPECT_FLOAT_EQ(out[0], (3 + 4 + 5 + 6 + 7) / 5.0f);
  EXPECT_FLOAT_EQ(out[1], 1);
  EXPECT_FLOAT_EQ(out[2], (4 + 5 + 6) / 3.0f);
  shape.window = 0;
  lapidary::attend(shape, query, keys, values, 5, std::vector<int32_t>{6, 7},
                   out);
  EXPECT_FLOAT_EQ(out[0], 2.5f);
  EXPECT_FLOAT_EQ(out[2], 3);
}

} // namespace
