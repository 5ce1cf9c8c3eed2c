// Matrices that a checkpoint keeps quantized in several tensors (codes, scales,
// zero points, ...), as one tensor of the matrix's name and shape each. What a
// module has is seen by its tensors; the configuration must allow it.
#pragma once

#include "dialects/scheme/Scheme.h"
#include "frontends/formats/QuantizationConfig.h"
#include "frontends/formats/Safetensors.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace lapidary {

/// A matrix's parts. All have been checked against each other: types, shapes,
/// and that their bytes are there.
struct CompressedMatrix {
  /// A row's codes are a stream of bits from its first byte on, the lowest bit
  /// of a byte first.
  TensorInfo codes;
  unsigned bits = 8;
  /// What is done to the bits of codes and zero points that are read: 8-bit
  /// integers are packed with an offset of 128 that our signed ones do not
  /// have.
  uint8_t flip = 0;
  TensorInfo scale;
  /// Scales of a row of them, and rows that share it.
  int64_t scaleColumns = 1;
  int64_t rowsPerScale = 1;
  std::optional<TensorInfo> zero;
  /// Zero points are a stream of bits down each column; else each is a signed
  /// byte and has its place as scales have.
  bool zeroPacked = false;
  /// What all of a block's scales are multiplied with; nothing where the scheme
  /// has no field for it.
  std::optional<float> global;
  /// Fields of the scheme: code, scale, then zero point or global scale.
  std::vector<SchemeField> fields;
  /// The largest magnitude that a code stands for, for bounds of scales.
  float largestCode = 0;
  /// The scheme's name is the tensor's `encoding`; its text is empty where it
  /// is a built-in one.
  std::string schemeText;
};

/// Replaces the parts of each quantized matrix in `tensors`, which are sorted
/// by name and stay so, by one tensor `MODULE.weight` with a `matrix`. Scales
/// of inputs, outputs and the cache go too. Tensors that belong to no matrix
/// stay. `checkpoint` is read for what is small: shapes, global scales.
Status combineCompressedTensors(const QuantizationConfig &config,
                                const Checkpoint &checkpoint,
                                std::vector<TensorInfo> &tensors);

/// Sets name (as `encoding`), fields and text of the scheme of a matrix with
/// codes, scales and zero points; 0 columns share a scale: whole rows do. False
/// for a type that no scale of this storage has.
bool chooseScheme(QuantizedStorage storage, int64_t columnsPerScale,
                  TensorInfo &tensor, CompressedMatrix &matrix);
/// "F32, F16 or BF16": types that chooseScheme takes.
const char *getScaleTypes(QuantizedStorage storage);

/// Reads rows of a tensor with a `matrix`; see readEncodedRows.
Status readCompressedRows(const Checkpoint &checkpoint,
                          const TensorInfo &tensor, const Scheme &scheme,
                          int64_t first, std::span<EncodedRow> rows);

} // namespace lapidary
