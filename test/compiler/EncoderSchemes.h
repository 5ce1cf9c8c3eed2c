// The built-in schemes, written by hand, for tests that need no compiler.
#pragma once

#include "dialects/scheme/Scheme.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>
#include <vector>

namespace lapidary::test {

using Kind = FieldKind;
using Op = DecodeOpcode;
constexpr Kind ui = Kind::Unsigned, si = Kind::Signed, f16 = Kind::F16;
constexpr int64_t perRow = SchemeField::perRow;

/// Writes schemes in few lines; values are numbers of the decode program.
class Builder {
public:
  uint32_t field(Kind kind, unsigned bits, int64_t columns) {
    SchemeField field;
    field.name = "field" + std::to_string(scheme.fields.size());
    field.kind = kind;
    field.bits = bits;
    field.columns = columns;
    int32_t values = 1 << std::min(bits, 8u);
    field.minimum = kind == si ? -values / 2 : 0;
    field.maximum = field.isFloat() ? 0 : field.minimum + values - 1;
    scheme.fields.push_back(field);
    return scheme.decode.inputs++;
  }
  uint32_t code(Kind kind, unsigned bits) { return field(kind, bits, 1); }
  void bound(uint32_t field, int32_t minimum, int32_t maximum) {
    scheme.fields[field].minimum = minimum;
    scheme.fields[field].maximum = maximum;
  }
  uint32_t op(Op opcode, uint32_t a = 0, uint32_t b = 0) {
    DecodeStep step{opcode, {a, b, 0}, 0, {}};
    scheme.decode.steps.push_back(step);
    return scheme.decode.result =
               scheme.decode.inputs +
               static_cast<uint32_t>(scheme.decode.steps.size()) - 1;
  }
  uint32_t integer(int32_t value) {
    uint32_t number = op(Op::Constant);
    scheme.decode.steps.back().immediate = static_cast<uint32_t>(value);
    return number;
  }
  uint32_t real(float value) { return integer(std::bit_cast<int32_t>(value)); }
  uint32_t look(uint32_t index, const std::vector<float> &table) {
    uint32_t number = op(Op::Lookup, index);
    for (float value : table)
      scheme.decode.steps.back().table.push_back(
          std::bit_cast<uint32_t>(value));
    return number;
  }
  uint32_t toFloat(uint32_t a) { return op(Op::SiToF, a); }
  uint32_t minus(uint32_t a, int32_t zero) {
    return toFloat(op(Op::SubI, a, integer(zero)));
  }
  uint32_t mul(uint32_t a, uint32_t b) { return op(Op::MulF, a, b); }
  uint32_t add(uint32_t a, uint32_t b) { return op(Op::AddF, a, b); }
  uint32_t sub(uint32_t a, uint32_t b) { return op(Op::SubF, a, b); }

  Scheme scheme;
};

inline Scheme makeSymmetric(unsigned bits, int64_t columns = 32) {
  Builder b;
  uint32_t code = b.code(ui, bits), scale = b.field(f16, 16, columns);
  b.mul(b.minus(code, 1 << (bits - 1)), scale);
  return b.scheme;
}

inline Scheme makeWithMinimum(unsigned bits) {
  Builder b;
  uint32_t code = b.code(ui, bits), scale = b.field(f16, 16, 32),
           minimum = b.field(f16, 16, 32);
  b.add(b.mul(b.toFloat(code), scale), minimum);
  return b.scheme;
}

inline Scheme makeTwoLevel(unsigned bits, unsigned scaleBits, int64_t columns) {
  Builder b;
  uint32_t code = b.code(ui, bits), scale = b.field(ui, scaleBits, columns),
           minimum = b.field(ui, scaleBits, columns), d = b.field(f16, 16, 256),
           dmin = b.field(f16, 16, 256);
  b.sub(b.mul(b.mul(d, b.toFloat(scale)), b.toFloat(code)),
        b.mul(dmin, b.toFloat(minimum)));
  return b.scheme;
}

inline Scheme makeTwoLevelSymmetric(unsigned bits, Kind kind,
                                    unsigned scaleBits, int zero) {
  Builder b;
  uint32_t code = b.code(ui, bits), scale = b.field(kind, scaleBits, 16),
           d = b.field(f16, 16, 256);
  b.mul(b.mul(d, b.minus(scale, zero)), b.minus(code, 1 << (bits - 1)));
  return b.scheme;
}

inline Scheme makeProduct(Kind code, unsigned bits, Kind scale,
                          unsigned scaleBits, int64_t columns) {
  Builder b;
  uint32_t value = b.code(code, bits), by = b.field(scale, scaleBits, columns);
  if (code == si) {
    b.bound(value, -127, 127);
    value = b.toFloat(value);
  }
  b.mul(value, by);
  return b.scheme;
}

inline Scheme makeTable(const std::vector<float> &table, int64_t columns) {
  Builder b;
  uint32_t code = b.code(ui, 4), scale = b.field(f16, 16, columns);
  b.mul(b.look(code, table), scale);
  return b.scheme;
}

inline Scheme makeNvfp4() {
  Builder b;
  uint32_t code = b.code(Kind::F4E2M1, 4), scale = b.field(Kind::F8E4M3, 8, 16),
           row = b.field(Kind::F32, 32, perRow);
  b.mul(b.mul(code, scale), row);
  return b.scheme;
}

inline Scheme makeInt4Group128() {
  Builder b;
  uint32_t code = b.code(ui, 4), scale = b.field(f16, 16, 128),
           zero = b.field(ui, 4, 128);
  b.mul(b.toFloat(b.op(Op::SubI, code, zero)), scale);
  return b.scheme;
}

inline Scheme makeTernary() {
  Builder b;
  uint32_t code = b.code(ui, 2), scale = b.field(f16, 16, 256);
  b.bound(code, 0, 2);
  b.mul(b.minus(code, 1), scale);
  return b.scheme;
}

inline const std::vector<float> iq4 = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
inline const std::vector<float> nf4 = {
    -1.0f,   -0.6962f, -0.5251f, -0.3949f, -0.2844f, -0.1848f, -0.0911f, 0.0f,
    0.0796f, 0.1609f,  0.2461f,  0.3379f,  0.4407f,  0.5626f,  0.723f,   1.0f};

/// The built-in schemes that are not plain floats.
inline std::vector<std::pair<std::string, Scheme>> listSchemes() {
  return {
      {"q8_0", makeProduct(si, 8, f16, 16, 32)},
      {"q4_0", makeSymmetric(4)},
      {"q4_1", makeWithMinimum(4)},
      {"q5_0", makeSymmetric(5)},
      {"q5_1", makeWithMinimum(5)},
      {"q2_k", makeTwoLevel(2, 4, 16)},
      {"q3_k", makeTwoLevelSymmetric(3, ui, 6, 32)},
      {"q4_k", makeTwoLevel(4, 6, 32)},
      {"q5_k", makeTwoLevel(5, 6, 32)},
      {"q6_k", makeTwoLevelSymmetric(6, si, 8, 0)},
      {"iq4_nl", makeTable(iq4, 32)},
      {"mxfp4", makeProduct(Kind::F4E2M1, 4, Kind::F8E8M0, 8, 32)},
      {"nvfp4", makeNvfp4()},
      {"nf4", makeTable(nf4, 64)},
      {"fp8_e4m3", makeProduct(Kind::F8E4M3, 8, Kind::F32, 32, perRow)},
      {"int8_channel", makeProduct(si, 8, Kind::F32, 32, perRow)},
      {"int4_group128", makeInt4Group128()},
      {"ternary", makeTernary()},
  };
}

} // namespace lapidary::test
