// GGUF files (llama.cpp's format): typed metadata, each tensor's type, shape
// and place, then the bytes. Versions 2 and 3, little endian. Everything in the
// header is checked when the file is opened; data is read with pread.
#pragma once

#include "frontends/formats/InputFile.h"
#include "frontends/formats/Safetensors.h"
#include "runtime/core/Status.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

/// The numbers are the format's.
enum class GgufType : uint32_t {
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  F32,
  Bool,
  String,
  Array,
  U64,
  I64,
  F64,
};

/// "u32".
const char *ggufTypeName(GgufType type);

/// A value of the metadata.
struct GgufValue {
  GgufType type = GgufType::U8;
  /// Of an array's elements.
  GgufType element = GgufType::U8;
  /// Of an array; else 1.
  uint64_t count = 1;
  /// The bytes as in the file: a string, a number, an array's numbers, or its
  /// strings end to end. Empty for an array of arrays, which is only checked.
  std::string data;
  /// Where each string of an array ends in `data`.
  std::vector<uint32_t> ends;

  bool isArray() const { return type == GgufType::Array; }
  /// Of the value or of an array's elements.
  GgufType valueType() const { return isArray() ? element : type; }
  /// Nothing where there is no such element or it has another kind of type. An
  /// f32 becomes the double of the shortest decimal that stands for it, as a
  /// JSON file would say it: 0.95, not 0.949999988.
  std::optional<int64_t> integer(uint64_t index = 0) const;
  std::optional<double> number(uint64_t index = 0) const;
  std::optional<bool> flag(uint64_t index = 0) const;
  std::optional<std::string_view> string(uint64_t index = 0) const;
};

/// The largest metadata that is read: ten times that of 262144 tokens.
inline constexpr uint64_t maxGgufHeaderBytes = 256u << 20;

struct GgufHeader {
  std::map<std::string, GgufValue, std::less<>> metadata;
  /// Sorted by name. Shapes have the columns last. A tensor of a type that is
  /// not known has no bytes.
  std::vector<TensorInfo> tensors;
};

/// Fills its second argument with the file's bytes from its first on.
using ReadBytes = std::function<Status(uint64_t, std::span<uint8_t>)>;

/// Reads and checks the header of a file of `fileBytes`: every tensor lies
/// inside the file, and no two overlap.
Result<GgufHeader> parseGgufHeader(const ReadBytes &read, uint64_t fileBytes,
                                   const std::string &origin);

/// An open file. Reading is safe from several threads.
class GgufFile {
public:
  static Result<GgufFile> open(const std::string &path);

  const std::string &path() const { return file.path(); }
  const std::map<std::string, GgufValue, std::less<>> &metadata() const {
    return header.metadata;
  }
  /// Null where the file has no such key.
  const GgufValue *get(std::string_view key) const;
  /// Sorted by name.
  const std::vector<TensorInfo> &tensors() const { return header.tensors; }
  const TensorInfo *find(std::string_view tensor) const;
  /// Fills `out` with the tensor's bytes from `byteOffset` on.
  Status read(const TensorInfo &tensor, uint64_t byteOffset,
              std::span<uint8_t> out) const;

private:
  explicit GgufFile(InputFile opened) : file(std::move(opened)) {}

  InputFile file;
  GgufHeader header;
};

/// Whether the file begins as a GGUF file does.
bool isGgufFile(const std::string &path);

} // namespace lapidary
