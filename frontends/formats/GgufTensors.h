// The tensors of a model in GGUF files under the names, shapes and orders that
// a Hugging Face checkpoint has for them: the converter renames all and
// reorders some.
#pragma once

#include "frontends/formats/Gguf.h"
#include "runtime/core/Status.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace lapidary {

/// Immutable; reading is safe from several threads.
class GgufTensors {
public:
  /// A tensor that the converter is not known to write keeps its name.
  static Result<GgufTensors> create(GgufFile text,
                                    std::optional<GgufFile> media);

  const GgufFile &text() const { return files[0]; }
  /// Null where there is none.
  const GgufFile *media() const {
    return files.size() > 1 ? &files[1] : nullptr;
  }
  /// Sorted by name; `file` is 0 for the text and 1 for the media.
  const std::vector<TensorInfo> &tensors() const { return list; }
  /// Of a tensor of this list, as SafetensorsFile::read.
  Status read(const TensorInfo &tensor, uint64_t byteOffset,
              std::span<uint8_t> out) const;

private:
  /// How the elements of a tensor lie in the file, where it is not the order
  /// that they are read in.
  enum class Order : uint8_t {
    Same,
    /// A patch's pixels: a plane a color, rather than three colors a pixel.
    Planes,
    /// A position table: a table an axis, rather than two axes a position.
    Axes,
  };
  struct Source {
    /// The tensor in its file.
    TensorInfo stored;
    Order order = Order::Same;
  };

  GgufTensors() = default;
  Status add(uint32_t file);
  Status addTensor(uint32_t file, const TensorInfo &stored);
  Status readPlanes(const Source &source, uint64_t byteOffset,
                    std::span<uint8_t> out, const GgufFile &file) const;
  Status readAxes(const Source &source, uint64_t byteOffset,
                  std::span<uint8_t> out, const GgufFile &file) const;

  std::vector<GgufFile> files;
  std::vector<TensorInfo> list;
  /// Of the tensors of `list`, in its order.
  std::vector<Source> sources;
};

} // namespace lapidary
