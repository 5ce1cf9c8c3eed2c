// Safetensors files (https://github.com/huggingface/safetensors): a JSON header
// with each tensor's type, shape and place, then the bytes. And checkpoints of
// one or several such files. Data is read with pread, never mapped: the memory
// that compiling takes must not grow with the checkpoint.
#pragma once

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

struct TensorInfo {
  std::string name;
  ElementType type = ElementType::F32;
  /// Not negative; a dimension may be 0.
  std::vector<int64_t> shape;
  /// From the file's start, in bytes.
  uint64_t offset = 0;
  /// The product of the shape times the element's size.
  uint64_t bytes = 0;
  /// Index into Checkpoint::files.
  uint32_t file = 0;
};

/// "BF16 [256, 640]", for messages.
std::string describeTensor(const TensorInfo &tensor);

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
  SafetensorsFile(SafetensorsFile &&) noexcept;
  SafetensorsFile &operator=(SafetensorsFile &&) noexcept;
  ~SafetensorsFile();

  const std::string &path() const { return name; }
  /// Sorted by name.
  const std::vector<TensorInfo> &tensors() const { return list; }
  const TensorInfo *find(std::string_view tensor) const;
  /// Fills `out` with the tensor's bytes from `byteOffset` on. A range that the
  /// tensor does not have is InvalidArgument.
  Status read(const TensorInfo &tensor, uint64_t byteOffset,
              std::span<uint8_t> out) const;

private:
  SafetensorsFile() = default;

  std::string name;
  int handle = -1;
  std::vector<TensorInfo> list;
};

/// The tensors of a folder: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` names. Immutable; reading is safe from
/// several threads.
class Checkpoint {
public:
  static Result<Checkpoint> open(const std::string &folder);

  const std::string &folder() const { return root; }
  /// Names relative to the folder.
  const std::vector<std::string> &files() const { return names; }
  /// The indexed tensors, sorted by name.
  const std::vector<TensorInfo> &tensors() const { return list; }
  /// Tensors that lie in a shard without being in the index, as "shard: name".
  const std::vector<std::string> &unindexed() const { return extra; }
  const TensorInfo *find(std::string_view name) const;
  const std::string &fileOf(const TensorInfo &tensor) const {
    return names[tensor.file];
  }
  Status read(const TensorInfo &tensor, uint64_t byteOffset,
              std::span<uint8_t> out) const;

private:
  Checkpoint() = default;
  Status openIndex(const std::string &path);
  Status addShard(const std::string &name,
                  std::map<std::string, std::string, std::less<>> &missing);

  std::string root;
  std::vector<std::string> names;
  std::vector<SafetensorsFile> shards;
  std::vector<TensorInfo> list;
  std::vector<std::string> extra;
};

} // namespace lapidary
