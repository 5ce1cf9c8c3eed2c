// The header of a GGUF file, read front to back through a window: it does not
// say how long it is.
#include "frontends/formats/Gguf.h"

#include "frontends/formats/GgufBlocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>

namespace lapidary {

static_assert(std::endian::native == std::endian::little,
              "values are copied from files that are little endian");

namespace {

constexpr std::array<const char *, 13> typeNames = {
    "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
    "bool", "string", "array", "u64", "i64", "f64"};
/// 0: not a number.
constexpr std::array<uint64_t, 13> typeBytes = {1, 1, 2, 2, 4, 4, 4,
                                                1, 0, 0, 8, 8, 8};

constexpr std::array<uint8_t, 4> magic = {'G', 'G', 'U', 'F'};
constexpr uint64_t defaultAlignment = 32;
/// The format's own limit.
constexpr uint32_t maxDimensions = 4;
/// Longer than any name, and short enough for messages.
constexpr uint64_t maxNameBytes = 65535;
/// A hundred times as many as the largest models have.
constexpr uint64_t maxTensors = 65536;
/// Arrays of arrays: nothing that we read has them.
constexpr int maxArrayDepth = 8;

class HeaderReader {
public:
  HeaderReader(const ReadBytes &read, uint64_t fileBytes,
               const std::string &origin)
      : read(read), fileBytes(fileBytes),
        limit(std::min(fileBytes, maxGgufHeaderBytes)), origin(origin) {}

  Status run();

  GgufHeader header;

private:
  Status readBytes(std::span<uint8_t> out);
  Status need(uint64_t bytes);
  Status readString(std::string &out, uint64_t most);
  template <typename T> Result<T> number() {
    T value;
    std::array<uint8_t, sizeof(T)> bytes;
    LAPIDARY_TRY(readBytes(bytes));
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  Result<GgufType> type();
  /// That many things of at least that many bytes.
  Result<uint64_t> count(uint64_t leastBytes, const char *what);

  Status readValue(GgufValue &value);
  Status readArray(GgufValue &value, int depth);
  Status checkBools(const GgufValue &value);
  Status readTensor();
  Status placeTensors();

  Status wrong(const std::string &what) const {
    return invalidData(origin + ": " + where + what);
  }

  const ReadBytes &read;
  uint64_t fileBytes;
  /// Where the header must have ended.
  uint64_t limit;
  const std::string &origin;
  /// What is being read, for messages: "key \"a\": ".
  std::string where;
  uint64_t position = 0;
  /// The bytes from `windowBegin` on.
  std::vector<uint8_t> window;
  uint64_t windowBegin = 0;
};

Status HeaderReader::need(uint64_t bytes) {
  if (bytes <= limit - position)
    return {};
  if (limit < fileBytes)
    return wrong("expected a header of at most " + std::to_string(limit) +
                 " bytes");
  return wrong("expected " + std::to_string(bytes) + " bytes at byte " +
               std::to_string(position) + ", found the end of the file at " +
               std::to_string(fileBytes) + " (is the file cut short?)");
}

Status HeaderReader::readBytes(std::span<uint8_t> out) {
  LAPIDARY_TRY(need(out.size()));
  constexpr uint64_t windowBytes = 1 << 16;
  while (!out.empty()) {
    uint64_t at = position - windowBegin;
    if (at >= window.size()) {
      windowBegin = position;
      window.resize(std::min(windowBytes, limit - position));
      LAPIDARY_TRY(read(windowBegin, window));
      at = 0;
    }
    size_t some = std::min<size_t>(out.size(), window.size() - at);
    std::memcpy(out.data(), window.data() + at, some);
    position += some;
    out = out.subspan(some);
  }
  return {};
}

/// Appends.
Status HeaderReader::readString(std::string &out, uint64_t most) {
  auto bytes = LAPIDARY_TRY(number<uint64_t>());
  if (bytes > most)
    return wrong("expected a string of at most " + std::to_string(most) +
                 " bytes, found one of " + std::to_string(bytes));
  LAPIDARY_TRY(need(bytes));
  size_t begin = out.size();
  out.resize(begin + size_t(bytes));
  return readBytes(
      {reinterpret_cast<uint8_t *>(out.data()) + begin, size_t(bytes)});
}

Result<GgufType> HeaderReader::type() {
  auto type = LAPIDARY_TRY(number<uint32_t>());
  if (type >= typeNames.size())
    return wrong("expected a value's type from 0 to " +
                 std::to_string(typeNames.size() - 1) + ", found " +
                 std::to_string(type));
  return GgufType(type);
}

Result<uint64_t> HeaderReader::count(uint64_t leastBytes, const char *what) {
  auto count = LAPIDARY_TRY(number<uint64_t>());
  uint64_t left = limit - position;
  if (count > left / leastBytes)
    return wrong("expected " + std::string(what) + " within the " +
                 std::to_string(left) + " bytes that are left, found " +
                 std::to_string(count) + " of at least " +
                 std::to_string(leastBytes) + " bytes each");
  return count;
}

Status HeaderReader::checkBools(const GgufValue &value) {
  for (char byte : value.data)
    if (byte != 0 && byte != 1)
      return wrong("expected a bool of 0 or 1, found " +
                   std::to_string(uint8_t(byte)));
  return {};
}

Status HeaderReader::readArray(GgufValue &value, int depth) {
  value.element = LAPIDARY_TRY(type());
  if (value.element == GgufType::Array) {
    if (depth == maxArrayDepth)
      return wrong("expected arrays in at most " +
                   std::to_string(maxArrayDepth) + " levels, found more");
    // A type and a count.
    value.count = LAPIDARY_TRY(count(12, "arrays"));
    for (uint64_t i = 0; i < value.count; ++i) {
      GgufValue inner;
      LAPIDARY_TRY(readArray(inner, depth + 1));
    }
    return {};
  }
  if (value.element == GgufType::String) {
    value.count = LAPIDARY_TRY(count(8, "strings"));
    value.ends.reserve(size_t(value.count));
    for (uint64_t i = 0; i < value.count; ++i) {
      LAPIDARY_TRY(readString(value.data, maxGgufHeaderBytes));
      value.ends.push_back(uint32_t(value.data.size()));
    }
    return {};
  }
  uint64_t bytes = typeBytes[size_t(value.element)];
  value.count = LAPIDARY_TRY(count(bytes, "numbers"));
  value.data.resize(size_t(value.count * bytes));
  LAPIDARY_TRY(readBytes(
      {reinterpret_cast<uint8_t *>(value.data.data()), value.data.size()}));
  return value.element == GgufType::Bool ? checkBools(value) : Status();
}

Status HeaderReader::readValue(GgufValue &value) {
  value.type = LAPIDARY_TRY(type());
  if (value.type == GgufType::Array)
    return readArray(value, 1);
  if (value.type == GgufType::String)
    return readString(value.data, maxGgufHeaderBytes);
  value.data.resize(size_t(typeBytes[size_t(value.type)]));
  LAPIDARY_TRY(readBytes(
      {reinterpret_cast<uint8_t *>(value.data.data()), value.data.size()}));
  return value.type == GgufType::Bool ? checkBools(value) : Status();
}

Status HeaderReader::readTensor() {
  TensorInfo tensor;
  where = "tensor " + std::to_string(header.tensors.size()) + ": ";
  LAPIDARY_TRY(readString(tensor.name, maxNameBytes));
  where = "tensor " + quoteName(tensor.name) + ": ";
  auto rank = LAPIDARY_TRY(number<uint32_t>());
  if (rank > maxDimensions)
    return wrong("expected at most " + std::to_string(maxDimensions) +
                 " dimensions, found " + std::to_string(rank));
  uint64_t elements = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    auto size = LAPIDARY_TRY(number<uint64_t>());
    if (!size)
      return wrong("expected dimensions of 1 or more, found 0");
    // Products of sizes stay within 63 bits, so shapes are safe to multiply.
    constexpr auto most = uint64_t(std::numeric_limits<int64_t>::max());
    if (size > most || __builtin_mul_overflow(elements, size, &elements) ||
        elements > most)
      return wrong("expected fewer than 2^63 elements, found a dimension of " +
                   std::to_string(size));
    tensor.shape.insert(tensor.shape.begin(), int64_t(size));
  }
  auto id = LAPIDARY_TRY(number<uint32_t>());
  tensor.offset = LAPIDARY_TRY(number<uint64_t>());
  const GgmlType *type = findGgmlType(id);
  if (!type) {
    tensor.type = ElementType::U8;
    tensor.encoding = "type id " + std::to_string(id);
    header.tensors.push_back(std::move(tensor));
    return {};
  }
  tensor.type = type->element.value_or(ElementType::U8);
  if (!type->element)
    tensor.encoding = type->name;
  uint64_t columns = rank ? uint64_t(tensor.shape.back()) : 1;
  if (columns % uint64_t(type->columns))
    return wrong("expected rows of whole blocks of " +
                 std::to_string(type->columns) + " elements, found " +
                 describeTensor(tensor));
  if (__builtin_mul_overflow(elements / uint64_t(type->columns), type->bytes,
                             &tensor.bytes))
    return wrong("expected fewer than 2^64 bytes, found " +
                 describeTensor(tensor));
  header.tensors.push_back(std::move(tensor));
  return {};
}

Status HeaderReader::placeTensors() {
  uint64_t alignment = defaultAlignment;
  where = "general.alignment: ";
  if (auto found = header.metadata.find("general.alignment");
      found != header.metadata.end()) {
    std::optional<int64_t> value = found->second.integer();
    if (found->second.isArray() || !value || *value <= 0 ||
        *value > (1 << 30) || !std::has_single_bit(uint64_t(*value)))
      return wrong("expected a power of two up to 2^30, found " +
                   (value ? std::to_string(*value) : "another type"));
    alignment = uint64_t(*value);
  }
  // A file without tensors may end before the padding.
  uint64_t begin =
      std::min((position + alignment - 1) / alignment * alignment, fileBytes);
  uint64_t dataBytes = fileBytes - begin;
  std::vector<TensorInfo> &tensors = header.tensors;
  std::sort(tensors.begin(), tensors.end(),
            [](const auto &a, const auto &b) { return a.name < b.name; });
  for (size_t i = 0; i < tensors.size(); ++i) {
    TensorInfo &tensor = tensors[i];
    where = "tensor " + quoteName(tensor.name) + ": ";
    if (i && tensor.name == tensors[i - 1].name)
      return wrong("expected once, found twice");
    if (tensor.offset % alignment)
      return wrong("expected an offset that is a multiple of " +
                   std::to_string(alignment) + ", found " +
                   std::to_string(tensor.offset));
    if (tensor.bytes > dataBytes || tensor.offset > dataBytes - tensor.bytes)
      return wrong("expected " + std::to_string(tensor.bytes) +
                   " bytes within the file's " + std::to_string(dataBytes) +
                   " bytes of data, found them to begin at byte " +
                   std::to_string(tensor.offset) + " (is the file cut short?)");
    tensor.offset += begin;
  }
  return checkOverlap(tensors, origin);
}

Status HeaderReader::run() {
  std::array<uint8_t, 4> found;
  LAPIDARY_TRY(readBytes(found));
  if (found != magic)
    return wrong("expected a GGUF file, found one that does not begin so");
  auto version = LAPIDARY_TRY(number<uint32_t>());
  if (version == __builtin_bswap32(2) || version == __builtin_bswap32(3))
    return unsupported(origin + ": expected a little endian GGUF file, found "
                                "a big endian one");
  if (version != 2 && version != 3)
    return unsupported(origin + ": expected version 2 or 3 of GGUF, found " +
                       std::to_string(version));
  // A name's length, dimensions, type and offset; a key's length and type.
  auto tensors = LAPIDARY_TRY(count(24, "tensors"));
  if (tensors > maxTensors)
    return wrong("expected at most " + std::to_string(maxTensors) +
                 " tensors, found " + std::to_string(tensors));
  auto keys = LAPIDARY_TRY(count(12, "keys"));
  for (uint64_t i = 0; i < keys; ++i) {
    where = "key " + std::to_string(i) + ": ";
    std::string key;
    LAPIDARY_TRY(readString(key, maxNameBytes));
    where = key.substr(0, 200) + ": ";
    GgufValue value;
    LAPIDARY_TRY(readValue(value));
    if (!header.metadata.emplace(std::move(key), std::move(value)).second)
      return wrong("expected once, found twice");
  }
  for (uint64_t i = 0; i < tensors; ++i)
    LAPIDARY_TRY(readTensor());
  return placeTensors();
}

template <typename T> T load(const std::string &data, uint64_t index) {
  T value;
  std::memcpy(&value, data.data() + index * sizeof(T), sizeof(T));
  return value;
}

} // namespace

const char *ggufTypeName(GgufType type) { return typeNames[size_t(type)]; }

std::optional<int64_t> GgufValue::integer(uint64_t index) const {
  if (index >= count)
    return {};
  switch (valueType()) {
  case GgufType::U8:
    return load<uint8_t>(data, index);
  case GgufType::I8:
    return load<int8_t>(data, index);
  case GgufType::U16:
    return load<uint16_t>(data, index);
  case GgufType::I16:
    return load<int16_t>(data, index);
  case GgufType::U32:
    return load<uint32_t>(data, index);
  case GgufType::I32:
    return load<int32_t>(data, index);
  case GgufType::I64:
    return load<int64_t>(data, index);
  case GgufType::U64:
    if (auto value = load<uint64_t>(data, index);
        value <= uint64_t(std::numeric_limits<int64_t>::max()))
      return int64_t(value);
    return {};
  default:
    return {};
  }
}

std::optional<double> GgufValue::number(uint64_t index) const {
  if (std::optional<int64_t> whole = integer(index))
    return double(*whole);
  if (index >= count)
    return {};
  if (valueType() == GgufType::F64)
    return load<double>(data, index);
  if (valueType() != GgufType::F32)
    return {};
  auto value = load<float>(data, index);
  std::array<char, 64> text;
  char *end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  double wide = value;
  std::from_chars(text.data(), end, wide);
  return wide;
}

std::optional<bool> GgufValue::flag(uint64_t index) const {
  if (index >= count || valueType() != GgufType::Bool)
    return {};
  return data[size_t(index)] != 0;
}

std::optional<std::string_view> GgufValue::string(uint64_t index) const {
  if (index >= count || valueType() != GgufType::String)
    return {};
  std::string_view all = data;
  if (!isArray())
    return all;
  size_t begin = index ? ends[size_t(index) - 1] : 0;
  return all.substr(begin, ends[size_t(index)] - begin);
}

Result<GgufHeader> parseGgufHeader(const ReadBytes &read, uint64_t fileBytes,
                                   const std::string &origin) {
  HeaderReader reader(read, fileBytes, origin);
  LAPIDARY_TRY(reader.run());
  return std::move(reader.header);
}

Result<GgufFile> GgufFile::open(const std::string &path) {
  GgufFile file(LAPIDARY_TRY(InputFile::open(path)));
  file.header = LAPIDARY_TRY(parseGgufHeader(
      [&](uint64_t offset, std::span<uint8_t> out) {
        return file.file.read(offset, out);
      },
      file.file.bytes(), path));
  return file;
}

const GgufValue *GgufFile::get(std::string_view key) const {
  auto found = header.metadata.find(key);
  return found == header.metadata.end() ? nullptr : &found->second;
}

const TensorInfo *GgufFile::find(std::string_view tensor) const {
  return findTensor(header.tensors, tensor);
}

Status GgufFile::read(const TensorInfo &tensor, uint64_t byteOffset,
                      std::span<uint8_t> out) const {
  LAPIDARY_TRY(checkTensorRange(tensor, byteOffset, out.size(), path()));
  return file.read(tensor.offset + byteOffset, out);
}

bool isGgufFile(const std::string &path) {
  auto file = InputFile::open(path);
  std::array<uint8_t, 4> found;
  return file.ok() && file->bytes() >= found.size() &&
         file->read(0, found).ok() && found == magic;
}

} // namespace lapidary
