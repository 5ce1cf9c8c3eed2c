// GGUF files that tests write, right or wrong.
#pragma once

#include "frontends/formats/Gguf.h"
#include "test/TemporaryFolder.h"

#include <cstdint>
#include <gtest/gtest.h>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary::test {

/// Bytes of numbers and strings as a GGUF file has them.
class GgufBytes {
public:
  template <typename T> GgufBytes &number(T value) {
    bytes.append(reinterpret_cast<const char *>(&value), sizeof(value));
    return *this;
  }
  GgufBytes &string(std::string_view text) {
    number(uint64_t(text.size()));
    bytes += text;
    return *this;
  }

  std::string bytes;
};

/// Numbers of types: of a tensor, and of keys.
constexpr uint32_t f32 = 0, u32Type = 4, i32Type = 5, boolType = 7;

inline std::string floats(const std::vector<float> &values) {
  return {reinterpret_cast<const char *>(values.data()),
          values.size() * sizeof(float)};
}

/// Counts up from `first`.
inline std::string counting(size_t count, float first = 0) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), first);
  return floats(values);
}

/// A file of keys and tensors.
class GgufBuilder {
public:
  uint32_t version = 3;
  /// From where a tensor's offset counts, and what it is a multiple of.
  uint64_t alignment = 32;

  template <typename T>
  GgufBuilder &key(std::string_view name, uint32_t type, T value) {
    return raw(name, type, GgufBytes().number(value).bytes);
  }
  GgufBuilder &integer(std::string_view name, uint32_t value) {
    return key(name, 4, value);
  }
  GgufBuilder &number(std::string_view name, float value) {
    return key(name, 6, value);
  }
  GgufBuilder &flag(std::string_view name, bool value) {
    return key(name, 7, uint8_t(value));
  }
  GgufBuilder &string(std::string_view name, std::string_view value) {
    return raw(name, 8, GgufBytes().string(value).bytes);
  }
  GgufBuilder &strings(std::string_view name,
                       const std::vector<std::string> &values) {
    GgufBytes array;
    array.number(uint32_t(8)).number(uint64_t(values.size()));
    for (const std::string &value : values)
      array.string(value);
    return raw(name, 9, array.bytes);
  }
  template <typename T>
  GgufBuilder &array(std::string_view name, uint32_t type,
                     const std::vector<T> &values) {
    GgufBytes array;
    array.number(type).number(uint64_t(values.size()));
    for (T value : values)
      array.number(value);
    return raw(name, 9, array.bytes);
  }
  /// A value of `type` whose bytes are `value`.
  GgufBuilder &raw(std::string_view name, uint32_t type,
                   std::string_view value) {
    keys.string(name).number(type);
    keys.bytes += value;
    ++keyCount;
    return *this;
  }
  /// `shape` has the columns first, as the format does.
  GgufBuilder &tensor(std::string_view name, uint32_t type,
                      const std::vector<uint64_t> &shape,
                      std::string_view bytes) {
    data.resize((data.size() + alignment - 1) / alignment * alignment);
    tensorAt(name, type, shape, data.size());
    data += bytes;
    return *this;
  }
  /// Without bytes of its own.
  GgufBuilder &tensorAt(std::string_view name, uint32_t type,
                        const std::vector<uint64_t> &shape, uint64_t offset) {
    infos.string(name).number(uint32_t(shape.size()));
    for (uint64_t size : shape)
      infos.number(size);
    infos.number(type).number(offset);
    ++tensorCount;
    return *this;
  }
  std::string build() const {
    GgufBytes file;
    file.bytes = "GGUF";
    file.number(version).number(tensorCount).number(keyCount);
    file.bytes += keys.bytes + infos.bytes;
    if (!data.empty())
      file.bytes.resize((file.bytes.size() + alignment - 1) / alignment *
                        alignment);
    return file.bytes + data;
  }

private:
  GgufBytes keys, infos;
  uint64_t keyCount = 0, tensorCount = 0;
  std::string data;
};

/// Opens files that a test writes.
class GgufFileTest : public testing::Test {
protected:
  GgufFile open(const std::string &name, const std::string &bytes) {
    folder.write(name, bytes);
    auto file = GgufFile::open(folder.path(name));
    EXPECT_TRUE(file.ok()) << file.status().message();
    return *std::move(file);
  }

  TemporaryFolder folder;
};

} // namespace lapidary::test
