// compare-reference CHECKPOINT BUNDLE: the logits of a long prompt with media,
// at every position, from a bundle and from the reference interpreter with the
// values that the bundle's weights stand for. The bundle's own self-test is a
// few tokens long; here windows are left behind, rings turn around, chunks end
// anywhere, and images are longer than windows. Prints the worst error and the
// bound; the exit code is 1 when the one is above the other.
// test/tools/variants.py runs it.
#include "compiler/Reference.h"
#include "compiler/WeightFile.h"
#include "frontends/safetensors/Importer.h"
#include "runtime/model/Session.h"

#include <cmath>
#include <cstdio>

using namespace mlir;
using namespace mlir::lap;

namespace {

/// The longest prompt, and how many of its tokens are decoded one by one.
constexpr int64_t longest = 150, decoded = 20;
/// What f16 caches and the order of sums may do, in units of the logits' root
/// mean square.
constexpr double exactBound = 0.02;

template <typename T> T take(lapidary::Result<T> result) {
  if (!result.ok())
    throw std::runtime_error(result.status().message());
  return *std::move(result);
}

void check(const lapidary::Status &status) {
  if (!status.ok())
    throw std::runtime_error(status.message());
}

/// Numbers in 0..1 without a pattern that a layout could hide behind.
std::vector<float> noise(int64_t count, uint32_t seed) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(float((uint32_t(i) * 2654435761u + seed * 40503u) >> 24) /
                     255);
  return values;
}

struct Item {
  std::vector<float> values;
  std::vector<int32_t> positions;
  std::vector<float> embeddings;
};

/// The weights of a bundle by their names.
class BundleValues : public WeightValues {
public:
  BundleValues(MLIRContext &context, const std::string &path)
      : file(take(openWeightFile(context, path, "",
                                 [](uint64_t, uint64_t) { return true; }))) {
    for (auto [index, tensor] : llvm::enumerate(file->getTensors()))
      indices[tensor.name] = index;
  }
  lapidary::Status read(WeightOp weight, int64_t first,
                        std::span<float> out) const override {
    auto found = indices.find(weight.getSymName());
    if (found == indices.end())
      return lapidary::notFound("the bundle has no " +
                                weight.getSymName().str());
    int64_t columns = file->getTensors()[found->second].columns;
    return file->readRows(found->second, first / columns, out);
  }

private:
  std::unique_ptr<WeightFile> file;
  llvm::StringMap<size_t> indices;
};

class Comparison {
public:
  Comparison(MLIRContext &context, const std::string &folder,
             const std::string &bundlePath)
      : bundle(take(lapidary::Bundle::open(bundlePath))),
        model(importModel(context, folder)), config(model.config),
        weights(context, bundlePath), interpreter(*model.module, weights) {
    interpreter.caches = KvFormat::F16;
  }

  bool run();

private:
  static ImportedModel importModel(MLIRContext &context,
                                   const std::string &folder) {
    FailureOr<ImportedModel> imported = importCheckpoint(&context, folder);
    if (failed(imported))
      throw std::runtime_error("the checkpoint does not import");
    return std::move(*imported);
  }
  ReferenceTensor interpret(StringRef function,
                            const ReferenceInterpreter::Inputs &inputs) {
    auto result = interpreter.run(function, inputs);
    if (failed(result))
      throw std::runtime_error("@" + function.str() + " failed");
    return std::move(*result);
  }
  bool isVision(int32_t token) const {
    return config.vision &&
           (token == config.imageToken || token == config.videoToken);
  }
  bool isSoft(int32_t token) const {
    return isVision(token) || (config.audio && token == config.audioToken);
  }

  void addText(int64_t count);
  void addImage(int64_t count);
  void addAudio(int64_t count);
  void computeReference();
  double compare(int64_t chunk, size_t firstPrompt);

  std::shared_ptr<const lapidary::Bundle> bundle;
  ImportedModel model;
  const lapidary::ModelConfig &config;
  BundleValues weights;
  ReferenceInterpreter interpreter;
  std::vector<int32_t> tokens;
  std::vector<Item> media;
  /// Of every position.
  std::vector<float> expected;
};

void Comparison::addText(int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    int32_t token =
        int32_t((7919 * (tokens.size() + 3)) % config.text.vocabulary);
    while (isSoft(token))
      token = int32_t((token + 1) % config.text.vocabulary);
    tokens.push_back(token);
  }
}

void Comparison::addImage(int64_t count) {
  if (!config.vision)
    return addText(count);
  Item item;
  int64_t width = config.vision->patchValues();
  item.values = noise(count * width, uint32_t(tokens.size()));
  for (int32_t i = 0; i < count; ++i)
    item.positions.insert(item.positions.end(), {i % 5, i / 5});
  ReferenceInterpreter::Inputs inputs;
  inputs["patches"] = ReferenceTensor::ofValues({count, width}, item.values);
  inputs["positions"] = ReferenceTensor::ofIndices({count, 2}, item.positions);
  item.embeddings = interpret("embed_image", inputs).values;
  media.push_back(std::move(item));
  tokens.insert(tokens.end(), size_t(count), int32_t(config.imageToken));
}

void Comparison::addAudio(int64_t count) {
  if (!config.audio)
    return addText(count);
  Item item;
  int64_t width = config.audio->samplesPerToken;
  item.values = noise(count * width, uint32_t(tokens.size()));
  ReferenceInterpreter::Inputs inputs;
  inputs["frames"] = ReferenceTensor::ofValues({count, width}, item.values);
  item.embeddings = interpret("embed_audio", inputs).values;
  media.push_back(std::move(item));
  tokens.insert(tokens.end(), size_t(count), int32_t(config.audioToken));
}

/// All of it as one prefill from an empty state.
void Comparison::computeReference() {
  int64_t count = int64_t(tokens.size()), width = config.text.hidden;
  std::vector<int32_t> rows, ends(tokens.size());
  int32_t row = 0;
  for (int32_t token : tokens)
    rows.push_back(isSoft(token) ? row++ : -1);
  for (size_t t = tokens.size(); t-- > 0;)
    ends[t] = config.text.bidirectionalVision && isVision(tokens[t]) &&
                      t + 1 < tokens.size() && isVision(tokens[t + 1])
                  ? ends[t + 1]
                  : int32_t(t + 1);
  std::vector<float> embeddings;
  for (const Item &item : media)
    embeddings.insert(embeddings.end(), item.embeddings.begin(),
                      item.embeddings.end());
  ReferenceInterpreter::Inputs inputs;
  inputs["tokens"] = ReferenceTensor::ofIndices({count}, tokens);
  inputs["media_rows"] = ReferenceTensor::ofIndices({count}, rows);
  inputs["media"] = ReferenceTensor::ofValues({row, width}, embeddings);
  inputs["visible_end"] = ReferenceTensor::ofIndices({count}, ends);
  ReferenceTensor hidden = interpret("prefill", inputs);
  ReferenceInterpreter::Inputs last;
  last["hidden"] = hidden;
  expected = interpret("logits", last).values;
}

/// The same in steps of at most `chunk` tokens, as two prompts of which the
/// first has `firstPrompt` tokens, the last tokens decoded; the worst error.
double Comparison::compare(int64_t chunk, size_t firstPrompt) {
  lapidary::SessionOptions options;
  options.context = int64_t(tokens.size());
  options.chunk = chunk;
  options.chunk =
      take(lapidary::requiredChunk(bundle->program(), tokens, options));
  auto session = take(lapidary::Session::create(bundle, options));
  auto width = size_t(config.text.vocabulary);
  double worst = 0;
  auto compareRow = [&](int64_t position, std::span<const float> found) {
    for (size_t i = 0; i < width; ++i) {
      double error = std::abs(double(found[i]) -
                              double(expected[size_t(position) * width + i]));
      worst = error <= worst ? worst : error; // NaN is the worst there is.
    }
  };
  size_t prompt = tokens.size() - size_t(decoded);
  firstPrompt = std::min(firstPrompt, prompt);
  auto item = media.begin();
  for (auto [begin, end] :
       {std::pair<size_t, size_t>(0, firstPrompt), {firstPrompt, prompt}}) {
    if (begin == end)
      continue;
    lapidary::Session::Prompt part{
        std::span(tokens).subspan(begin, end - begin), {}};
    std::vector<std::vector<float>> embeddings;
    for (size_t rows = size_t(
             std::count_if(part.tokens.begin(), part.tokens.end(),
                           [&](int32_t token) { return isSoft(token); }));
         rows > 0; ++item) {
      embeddings.push_back(
          item->positions.empty()
              ? take(session->embedAudio(item->values))
              : take(session->embedImage(item->values, item->positions)));
      rows -= embeddings.back().size() / size_t(config.text.hidden);
    }
    part.media.assign(embeddings.begin(), embeddings.end());
    int64_t base = session->position();
    check(session->prefill(
        part,
        [&](int64_t row, std::span<const float> logits) -> lapidary::Status {
          compareRow(base + row, logits);
          return {};
        }));
  }
  for (size_t t = prompt; t < tokens.size(); ++t) {
    check(session->decode(tokens[t]));
    compareRow(int64_t(t), session->logits());
  }
  return worst;
}

bool Comparison::run() {
  // Where the context is short the prompt ends early, in text.
  int64_t room = std::min(longest, config.text.maxPositions);
  if (room <= decoded)
    throw std::runtime_error("the model's context is too short to compare");
  size_t firstPrompt = 7;
  addText(7);
  if (room >= 100) {
    addImage(23);
    addText(2);
    addAudio(5);
    firstPrompt = tokens.size();
    addText(20);
    addImage(9);
    addAudio(1);
    addText(1);
  }
  addText(room - int64_t(tokens.size()));
  computeReference();

  double squares = 0;
  for (float value : expected)
    squares += double(value) * double(value);
  double unit = std::max(1.0, std::sqrt(squares / double(expected.size())));
  double bound = exactBound * unit, worst = 0;
  // The smallest step, one that divides nothing, and everything at once.
  for (int64_t chunk : {16, 48, 512})
    for (size_t first : {firstPrompt, tokens.size()}) {
      double error = compare(chunk, first);
      worst = error <= worst ? worst : error;
    }
  std::printf("{\"positions\": %zu, \"error\": %.3e, \"bound\": %.3e}\n",
              tokens.size(), worst, bound);
  return worst <= bound;
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: compare-reference CHECKPOINT BUNDLE\n");
    return 2;
  }
  try {
    MLIRContext context;
    return Comparison(context, argv[1], argv[2]).run() ? 0 : 1;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "compare-reference: %s\n", error.what());
    return 3;
  }
}
