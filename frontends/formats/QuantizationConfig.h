// What a checkpoint says of matrices that it has quantized itself:
// `quantization_config` of config.json, as compressed-tensors and ModelOpt
// write it, or ModelOpt's hf_quant_config.json.
#pragma once

#include "runtime/core/Status.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lapidary {

/// The tensors in which a module keeps its matrix.
enum class QuantizedStorage : uint8_t {
  /// `weight_packed`: integers as a stream of bits in I32 words,
  /// `weight_scale`, `weight_shape`, and `weight_zero_point` where asymmetric.
  PackedInteger,
  /// `weight`: an I8 each, `weight_scale`, and `weight_zero_point` where
  /// asymmetric.
  Integer,
  /// `weight`: an F8_E4M3 each, and `weight_scale`.
  Float8,
  /// `weight_packed`: two 4-bit floats a U8, `weight_scale` (F8_E4M3 per 16
  /// columns) and `weight_global_scale`, which scales are divided by.
  NvFp4,
  /// ModelOpt's: `weight`, `weight_scale` and `weight_scale_2`, which scales
  /// are multiplied with.
  NvFp4ModelOpt,
  /// `weight_packed` as NvFp4 has it, `weight_scale` (a power of two per 32
  /// columns, a U8).
  MxFp4,
  /// `weight`: an F8_E4M3 each, `weight_scale` as MxFp4 has it.
  MxFp8,
};

/// "pack-quantized", for messages.
const char *getStorageName(QuantizedStorage storage);

/// How a part of a checkpoint's matrices is quantized.
struct QuantizedGroup {
  QuantizedStorage storage = QuantizedStorage::PackedInteger;
  /// Of an integer.
  unsigned bits = 8;
  bool symmetric = true;
  /// Columns and rows that share a scale; 0 columns: whole rows, and then
  /// either each row has a scale or the matrix has one.
  int64_t columns = 0;
  int64_t rows = 1;
};

struct QuantizationConfig {
  /// File and field, for messages.
  std::string origin;
  std::vector<QuantizedGroup> groups;
  /// Keys and values were meant to be quantized too.
  bool cache = false;
  /// What of it changes nothing about the weights, in sentences for the user.
  std::vector<std::string> remarks;
};

/// Of the text of config.json; nothing where it has no `quantization_config`.
/// Every field is honoured, known to change nothing about the weights, or
/// refused: another method than these two is an error that names it.
Result<std::optional<QuantizationConfig>>
parseQuantizationConfig(std::string_view config, const std::string &origin);
/// Of the text of hf_quant_config.json.
Result<QuantizationConfig> parseModelOptConfig(std::string_view text,
                                               const std::string &origin);

/// Of a folder: config.json's, else hf_quant_config.json's, else nothing.
Result<std::optional<QuantizationConfig>>
readQuantizationConfig(const std::string &folder);

} // namespace lapidary
