// What the media tests share: where files lie, bytes of a file, a folder of its
// own for each test, and the golden cases' parts that media tests need.
#pragma once

#include "test/TemporaryFolder.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace lapidary::test {

inline std::string mediaFile(const std::string &name) {
  return std::string(LAPIDARY_TEST_DIR) + "/runtime/media/files/" + name;
}

inline std::string goldenFile(const std::string &testCase,
                              const std::string &name) {
  return std::string(LAPIDARY_TEST_DIR) + "/golden/" + testCase + "/" + name;
}

inline std::vector<uint8_t> bytesOf(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw std::runtime_error("cannot open " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void writeBytes(const std::string &path,
                       const std::vector<uint8_t> &bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char *>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  if (!file.flush())
    throw std::runtime_error("cannot write " + path);
}

inline nlohmann::json goldenCase(const std::string &name) {
  std::ifstream file(goldenFile(name, "case.json"));
  return nlohmann::json::parse(file);
}

/// How often `id` stands in the case's prompt.
inline int64_t countIds(const nlohmann::json &testCase, int id) {
  int64_t count = 0;
  for (const nlohmann::json &token : testCase.at("input_ids"))
    count += token.get<int>() == id;
  return count;
}

/// A tensor's bytes out of the case's reference.safetensors.
inline std::vector<uint8_t> goldenTensor(const std::string &testCase,
                                         const std::string &name) {
  std::vector<uint8_t> file =
      bytesOf(goldenFile(testCase, "reference.safetensors"));
  uint64_t headerSize = 0;
  std::memcpy(&headerSize, file.data(), sizeof headerSize);
  const uint8_t *header = file.data() + 8, *data = header + headerSize;
  nlohmann::json tensors = nlohmann::json::parse(header, data);
  auto offsets = tensors.at(name).at("data_offsets").get<std::vector<size_t>>();
  return {data + offsets.at(0), data + offsets.at(1)};
}

} // namespace lapidary::test
