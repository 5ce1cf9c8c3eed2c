// The scheme for a matrix that a checkpoint has quantized: a built-in one where
// its fields are the same, else one that is written for it.
#include "frontends/formats/CompressedTensors.h"

using namespace lapidary;

namespace {

struct FieldType {
  FieldKind kind;
  unsigned bits;
  const char *text;
};

/// Nothing for a type that no scale has.
std::optional<FieldType> getScaleType(QuantizedStorage storage,
                                      ElementType type) {
  switch (storage) {
  case QuantizedStorage::NvFp4:
  case QuantizedStorage::NvFp4ModelOpt:
    if (type == ElementType::F8E4M3)
      return FieldType{FieldKind::F8E4M3, 8, "f8E4M3FN"};
    return {};
  case QuantizedStorage::MxFp4:
  case QuantizedStorage::MxFp8:
    if (type == ElementType::U8)
      return FieldType{FieldKind::F8E8M0, 8, "f8E8M0FNU"};
    return {};
  default:
    break;
  }
  switch (type) {
  case ElementType::F32:
    return FieldType{FieldKind::F32, 32, "f32"};
  case ElementType::F16:
    return FieldType{FieldKind::F16, 16, "f16"};
  case ElementType::BF16:
    return FieldType{FieldKind::BF16, 16, "bf16"};
  default:
    return {};
  }
}

FieldType getCodeType(QuantizedStorage storage, unsigned bits) {
  switch (storage) {
  case QuantizedStorage::PackedInteger:
    if (bits < 8)
      return {FieldKind::Unsigned, bits, "ui"};
    [[fallthrough]];
  case QuantizedStorage::Integer:
    return {FieldKind::Signed, 8, "si"};
  case QuantizedStorage::Float8:
  case QuantizedStorage::MxFp8:
    return {FieldKind::F8E4M3, 8, "f8E4M3FN"};
  default:
    return {FieldKind::F4E2M1, 4, "f4E2M1FN"};
  }
}

SchemeField makeField(const char *name, FieldType type, int64_t columns) {
  SchemeField field;
  field.name = name;
  field.kind = type.kind;
  field.bits = type.bits;
  field.columns = columns;
  return field;
}

/// The text of a scheme of integers: `(code - zero) * scale`, where zero is a
/// field or the middle of the codes.
std::string writeIntegerScheme(const std::string &name, const std::string &code,
                               const std::string &scale,
                               const std::string &zero, unsigned bits,
                               bool isSigned) {
  std::string text =
      "lap.scheme @" + name + "(%code : " + code + ", %scale : " + scale;
  std::string centred = "%code";
  if (!zero.empty())
    text += ", %zero : " + zero;
  text += ") {\n";
  if (zero.empty() && !isSigned)
    text += "  %zero = arith.constant " + std::to_string(1 << (bits - 1)) +
            " : i32\n";
  if (!zero.empty() || !isSigned) {
    text += "  %centred = arith.subi %code, %zero : i32\n";
    centred = "%centred";
  }
  return text + "  %value = arith.sitofp " + centred +
         " : i32 to f32\n"
         "  %weight = arith.mulf %value, %scale : f32\n"
         "  lap.yield %weight : f32\n"
         "}\n";
}

} // namespace

const char *lapidary::getScaleTypes(QuantizedStorage storage) {
  switch (storage) {
  case QuantizedStorage::NvFp4:
  case QuantizedStorage::NvFp4ModelOpt:
    return "F8_E4M3";
  case QuantizedStorage::MxFp4:
  case QuantizedStorage::MxFp8:
    return "U8";
  default:
    return "F32, F16 or BF16";
  }
}

bool lapidary::chooseScheme(QuantizedStorage storage, int64_t columns,
                            TensorInfo &tensor, CompressedMatrix &matrix) {
  std::optional<FieldType> scale = getScaleType(storage, matrix.scale.type);
  if (!scale)
    return false;
  FieldType code = getCodeType(storage, matrix.bits);
  std::string width = std::to_string(code.bits), extent, period;
  if (columns) {
    extent = "_group" + std::to_string(columns) + "_" + scale->text;
    period = " per " + std::to_string(columns);
  } else {
    // A scale a row is little beside the row, so it takes the type that holds
    // any of them, and fits the built-in schemes.
    scale = FieldType{FieldKind::F32, 32, "f32"};
    columns = SchemeField::perRow;
    extent = "_channel";
    period = " per row";
  }
  matrix.fields = {makeField("code", code, 1),
                   makeField("scale", *scale, columns)};
  std::string scaleText = scale->text + period;

  switch (storage) {
  case QuantizedStorage::PackedInteger:
  case QuantizedStorage::Integer: {
    bool isSigned = code.kind == FieldKind::Signed;
    matrix.largestCode = float(1 << code.bits);
    std::string codeText = code.text + width, zero;
    if (matrix.zero) {
      matrix.fields.push_back(makeField("zero", code, columns));
      zero = codeText + period;
    }
    tensor.encoding = "int" + width + extent + (matrix.zero ? "_zero" : "");
    if (tensor.encoding == "int8_channel")
      return true;
    if (tensor.encoding == "int4_group128_f16_zero") {
      tensor.encoding = "int4_group128";
      return true;
    }
    matrix.schemeText = writeIntegerScheme(tensor.encoding, codeText, scaleText,
                                           zero, code.bits, isSigned);
    return true;
  }
  case QuantizedStorage::Float8:
  case QuantizedStorage::MxFp8:
    matrix.largestCode = 448;
    tensor.encoding = columns == SchemeField::perRow ? "fp8_e4m3"
                      : storage == QuantizedStorage::MxFp8
                          ? "mxfp8_e4m3"
                          : "fp8_e4m3" + extent;
    if (columns != SchemeField::perRow)
      matrix.schemeText = "lap.scheme @" + tensor.encoding +
                          "(%code : f8E4M3FN, %scale : " + scaleText +
                          ") {\n"
                          "  %weight = arith.mulf %code, %scale : f32\n"
                          "  lap.yield %weight : f32\n"
                          "}\n";
    return true;
  case QuantizedStorage::NvFp4:
  case QuantizedStorage::NvFp4ModelOpt:
    matrix.largestCode = 6;
    matrix.fields.push_back(
        makeField("global", {FieldKind::F32, 32, "f32"}, SchemeField::perRow));
    tensor.encoding = "nvfp4";
    return true;
  case QuantizedStorage::MxFp4:
    matrix.largestCode = 6;
    tensor.encoding = "mxfp4";
    return true;
  }
  __builtin_unreachable();
}
