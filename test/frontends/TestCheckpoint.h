// Checkpoints that tests write: safetensors files from a list of tensors, and a
// folder that is removed at the end.
#pragma once

#include "frontends/formats/Safetensors.h"
#include "test/TemporaryFolder.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

namespace lapidary::test {

inline std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The length, the header and the data.
inline std::string safetensorsBytes(const std::string &header,
                                    const std::string &data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i)
    bytes += char(uint64_t(header.size()) >> (8 * i));
  return bytes + header + data;
}

struct TestTensor {
  std::string name;
  std::string type;
  std::vector<int64_t> shape;
  /// Empty: small pseudo-random bf16 values (of `type` BF16 alone).
  std::string bytes = {};
};

inline std::string bytesOf(const auto &values) {
  return {reinterpret_cast<const char *>(values.data()),
          values.size() * sizeof(values[0])};
}

inline std::string safetensorsFile(const std::vector<TestTensor> &tensors) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  std::string data;
  uint32_t seed = 1;
  for (const TestTensor &tensor : tensors) {
    size_t begin = data.size();
    data += tensor.bytes;
    if (tensor.bytes.empty()) {
      int64_t count = 1;
      for (int64_t dimension : tensor.shape)
        count *= dimension;
      for (int64_t i = 0; i < count; ++i) {
        seed = seed * 1664525 + 1013904223;
        // A sign, an exponent of 2^-5 or 2^-4, and a fraction.
        uint16_t bits =
            uint16_t((seed >> 16 & 0x8000) | 0x3d00 | (seed >> 12 & 0xff));
        data += char(bits & 0xff);
        data += char(bits >> 8);
      }
    }
    header[tensor.name] = {{"dtype", tensor.type},
                           {"shape", tensor.shape},
                           {"data_offsets", {begin, data.size()}}};
  }
  return safetensorsBytes(header.dump(), data);
}

} // namespace lapidary::test
