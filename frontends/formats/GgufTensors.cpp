// Names as llama.cpp's convert_hf_to_gguf.py changes them for gemma4, and the
// two orders of elements that it changes in the image projection.
#include "frontends/formats/GgufTensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

namespace lapidary {

namespace {

struct Name {
  std::string_view stored, read;
};

constexpr std::array<Name, 3> textNames = {
    {{"token_embd.weight", "model.language_model.embed_tokens.weight"},
     {"output_norm.weight", "model.language_model.norm.weight"},
     {"output.weight", "lm_head.weight"}}};

/// After "blk.N." and after "model.language_model.layers.N.".
constexpr std::array<Name, 14> layerNames = {
    {{"attn_norm.weight", "input_layernorm.weight"},
     {"attn_q.weight", "self_attn.q_proj.weight"},
     {"attn_k.weight", "self_attn.k_proj.weight"},
     {"attn_v.weight", "self_attn.v_proj.weight"},
     {"attn_output.weight", "self_attn.o_proj.weight"},
     {"attn_q_norm.weight", "self_attn.q_norm.weight"},
     {"attn_k_norm.weight", "self_attn.k_norm.weight"},
     {"post_attention_norm.weight", "post_attention_layernorm.weight"},
     {"ffn_norm.weight", "pre_feedforward_layernorm.weight"},
     {"ffn_gate.weight", "mlp.gate_proj.weight"},
     {"ffn_up.weight", "mlp.up_proj.weight"},
     {"ffn_down.weight", "mlp.down_proj.weight"},
     {"post_ffw_norm.weight", "post_feedforward_layernorm.weight"},
     {"layer_output_scale.weight", "layer_scalar"}}};

constexpr std::array<Name, 11> mediaNames = {
    {{"mm.input_projection.weight",
      "model.embed_vision.embedding_projection.weight"},
     {"mm.a.input_projection.weight",
      "model.embed_audio.embedding_projection.weight"},
     {"v.patch_embd.weight", "model.vision_embedder.patch_dense.weight"},
     {"v.patch_embd.bias", "model.vision_embedder.patch_dense.bias"},
     {"v.patch_norm.1.weight", "model.vision_embedder.patch_ln1.weight"},
     {"v.patch_norm.1.bias", "model.vision_embedder.patch_ln1.bias"},
     {"v.patch_norm.2.weight", "model.vision_embedder.patch_ln2.weight"},
     {"v.patch_norm.2.bias", "model.vision_embedder.patch_ln2.bias"},
     {"v.patch_norm.3.weight", "model.vision_embedder.pos_norm.weight"},
     {"v.patch_norm.3.bias", "model.vision_embedder.pos_norm.bias"},
     {"v.position_embd.weight", "model.vision_embedder.pos_embedding"}}};

std::string_view rename(std::span<const Name> names, std::string_view stored) {
  for (const Name &name : names)
    if (name.stored == stored)
      return name.read;
  return {};
}

std::string readName(std::string_view stored, bool media) {
  if (media) {
    std::string_view name = rename(mediaNames, stored);
    return std::string(name.empty() ? stored : name);
  }
  constexpr std::string_view block = "blk.";
  size_t dot = stored.find('.', block.size());
  if (!stored.starts_with(block) || dot == std::string_view::npos) {
    std::string_view name = rename(textNames, stored);
    return std::string(name.empty() ? stored : name);
  }
  std::string_view name = rename(layerNames, stored.substr(dot + 1));
  if (name.empty())
    return std::string(stored);
  std::string_view index = stored.substr(block.size(), dot - block.size());
  return "model.language_model.layers." + std::string(index) + "." +
         std::string(name);
}

/// The side of patches of this many values, or 0 where there is none.
int64_t sideOf(int64_t values) {
  auto side = int64_t(std::llround(std::sqrt(double(values) / 3)));
  return side * side * 3 == values ? side : 0;
}

/// Tensors that say something of another one or of the configuration, rather
/// than hold weights: factors of angles (the configuration has them), scales
/// that belong to another tensor, and scales of activations, which are computed
/// in full precision.
bool isAside(std::string_view name, const GgufFile &file) {
  constexpr std::string_view scale = ".scale", inputs = ".input_scale";
  for (std::string_view suffix : {inputs, scale})
    if (name.ends_with(suffix))
      return file.find(
          std::string(name.substr(0, name.size() - suffix.size())) + ".weight");
  return name == "rope_freqs.weight";
}

} // namespace

Result<GgufTensors> GgufTensors::create(GgufFile text,
                                        std::optional<GgufFile> media) {
  GgufTensors tensors;
  tensors.files.push_back(std::move(text));
  if (media)
    tensors.files.push_back(*std::move(media));
  for (uint32_t file = 0; file < tensors.files.size(); ++file)
    LAPIDARY_TRY(tensors.add(file));

  std::vector<size_t> order(tensors.list.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return tensors.list[a].name < tensors.list[b].name;
  });
  GgufTensors sorted;
  for (size_t i : order) {
    TensorInfo &tensor = tensors.list[i];
    if (!sorted.list.empty() && sorted.list.back().name == tensor.name)
      return invalidData(tensors.files[tensor.file].path() + ": tensor " +
                         quoteName(tensors.sources[i].stored.name) +
                         ": expected once, found again as " +
                         quoteName(sorted.sources.back().stored.name) + " in " +
                         tensors.files[sorted.list.back().file].path());
    sorted.list.push_back(std::move(tensor));
    sorted.sources.push_back(std::move(tensors.sources[i]));
  }
  sorted.files = std::move(tensors.files);
  return sorted;
}

Status GgufTensors::add(uint32_t file) {
  for (const TensorInfo &stored : files[file].tensors())
    if (!isAside(stored.name, files[file]))
      LAPIDARY_TRY(addTensor(file, stored));
  return {};
}

Status GgufTensors::addTensor(uint32_t file, const TensorInfo &stored) {
  auto wrong = [&](const std::string &expected) {
    return invalidData(files[file].path() + ": tensor " +
                       quoteName(stored.name) + ": expected " + expected +
                       ", found " + describeTensor(stored));
  };
  TensorInfo tensor = stored;
  Source source{stored};
  tensor.file = file;
  tensor.name = readName(stored.name, file == 1);
  constexpr std::string_view embedder = "model.vision_embedder.";
  if (std::string_view name = tensor.name; name.starts_with(embedder)) {
    name.remove_prefix(embedder.size());
    if (name == "patch_dense.weight" || name.starts_with("patch_ln1.")) {
      // A block of columns in one order is none in the other.
      if (!stored.encoding.empty() || stored.shape.empty() ||
          !sideOf(stored.shape.back()))
        return wrong("plain numbers in rows of a square of pixels of three "
                     "colors");
      source.order = Order::Planes;
    } else if (name == "pos_embedding") {
      if (stored.shape.size() != 3 || stored.shape[0] != 2)
        return wrong("a table for each of two axes");
      std::swap(tensor.shape[0], tensor.shape[1]);
      source.order = Order::Axes;
    }
  }

  constexpr std::string_view weight = ".weight";
  if (stored.name.ends_with(weight)) {
    std::string base =
        stored.name.substr(0, stored.name.size() - weight.size());
    if (const TensorInfo *scale = files[file].find(base + ".scale")) {
      if (stored.encoding != "NVFP4" || scale->type != ElementType::F32 ||
          scale->bytes != sizeof(float))
        return wrong("NVFP4, because there is " + base +
                     ".scale, and that to be one F32");
      LAPIDARY_TRY(files[file].read(
          *scale, 0,
          {reinterpret_cast<uint8_t *>(&tensor.factor), sizeof(float)}));
      if (!std::isfinite(tensor.factor))
        return wrong("a finite " + base + ".scale");
    }
  }
  list.push_back(std::move(tensor));
  sources.push_back(std::move(source));
  return {};
}

Status GgufTensors::read(const TensorInfo &tensor, uint64_t byteOffset,
                         std::span<uint8_t> out) const {
  const TensorInfo *own = findTensor(list, tensor.name);
  if (!own)
    return invalidArgument(files[0].path() + ": tensor " +
                           quoteName(tensor.name) +
                           ": expected one of this model's");
  const GgufFile &file = files[own->file];
  LAPIDARY_TRY(checkTensorRange(*own, byteOffset, out.size(), file.path()));
  const Source &source = sources[size_t(own - list.data())];
  switch (source.order) {
  case Order::Planes:
    return readPlanes(source, byteOffset, out, file);
  case Order::Axes:
    return readAxes(source, byteOffset, out, file);
  case Order::Same:
    break;
  }
  return file.read(source.stored, byteOffset, out);
}

Status GgufTensors::readPlanes(const Source &source, uint64_t byteOffset,
                               std::span<uint8_t> out,
                               const GgufFile &file) const {
  uint64_t element = elementTypeBytes(source.stored.type);
  auto values = uint64_t(source.stored.shape.back());
  uint64_t rowBytes = values * element, pixels = values / 3;
  std::vector<uint8_t> planes(rowBytes), row(rowBytes);
  while (!out.empty()) {
    uint64_t begin = byteOffset % rowBytes;
    LAPIDARY_TRY(file.read(source.stored, byteOffset - begin, planes));
    for (uint64_t i = 0; i < values; ++i)
      std::memcpy(row.data() + i * element,
                  planes.data() + (i % 3 * pixels + i / 3) * element, element);
    size_t some = std::min<size_t>(out.size(), size_t(rowBytes - begin));
    std::memcpy(out.data(), row.data() + begin, some);
    byteOffset += some;
    out = out.subspan(some);
  }
  return {};
}

Status GgufTensors::readAxes(const Source &source, uint64_t byteOffset,
                             std::span<uint8_t> out,
                             const GgufFile &file) const {
  auto positions = uint64_t(source.stored.shape[1]);
  while (!out.empty()) {
    uint64_t rowBytes = source.stored.bytes / (2 * positions);
    uint64_t row = byteOffset / rowBytes, begin = byteOffset % rowBytes;
    uint64_t stored = row % 2 * positions + row / 2;
    size_t some = std::min<size_t>(out.size(), size_t(rowBytes - begin));
    LAPIDARY_TRY(
        file.read(source.stored, stored * rowBytes + begin, out.first(some)));
    byteOffset += some;
    out = out.subspan(some);
  }
  return {};
}

} // namespace lapidary
