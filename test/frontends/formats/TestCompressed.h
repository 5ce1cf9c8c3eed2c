// Matrices as quantizers store them, a case a form, with the values that they
// stand for. Packed here bit by bit, as the formats' descriptions say.
#pragma once

#include "test/frontends/TestCheckpoint.h"

#include <bit>
#include <cmath>
#include <random>

namespace lapidary::test {

struct CompressedCase {
  std::string name;
  /// config.json's `quantization_config`, or all of hf_quant_config.json.
  nlohmann::json config;
  bool modelOptFile = false;
  std::vector<TestTensor> tensors;
  int64_t rows = 0, columns = 0;
  std::vector<float> values;
  /// The scheme that holds it.
  std::string scheme;

  TestTensor &tensor(const std::string &part) {
    for (TestTensor &candidate : tensors)
      if (candidate.name == "a.proj." + part)
        return candidate;
    throw std::runtime_error("no part " + part);
  }
  nlohmann::json &group() { return config["config_groups"]["group_0"]; }
  nlohmann::json &weights() { return group()["weights"]; }
  void write(const TemporaryFolder &folder) const {
    folder.write("model.safetensors", safetensorsFile(tensors));
    if (modelOptFile)
      folder.write("hf_quant_config.json", config.dump());
    nlohmann::json model = {{"model_type", "any"}};
    if (!modelOptFile)
      model["quantization_config"] = config;
    folder.write("config.json", model.dump());
  }
};

/// What a case has to say of itself.
struct CompressedForm {
  std::string name, format, strategy, scaleType, scheme;
  int64_t rows, columns;
  unsigned bits = 8;
  bool isFloat = false;
  /// Columns and rows that share a scale; 0: all of them.
  int64_t group = 0, groupRows = 1;
  /// "" for symmetric, "I32" (packed) or "I8".
  std::string zeroType = {};
  std::vector<int64_t> scaleShape = {};
  /// quant_algo, in place of compressed-tensors' config.
  std::string modelOpt = {};
};

class CompressedMaker {
public:
  explicit CompressedMaker(const CompressedForm &form)
      : form(form), random(unsigned(form.rows * 131 + form.columns)) {}

  CompressedCase make() {
    makeNumbers();
    CompressedCase result;
    result.name = form.name;
    result.rows = form.rows;
    result.columns = form.columns;
    result.scheme = form.scheme;
    result.modelOptFile = !form.modelOpt.empty();
    result.config = result.modelOptFile ? modelOptConfig() : config();
    addCodes(result);
    result.tensors.push_back(
        {"a.proj.weight_scale", form.scaleType, scaleShape(), scaleBytes});
    if (!form.zeroType.empty())
      addZeros(result);
    if (isNvFp4())
      result.tensors.push_back(
          {"a.proj." + std::string(form.modelOpt.empty() ? "weight_global_scale"
                                                         : "weight_scale_2"),
           "F32",
           form.modelOpt.empty() ? std::vector<int64_t>{1}
                                 : std::vector<int64_t>{},
           bytesOf(std::vector<float>{global})});
    for (int64_t row = 0; row < form.rows; ++row)
      for (int64_t column = 0; column < form.columns; ++column)
        result.values.push_back(value(row, column));
    return result;
  }

private:
  bool isNvFp4() const {
    return form.bits == 4 && form.isFloat && form.group == 16;
  }
  bool isPower() const { return form.scaleType == "U8"; }
  int64_t scaleColumns() const {
    return form.group ? (form.columns + form.group - 1) / form.group : 1;
  }
  int64_t scaleRows() const {
    return (form.rows + form.groupRows - 1) / form.groupRows;
  }
  int64_t scaleIndex(int64_t row, int64_t column) const {
    return row / form.groupRows * scaleColumns() +
           (form.group ? column / form.group : 0);
  }
  std::vector<int64_t> scaleShape() const {
    if (!form.scaleShape.empty() || form.modelOpt == "FP8")
      return form.scaleShape;
    return {scaleRows(), scaleColumns()};
  }
  int draw(int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random);
  }

  void makeNumbers() {
    int half = 1 << (form.bits - 1);
    for (int64_t i = 0; i < form.rows * form.columns; ++i) {
      int code = draw(-half, half - 1);
      // 0x7f and 0xff are NaN.
      if (form.isFloat && form.bits == 8 && (code & 0x7f) == 0x7f)
        code = 0x7e;
      codes.push_back(code);
    }
    for (int64_t i = 0; i < scaleRows() * scaleColumns(); ++i) {
      addScale();
      zeros.push_back(form.zeroType.empty() ? 0 : draw(-half, half - 1));
    }
    // Neither is a power of two.
    global = form.modelOpt.empty() ? 2688.0f / 0.37f : 0.37f / 2688.0f;
  }

  void addScale() {
    if (isPower()) {
      int exponent = draw(110, 130);
      scaleBytes += char(exponent);
      scales.push_back(std::ldexp(1.0f, exponent - 127));
    } else if (form.scaleType == "F8_E4M3") {
      int mantissa = draw(0, 7), exponent = draw(1, 14);
      scaleBytes += char(exponent << 3 | mantissa);
      scales.push_back(std::ldexp(1.0f + float(mantissa) / 8, exponent - 7));
    } else if (form.scaleType == "BF16") {
      uint16_t bits = uint16_t(0x3a00 + draw(0, 0x1ff));
      scaleBytes += bytesOf(std::vector<uint16_t>{bits});
      scales.push_back(std::bit_cast<float>(uint32_t(bits) << 16));
    } else if (form.scaleType == "F16") {
      auto scale = _Float16(float(draw(1, 2000)) / 65536);
      scaleBytes += bytesOf(std::vector<_Float16>{scale});
      scales.push_back(float(scale));
    } else {
      float scale = float(draw(1, 1 << 20)) / float(1 << 27) / 3;
      scaleBytes += bytesOf(std::vector<float>{scale});
      scales.push_back(scale);
    }
  }

  static float floatOf(int code, int exponentBits, int mantissaBits) {
    int magnitude = code & ((1 << (exponentBits + mantissaBits)) - 1);
    int exponent = magnitude >> mantissaBits,
        fraction = magnitude & ((1 << mantissaBits) - 1),
        bias = (1 << (exponentBits - 1)) - 1;
    float value =
        std::ldexp(float(fraction + (exponent ? 1 << mantissaBits : 0)),
                   std::max(exponent, 1) - bias - mantissaBits);
    return code >> (exponentBits + mantissaBits) & 1 ? -value : value;
  }

  float value(int64_t row, int64_t column) const {
    int code = codes[row * form.columns + column];
    float scale = scales[scaleIndex(row, column)];
    if (form.isFloat && form.bits == 8)
      return floatOf(code, 4, 3) * scale;
    if (form.isFloat) {
      if (isNvFp4())
        scale *= form.modelOpt.empty() ? 1.0f / global : global;
      return floatOf(code, 2, 1) * scale;
    }
    return float(code - zeros[scaleIndex(row, column)]) * scale;
  }

  /// Numbers in a stream of `bits` each, the first lowest, filled up to a
  /// multiple of `unit` bits.
  static std::string pack(const std::vector<int> &numbers, unsigned bits,
                          unsigned unit) {
    size_t total = (numbers.size() * bits + unit - 1) / unit * unit;
    std::string bytes(total / 8, '\0');
    for (size_t i = 0; i < numbers.size(); ++i)
      for (unsigned bit = 0; bit < bits; ++bit)
        if (numbers[i] >> bit & 1) {
          size_t at = i * bits + bit;
          bytes[at / 8] = char(bytes[at / 8] | 1 << at % 8);
        }
    return bytes;
  }

  void addCodes(CompressedCase &result) {
    bool isInteger = form.format == "pack-quantized";
    std::string bytes;
    for (int64_t row = 0; row < form.rows; ++row) {
      std::vector<int> numbers(codes.begin() + row * form.columns,
                               codes.begin() + (row + 1) * form.columns);
      for (int &number : numbers)
        number += isInteger ? 1 << (form.bits - 1) : 0;
      bytes += pack(numbers, form.bits, isInteger ? 32 : 8);
    }
    int64_t width = int64_t(bytes.size()) / form.rows / (isInteger ? 4 : 1);
    bool packed = form.modelOpt.empty() && (isInteger || form.bits == 4);
    result.tensors.push_back({packed ? "a.proj.weight_packed" : "a.proj.weight",
                              isInteger        ? "I32"
                              : form.bits == 4 ? "U8"
                              : form.isFloat   ? "F8_E4M3"
                                               : "I8",
                              {form.rows, width},
                              bytes});
    if (isInteger)
      result.tensors.push_back(
          {"a.proj.weight_shape",
           "I64",
           {2},
           bytesOf(std::vector<int64_t>{form.rows, form.columns})});
  }

  void addZeros(CompressedCase &result) {
    int64_t groups = scaleColumns();
    std::string bytes;
    std::vector<int64_t> shape = scaleShape();
    if (form.zeroType == "I8") {
      for (int zero : zeros)
        bytes += char(zero);
    } else {
      // Down the rows: a column's stream, then columns side by side.
      std::vector<std::string> streams;
      for (int64_t group = 0; group < groups; ++group) {
        std::vector<int> numbers;
        for (int64_t row = 0; row < form.rows; ++row)
          numbers.push_back(zeros[row * groups + group] +
                            (1 << (form.bits - 1)));
        streams.push_back(pack(numbers, form.bits, 32));
      }
      shape = {int64_t(streams[0].size() / 4), groups};
      for (int64_t word = 0; word < shape[0]; ++word)
        for (const std::string &stream : streams)
          bytes += stream.substr(word * 4, 4);
    }
    result.tensors.push_back(
        {"a.proj.weight_zero_point", form.zeroType, shape, bytes});
  }

  nlohmann::json config() const {
    nlohmann::json weights = {{"num_bits", form.bits},
                              {"type", form.isFloat ? "float" : "int"},
                              {"symmetric", form.zeroType.empty()},
                              {"strategy", form.strategy},
                              {"dynamic", false},
                              {"actorder", nullptr},
                              {"observer", "minmax"},
                              {"observer_kwargs", nlohmann::json::object()},
                              {"group_size", nullptr},
                              {"block_structure", nullptr}};
    if (form.strategy == "block")
      weights["block_structure"] = {form.groupRows, form.group};
    else if (form.group)
      weights["group_size"] = form.group;
    return {{"quant_method", "compressed-tensors"},
            {"format", form.format},
            {"quantization_status", "compressed"},
            {"global_compression_ratio", nullptr},
            {"kv_cache_scheme", nullptr},
            {"ignore", {"lm_head"}},
            {"config_groups",
             {{"group_0",
               {{"targets", {"Linear"}},
                {"weights", weights},
                {"input_activations", nullptr},
                {"output_activations", nullptr}}}}}};
  }
  nlohmann::json modelOptConfig() const {
    return {{"producer", {{"name", "modelopt"}, {"version", "0.41.0"}}},
            {"quantization",
             {{"quant_algo", form.modelOpt},
              {"kv_cache_quant_algo", nullptr},
              {"exclude_modules", {"lm_head"}}}}};
  }

  const CompressedForm &form;
  std::mt19937 random;
  std::vector<int> codes, zeros;
  std::vector<float> scales;
  std::string scaleBytes;
  float global = 1;
};

inline std::vector<CompressedForm> compressedForms() {
  std::string packed = "pack-quantized", ints = "int-quantized",
              floats = "float-quantized";
  std::vector<CompressedForm> forms = {
      {"int4 symmetric", packed, "group", "BF16", "int4_group32_bf16", 21, 64,
       4},
      {"int4 asymmetric", packed, "group", "F16", "int4_group128", 21, 256, 4},
      {"int4 old zeros", packed, "group", "F32", "int4_group8_f32_zero", 3, 24,
       4},
      {"int4 channel", packed, "channel", "BF16", "int4_channel", 5, 37, 4},
      {"int3", packed, "group", "F16", "int3_group32_f16_zero", 45, 96, 3},
      {"int1", packed, "group", "BF16", "int1_group4_bf16", 2, 12, 1},
      {"int8 packed", packed, "channel", "BF16", "int8_channel", 9, 30, 8},
      {"int8 packed asymmetric", packed, "group", "F16",
       "int8_group16_f16_zero", 9, 32, 8},
      {"int8", ints, "channel", "BF16", "int8_channel", 7, 19, 8},
      {"int8 asymmetric", ints, "channel", "F32", "int8_channel_zero", 7, 20,
       8},
      {"int8 tensor", "naive-quantized", "tensor", "F32", "int8_channel", 4, 20,
       8},
      {"fp8 tensor", floats, "tensor", "BF16", "fp8_e4m3", 6, 22, 8, true},
      {"fp8 channel", floats, "channel", "F32", "fp8_e4m3", 6, 22, 8, true},
      {"fp8 block", "naive-quantized", "block", "F32", "fp8_e4m3_group8_f32", 6,
       20, 8, true},
      {"nvfp4", "nvfp4-pack-quantized", "tensor_group", "F8_E4M3", "nvfp4", 5,
       48, 4, true},
      {"mxfp4", "mxfp4-pack-quantized", "group", "U8", "mxfp4", 5, 64, 4, true},
      {"mxfp8", "mxfp8-quantized", "group", "U8", "mxfp8_e4m3", 5, 64, 8, true},
      {"modelopt fp8", "", "", "F32", "fp8_e4m3", 5, 20, 8, true},
      {"modelopt fp8 channel", "", "", "F32", "fp8_e4m3", 5, 20, 8, true},
      {"modelopt int8", "", "", "F32", "int8_channel", 5, 20, 8},
      {"modelopt nvfp4", "", "", "F8_E4M3", "nvfp4", 5, 32, 4, true},
  };
  auto find = [&](const char *name) -> CompressedForm & {
    for (CompressedForm &form : forms)
      if (form.name == name)
        return form;
    throw std::runtime_error(name);
  };
  find("int4 symmetric").group = 32;
  find("int4 asymmetric").group = 128;
  find("int4 asymmetric").zeroType = "I32";
  find("int4 old zeros").group = 8;
  find("int4 old zeros").zeroType = "I8";
  find("int3").group = 32;
  find("int3").zeroType = "I32";
  find("int1").group = 4;
  find("int8 packed asymmetric").group = 16;
  find("int8 packed asymmetric").zeroType = "I32";
  find("int8 asymmetric").zeroType = "I8";
  find("int8 tensor").groupRows = 4;
  find("int8 tensor").scaleShape = {1};
  find("fp8 tensor").groupRows = 6;
  find("fp8 tensor").scaleShape = {1};
  find("fp8 block").group = 8;
  find("fp8 block").groupRows = 4;
  find("nvfp4").group = 16;
  find("mxfp4").group = 32;
  find("mxfp8").group = 32;
  find("modelopt fp8").modelOpt = "FP8";
  find("modelopt fp8").groupRows = 5;
  find("modelopt fp8 channel").modelOpt = "FP8_PER_CHANNEL_PER_TOKEN";
  find("modelopt fp8 channel").scaleShape = {5};
  find("modelopt int8").modelOpt = "W8A16";
  find("modelopt int8").scaleShape = {5};
  find("modelopt nvfp4").modelOpt = "NVFP4";
  find("modelopt nvfp4").group = 16;
  return forms;
}

inline std::vector<CompressedCase> compressedCases() {
  std::vector<CompressedCase> cases;
  for (const CompressedForm &form : compressedForms())
    cases.push_back(CompressedMaker(form).make());
  return cases;
}

inline CompressedCase compressedCase(const std::string &name) {
  for (const CompressedForm &form : compressedForms())
    if (form.name == name)
      return CompressedMaker(form).make();
  throw std::runtime_error("no case " + name);
}

} // namespace lapidary::test
