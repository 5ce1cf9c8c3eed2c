// The companion that drafts tokens: a small decoder whose layers read the keys
// and values of the model's last layer of their kind.
#include "frontends/formats/AssistantConfig.h"
#include "frontends/safetensors/ModelBuilder.h"

using namespace mlir;
using namespace mlir::lap;

constexpr int64_t dynamic = ShapedType::kDynamic;

/// Sequences that are drafted for at once: few enough that attention is cut
/// into parts.
constexpr int64_t draftTokens = 32;

static std::string ofAssistant(const Twine &name) {
  return (lapidary::assistantPrefix + name).str();
}

/// A row of the step is one sequence's: the token behind its last position, and
/// the hidden state there, which is the model's last layer's in the first step
/// and the companion's own in those that follow. `past` stays the number of
/// positions before the last one.
void ModelBuilder::buildDraft(StringRef name, bool first) {
  Type i32 = builder.getI32Type(), f32 = builder.getF32Type();
  const lapidary::AssistantConfig &assistant = *config.assistant;
  SmallVector<Argument> results = {
      {"next_hidden", tensor({dynamic, text.hidden}, f32)},
      {"logits", tensor({dynamic, text.vocabulary}, f32)}};
  if (assistant.clusters)
    results.push_back({"clusters", tensor({dynamic, assistant.clusters}, f32)});
  func::FuncOp function =
      begin(name,
            {{"tokens", tensor({dynamic}, i32)},
             {"hidden", tensor({dynamic, text.hidden}, f32)},
             {"past", builder.getIndexType()}},
            results, draftTokens);
  Value token = embed(function.getArgument(0));
  Value hidden = function.getArgument(1);
  if (first)
    hidden = rmsNorm(hidden, {"model.language_model.norm.weight"}, text.hidden,
                     text.eps);
  Value input =
      ConcatOp::create(builder, tensor({dynamic, 2 * text.hidden}, f32), token,
                       hidden, Value(), APFloat(0.0f));

  Decoder model =
      std::exchange(decoder, Decoder{ofAssistant("model."), &assistant.text});
  Value state = linear(input, {ofAssistant("pre_projection.weight")},
                       assistant.text.hidden);
  state = layers(state, {function.getArgument(2), {}});
  state = rmsNorm(state, {ofAssistant("model.norm.weight")},
                  assistant.text.hidden, assistant.text.eps);
  SmallVector<Value> outputs = {
      linear(state, {ofAssistant("post_projection.weight")}, text.hidden),
      linear(state, {ofAssistant("model.embed_tokens.weight")},
             text.vocabulary)};
  if (assistant.clusters) {
    outputs.push_back(linear(state,
                             {ofAssistant("masked_embedding.centroids.weight")},
                             assistant.clusters));
    weights.markUsed(ofAssistant("masked_embedding.token_ordering"));
  }
  decoder = std::move(model);
  end(outputs);
}

/// The query stands at the position of the token, behind the last one that the
/// model has read, and sees what that one sees.
Value ModelBuilder::sharedAttention(size_t index, Value input,
                                    const Step &step) {
  const lapidary::LayerConfig &layer = decoder.text->layers[index];
  auto part = [&](const char *name) {
    return ofLayer(index, "self_attn." + Twine(name) + ".weight");
  };
  size_t source = lapidary::findSharedLayer(text, layer.kind);
  Value query = linear(input, {part("q_proj")}, layer.heads * layer.headDim);
  query = rmsNorm(query, {part("q_norm")}, layer.headDim, decoder.text->eps);
  query = RopeOp::create(builder, query.getType(), query,
                         ropeTable(text.layers[source]), step.past,
                         uint64_t(layer.headDim), /*ahead=*/1);
  Value result = AttentionOp::create(builder, query.getType(), cache(source),
                                     query, step.past, Value());
  return linear(result, {part("o_proj")}, decoder.text->hidden);
}
