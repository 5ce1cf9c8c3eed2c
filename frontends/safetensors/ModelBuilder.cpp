// The decoder: prefill, decode and logits, and what they share. The image and
// audio embedders are in MediaBuilder.cpp, the companion in
// AssistantBuilder.cpp.
#include "frontends/safetensors/ModelBuilder.h"

#include <cmath>

using namespace mlir;
using namespace mlir::lap;

/// An image of the largest budget of soft tokens must fit one step, because its
/// tokens see each other; without images 512 tokens are enough to be bound by
/// arithmetic.
constexpr int64_t prefillTokensWithVision = 1120;
constexpr int64_t prefillTokens = 512;
/// Steps of few tokens are a prefill whose attention may be cut into parts: the
/// results of parts take memory for each token.
constexpr int64_t extendTokens = 32;
/// Several rows share one read of the output matrix, the largest of all; the
/// result is rows times vocabulary.
constexpr int64_t logitsTokens = 16;

constexpr int64_t dynamic = ShapedType::kDynamic;

static std::string languageModel(const Twine &name) {
  return ("model.language_model." + name).str();
}

LogicalResult ModelBuilder::build() {
  buildPrefill("prefill",
               config.vision ? prefillTokensWithVision : prefillTokens);
  buildPrefill("extend", extendTokens);
  buildDecode();
  buildLogits();
  if (config.assistant) {
    buildDraft("draft", /*first=*/true);
    buildDraft("draft_next", /*first=*/false);
  }
  if (config.vision)
    buildImageEmbedder();
  if (config.audio)
    buildAudioEmbedder();
  return failure(failed);
}

RankedTensorType ModelBuilder::tensor(ArrayRef<int64_t> shape, Type element) {
  return RankedTensorType::get(shape, element);
}

RankedTensorType ModelBuilder::activation(Value like, int64_t width) {
  int64_t tokens = cast<RankedTensorType>(like.getType()).getDimSize(0);
  return tensor({tokens, width}, builder.getF32Type());
}

func::FuncOp ModelBuilder::begin(StringRef name, ArrayRef<Argument> arguments,
                                 ArrayRef<Argument> results,
                                 int64_t maxTokens) {
  SmallVector<Type> types, resultTypes;
  for (const Argument &argument : arguments)
    types.push_back(argument.type);
  for (const Argument &result : results)
    resultTypes.push_back(result.type);
  builder.setInsertionPointToEnd(module.getBody());
  builder.setLoc(NameLoc::get(builder.getStringAttr(name)));
  auto function = func::FuncOp::create(
      builder, name, builder.getFunctionType(types, resultTypes));
  for (auto [index, argument] : llvm::enumerate(arguments))
    function.setArgAttr(unsigned(index), "lap.name",
                        builder.getStringAttr(argument.name));
  for (auto [index, result] : llvm::enumerate(results))
    function.setResultAttr(unsigned(index), "lap.name",
                           builder.getStringAttr(result.name));
  function->setAttr("lap.max_tokens", builder.getI64IntegerAttr(maxTokens));
  // Symbols stand before all functions.
  if (module.getBody()->getOperations().size() == 1)
    weights.builder().setInsertionPoint(function);
  builder.setInsertionPointToStart(function.addEntryBlock());
  return function;
}

void ModelBuilder::end(ValueRange results) {
  func::ReturnOp::create(builder, results);
}

void ModelBuilder::buildPrefill(StringRef name, int64_t maxTokens) {
  Type i32 = builder.getI32Type(), f32 = builder.getF32Type();
  func::FuncOp function =
      begin(name,
            {{"tokens", tensor({dynamic}, i32)},
             {"media_rows", tensor({dynamic}, i32)},
             {"media", tensor({dynamic, text.hidden}, f32)},
             {"visible_end", tensor({dynamic}, i32)},
             {"past", builder.getIndexType()}},
            {{"hidden", tensor({dynamic, text.hidden}, f32)}}, maxTokens);
  Value tokens = function.getArgument(0), rows = function.getArgument(1),
        media = function.getArgument(2);
  Value hidden = embed(tokens);
  hidden = ScatterEmbeddingsOp::create(builder, hidden.getType(), hidden, media,
                                       rows);
  Value visibleEnd =
      text.bidirectionalVision ? Value(function.getArgument(3)) : Value();
  end(layers(hidden, {function.getArgument(4), visibleEnd}));
}

void ModelBuilder::buildDecode() {
  Type f32 = builder.getF32Type();
  SmallVector<Argument> results = {
      {"logits", tensor({1, text.vocabulary}, f32)}};
  // What a companion goes on from.
  if (config.assistant)
    results.push_back({"hidden", tensor({1, text.hidden}, f32)});
  func::FuncOp function = begin("decode",
                                {{"tokens", tensor({1}, builder.getI32Type())},
                                 {"past", builder.getIndexType()}},
                                results, /*maxTokens=*/1);
  // A token that is decoded is never part of an image, so every layer is
  // causal.
  Value hidden =
      layers(embed(function.getArgument(0)), {function.getArgument(1), {}});
  Value logits = head(hidden);
  end(config.assistant ? ValueRange({logits, hidden}) : ValueRange(logits));
}

void ModelBuilder::buildLogits() {
  Type f32 = builder.getF32Type();
  func::FuncOp function = begin(
      "logits", {{"hidden", tensor({dynamic, text.hidden}, f32)}},
      {{"logits", tensor({dynamic, text.vocabulary}, f32)}}, logitsTokens);
  end(head(function.getArgument(0)));
}

Value ModelBuilder::embed(Value tokens) {
  Value table = weight({languageModel("embed_tokens.weight")},
                       {text.vocabulary, text.hidden});
  // The reference keeps the factor in the weights' type: sqrt(3840) is 62 in
  // bf16, not 61.97.
  APFloat scale(std::sqrt(double(text.hidden)));
  bool exact;
  // Where the checkpoint's own type is lost, it was bf16.
  bool lost =
      table.getDefiningOp<DequantizeOp>() || weights.getCheckpoint().gguf();
  Type element = lost
                     ? Type(builder.getBF16Type())
                     : cast<RankedTensorType>(table.getType()).getElementType();
  scale.convert(cast<FloatType>(element).getFloatSemantics(),
                APFloat::rmNearestTiesToEven, &exact);
  scale.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven, &exact);
  return EmbeddingOp::create(builder, activation(tokens, text.hidden), tokens,
                             table, scale);
}

Value ModelBuilder::layers(Value hidden, const Step &step) {
  Location location = builder.getLoc();
  for (size_t index = 0; index < decoder.text->layers.size(); ++index) {
    builder.setLoc(
        NameLoc::get(builder.getStringAttr("layers." + Twine(index))));
    hidden = layer(index, hidden, step);
  }
  builder.setLoc(location);
  return hidden;
}

Value ModelBuilder::layer(size_t index, Value hidden, const Step &step) {
  auto norm = [&](Value input, const char *name) {
    return rmsNorm(input, {ofLayer(index, Twine(name) + ".weight")},
                   decoder.text->hidden, decoder.text->eps);
  };
  Value input = norm(hidden, "input_layernorm");
  Value attended = decoder.text == &text ? attention(index, input, step)
                                         : sharedAttention(index, input, step);
  hidden = AddOp::create(builder, hidden.getType(), hidden,
                         norm(attended, "post_attention_layernorm"));
  Value fed = feedForward(index, norm(hidden, "pre_feedforward_layernorm"));
  hidden = AddOp::create(builder, hidden.getType(), hidden,
                         norm(fed, "post_feedforward_layernorm"));
  return ScaleOp::create(builder, hidden.getType(), hidden,
                         weight({ofLayer(index, "layer_scalar")}, {1}));
}

Value ModelBuilder::attention(size_t index, Value input, const Step &step) {
  const lapidary::LayerConfig &layer = decoder.text->layers[index];
  int64_t queryWidth = layer.heads * layer.headDim,
          keyWidth = layer.keyValueHeads * layer.headDim;
  auto part = [&](const char *name) {
    return ofLayer(index, "self_attn." + Twine(name) + ".weight");
  };

  Value query = linear(input, {part("q_proj")}, queryWidth);
  Value keys = linear(input, {part("k_proj")}, keyWidth);
  Value values =
      layer.keysAreValues ? keys : linear(input, {part("v_proj")}, keyWidth);
  Value table = ropeTable(layer);
  query = rmsNorm(query, {part("q_norm")}, layer.headDim, decoder.text->eps);
  query = RopeOp::create(builder, query.getType(), query, table, step.past,
                         uint64_t(layer.headDim));
  keys = rmsNorm(keys, {part("k_norm")}, layer.headDim, decoder.text->eps);
  keys = RopeOp::create(builder, keys.getType(), keys, table, step.past,
                        uint64_t(layer.headDim));
  values = rmsNorm(values, {}, layer.headDim, decoder.text->eps);

  Value held = cache(index);
  KvUpdateOp::create(builder, held, keys, values, step.past);
  Value visibleEnd =
      layer.kind == lapidary::LayerKind::Sliding ? step.visibleEnd : Value();
  Value result = AttentionOp::create(builder, query.getType(), held, query,
                                     step.past, visibleEnd);
  return linear(result, {part("o_proj")}, decoder.text->hidden);
}

Value ModelBuilder::feedForward(size_t index, Value input) {
  int64_t width = decoder.text->layers[index].intermediate;
  auto part = [&](const char *name) {
    return ofLayer(index, "mlp." + Twine(name) + ".weight");
  };
  Value gate = linear(input, {part("gate_proj")}, width);
  Value up = linear(input, {part("up_proj")}, width);
  gate = GeluOp::create(builder, gate.getType(), gate);
  Value product = MultiplyOp::create(builder, gate.getType(), gate, up);
  return linear(product, {part("down_proj")}, decoder.text->hidden);
}

Value ModelBuilder::head(Value hidden) {
  hidden =
      rmsNorm(hidden, {languageModel("norm.weight")}, text.hidden, text.eps);
  std::string table = text.tieEmbeddings ? languageModel("embed_tokens.weight")
                                         : "lm_head.weight";
  Value logits = linear(hidden, {table}, text.vocabulary);
  if (!text.softcap)
    return logits;
  return SoftcapOp::create(builder, logits.getType(), logits,
                           APFloat(float(*text.softcap)));
}

Value ModelBuilder::weight(ArrayRef<std::string> names,
                           ArrayRef<int64_t> shape) {
  Type type = tensor(shape, builder.getF32Type());
  std::string symbol = names.front();
  if (!failed) {
    FailureOr<WeightOp> found = weights.get(names, shape);
    failed = failed || mlir::failed(found);
    if (!failed) {
      type = found->getValueType();
      symbol = found->getSymName().str();
    }
  }
  Value value = GetWeightOp::create(builder, type, symbol);
  if (isa<QuantizedType>(type))
    value = DequantizeOp::create(builder, tensor(shape, builder.getF32Type()),
                                 value);
  return value;
}

Value ModelBuilder::linear(Value input, ArrayRef<std::string> names,
                           int64_t rows, Value bias) {
  int64_t columns = cast<RankedTensorType>(input.getType()).getDimSize(1);
  return LinearOp::create(builder, activation(input, rows), input,
                          weight(names, {rows, columns}), bias);
}

Value ModelBuilder::rmsNorm(Value input, ArrayRef<std::string> names,
                            int64_t group, double eps) {
  Value factor = names.empty() ? Value() : weight(names, {group});
  return RmsNormOp::create(builder, input.getType(), input, factor,
                           APFloat(float(eps)), uint64_t(group));
}

static_assert(RopeTableOp::lowRows == lapidary::RopeConfig::tableLowRows,
              "the bound on tables goes by it");

Value ModelBuilder::ropeTable(const lapidary::LayerConfig &layer) {
  bool sliding = layer.kind == lapidary::LayerKind::Sliding;
  const lapidary::RopeConfig &rope = sliding ? text.slidingRope : text.fullRope;
  // One table a kind; where a kind's layers differ in head size, one a size.
  std::string name = sliding ? "rope.sliding" : "rope.full";
  auto first = llvm::find_if(
      text.layers, [&](const auto &other) { return other.kind == layer.kind; });
  if (first->headDim != layer.headDim)
    name += "." + std::to_string(layer.headDim);
  auto table = module.lookupSymbol<RopeTableOp>(name);
  if (!table)
    table = RopeTableOp::create(
        weights.builder(), builder.getLoc(), name, uint64_t(layer.headDim),
        uint64_t(rope.rotatedPairs(layer.headDim)), APFloat(rope.theta),
        uint64_t(text.maxPositions));
  return GetWeightOp::create(builder, table.getValueType(), name);
}

Value ModelBuilder::cache(size_t index) {
  const lapidary::LayerConfig &layer = text.layers[index];
  int64_t window = layer.kind == lapidary::LayerKind::Sliding ? text.window : 0;
  auto type = KvCacheType::get(builder.getContext(), layer.keyValueHeads,
                               layer.headDim, window);
  std::string name = "layers." + std::to_string(index);
  if (!module.lookupSymbol(name))
    KvCacheOp::create(weights.builder(), builder.getLoc(), name, type);
  return GetCacheOp::create(builder, type, name);
}
