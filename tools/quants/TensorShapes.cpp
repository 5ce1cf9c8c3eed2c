// Lists tensors, of a file or of the published 12B, and adds up their sizes.
#include "tools/quants/TensorShapes.h"

#include "dialects/lap/WeightLayout.h"
#include "frontends/formats/Gguf.h"
#include "frontends/formats/Safetensors.h"

using namespace mlir;
using namespace mlir::lap;
using lapidary::Result;

namespace {

/// config.json of the published checkpoint.
struct LargeModel {
  static constexpr int64_t layers = 48, fullEvery = 6;
  static constexpr int64_t hidden = 3840, intermediate = 15360;
  static constexpr int64_t vocabulary = 262144;
  static constexpr int64_t heads = 16;
  static constexpr int64_t slidingKeys = 8, slidingHead = 256;
  static constexpr int64_t fullKeys = 1, fullHead = 512;
  static constexpr int64_t patch = 48 * 48 * 3, places = 1120, sound = 640;
};

class ShapeList {
public:
  void add(const Twine &name, int64_t rows, int64_t columns) {
    shapes.push_back({name.str(), rows, columns, 2 * rows * columns, false});
  }
  void addVector(const Twine &name, int64_t elements) {
    shapes.push_back({name.str(), elements, 0, 2 * elements, false});
  }
  void addLayer(int64_t number);

  std::vector<TensorShape> shapes;
};

} // namespace

void ShapeList::addLayer(int64_t number) {
  using M = LargeModel;
  bool full = (number + 1) % M::fullEvery == 0;
  int64_t head = full ? M::fullHead : M::slidingHead;
  int64_t keys = (full ? M::fullKeys : M::slidingKeys) * head;
  std::string layer =
      "model.language_model.layers." + std::to_string(number) + ".";
  for (StringRef norm :
       {"input_layernorm", "post_attention_layernorm",
        "pre_feedforward_layernorm", "post_feedforward_layernorm"})
    addVector(layer + norm + ".weight", M::hidden);
  addVector(layer + "layer_scalar", 1);
  addVector(layer + "self_attn.q_norm.weight", head);
  addVector(layer + "self_attn.k_norm.weight", head);
  add(layer + "self_attn.q_proj.weight", M::heads * head, M::hidden);
  add(layer + "self_attn.k_proj.weight", keys, M::hidden);
  // The values of a full layer are its keys.
  if (!full)
    add(layer + "self_attn.v_proj.weight", keys, M::hidden);
  add(layer + "self_attn.o_proj.weight", M::hidden, M::heads * head);
  add(layer + "mlp.gate_proj.weight", M::intermediate, M::hidden);
  add(layer + "mlp.up_proj.weight", M::intermediate, M::hidden);
  add(layer + "mlp.down_proj.weight", M::hidden, M::intermediate);
}

std::vector<TensorShape> mlir::lap::getLargeShapes() {
  using M = LargeModel;
  ShapeList list;
  list.add("model.language_model.embed_tokens.weight", M::vocabulary,
           M::hidden);
  for (int64_t layer = 0; layer < M::layers; ++layer)
    list.addLayer(layer);
  list.addVector("model.language_model.norm.weight", M::hidden);
  const std::string vision = "model.embed_vision.";
  list.addVector(vision + "patch_ln1.weight", M::patch);
  list.addVector(vision + "patch_ln1.bias", M::patch);
  list.add(vision + "patch_dense.weight", M::hidden, M::patch);
  for (StringRef name : {"patch_dense.bias", "patch_ln2.weight",
                         "patch_ln2.bias", "pos_norm.weight", "pos_norm.bias"})
    list.addVector(vision + name, M::hidden);
  list.addVector(vision + "pos_embedding", M::places * 2 * M::hidden);
  list.add(vision + "multimodal_embedder.embedding_projection.weight",
           M::hidden, M::hidden);
  list.add("model.embed_audio.embedding_projection.weight", M::hidden,
           M::sound);
  return std::move(list.shapes);
}

Result<std::vector<TensorShape>>
mlir::lap::readShapes(const std::string &checkpoint, const std::string &media) {
  bool gguf = lapidary::isGgufFile(checkpoint);
  if (!gguf && !media.empty())
    return lapidary::invalidArgument("--mmproj goes with a GGUF file, and " +
                                     checkpoint +
                                     " is none: a folder has its projections");
  lapidary::Checkpoint opened =
      LAPIDARY_TRY(gguf ? lapidary::Checkpoint::openGguf(checkpoint, media)
                        : lapidary::Checkpoint::open(checkpoint));
  std::vector<TensorShape> shapes;
  for (const lapidary::TensorInfo &tensor : opened.tensors()) {
    bool matrix = tensor.shape.size() == 2 && tensor.bytes > 0;
    shapes.push_back({tensor.name, matrix ? tensor.shape[0] : 0,
                      matrix ? tensor.shape[1] : 0,
                      static_cast<int64_t>(tensor.bytes),
                      !tensor.encoding.empty()});
  }
  return shapes;
}

int64_t mlir::lap::countLayers(ArrayRef<TensorShape> tensors) {
  int64_t layers = 0;
  for (const TensorShape &tensor : tensors)
    layers = std::max(layers, lapidary::getLayerNumber(tensor.name) + 1);
  return layers;
}

Result<StoredSize> mlir::lap::computeSize(
    ArrayRef<TensorShape> tensors, const lapidary::Recipe &recipe,
    llvm::function_ref<const lapidary::Scheme &(StringRef name)> getModel) {
  int64_t layers = countLayers(tensors), elements = 0, matrixBytes = 0;
  StoredSize size;
  for (const TensorShape &tensor : tensors) {
    if (!tensor.columns) {
      size.bytes += tensor.bytes;
      continue;
    }
    elements += tensor.rows * tensor.columns;
    StringRef scheme = recipe.getScheme(tensor.name, layers);
    if (scheme.empty())
      return lapidary::invalidArgument("no line of the recipe is for " +
                                       tensor.name +
                                       "; end it with '* SCHEME' or '* keep'");
    bool kept = tensor.kept || scheme == lapidary::Recipe::keep;
    matrixBytes +=
        kept ? tensor.bytes
             : getRowTileLayout(getModel(scheme), tensor.rows, tensor.columns)
                   .getBytes();
  }
  size.bytes += matrixBytes;
  if (elements)
    size.bitsPerWeight =
        8 * static_cast<double>(matrixBytes) / static_cast<double>(elements);
  return size;
}
