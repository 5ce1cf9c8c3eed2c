// Finds the parts of each quantized matrix and holds them against each other
// and against the configuration.
#include "frontends/formats/CompressedTensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

using namespace lapidary;

namespace {

/// Rows and columns of a matrix; room for any, and products of two fit.
constexpr int64_t maxExtent = int64_t(1) << 31;
constexpr int64_t wordBits = 32, byteBits = 8;

enum Part : uint8_t { Packed, Scale, Zero, Shape, Global, Scale2, Order };
constexpr std::array<std::string_view, 7> partNames = {
    "weight_packed", "weight_scale",        "weight_zero_point",
    "weight_shape",  "weight_global_scale", "weight_scale_2",
    "weight_g_idx"};
/// Of what is computed with the matrix, not of the matrix.
constexpr std::array<std::string_view, 6> activationParts = {
    "input_scale",  "input_zero_point",  "input_global_scale",
    "output_scale", "output_zero_point", "output_global_scale"};
constexpr std::array<std::string_view, 6> cacheParts = {
    "k_scale",      "v_scale",      "q_scale",
    "k_zero_point", "v_zero_point", "q_zero_point"};

struct Module {
  std::array<const TensorInfo *, partNames.size()> parts = {};
  const TensorInfo *weight = nullptr;
  const TensorInfo *get(Part part) const { return parts[part]; }
};

/// "a.b.weight" at the last dot.
std::pair<std::string_view, std::string_view> splitName(std::string_view name) {
  size_t dot = name.rfind('.');
  if (dot == std::string_view::npos)
    return {{}, name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

template <size_t n>
bool isOneOf(std::string_view name,
             const std::array<std::string_view, n> &names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string describeShape(std::initializer_list<int64_t> shape) {
  std::string text = "[";
  for (int64_t dimension : shape)
    text += (text.size() > 1 ? ", " : "") + std::to_string(dimension);
  return text + "]";
}

bool isShape(const TensorInfo &tensor, int64_t rows, int64_t columns) {
  return tensor.shape == std::vector<int64_t>{rows, columns};
}

bool isScalar(const TensorInfo &tensor) {
  return std::all_of(tensor.shape.begin(), tensor.shape.end(),
                     [](int64_t dimension) { return dimension == 1; });
}

int64_t divideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

class Combiner {
public:
  Combiner(const QuantizationConfig &config, const Checkpoint &checkpoint)
      : config(config), checkpoint(checkpoint) {}

  Result<TensorInfo> combine(const std::string &name, const Module &module);
  /// Names of the parts that matrices have been made of.
  std::set<std::string_view> used;

private:
  /// Parts and the group that may describe them.
  struct Candidate {
    const std::string &name;
    const Module &module;
    const QuantizedGroup &group;
    int64_t rows = 0, columns = 0;
    std::vector<const TensorInfo *> parts = {};
  };

  Result<TensorInfo> describe(Candidate candidate);
  Status setCodes(Candidate &candidate, CompressedMatrix &matrix);
  Status setScales(Candidate &candidate, CompressedMatrix &matrix);
  Status setZeros(Candidate &candidate, CompressedMatrix &matrix);
  Status setGlobal(Candidate &candidate, CompressedMatrix &matrix);
  Status readShape(Candidate &candidate);
  Status checkZeros(const TensorInfo &tensor);

  Result<const TensorInfo *> require(Candidate &candidate, Part part);
  Status wrong(const TensorInfo &tensor, const std::string &expected) const {
    return invalidData(where(tensor) + ": expected " + expected + ", found " +
                       describeTensor(tensor));
  }
  std::string where(const TensorInfo &tensor) const {
    return checkpoint.pathOf(tensor) + ": tensor " + quoteName(tensor.name);
  }

  const QuantizationConfig &config;
  const Checkpoint &checkpoint;
};

} // namespace

Result<const TensorInfo *> Combiner::require(Candidate &candidate, Part part) {
  const TensorInfo *tensor = candidate.module.get(part);
  if (!tensor)
    return invalidData(
        checkpoint.folder() + ": tensor " +
        quoteName(candidate.name + "." + std::string(partNames[part])) +
        ": expected one, because " + config.origin + " is " +
        getStorageName(candidate.group.storage) + ", found no such tensor");
  candidate.parts.push_back(tensor);
  return tensor;
}

/// Whether the module's codes can be of this storage.
static bool fits(const Module &module, QuantizedStorage storage) {
  const TensorInfo *packed = module.get(Packed), *weight = module.weight;
  switch (storage) {
  case QuantizedStorage::PackedInteger:
    return packed && packed->type == ElementType::I32;
  case QuantizedStorage::NvFp4:
  case QuantizedStorage::MxFp4:
    return packed && packed->type == ElementType::U8;
  case QuantizedStorage::Integer:
    return weight && weight->type == ElementType::I8;
  case QuantizedStorage::Float8:
  case QuantizedStorage::MxFp8:
    return weight && weight->type == ElementType::F8E4M3;
  case QuantizedStorage::NvFp4ModelOpt:
    return weight && weight->type == ElementType::U8;
  }
  __builtin_unreachable();
}

Result<TensorInfo> Combiner::combine(const std::string &name,
                                     const Module &module) {
  const TensorInfo *codes =
      module.get(Packed) ? module.get(Packed) : module.weight;
  if (!codes) {
    const TensorInfo *part =
        *std::find_if(module.parts.begin(), module.parts.end(),
                      [](const TensorInfo *p) { return p; });
    return invalidData(where(*part) + ": expected " + name +
                       ".weight or .weight_packed beside it, found neither");
  }
  if (module.get(Packed) && module.weight)
    return wrong(*module.weight, "no such tensor beside " +
                                     quoteName(module.get(Packed)->name));
  if (const TensorInfo *order = module.get(Order))
    return unsupported(where(*order) +
                       ": expected columns in their own order, found an order "
                       "of groups (actorder group)");
  std::optional<Status> error;
  std::string formats;
  for (const QuantizedGroup &group : config.groups) {
    std::string storage = getStorageName(group.storage);
    if (formats.find(storage) == std::string::npos)
      formats += (formats.empty() ? "" : " or ") + storage;
    if (!fits(module, group.storage))
      continue;
    Result<TensorInfo> matrix = describe({name, module, group});
    if (matrix.ok())
      return matrix;
    // The first group that could have been it says what is wrong.
    if (!error)
      error = matrix.status();
  }
  if (error)
    return *error;
  return wrong(*codes, "codes as " + config.origin + " has them (" +
                           (formats.empty() ? "none" : formats) + ")");
}

Result<TensorInfo> Combiner::describe(Candidate candidate) {
  CompressedMatrix matrix;
  LAPIDARY_TRY(setCodes(candidate, matrix));
  LAPIDARY_TRY(setScales(candidate, matrix));
  LAPIDARY_TRY(setZeros(candidate, matrix));
  LAPIDARY_TRY(setGlobal(candidate, matrix));
  TensorInfo tensor;
  if (!chooseScheme(candidate.group.storage, candidate.group.columns, tensor,
                    matrix))
    return wrong(matrix.scale, getScaleTypes(candidate.group.storage));
  tensor.name = candidate.name + ".weight";
  tensor.type = ElementType::U8;
  tensor.shape = {candidate.rows, candidate.columns};
  tensor.offset = matrix.codes.offset;
  tensor.file = matrix.codes.file;
  for (const TensorInfo *part : candidate.parts) {
    tensor.bytes += part->bytes;
    used.insert(part->name);
  }
  tensor.matrix = std::make_shared<const CompressedMatrix>(std::move(matrix));
  return tensor;
}

Status Combiner::readShape(Candidate &candidate) {
  const TensorInfo &shape = *LAPIDARY_TRY(require(candidate, Shape));
  if ((shape.type != ElementType::I64 && shape.type != ElementType::I32) ||
      shape.shape != std::vector<int64_t>{2})
    return wrong(shape, "I64 or I32 [2]");
  std::array<uint8_t, 16> bytes;
  LAPIDARY_TRY(checkpoint.read(shape, 0, std::span(bytes).first(shape.bytes)));
  std::array<int64_t, 2> extents;
  if (shape.type == ElementType::I64) {
    std::memcpy(extents.data(), bytes.data(), sizeof extents);
  } else {
    std::array<int32_t, 2> narrow;
    std::memcpy(narrow.data(), bytes.data(), sizeof narrow);
    extents = {narrow[0], narrow[1]};
  }
  for (int64_t extent : extents)
    if (extent < 1 || extent >= maxExtent)
      return invalidData(where(shape) + ": expected rows and columns in 1.." +
                         std::to_string(maxExtent - 1) + ", found " +
                         describeShape({extents[0], extents[1]}));
  candidate.rows = extents[0];
  candidate.columns = extents[1];
  return {};
}

Status Combiner::setCodes(Candidate &candidate, CompressedMatrix &matrix) {
  const QuantizedGroup &group = candidate.group;
  const TensorInfo &codes = candidate.module.get(Packed)
                                ? *candidate.module.get(Packed)
                                : *candidate.module.weight;
  candidate.parts.push_back(&codes);
  matrix.codes = codes;
  if (codes.shape.size() != 2 || codes.shape[0] < 1 ||
      codes.shape[0] >= maxExtent || codes.shape[1] < 1 ||
      codes.shape[1] >= maxExtent / 2)
    return wrong(codes, "a matrix with rows and columns below 2^30");
  candidate.rows = codes.shape[0];
  candidate.columns = codes.shape[1];
  switch (group.storage) {
  case QuantizedStorage::PackedInteger: {
    LAPIDARY_TRY(readShape(candidate));
    matrix.bits = group.bits;
    matrix.flip = group.bits == byteBits ? 0x80 : 0;
    int64_t words = divideUp(candidate.columns * group.bits, wordBits);
    if (!isShape(codes, candidate.rows, words))
      return wrong(
          codes, "I32 " + describeShape({candidate.rows, words}) + " (" +
                     std::to_string(group.bits) + "-bit integers of " +
                     describeShape({candidate.rows, candidate.columns}) + ")");
    return {};
  }
  case QuantizedStorage::NvFp4:
  case QuantizedStorage::NvFp4ModelOpt:
  case QuantizedStorage::MxFp4:
    matrix.bits = 4;
    candidate.columns *= 2;
    return {};
  default:
    return {};
  }
}

Status Combiner::setScales(Candidate &candidate, CompressedMatrix &matrix) {
  const QuantizedGroup &group = candidate.group;
  const TensorInfo &scale = *LAPIDARY_TRY(require(candidate, Scale));
  matrix.scale = scale;
  int64_t rows = candidate.rows, columns = candidate.columns;
  if (!group.columns) {
    if (isScalar(scale)) {
      matrix.rowsPerScale = rows;
      return {};
    }
    if (scale.shape != std::vector<int64_t>{rows} && !isShape(scale, rows, 1))
      return wrong(scale, std::string(getScaleTypes(group.storage)) + " " +
                              describeShape({rows, 1}) + " or one scale");
    return {};
  }
  // A block's last columns may be missing, a group's may not.
  if (group.rows == 1 && columns % group.columns)
    return invalidData(where(matrix.codes) +
                       ": expected columns in groups of " +
                       std::to_string(group.columns) + " (" + config.origin +
                       "), found " + std::to_string(columns));
  matrix.rowsPerScale = group.rows;
  matrix.scaleColumns = divideUp(columns, group.columns);
  int64_t scaleRows = divideUp(rows, group.rows);
  if (!isShape(scale, scaleRows, matrix.scaleColumns))
    return wrong(scale, std::string(getScaleTypes(group.storage)) + " " +
                            describeShape({scaleRows, matrix.scaleColumns}));
  return {};
}

Status Combiner::setZeros(Candidate &candidate, CompressedMatrix &matrix) {
  const QuantizedGroup &group = candidate.group;
  if (group.symmetric && !candidate.module.get(Zero))
    return {};
  const TensorInfo &zero = *LAPIDARY_TRY(require(candidate, Zero));
  // Older files keep zeros where there is no zero point.
  if (group.symmetric)
    return checkZeros(zero);
  matrix.zero = zero;
  if (zero.type == ElementType::I8 && zero.shape == matrix.scale.shape)
    return {};
  std::string expected = "I8 as " + quoteName(matrix.scale.name) + " is";
  if (group.storage == QuantizedStorage::PackedInteger && group.rows == 1) {
    int64_t words = divideUp(candidate.rows * group.bits, wordBits);
    matrix.zeroPacked = true;
    if (zero.type == ElementType::I32 &&
        isShape(zero, words, matrix.scaleColumns) && matrix.rowsPerScale == 1)
      return {};
    expected = "I32 " + describeShape({words, matrix.scaleColumns}) + " or " +
               expected;
  }
  return wrong(zero, expected);
}

Status Combiner::checkZeros(const TensorInfo &tensor) {
  constexpr uint64_t chunk = 1 << 16;
  std::vector<uint8_t> bytes;
  for (uint64_t at = 0; at < tensor.bytes; at += bytes.size()) {
    bytes.resize(std::min(chunk, tensor.bytes - at));
    LAPIDARY_TRY(checkpoint.read(tensor, at, bytes));
    if (std::any_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b; }))
      return wrong(tensor,
                   "zeros alone, because " + config.origin + " is symmetric");
  }
  return {};
}

Status Combiner::setGlobal(Candidate &candidate, CompressedMatrix &matrix) {
  bool divides = candidate.group.storage == QuantizedStorage::NvFp4;
  if (!divides && candidate.group.storage != QuantizedStorage::NvFp4ModelOpt)
    return {};
  const TensorInfo &tensor =
      *LAPIDARY_TRY(require(candidate, divides ? Global : Scale2));
  if (tensor.type != ElementType::F32 || !isScalar(tensor))
    return wrong(tensor, "one F32");
  std::array<uint8_t, 4> bytes;
  LAPIDARY_TRY(checkpoint.read(tensor, 0, bytes));
  auto value = std::bit_cast<float>(bytes);
  // The libraries that run such checkpoints multiply with 1 / value in f32 too.
  matrix.global = divides ? 1 / value : value;
  if (!std::isfinite(value) || !std::isfinite(*matrix.global) || value <= 0)
    return invalidData(where(tensor) +
                       ": expected a positive number with a reciprocal, "
                       "found " +
                       std::to_string(value));
  return {};
}

Status lapidary::combineCompressedTensors(const QuantizationConfig &config,
                                          const Checkpoint &checkpoint,
                                          std::vector<TensorInfo> &tensors) {
  std::map<std::string, Module, std::less<>> modules;
  for (const TensorInfo &tensor : tensors) {
    auto [module, part] = splitName(tensor.name);
    const auto *found = std::find(partNames.begin(), partNames.end(), part);
    if (found != partNames.end())
      modules[std::string(module)].parts[found - partNames.begin()] = &tensor;
    else if (part == "weight" && elementTypeBytes(tensor.type) == 1)
      modules[std::string(module)]; // Codes, whose scales may be missing.
  }
  Combiner combiner(config, checkpoint);
  std::vector<TensorInfo> combined;
  for (auto &[name, module] : modules) {
    module.weight = findTensor(tensors, name + ".weight");
    combined.push_back(LAPIDARY_TRY(combiner.combine(name, module)));
  }
  for (const TensorInfo &tensor : tensors) {
    auto [module, part] = splitName(tensor.name);
    bool apart = combiner.used.contains(tensor.name) ||
                 (isOneOf(part, activationParts) && modules.contains(module)) ||
                 (config.cache && isOneOf(part, cacheParts));
    if (!apart)
      combined.push_back(tensor);
  }
  std::sort(combined.begin(), combined.end(),
            [](const auto &a, const auto &b) { return a.name < b.name; });
  tensors = std::move(combined);
  return {};
}
