// Reads how a checkpoint is quantized. Which modules a group is for (`targets`,
// `ignore`) is not asked: the tensors say it (see CompressedTensors.h).
#include "frontends/formats/QuantizationConfig.h"

#include "frontends/formats/Json.h"
#include "frontends/formats/Safetensors.h"

#include <array>

using namespace lapidary;
using nlohmann::json;

namespace {

constexpr uint64_t maxConfigBytes = 4u << 20;
/// The next step for whoever has a checkpoint that cannot be taken as it is.
constexpr const char *instead =
    "; compile the model's original checkpoint with --quant instead";
/// The longest group that a scheme can have, and the step of their lengths.
constexpr int64_t maxGroup = 65536, groupStep = 4;

struct StorageFacts {
  QuantizedStorage storage;
  const char *name;
  /// "int" or "float", and bits that it can hold; columns of a group where the
  /// format says so.
  const char *type;
  int64_t leastBits, mostBits;
  int64_t columns = 0;
};

constexpr std::array<StorageFacts, 7> storages = {{
    {QuantizedStorage::PackedInteger, "pack-quantized", "int", 1, 8},
    {QuantizedStorage::Integer, "int-quantized", "int", 1, 8},
    {QuantizedStorage::Float8, "float-quantized", "float", 8, 8},
    {QuantizedStorage::NvFp4, "nvfp4-pack-quantized", "float", 4, 4, 16},
    {QuantizedStorage::MxFp4, "mxfp4-pack-quantized", "float", 4, 4, 32},
    {QuantizedStorage::MxFp8, "mxfp8-quantized", "float", 8, 8, 32},
    // No format of compressed-tensors'.
    {QuantizedStorage::NvFp4ModelOpt, "NVFP4", "float", 4, 4, 16},
}};

/// What ModelOpt's names of algorithms are for the weights. The AWQ ones scale
/// inputs too, so they are none of these.
struct Algorithm {
  const char *name;
  QuantizedStorage storage;
  /// What it was meant to do with the inputs of matrices; may be null.
  const char *inputs;
};

constexpr std::array<Algorithm, 6> algorithms = {{
    {"FP8", QuantizedStorage::Float8, "8-bit floats"},
    {"FP8_PER_CHANNEL_PER_TOKEN", QuantizedStorage::Float8, "8-bit floats"},
    {"NVFP4", QuantizedStorage::NvFp4ModelOpt, "4-bit floats"},
    {"W4A8_NVFP4_FP8", QuantizedStorage::NvFp4ModelOpt, "8-bit floats"},
    {"W8A16", QuantizedStorage::Integer, nullptr},
    {"W8A8_SQ_PER_CHANNEL", QuantizedStorage::Integer, "8-bit integers"},
}};

const StorageFacts &getFacts(QuantizedStorage storage) {
  for (const StorageFacts &facts : storages)
    if (facts.storage == storage)
      return facts;
  __builtin_unreachable();
}

/// "a, b or c" of the entries' names.
template <typename Table> std::string listNames(const Table &table) {
  std::string names;
  for (const auto &entry : table)
    names += (names.empty() ? "" : ", ") + std::string(entry.name);
  return names;
}

class QuantizationReader {
public:
  explicit QuantizationReader(std::string origin) : origin(std::move(origin)) {}

  Status readMethod(const json &object);
  /// `path` is where the object is, for messages.
  Status readModelOpt(const json &object, const std::string &path);

  QuantizationConfig config;

private:
  Status readCompressed(const json &object);
  Status readGroup(const json &object, const std::string &path,
                   const std::string &format);
  Result<QuantizedGroup> readWeights(const json &object,
                                     const std::string &path,
                                     const std::string &format);
  Status readExtent(JsonFields &fields, QuantizedGroup &group);
  Status addAlgorithm(JsonFields &fields);
  void remarkInputs(const std::string &as);
  void remarkCache();

  std::string origin;
};

std::string describeArguments(const json &arguments) {
  auto number = arguments.find("num_bits");
  auto type = arguments.find("type");
  bool isFloat = type != arguments.end() && *type == "float";
  bool known = number != arguments.end() && number->is_number_unsigned();
  return (known ? number->dump() + "-bit " : std::string()) +
         (isFloat ? "floats" : "integers");
}

} // namespace

void QuantizationReader::remarkInputs(const std::string &as) {
  std::string remark =
      config.origin + ": the inputs of matrices were meant to be rounded to " +
      as +
      "; the weights are taken as they are, the inputs stay f32 unless "
      "--activations says otherwise";
  for (const std::string &known : config.remarks)
    if (known == remark)
      return;
  config.remarks.push_back(std::move(remark));
}

void QuantizationReader::remarkCache() {
  config.cache = true;
  config.remarks.push_back(config.origin +
                           ": keys and values were meant to be quantized; "
                           "they are not, and their scales are left out");
}

Status QuantizationReader::readMethod(const json &object) {
  config.origin = origin + ": quantization_config";
  auto method = object.find("quant_method");
  if (method != object.end() && *method == "compressed-tensors")
    return readCompressed(object);
  if (method != object.end() && *method == "modelopt")
    return readModelOpt(object, "quantization_config.");
  return unsupported(origin +
                     ": quantization_config.quant_method: expected "
                     "\"compressed-tensors\" or \"modelopt\", found " +
                     describeJson(method == object.end() ? nullptr : &*method) +
                     instead);
}

Status QuantizationReader::readCompressed(const json &object) {
  JsonFields fields(object, origin, "quantization_config.");
  // `ignore` and `targets` are lists and patterns of modules' names.
  fields.ignore({"quant_method", "ignore", "global_compression_ratio",
                 "quantization_status", "version", "run_compressed"});
  std::string format = LAPIDARY_TRY(fields.string("format", ""));
  // These change what the tensors mean.
  for (const char *key :
       {"sparsity_config", "transform_config", "moe_sparsity_config"}) {
    const json *other = LAPIDARY_TRY(fields.child(key));
    if (!other || other->empty())
      continue;
    auto kind = other->find("format");
    if (kind == other->end() || *kind != "dense")
      return unsupported(fields.where(key) + ": expected none, found " +
                         describeJson(other) + instead);
  }
  if (fields.get("kv_cache_scheme"))
    remarkCache();
  const json *groups = LAPIDARY_TRY(fields.child("config_groups"));
  if (!groups)
    return fields.wrong("config_groups", "an object", nullptr);
  for (const auto &item : groups->items()) {
    std::string path =
        "quantization_config.config_groups." + item.key().substr(0, 200);
    if (!item.value().is_object())
      return unsupported(origin + ": " + path + ": expected an object, found " +
                         describeJson(&item.value()));
    LAPIDARY_TRY(readGroup(item.value(), path + ".", format));
  }
  return fields.finish();
}

Status QuantizationReader::readGroup(const json &object,
                                     const std::string &path,
                                     const std::string &format) {
  JsonFields fields(object, origin, path);
  fields.ignore({"targets"});
  std::string own = LAPIDARY_TRY(fields.string("format", format));
  const json *inputs = LAPIDARY_TRY(fields.child("input_activations"));
  const json *outputs = LAPIDARY_TRY(fields.child("output_activations"));
  if (inputs)
    remarkInputs(describeArguments(*inputs));
  if (outputs)
    config.remarks.push_back(
        origin + ": " + path +
        "output_activations: the outputs of matrices were meant to be rounded "
        "to " +
        describeArguments(*outputs) + "; they stay f32");
  if (const json *weights = LAPIDARY_TRY(fields.child("weights")))
    config.groups.push_back(
        LAPIDARY_TRY(readWeights(*weights, path + "weights.", own)));
  return fields.finish();
}

Result<QuantizedGroup>
QuantizationReader::readWeights(const json &object, const std::string &path,
                                const std::string &format) {
  JsonFields fields(object, origin, path);
  // Types follow from the tensors; observers are how scales were found.
  fields.ignore({"scale_dtype", "zp_dtype", "observer", "observer_kwargs"});
  std::string type = LAPIDARY_TRY(fields.string("type", "int"));
  std::string wanted = format;
  if (format == "naive-quantized")
    wanted = type == "float" ? "float-quantized" : "int-quantized";
  const StorageFacts *facts = nullptr;
  for (const StorageFacts &candidate : storages)
    if (wanted == candidate.name)
      facts = &candidate;
  if (!facts || facts->storage == QuantizedStorage::NvFp4ModelOpt)
    return unsupported(
        origin + ": " + path + ": expected a format of naive-quantized, " +
        listNames(std::span(storages).first(storages.size() - 1)) + ", found " +
        (format.empty() ? "none" : quoteName(format)) + instead);

  QuantizedGroup group;
  group.storage = facts->storage;
  if (type != facts->type)
    return fields.wrong("type", quoteName(facts->type), fields.get("type"));
  group.bits = unsigned(LAPIDARY_TRY(
      fields.integer("num_bits", 8, facts->leastBits, facts->mostBits)));
  group.symmetric = LAPIDARY_TRY(fields.flag("symmetric", true));
  if (!group.symmetric && type == "float")
    return fields.wrong("symmetric", "true for floats", &object["symmetric"]);
  LAPIDARY_TRY(fields.expect("dynamic", {false}));
  // "group" permutes columns; the others were done when codes were chosen.
  LAPIDARY_TRY(fields.expect("actorder", {false, "weight", "static"}));
  LAPIDARY_TRY(readExtent(fields, group));
  if (facts->columns && group.columns != facts->columns)
    return fields.wrong("group_size", std::to_string(facts->columns),
                        fields.get("group_size"));
  LAPIDARY_TRY(fields.finish());
  return group;
}

Status QuantizationReader::readExtent(JsonFields &fields,
                                      QuantizedGroup &group) {
  LAPIDARY_TRY(fields.expect(
      "strategy", {"tensor", "channel", "group", "tensor_group", "block"}));
  int64_t columns = LAPIDARY_TRY(fields.integer("group_size", 0, -1, maxGroup));
  auto blocks = LAPIDARY_TRY(fields.integers("block_structure", 1, maxGroup));
  std::string strategy = LAPIDARY_TRY(fields.string("strategy", ""));
  if (strategy.empty())
    strategy = columns > 0 ? "group" : "channel";
  if (strategy == "block") {
    if (!blocks || blocks->size() != 2)
      return fields.wrong("block_structure", "[rows, columns]",
                          fields.get("block_structure"));
    group.rows = (*blocks)[0];
    columns = (*blocks)[1];
  } else if (strategy == "tensor" || strategy == "channel") {
    return {};
  }
  if (columns < groupStep || columns % groupStep)
    return fields.wrong(
        strategy == "block" ? "block_structure" : "group_size",
        "columns in multiples of " + std::to_string(groupStep),
        fields.get(strategy == "block" ? "block_structure" : "group_size"));
  group.columns = columns;
  return {};
}

Status QuantizationReader::readModelOpt(const json &object,
                                        const std::string &path) {
  JsonFields fields(object, origin, path);
  // What has modules' names, and another form of what `quant_algo` says.
  fields.ignore({"quant_method", "quant_library", "producer", "config_groups",
                 "ignore", "exclude_modules"});
  for (const char *key : {"kv_cache_quant_algo", "kv_cache_scheme"}) {
    const json *cache = fields.get(key);
    if (cache && !config.cache)
      remarkCache();
  }
  LAPIDARY_TRY(addAlgorithm(fields));
  if (const json *layers = LAPIDARY_TRY(fields.child("quantized_layers")))
    for (const auto &item : layers->items()) {
      std::string where =
          path + "quantized_layers." + item.key().substr(0, 200);
      if (!item.value().is_object())
        return invalidData(origin + ": " + where +
                           ": expected an object, found " +
                           describeJson(&item.value()));
      JsonFields layer(item.value(), origin, where + ".");
      LAPIDARY_TRY(addAlgorithm(layer));
      LAPIDARY_TRY(layer.finish());
    }
  return fields.finish();
}

Status QuantizationReader::addAlgorithm(JsonFields &fields) {
  std::string name = LAPIDARY_TRY(fields.string("quant_algo", ""));
  LAPIDARY_TRY(fields.expect("has_zero_point", {false}));
  // Whether there are such factors is seen by their tensors.
  fields.ignore({"pre_quant_scale"});
  int64_t columns = LAPIDARY_TRY(fields.integer("group_size", 0, 0, maxGroup));
  // The layers say it, or nothing but the cache is quantized.
  if (name == "MIXED_PRECISION" || name.empty())
    return {};
  for (const Algorithm &algorithm : algorithms) {
    if (name != algorithm.name)
      continue;
    QuantizedGroup group;
    group.storage = algorithm.storage;
    group.columns = getFacts(algorithm.storage).columns;
    if (columns && group.columns && columns != group.columns)
      return fields.wrong("group_size", std::to_string(group.columns),
                          fields.get("group_size"));
    if (algorithm.inputs)
      remarkInputs(algorithm.inputs);
    for (const QuantizedGroup &known : config.groups)
      if (known.storage == group.storage)
        return {};
    config.groups.push_back(group);
    return {};
  }
  return unsupported(fields.where("quant_algo") + ": expected one of " +
                     listNames(algorithms) + ", MIXED_PRECISION, found " +
                     describeJson(fields.get("quant_algo")) + instead);
}

const char *lapidary::getStorageName(QuantizedStorage storage) {
  return getFacts(storage).name;
}

Result<std::optional<QuantizationConfig>>
lapidary::parseQuantizationConfig(std::string_view config,
                                  const std::string &origin) {
  using Found = std::optional<QuantizationConfig>;
  json root = LAPIDARY_TRY(parseJsonObject(config, origin));
  // An older name of the same.
  for (const char *key : {"quantization_config", "compression_config"}) {
    auto found = root.find(key);
    if (found == root.end() || found->is_null())
      continue;
    if (!found->is_object())
      return invalidData(origin + ": " + key + ": expected an object, found " +
                         describeJson(&*found));
    QuantizationReader reader(origin);
    LAPIDARY_TRY(reader.readMethod(*found));
    return Found(std::move(reader.config));
  }
  return Found();
}

Result<QuantizationConfig>
lapidary::parseModelOptConfig(std::string_view text,
                              const std::string &origin) {
  json root = LAPIDARY_TRY(parseJsonObject(text, origin));
  JsonFields fields(root, origin, "");
  fields.ignore({"producer"});
  const json *object = LAPIDARY_TRY(fields.child("quantization"));
  if (!object)
    return fields.wrong("quantization", "an object", nullptr);
  LAPIDARY_TRY(fields.finish());
  QuantizationReader reader(origin);
  reader.config.origin = origin;
  LAPIDARY_TRY(reader.readModelOpt(*object, "quantization."));
  return std::move(reader.config);
}

Result<std::optional<QuantizationConfig>>
lapidary::readQuantizationConfig(const std::string &folder) {
  using Found = std::optional<QuantizationConfig>;
  std::string path = folder + "/config.json";
  Result<std::string> text = readTextFile(path, maxConfigBytes);
  if (text.ok()) {
    Found found = LAPIDARY_TRY(parseQuantizationConfig(*text, path));
    if (found)
      return found;
  } else if (text.status().getCode() != StatusCode::NotFound) {
    return text.status();
  }
  path = folder + "/hf_quant_config.json";
  text = readTextFile(path, maxConfigBytes);
  if (text.ok())
    return Found(LAPIDARY_TRY(parseModelOptConfig(*text, path)));
  if (text.status().getCode() != StatusCode::NotFound)
    return text.status();
  return Found();
}
