// A checkpoint's tensors, in one file or in shards.
#include "frontends/formats/CompressedTensors.h"
#include "frontends/formats/GgufTensors.h"
#include "frontends/formats/Json.h"
#include "frontends/formats/Safetensors.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <sys/stat.h>

namespace lapidary {

namespace {

/// An index has about 100 bytes a tensor; this is room for 300,000.
constexpr uint64_t maxIndexBytes = 32u << 20;

bool exists(const std::string &path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

/// The index says which files are opened, so a name must stay in the folder.
bool isPlainFileName(const std::string &name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

} // namespace

Result<Checkpoint> Checkpoint::open(const std::string &folder) {
  Checkpoint checkpoint;
  checkpoint.root = folder;
  std::string single = folder + "/model.safetensors";
  std::string index = folder + "/model.safetensors.index.json";
  if (exists(single)) {
    // As the reference does, which looks for an index only without this file.
    checkpoint.names.push_back("model.safetensors");
    checkpoint.shards.push_back(LAPIDARY_TRY(SafetensorsFile::open(single)));
    checkpoint.list = checkpoint.shards[0].tensors();
    LAPIDARY_TRY(checkpoint.combineQuantized());
    return checkpoint;
  }
  if (!exists(index))
    return notFound(folder + ": expected model.safetensors or "
                             "model.safetensors.index.json, found neither");
  LAPIDARY_TRY(checkpoint.openIndex(index));
  LAPIDARY_TRY(checkpoint.combineQuantized());
  return checkpoint;
}

Result<Checkpoint> Checkpoint::openGguf(const std::string &text,
                                        const std::string &media) {
  GgufFile textFile = LAPIDARY_TRY(GgufFile::open(text));
  std::optional<GgufFile> mediaFile;
  if (!media.empty())
    mediaFile = LAPIDARY_TRY(GgufFile::open(media));
  Checkpoint checkpoint;
  std::filesystem::path folder = std::filesystem::path(text).parent_path();
  checkpoint.root = folder.empty() ? "." : folder.string();
  for (const std::string &path : {text, media}) {
    std::filesystem::path name = path;
    if (!path.empty())
      checkpoint.names.push_back(
          name.parent_path() == folder ? name.filename().string() : path);
  }
  checkpoint.ggufTensors = std::make_shared<const GgufTensors>(LAPIDARY_TRY(
      GgufTensors::create(std::move(textFile), std::move(mediaFile))));
  checkpoint.list = checkpoint.ggufTensors->tensors();
  checkpoint.ggufFiles = static_cast<uint32_t>(checkpoint.names.size());
  return checkpoint;
}

Status Checkpoint::openIndex(const std::string &path) {
  std::string text = LAPIDARY_TRY(readTextFile(path, maxIndexBytes));
  nlohmann::json root = LAPIDARY_TRY(parseJsonObject(text, path));
  JsonFields fields(root, path, "");
  fields.ignore({"metadata"});
  const nlohmann::json *map = LAPIDARY_TRY(fields.child("weight_map"));
  if (!map)
    return fields.wrong("weight_map", "an object", nullptr);
  LAPIDARY_TRY(fields.finish());

  // Tensor to shard: what is still to be found.
  std::map<std::string, std::string, std::less<>> missing;
  std::set<std::string> shardNames;
  for (const auto &item : map->items()) {
    std::string where = path + ": weight_map: " + item.key().substr(0, 200);
    if (!item.value().is_string() ||
        !isPlainFileName(item.value().get_ref<const std::string &>()))
      return invalidData(where +
                         ": expected the name of a file in the folder, found " +
                         describeJson(&item.value()));
    missing.emplace(item.key(), item.value().get<std::string>());
    shardNames.insert(item.value().get<std::string>());
  }
  for (const std::string &name : shardNames)
    LAPIDARY_TRY(addShard(name, missing));
  if (!missing.empty())
    return invalidData(path + ": weight_map: " + missing.begin()->first +
                       ": expected in shard " + missing.begin()->second +
                       ", found no such tensor there");
  std::sort(list.begin(), list.end(),
            [](const auto &a, const auto &b) { return a.name < b.name; });
  return {};
}

Status Checkpoint::addCompanion(const std::string &folder,
                                const std::string &prefix) {
  Checkpoint companion = LAPIDARY_TRY(Checkpoint::open(folder));
  auto firstFile = static_cast<uint32_t>(names.size());
  for (const std::string &name : companion.names)
    names.push_back(folder + "/" + name);
  for (SafetensorsFile &shard : companion.shards)
    shards.push_back(std::move(shard));
  for (TensorInfo &tensor : companion.list) {
    if (!tensor.encoding.empty())
      return unsupported(folder + ": tensor " + tensor.name +
                         ": expected a companion of plain numbers, found " +
                         describeTensor(tensor));
    tensor.name = prefix + tensor.name;
    tensor.file += firstFile;
    list.push_back(std::move(tensor));
  }
  for (const std::string &name : companion.extra)
    extra.push_back(folder + "/" + name);
  std::sort(list.begin(), list.end(),
            [](const auto &a, const auto &b) { return a.name < b.name; });
  auto twice = std::adjacent_find(
      list.begin(), list.end(),
      [](const auto &a, const auto &b) { return a.name == b.name; });
  if (twice != list.end())
    return invalidData(root + ": tensor " + twice->name +
                       ": expected a name that no tensor of the companion in " +
                       folder + " has");
  return {};
}

Status Checkpoint::combineQuantized() {
  std::optional<QuantizationConfig> config =
      LAPIDARY_TRY(readQuantizationConfig(root));
  if (!config)
    return {};
  notes = config->remarks;
  return combineCompressedTensors(*config, *this, list);
}

Status
Checkpoint::addShard(const std::string &name,
                     std::map<std::string, std::string, std::less<>> &missing) {
  SafetensorsFile shard =
      LAPIDARY_TRY(SafetensorsFile::open(root + "/" + name));
  for (const TensorInfo &tensor : shard.tensors()) {
    auto found = missing.find(tensor.name);
    if (found == missing.end() || found->second != name) {
      extra.push_back(name + ": " + tensor.name);
      continue;
    }
    list.push_back(tensor);
    list.back().file = uint32_t(shards.size());
    missing.erase(found);
  }
  names.push_back(name);
  shards.push_back(std::move(shard));
  return {};
}

const TensorInfo *Checkpoint::find(std::string_view name) const {
  return findTensor(list, name);
}

Status Checkpoint::read(const TensorInfo &tensor, uint64_t byteOffset,
                        std::span<uint8_t> out) const {
  if (ggufTensors && tensor.file < ggufFiles)
    return ggufTensors->read(tensor, byteOffset, out);
  if (tensor.matrix)
    return invalidArgument(root + ": tensor " + tensor.name +
                           ": expected bytes of one tensor, found a matrix of "
                           "several");
  if (tensor.file >= names.size())
    return invalidArgument(root + ": tensor " + tensor.name +
                           ": expected one of this checkpoint's " +
                           std::to_string(names.size()) +
                           " files, found file " + std::to_string(tensor.file));
  return shards[tensor.file - ggufFiles].read(tensor, byteOffset, out);
}

} // namespace lapidary
