// One safetensors file: the header's checks and bounded reads.
#include "frontends/formats/Safetensors.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace lapidary {

namespace {

struct ElementTypeFacts {
  ElementType type;
  const char *name;
  uint64_t bytes;
};

constexpr std::array<ElementTypeFacts, 16> elementTypes = {{
    {ElementType::Bool, "BOOL", 1},
    {ElementType::U8, "U8", 1},
    {ElementType::I8, "I8", 1},
    {ElementType::F8E5M2, "F8_E5M2", 1},
    {ElementType::F8E4M3, "F8_E4M3", 1},
    {ElementType::U16, "U16", 2},
    {ElementType::I16, "I16", 2},
    {ElementType::F16, "F16", 2},
    {ElementType::BF16, "BF16", 2},
    {ElementType::U32, "U32", 4},
    {ElementType::I32, "I32", 4},
    {ElementType::F32, "F32", 4},
    {ElementType::U64, "U64", 8},
    {ElementType::I64, "I64", 8},
    {ElementType::F64, "F64", 8},
    {ElementType::C64, "C64", 8},
}};

/// More than any model's tensor has; bounds what a header of zeros can make us
/// allocate.
constexpr size_t maxRank = 16;

std::string quote(std::string_view text) {
  constexpr size_t longest = 200;
  return '"' + std::string(text.substr(0, longest)) +
         (text.size() > longest ? "...\"" : "\"");
}

/// Reads the header in one streaming pass: a document tree of thousands of
/// tensors takes longer to build than all of the checks, and it would hide
/// names that occur twice. The names are nlohmann's.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
public:
  explicit HeaderReader(const std::string &origin) : origin(origin) {}

  bool key(string_t &text) override {
    if (place == Place::Root) {
      tensor = TensorInfo();
      tensor.name = std::move(text);
      metadata = tensor.name == "__metadata__";
      haveType = haveShape = haveOffsets = false;
      return true;
    }
    if (place == Place::Metadata)
      return true;
    field = text == "dtype"          ? Field::Type
            : text == "shape"        ? Field::Shape
            : text == "data_offsets" ? Field::Offsets
                                     : Field::Other;
    bool again = (field == Field::Type && haveType) ||
                 (field == Field::Shape && haveShape) ||
                 (field == Field::Offsets && haveOffsets);
    if (field == Field::Other || again)
      return fail("expected dtype, shape and data_offsets once each, found " +
                  quote(text));
    return true;
  }

  bool start_object(size_t) override {
    if (place == Place::Start)
      return place = Place::Root, true;
    if (place == Place::Root)
      return place = metadata ? Place::Metadata : Place::Tensor, true;
    return unexpected("an object");
  }

  bool end_object() override {
    if (place == Place::Tensor) {
      if (!haveType || !haveShape || !haveOffsets)
        return fail(
            std::string("expected dtype, shape and data_offsets, found no ") +
            (!haveType    ? "dtype"
             : !haveShape ? "shape"
                          : "data_offsets"));
      tensors.push_back(std::move(tensor));
    }
    place = place == Place::Root ? Place::End : Place::Root;
    return true;
  }

  bool start_array(size_t) override {
    if (place != Place::Tensor ||
        (field != Field::Shape && field != Field::Offsets))
      return unexpected("an array");
    numbers.clear();
    place = Place::Array;
    return true;
  }

  bool end_array() override {
    place = Place::Tensor;
    if (field == Field::Shape) {
      haveShape = true;
      tensor.shape.assign(numbers.begin(), numbers.end());
      return true;
    }
    if (numbers.size() != 2)
      return fail("data_offsets: expected [begin, end], found " +
                  std::to_string(numbers.size()) + " numbers");
    if (numbers[0] > numbers[1])
      return fail("data_offsets: expected begin <= end, found " +
                  std::to_string(numbers[0]) + " and " +
                  std::to_string(numbers[1]));
    haveOffsets = true;
    tensor.offset = uint64_t(numbers[0]);
    tensor.bytes = uint64_t(numbers[1] - numbers[0]);
    return true;
  }

  bool number_unsigned(number_unsigned_t number) override {
    if (place != Place::Array)
      return unexpected("a number");
    if (number > uint64_t(std::numeric_limits<int64_t>::max()) ||
        numbers.size() == maxRank)
      return fail("expected at most " + std::to_string(maxRank) +
                  " integers below 2^63, found " + std::to_string(number));
    numbers.push_back(int64_t(number));
    return true;
  }

  bool string(string_t &text) override {
    if (place == Place::Metadata)
      return true;
    if (place != Place::Tensor || field != Field::Type)
      return unexpected("a string");
    auto found = std::find_if(
        elementTypes.begin(), elementTypes.end(),
        [&](const ElementTypeFacts &facts) { return text == facts.name; });
    if (found == elementTypes.end())
      return fail("dtype: expected BF16, F16, F32 or another type of whole "
                  "bytes, found " +
                  quote(text));
    tensor.type = found->type;
    return haveType = true;
  }

  bool number_integer(number_integer_t number) override {
    return unexpected(std::to_string(number));
  }
  bool number_float(number_float_t, const string_t &text) override {
    return unexpected(text);
  }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool null() override { return unexpected("null"); }
  bool binary(binary_t &) override { return unexpected("binary data"); }

  bool parse_error(size_t position, const std::string &,
                   const nlohmann::json::exception &error) override {
    status = invalidData(origin +
                         ": header: expected JSON, found an error at byte " +
                         std::to_string(position) + ": " + error.what());
    return false;
  }

  std::vector<TensorInfo> tensors;
  Status status;

private:
  enum class Place : uint8_t { Start, Root, Metadata, Tensor, Array, End };
  enum class Field : uint8_t { Type, Shape, Offsets, Other };

  bool fail(const std::string &what) {
    status =
        invalidData(origin + ": tensor " + quote(tensor.name) + ": " + what);
    return false;
  }
  bool unexpected(const std::string &what) {
    switch (place) {
    case Place::Tensor:
    case Place::Array:
      return fail(
          std::string(field == Field::Type ? "dtype: expected a string"
                      : field == Field::Shape
                          ? "shape: expected integers that are not negative"
                          : "data_offsets: expected two integers that are not "
                            "negative") +
          ", found " + what);
    case Place::Metadata:
      return fail("expected strings, found " + what);
    case Place::Root:
      return fail("expected an object, found " + what);
    default:
      status = invalidData(
          origin + ": header: expected an object of tensors, found " + what);
      return false;
    }
  }

  const std::string &origin;
  Place place = Place::Start;
  Field field = Field::Other;
  TensorInfo tensor;
  bool metadata = false;
  bool haveType = false, haveShape = false, haveOffsets = false;
  std::vector<int64_t> numbers;
};

Status checkTensor(TensorInfo &tensor, uint64_t dataBegin, uint64_t fileBytes,
                   const std::string &origin) {
  auto wrong = [&](const std::string &what) {
    return invalidData(origin + ": tensor " + quote(tensor.name) + ": " + what);
  };
  uint64_t bytes = elementTypeBytes(tensor.type);
  for (int64_t dimension : tensor.shape)
    if (__builtin_mul_overflow(bytes, uint64_t(dimension), &bytes))
      return wrong("shape: expected fewer than 2^64 bytes, found " +
                   describeTensor(tensor));
  uint64_t dataBytes = fileBytes - dataBegin;
  if (tensor.bytes > dataBytes || tensor.offset > dataBytes - tensor.bytes)
    return wrong("data_offsets: expected an end within the file's " +
                 std::to_string(dataBytes) + " bytes of data, found " +
                 std::to_string(tensor.offset + tensor.bytes) +
                 " (is the file cut short?)");
  if (bytes != tensor.bytes)
    return wrong("data_offsets: expected the " + std::to_string(bytes) +
                 " bytes of " + describeTensor(tensor) + ", found " +
                 std::to_string(tensor.bytes));
  tensor.offset += dataBegin;
  return {};
}

Status checkOverlap(const std::vector<TensorInfo> &tensors,
                    const std::string &origin) {
  std::vector<const TensorInfo *> byOffset;
  for (const TensorInfo &tensor : tensors)
    if (tensor.bytes)
      byOffset.push_back(&tensor);
  std::sort(byOffset.begin(), byOffset.end(),
            [](const TensorInfo *a, const TensorInfo *b) {
              return a->offset < b->offset;
            });
  for (size_t i = 1; i < byOffset.size(); ++i)
    if (byOffset[i]->offset < byOffset[i - 1]->offset + byOffset[i - 1]->bytes)
      return invalidData(origin + ": tensor " + quote(byOffset[i]->name) +
                         ": expected bytes of its own, found an overlap with " +
                         quote(byOffset[i - 1]->name));
  return {};
}

Status readAt(int handle, const std::string &path, uint64_t offset,
              std::span<uint8_t> out) {
  while (!out.empty()) {
    // Linux reads at most 2^31 - 4096 bytes a call.
    size_t most = std::min<size_t>(out.size(), size_t(1) << 30);
    ssize_t count = ::pread(handle, out.data(), most, off_t(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return ioError(path + ": cannot be read at byte " +
                     std::to_string(offset) + ": " + std::strerror(errno));
    if (count == 0)
      return ioError(path + ": expected " + std::to_string(out.size()) +
                     " more bytes at byte " + std::to_string(offset) +
                     ", found the end of the file");
    offset += uint64_t(count);
    out = out.subspan(size_t(count));
  }
  return {};
}

} // namespace

const char *elementTypeName(ElementType type) {
  return elementTypes[size_t(type)].name;
}
uint64_t elementTypeBytes(ElementType type) {
  return elementTypes[size_t(type)].bytes;
}

std::string describeTensor(const TensorInfo &tensor) {
  std::string text = elementTypeName(tensor.type);
  text += " [";
  for (size_t i = 0; i < tensor.shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(tensor.shape[i]);
  return text + "]";
}

Result<std::vector<TensorInfo>>
parseSafetensorsHeader(std::string_view json, uint64_t dataBegin,
                       uint64_t fileBytes, const std::string &origin) {
  if (dataBegin > fileBytes)
    return invalidData(origin + ": header: expected data from byte " +
                       std::to_string(dataBegin) + " on, found " +
                       std::to_string(fileBytes) + " bytes");
  HeaderReader reader(origin);
  try {
    if (!nlohmann::json::sax_parse(json, &reader))
      return reader.status;
  } catch (const nlohmann::json::exception &error) {
    return invalidData(origin + ": header: expected JSON: " + error.what());
  }
  std::vector<TensorInfo> tensors = std::move(reader.tensors);
  std::sort(tensors.begin(), tensors.end(),
            [](const auto &a, const auto &b) { return a.name < b.name; });
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (i && tensors[i].name == tensors[i - 1].name)
      return invalidData(origin + ": tensor " + quote(tensors[i].name) +
                         ": expected once, found twice");
    LAPIDARY_TRY(checkTensor(tensors[i], dataBegin, fileBytes, origin));
  }
  LAPIDARY_TRY(checkOverlap(tensors, origin));
  return tensors;
}

SafetensorsFile::SafetensorsFile(SafetensorsFile &&other) noexcept
    : name(std::move(other.name)), handle(std::exchange(other.handle, -1)),
      list(std::move(other.list)) {}

SafetensorsFile &SafetensorsFile::operator=(SafetensorsFile &&other) noexcept {
  std::swap(name, other.name);
  std::swap(handle, other.handle);
  std::swap(list, other.list);
  return *this;
}

SafetensorsFile::~SafetensorsFile() {
  if (handle >= 0)
    ::close(handle);
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string &path) {
  SafetensorsFile file;
  file.name = path;
  // Non-blocking, so that a pipe in a file's place cannot make us wait.
  file.handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.handle < 0) {
    std::string message = path + ": cannot be opened: " + std::strerror(errno);
    return errno == ENOENT ? notFound(std::move(message))
                           : ioError(std::move(message));
  }
  struct stat info;
  if (::fstat(file.handle, &info) != 0)
    return ioError(path + ": " + std::strerror(errno));
  if (!S_ISREG(info.st_mode))
    return invalidData(path + ": expected a regular file");
  uint64_t fileBytes = uint64_t(info.st_size);
  constexpr uint64_t lengthBytes = 8;
  if (fileBytes < lengthBytes)
    return invalidData(
        path +
        ": expected at least the 8 bytes of the header's length, found " +
        std::to_string(fileBytes));
  std::array<uint8_t, lengthBytes> length;
  LAPIDARY_TRY(readAt(file.handle, path, 0, length));
  uint64_t headerBytes = 0;
  for (size_t i = 0; i < lengthBytes; ++i)
    headerBytes |= uint64_t(length[i]) << (8 * i);
  if (headerBytes > fileBytes - lengthBytes)
    return invalidData(path + ": expected a header within the file's " +
                       std::to_string(fileBytes) + " bytes, found one of " +
                       std::to_string(headerBytes));
  if (headerBytes > maxSafetensorsHeaderBytes)
    return invalidData(path + ": expected a header of at most " +
                       std::to_string(maxSafetensorsHeaderBytes) +
                       " bytes, found one of " + std::to_string(headerBytes));
  std::string json(size_t(headerBytes), '\0');
  LAPIDARY_TRY(readAt(file.handle, path, lengthBytes,
                      {reinterpret_cast<uint8_t *>(json.data()), json.size()}));
  file.list = LAPIDARY_TRY(
      parseSafetensorsHeader(json, lengthBytes + headerBytes, fileBytes, path));
  return file;
}

const TensorInfo *SafetensorsFile::find(std::string_view tensor) const {
  auto found =
      std::lower_bound(list.begin(), list.end(), tensor,
                       [](const TensorInfo &info, std::string_view name) {
                         return info.name < name;
                       });
  return found != list.end() && found->name == tensor ? &*found : nullptr;
}

Status SafetensorsFile::read(const TensorInfo &tensor, uint64_t byteOffset,
                             std::span<uint8_t> out) const {
  if (byteOffset > tensor.bytes || out.size() > tensor.bytes - byteOffset)
    return invalidArgument(
        name + ": tensor " + quote(tensor.name) + ": expected a range within " +
        std::to_string(tensor.bytes) + " bytes, found " +
        std::to_string(out.size()) + " from " + std::to_string(byteOffset));
  return readAt(handle, name, tensor.offset + byteOffset, out);
}

} // namespace lapidary
