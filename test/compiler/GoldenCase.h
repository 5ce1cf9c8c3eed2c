// The golden cases: prompts, media and what the reference implementation makes
// of them.
#pragma once

#include "frontends/formats/Safetensors.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace lapidary::test {

struct GoldenTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
  std::vector<int32_t> indices;
};

struct GoldenCase {
  std::string folder;
  nlohmann::json description;
  std::vector<int32_t> ids;
  /// 0 text, 1 image, 2 video, 3 audio.
  std::vector<int32_t> types;
  std::vector<int32_t> greedyIds;

  static GoldenCase load(const std::string &name) {
    GoldenCase golden;
    golden.folder = std::string(LAPIDARY_TEST_DIR) + "/golden/" + name;
    std::ifstream file(golden.folder + "/case.json");
    golden.description = nlohmann::json::parse(file);
    golden.ids = golden.description["input_ids"].get<std::vector<int32_t>>();
    const auto &types = golden.description["mm_token_type_ids"];
    golden.types = types.is_null() ? std::vector<int32_t>(golden.ids.size(), 0)
                                   : types.get<std::vector<int32_t>>();
    golden.greedyIds =
        golden.description["greedy_ids"].get<std::vector<int32_t>>();
    return golden;
  }

  /// A tensor of reference.safetensors; an empty shape where the case has none.
  GoldenTensor tensor(const std::string &name) const {
    GoldenTensor result;
    auto file = SafetensorsFile::open(folder + "/reference.safetensors");
    if (!file.ok())
      throw std::runtime_error(file.status().message());
    const TensorInfo *info = file->find(name);
    if (!info)
      return result;
    result.shape = info->shape;
    auto read = [&](auto &values) {
      values.resize(info->bytes / 4);
      Status status = file->read(
          *info, 0, {reinterpret_cast<uint8_t *>(values.data()), info->bytes});
      if (!status.ok())
        throw std::runtime_error(status.message());
    };
    if (info->type == ElementType::F32)
      read(result.values);
    else
      read(result.indices);
    return result;
  }

  /// One past the last position that a sliding layer's query sees.
  std::vector<int32_t> visibleEnds() const {
    auto inImage = [&](size_t t) { return types[t] == 1 || types[t] == 2; };
    std::vector<int32_t> ends(ids.size());
    for (size_t t = ids.size(); t-- > 0;)
      ends[t] = inImage(t) && t + 1 < ids.size() && inImage(t + 1)
                    ? ends[t + 1]
                    : int32_t(t + 1);
    return ends;
  }

  /// The row of the media embeddings that stands in a position, or -1.
  std::vector<int32_t> mediaRows() const {
    std::vector<int32_t> rows(ids.size(), -1);
    int32_t next = 0;
    for (size_t t = 0; t < ids.size(); ++t)
      if (types[t])
        rows[t] = next++;
    return rows;
  }

  static std::vector<std::string> names() {
    std::vector<std::string> names;
    for (const auto &entry : std::filesystem::directory_iterator(
             std::string(LAPIDARY_TEST_DIR) + "/golden"))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
};

} // namespace lapidary::test
