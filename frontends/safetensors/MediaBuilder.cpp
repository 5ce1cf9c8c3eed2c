// The image and audio embedders: from patches of pixels and frames of samples
// to rows of the decoder's width.
#include "frontends/safetensors/ModelBuilder.h"

using namespace mlir;
using namespace mlir::lap;

/// The reference's layer norms take the library's default, not the
/// configuration's eps.
constexpr double layerNormEps = 1e-5;

constexpr int64_t dynamic = ShapedType::kDynamic;

/// The names of a part of the patch embedder in the published checkpoints and
/// in those that the reference writes.
static SmallVector<std::string> ofVision(const Twine &name) {
  return {("model.embed_vision." + name).str(),
          ("model.vision_embedder." + name).str()};
}

Value ModelBuilder::layerNorm(Value input, ArrayRef<std::string> weightNames,
                              ArrayRef<std::string> biasNames) {
  int64_t width = cast<RankedTensorType>(input.getType()).getDimSize(1);
  return LayerNormOp::create(
      builder, input.getType(), input, weight(weightNames, {width}),
      weight(biasNames, {width}), APFloat(float(layerNormEps)));
}

void ModelBuilder::buildImageEmbedder() {
  const lapidary::VisionConfig &vision = *config.vision;
  Type f32 = builder.getF32Type();
  // The largest budget of soft tokens that an image may be given.
  constexpr int64_t maxTokens = 1120;
  func::FuncOp function =
      begin("embed_image",
            {{"patches", tensor({dynamic, vision.patchValues()}, f32)},
             {"positions", tensor({dynamic, 2}, builder.getI32Type())}},
            {{"embeddings", tensor({dynamic, text.hidden}, f32)}}, maxTokens);
  auto norm = [&](Value input, const Twine &name) {
    return layerNorm(input, ofVision(name + ".weight"),
                     ofVision(name + ".bias"));
  };
  Value patches = norm(function.getArgument(0), "patch_ln1");
  Value bias = weight(ofVision("patch_dense.bias"), {vision.embed});
  Value embedded =
      norm(linear(patches, ofVision("patch_dense.weight"), vision.embed, bias),
           "patch_ln2");
  Value table =
      weight(ofVision("pos_embedding"), {vision.positions, 2, vision.embed});
  Value place = PositionEmbeddingOp::create(builder, embedded.getType(),
                                            function.getArgument(1), table);
  embedded = norm(AddOp::create(builder, embedded.getType(), embedded, place),
                  "pos_norm");
  embedded = rmsNorm(embedded, {}, vision.embed, vision.eps);
  end(linear(
      embedded,
      {"model.embed_vision.multimodal_embedder.embedding_projection.weight",
       "model.embed_vision.embedding_projection.weight"},
      text.hidden));
}

void ModelBuilder::buildAudioEmbedder() {
  const lapidary::AudioConfig &audio = *config.audio;
  Type f32 = builder.getF32Type();
  func::FuncOp function = begin(
      "embed_audio",
      {{"frames", tensor({dynamic, audio.samplesPerToken}, f32)}},
      {{"embeddings", tensor({dynamic, text.hidden}, f32)}}, audio.maxTokens);
  Value frames =
      rmsNorm(function.getArgument(0), {}, audio.samplesPerToken, audio.eps);
  end(linear(frames, {"model.embed_audio.embedding_projection.weight"},
             text.hidden));
}
