// Runs the model level of a checkpoint and watches what its linear ops read.
#include "tools/calibrate/Calibration.h"

using namespace mlir;
using namespace mlir::lap;

/// The head's matrix, which is the embedding table, is the model's largest:
/// what it reads is measured for some tokens of a window.
static constexpr int64_t headTokens = 8;

Calibration::Calibration(const ImportedModel &model,
                         std::function<bool(int64_t elements)> progress)
    : model(model), stored(*model.checkpoint),
      values(stored, std::move(progress)), interpreter(*model.module, values) {
  interpreter.linearObserver =
      [this](LinearOp op, const ReferenceTensor &input) { observe(op, input); };
}

void Calibration::observe(LinearOp op, const ReferenceTensor &input) {
  Value matrix = op.getWeight();
  if (auto dequantize = matrix.getDefiningOp<DequantizeOp>())
    matrix = dequantize.getInput();
  auto read = matrix.getDefiningOp<GetWeightOp>();
  if (!read)
    return;
  Squares &own = squares[read.getWeight()];
  int64_t rows = input.shape[0], columns = input.shape[1];
  own.sums.resize(columns);
  own.rows += rows;
  const float *value = input.values.data();
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column, ++value)
      own.sums[column] += static_cast<double>(*value) * *value;
}

LogicalResult Calibration::runWindow(ArrayRef<int32_t> tokens,
                                     const ReferenceTensor *media) {
  const lapidary::ModelConfig &config = model.config;
  int64_t count = tokens.size(), width = config.text.hidden;
  auto isVision = [&](int32_t token) {
    return config.vision &&
           (token == config.imageToken || token == config.videoToken);
  };
  auto isSoft = [&](int32_t token) {
    return isVision(token) || (config.audio && token == config.audioToken);
  };
  std::vector<int32_t> rows, ends;
  int64_t softTokens = 0, mediaRows = media ? media->shape[0] : 0;
  for (int64_t i = 0; i < count; ++i) {
    rows.push_back(isSoft(tokens[i]) ? softTokens++ : -1);
    int64_t end = i + 1;
    if (config.text.bidirectionalVision && isVision(tokens[i]))
      while (end < count && isVision(tokens[end]))
        ++end;
    ends.push_back(end);
  }
  if (softTokens != mediaRows)
    return emitError(UnknownLoc::get(ModuleOp(*model.module).getContext()))
           << "a window has " << softTokens << " soft tokens for " << mediaRows
           << " rows of media; a text must not have soft tokens of its own "
              "(<|image|>, <|audio|>, <|video|>)";
  interpreter.reset();
  ReferenceInterpreter::Inputs inputs;
  inputs["tokens"] = ReferenceTensor::ofIndices({count}, tokens.vec());
  inputs["media_rows"] = ReferenceTensor::ofIndices({count}, rows);
  inputs["media"] = media ? *media : ReferenceTensor::ofValues({0, width}, {});
  inputs["visible_end"] = ReferenceTensor::ofIndices({count}, ends);
  FailureOr<ReferenceTensor> hidden = interpreter.run("prefill", inputs);
  if (failed(hidden))
    return failure();
  int64_t picked = std::min(count, headTokens);
  std::vector<float> states;
  for (int64_t i = 1; i <= picked; ++i) {
    auto from = hidden->values.begin() + (i * count / picked - 1) * width;
    states.insert(states.end(), from, from + width);
  }
  ReferenceInterpreter::Inputs head;
  head["hidden"] =
      ReferenceTensor::ofValues({picked, width}, std::move(states));
  return interpreter.run("logits", head);
}

FailureOr<ReferenceTensor>
Calibration::embedImage(const lapidary::ImagePatches &image) {
  ReferenceInterpreter::Inputs inputs;
  inputs["patches"] = ReferenceTensor::ofValues(
      {image.count(), model.config.vision->patchValues()}, image.pixels);
  inputs["positions"] =
      ReferenceTensor::ofIndices({image.count(), 2}, image.positions);
  return interpreter.run("embed_image", inputs);
}

FailureOr<ReferenceTensor>
Calibration::embedAudio(const lapidary::AudioFrames &sound) {
  ReferenceInterpreter::Inputs inputs;
  inputs["frames"] = ReferenceTensor::ofValues(
      {sound.count, model.config.audio->samplesPerToken}, sound.samples);
  return interpreter.run("embed_audio", inputs);
}

int64_t Calibration::getWindowElements() const {
  int64_t elements = 0;
  for (auto weight : ModuleOp(*model.module).getOps<WeightOp>())
    elements += cast<RankedTensorType>(weight.getType()).getNumElements();
  return elements;
}

Importance Calibration::getImportance() const {
  Importance importance;
  for (const auto &entry : squares) {
    const Squares &own = entry.getValue();
    std::vector<float> &means = importance[entry.getKey()];
    for (double sum : own.sums)
      means.push_back(static_cast<float>(sum / static_cast<double>(own.rows)));
  }
  return importance;
}
