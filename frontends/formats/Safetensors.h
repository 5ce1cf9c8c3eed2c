// Safetensors files (https://github.com/huggingface/safetensors): a JSON header
// with each tensor's type, shape and place, then the bytes. And checkpoints of
// one or several such files. Data is read with pread, never mapped: the memory
// that compiling takes must not grow with the checkpoint.
#pragma once

#include "frontends/formats/InputFile.h"
#include "runtime/core/Status.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

enum class ElementType : uint8_t {
  Bool,
  U8,
  I8,
  F8E5M2,
  F8E4M3,
  U16,
  I16,
  F16,
  BF16,
  U32,
  I32,
  F32,
  U64,
  I64,
  F64,
  C64
};

/// The format's name: "BF16".
const char *elementTypeName(ElementType type);
uint64_t elementTypeBytes(ElementType type);

struct CompressedMatrix;

struct TensorInfo {
  std::string name;
  /// U8 where there is an `encoding`.
  ElementType type = ElementType::F32;
  /// How the bytes hold the elements where they are not plain numbers: a GGUF
  /// type of blocks, "Q4_K" (see GgufBlocks.h), or "type id 99" for one that is
  /// not known. With a `matrix` the name of its scheme.
  std::string encoding;
  /// What all values of a tensor with an encoding are multiplied by.
  float factor = 1;
  /// Not negative; a dimension may be 0.
  std::vector<int64_t> shape;
  /// From the file's start, in bytes.
  uint64_t offset = 0;
  /// The product of the shape times the element's size, or of the encoding's
  /// blocks.
  uint64_t bytes = 0;
  /// Index into Checkpoint::files.
  uint32_t file = 0;
  /// The tensors that this one is made of (see CompressedTensors.h); its bytes
  /// are then all of theirs, its place is that of the codes, and only
  /// readEncodedRows reads it. Else null.
  std::shared_ptr<const CompressedMatrix> matrix;
};

/// "BF16 [256, 640]", for messages.
std::string describeTensor(const TensorInfo &tensor);
/// A name in quotes, cut where it is long, for messages.
std::string quoteName(std::string_view name);

/// Whether a tensor is a buffer that some exports keep and that follows from
/// the configuration.
bool followsFromConfig(std::string_view name);
/// An error where two tensors of the file `origin` share bytes.
Status checkOverlap(std::span<const TensorInfo> tensors,
                    const std::string &origin);

/// Null where the list, which is sorted by name, has no such tensor.
const TensorInfo *findTensor(std::span<const TensorInfo> tensors,
                             std::string_view name);
/// Whether the tensor has these bytes; a range that it does not have is
/// InvalidArgument.
Status checkTensorRange(const TensorInfo &tensor, uint64_t byteOffset,
                        uint64_t bytes, const std::string &origin);

/// The largest header that is read. The format's own limit.
inline constexpr uint64_t maxSafetensorsHeaderBytes = 100'000'000;

/// Parses the JSON of a header, checks every number in it, and returns the
/// tensors sorted by name. The data begins at `dataBegin` of a file of
/// `fileBytes`.
Result<std::vector<TensorInfo>>
parseSafetensorsHeader(std::string_view json, uint64_t dataBegin,
                       uint64_t fileBytes, const std::string &origin);

/// An open file. Reading is safe from several threads. The header has been
/// checked: every tensor lies inside the file, and no two overlap.
class SafetensorsFile {
public:
  static Result<SafetensorsFile> open(const std::string &path);
  const std::string &path() const { return file.path(); }
  /// Sorted by name.
  const std::vector<TensorInfo> &tensors() const { return list; }
  const TensorInfo *find(std::string_view tensor) const;
  /// Fills `out` with the tensor's bytes from `byteOffset` on. A range that the
  /// tensor does not have is InvalidArgument.
  Status read(const TensorInfo &tensor, uint64_t byteOffset,
              std::span<uint8_t> out) const;

private:
  explicit SafetensorsFile(InputFile opened) : file(std::move(opened)) {}

  InputFile file;
  std::vector<TensorInfo> list;
};

class GgufTensors;

/// The tensors of a folder: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` names; a matrix that they keep quantized in
/// several tensors is one tensor here. Or those of GGUF files, by the same
/// names. Immutable; reading is safe from several threads.
class Checkpoint {
public:
  static Result<Checkpoint> open(const std::string &folder);
  /// A text model's file and, unless it is empty, the path of its media
  /// projections' ("mmproj"). `folder` is then that of the first, and the name
  /// of the second is its path where it lies elsewhere.
  static Result<Checkpoint> openGguf(const std::string &text,
                                     const std::string &media);

  /// Adds the tensors of a companion's folder, which keeps them as plain
  /// numbers, by their names with `prefix` in front.
  Status addCompanion(const std::string &folder, const std::string &prefix);

  const std::string &folder() const { return root; }
  /// Names relative to the folder.
  const std::vector<std::string> &files() const { return names; }
  /// The indexed tensors, sorted by name.
  const std::vector<TensorInfo> &tensors() const { return list; }
  /// Tensors that lie in a shard without being in the index, as "shard: name".
  const std::vector<std::string> &unindexed() const { return extra; }
  /// What the user should know of how the tensors are quantized.
  const std::vector<std::string> &remarks() const { return notes; }
  const TensorInfo *find(std::string_view name) const;
  const std::string &fileOf(const TensorInfo &tensor) const {
    return names[tensor.file];
  }
  /// The same for messages: where the user finds it.
  std::string pathOf(const TensorInfo &tensor) const {
    const std::string &name = names[tensor.file];
    // Files of the folder have plain names, others have paths.
    return name.find('/') == std::string::npos ? root + "/" + name : name;
  }
  Status read(const TensorInfo &tensor, uint64_t byteOffset,
              std::span<uint8_t> out) const;
  /// Null for a folder.
  const GgufTensors *gguf() const { return ggufTensors.get(); }

private:
  Checkpoint() = default;
  Status openIndex(const std::string &path);
  Status combineQuantized();
  Status addShard(const std::string &name,
                  std::map<std::string, std::string, std::less<>> &missing);

  std::string root;
  std::vector<std::string> names;
  std::vector<SafetensorsFile> shards;
  /// The first files in place of shards.
  std::shared_ptr<const GgufTensors> ggufTensors;
  uint32_t ggufFiles = 0;
  std::vector<TensorInfo> list;
  std::vector<std::string> extra;
  std::vector<std::string> notes;
};

} // namespace lapidary
