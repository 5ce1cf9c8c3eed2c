// One safetensors file: the header's checks and bounded reads.
#include "frontends/formats/Safetensors.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>

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
                  quoteName(text));
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
                  quoteName(text));
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
    status = invalidData(origin + ": tensor " + quoteName(tensor.name) + ": " +
                         what);
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
    return invalidData(origin + ": tensor " + quoteName(tensor.name) + ": " +
                       what);
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

} // namespace

Status checkOverlap(std::span<const TensorInfo> tensors,
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
      return invalidData(origin + ": tensor " + quoteName(byOffset[i]->name) +
                         ": expected bytes of its own, found an overlap with " +
                         quoteName(byOffset[i - 1]->name));
  return {};
}

bool followsFromConfig(std::string_view name) {
  return name.ends_with("inv_freq") || name.ends_with("embed_scale");
}

const char *elementTypeName(ElementType type) {
  return elementTypes[size_t(type)].name;
}
uint64_t elementTypeBytes(ElementType type) {
  return elementTypes[size_t(type)].bytes;
}

std::string describeTensor(const TensorInfo &tensor) {
  std::string text =
      tensor.encoding.empty() ? elementTypeName(tensor.type) : tensor.encoding;
  text += " [";
  for (size_t i = 0; i < tensor.shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(tensor.shape[i]);
  return text + "]";
}

std::string quoteName(std::string_view name) {
  constexpr size_t longest = 200;
  return '"' + std::string(name.substr(0, longest)) +
         (name.size() > longest ? "...\"" : "\"");
}

const TensorInfo *findTensor(std::span<const TensorInfo> tensors,
                             std::string_view name) {
  auto found =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const TensorInfo &info, std::string_view wanted) {
                         return info.name < wanted;
                       });
  return found != tensors.end() && found->name == name ? &*found : nullptr;
}

Status checkTensorRange(const TensorInfo &tensor, uint64_t byteOffset,
                        uint64_t bytes, const std::string &origin) {
  if (byteOffset <= tensor.bytes && bytes <= tensor.bytes - byteOffset)
    return {};
  return invalidArgument(origin + ": tensor " + quoteName(tensor.name) +
                         ": expected a range within " +
                         std::to_string(tensor.bytes) + " bytes, found " +
                         std::to_string(bytes) + " from " +
                         std::to_string(byteOffset));
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
      return invalidData(origin + ": tensor " + quoteName(tensors[i].name) +
                         ": expected once, found twice");
    LAPIDARY_TRY(checkTensor(tensors[i], dataBegin, fileBytes, origin));
  }
  LAPIDARY_TRY(checkOverlap(tensors, origin));
  return tensors;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string &path) {
  SafetensorsFile file(LAPIDARY_TRY(InputFile::open(path)));
  uint64_t fileBytes = file.file.bytes();
  constexpr uint64_t lengthBytes = 8;
  if (fileBytes < lengthBytes)
    return invalidData(
        path +
        ": expected at least the 8 bytes of the header's length, found " +
        std::to_string(fileBytes));
  std::array<uint8_t, lengthBytes> length;
  LAPIDARY_TRY(file.file.read(0, length));
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
  LAPIDARY_TRY(file.file.read(
      lengthBytes, {reinterpret_cast<uint8_t *>(json.data()), json.size()}));
  file.list = LAPIDARY_TRY(
      parseSafetensorsHeader(json, lengthBytes + headerBytes, fileBytes, path));
  return file;
}

const TensorInfo *SafetensorsFile::find(std::string_view tensor) const {
  return findTensor(list, tensor);
}

Status SafetensorsFile::read(const TensorInfo &tensor, uint64_t byteOffset,
                             std::span<uint8_t> out) const {
  LAPIDARY_TRY(checkTensorRange(tensor, byteOffset, out.size(), path()));
  return file.read(tensor.offset + byteOffset, out);
}

} // namespace lapidary
