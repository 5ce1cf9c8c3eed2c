// Writes a Gemma 4 Unified model as model level IR: the entry points that
// runtime/schema/bundle.fbs describes.
#pragma once

#include "dialects/lap/LapDialect.h"
#include "frontends/formats/ModelConfig.h"
#include "frontends/safetensors/WeightSymbols.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::lap {

class ModelBuilder {
public:
  ModelBuilder(ModuleOp module, const lapidary::ModelConfig &config,
               WeightSymbols &weights)
      : module(module), config(config), text(config.text), weights(weights),
        decoder{"model.language_model.", &config.text},
        builder(module.getLoc(), module.getContext()) {}

  /// Adds all entry points. On failure the error has been reported.
  LogicalResult build();

private:
  struct Argument {
    StringRef name;
    Type type;
  };
  /// What a layer needs besides the hidden state.
  struct Step {
    Value past;
    /// Null where every layer is causal.
    Value visibleEnd;
  };

  /// Whose layers are built: the model's or its companion's.
  struct Decoder {
    /// In front of the names of its tensors.
    std::string stem;
    const lapidary::TextConfig *text;
  };

  /// An entry point for any number of tokens up to `maxTokens`.
  void buildPrefill(StringRef name, int64_t maxTokens);
  void buildDecode();
  void buildLogits();
  /// A step of the companion (AssistantBuilder.cpp).
  void buildDraft(StringRef name, bool first);
  void buildImageEmbedder();
  void buildAudioEmbedder();

  func::FuncOp begin(StringRef name, ArrayRef<Argument> arguments,
                     ArrayRef<Argument> results, int64_t maxTokens);
  void end(ValueRange results);

  Value embed(Value tokens);
  Value layers(Value hidden, const Step &step);
  Value layer(size_t index, Value hidden, const Step &step);
  Value attention(size_t index, Value input, const Step &step);
  Value sharedAttention(size_t index, Value input, const Step &step);
  std::string ofLayer(size_t index, const Twine &name) const {
    return decoder.stem + ("layers." + Twine(index) + "." + name).str();
  }
  Value feedForward(size_t index, Value input);
  Value head(Value hidden);

  Value weight(ArrayRef<std::string> names, ArrayRef<int64_t> shape);
  Value linear(Value input, ArrayRef<std::string> names, int64_t rows,
               Value bias = {});
  /// `group` elements share a root mean square. No names: no weight.
  Value rmsNorm(Value input, ArrayRef<std::string> names, int64_t group,
                double eps);
  Value layerNorm(Value input, ArrayRef<std::string> weightNames,
                  ArrayRef<std::string> biasNames);
  Value ropeTable(const lapidary::LayerConfig &layer);
  Value cache(size_t index);
  RankedTensorType activation(Value like, int64_t width);
  RankedTensorType tensor(ArrayRef<int64_t> shape, Type element);

  ModuleOp module;
  const lapidary::ModelConfig &config;
  const lapidary::TextConfig &text;
  WeightSymbols &weights;
  Decoder decoder;
  ImplicitLocOpBuilder builder;
  /// Set by the first weight that could not be had; its error has been
  /// reported, the rest is built without meaning.
  bool failed = false;
};

} // namespace mlir::lap
