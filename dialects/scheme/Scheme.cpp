// Fields of schemes, and rows of a matrix in them.
#include "dialects/scheme/Scheme.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

using namespace lapidary;

namespace {

/// A small float: sign bit (or none), exponent, mantissa.
struct SmallFloat {
  int exponentBits;
  int mantissaBits;
  /// The largest finite value.
  float largest;
};

constexpr SmallFloat e4m3 = {4, 3, 448.0f};
constexpr SmallFloat e5m2 = {5, 2, 57344.0f};
constexpr SmallFloat e2m1 = {2, 1, 6.0f};

} // namespace

int64_t Scheme::getBlockColumns() const {
  int64_t block = 1;
  for (const SchemeField &field : fields)
    block = std::max(block, field.columns);
  return block;
}

int64_t Scheme::getPaddedColumns(int64_t columns) const {
  int64_t block = getBlockColumns();
  return (columns + block - 1) / block * block;
}

int64_t Scheme::getCount(const SchemeField &field, int64_t columns) const {
  return field.columns == SchemeField::perRow
             ? 1
             : getPaddedColumns(columns) / field.columns;
}

size_t Scheme::getCode() const {
  for (size_t i = 0; i < fields.size(); ++i)
    if (fields[i].isCode())
      return i;
  assert(false && "a scheme has a code");
  return 0;
}

double Scheme::getBitsPerWeight(int64_t columns) const {
  double bits = 0;
  for (const SchemeField &field : fields) {
    int64_t period =
        field.columns == SchemeField::perRow ? columns : field.columns;
    bits += static_cast<double>((columns + period - 1) / period) * field.bits;
  }
  return bits / static_cast<double>(columns);
}

EncodedRow::EncodedRow(const Scheme &scheme, int64_t columns)
    : columns(columns) {
  for (const SchemeField &field : scheme.fields) {
    int64_t count = scheme.getCount(field, columns);
    counts.push_back(count);
    elementBytes.push_back(static_cast<uint8_t>(field.elementBytes()));
    arrays.emplace_back(count * field.elementBytes());
  }
}

uint32_t EncodedRow::get(size_t field, int64_t index) const {
  uint32_t raw = 0;
  int64_t size = elementBytes[field];
  std::memcpy(&raw, arrays[field].data() + index * size, size);
  return raw;
}

void EncodedRow::set(size_t field, int64_t index, uint32_t raw) {
  int64_t size = elementBytes[field];
  std::memcpy(arrays[field].data() + index * size, &raw, size);
}

/// The value of a small float's bits. All ones as exponent and mantissa is NaN
/// in e4m3; e5m2 has infinities; e2m1 has neither.
static float widenSmall(const SmallFloat &format, uint32_t raw) {
  int total = 1 + format.exponentBits + format.mantissaBits;
  uint32_t mantissa = raw & ((1u << format.mantissaBits) - 1);
  uint32_t exponent =
      (raw >> format.mantissaBits) & ((1u << format.exponentBits) - 1);
  int bias = (1 << (format.exponentBits - 1)) - 1;
  float magnitude =
      exponent ? std::ldexp(
                     static_cast<float>(mantissa + (1u << format.mantissaBits)),
                     static_cast<int>(exponent) - bias - format.mantissaBits)
               : std::ldexp(static_cast<float>(mantissa),
                            1 - bias - format.mantissaBits);
  return raw >> (total - 1) & 1 ? -magnitude : magnitude;
}

static uint32_t narrowSmall(const SmallFloat &format, float value) {
  uint32_t sign = std::signbit(value) ? 1 : 0;
  float magnitude = std::min(std::fabs(value), format.largest);
  int bias = (1 << (format.exponentBits - 1)) - 1;
  uint32_t raw = 0;
  if (magnitude > 0) {
    int exponent = std::max(std::ilogb(magnitude), 1 - bias);
    // In units of the last place; a carry moves into the exponent by itself.
    auto units = static_cast<uint32_t>(
        std::nearbyint(std::ldexp(magnitude, format.mantissaBits - exponent)));
    raw = units +
          (static_cast<uint32_t>(exponent + bias - 1) << format.mantissaBits);
  }
  return raw | sign << (format.exponentBits + format.mantissaBits);
}

uint32_t lapidary::widenField(const SchemeField &field, uint32_t raw) {
  auto bits = [](float value) { return std::bit_cast<uint32_t>(value); };
  switch (field.kind) {
  case FieldKind::Unsigned:
    return raw;
  case FieldKind::Signed: {
    unsigned unused = 32 - field.bits;
    return static_cast<uint32_t>(static_cast<int32_t>(raw << unused) >> unused);
  }
  case FieldKind::F32:
    return raw;
  case FieldKind::F16:
    return bits(static_cast<float>(
        std::bit_cast<_Float16>(static_cast<uint16_t>(raw))));
  case FieldKind::BF16:
    return raw << 16;
  case FieldKind::F8E4M3:
    return (raw & 0x7f) == 0x7f ? 0x7fc00000u : bits(widenSmall(e4m3, raw));
  case FieldKind::F8E5M2: // The upper half of an f16.
    return bits(static_cast<float>(
        std::bit_cast<_Float16>(static_cast<uint16_t>(raw << 8))));
  case FieldKind::F8E8M0:
    return raw == 255 ? 0x7fc00000u : raw ? raw << 23 : 0x00400000u;
  case FieldKind::F4E2M1:
    return bits(widenSmall(e2m1, raw));
  }
  return 0;
}

/// bf16 and f32 keep their exponents: rounding is on the bits.
static uint32_t narrowBFloat(float value) {
  float limited = std::clamp(value, -0x1.fep127f, 0x1.fep127f);
  auto bits = std::bit_cast<uint32_t>(limited);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

uint32_t lapidary::narrowField(const SchemeField &field, float value) {
  if (value != value)
    return 0;
  switch (field.kind) {
  case FieldKind::Unsigned:
  case FieldKind::Signed: {
    float code =
        std::clamp(std::nearbyint(value), static_cast<float>(field.minimum),
                   static_cast<float>(field.maximum));
    return static_cast<uint32_t>(static_cast<int32_t>(code)) &
           ((1u << field.bits) - 1);
  }
  case FieldKind::F32:
    return std::bit_cast<uint32_t>(
        std::clamp(value, -0x1.fffffep127f, 0x1.fffffep127f));
  case FieldKind::F16:
    return std::bit_cast<uint16_t>(
        static_cast<_Float16>(std::clamp(value, -65504.0f, 65504.0f)));
  case FieldKind::BF16:
    return narrowBFloat(value);
  case FieldKind::F8E4M3:
    return narrowSmall(e4m3, value);
  case FieldKind::F8E5M2:
    return narrowSmall(e5m2, value);
  case FieldKind::F8E8M0: {
    // Powers of two from 2^-127 to 2^127; the nearest in the ratio.
    if (!(value > 0))
      return 0;
    float exponent = std::nearbyint(std::log2(value));
    return static_cast<uint32_t>(std::clamp(exponent, -127.0f, 127.0f) + 127);
  }
  case FieldKind::F4E2M1:
    return narrowSmall(e2m1, value);
  }
  return 0;
}

/// The words of a field for `out.size()` columns.
static void widenColumns(const SchemeField &field, const EncodedRow &row,
                         size_t number, std::span<uint32_t> out) {
  auto columns = static_cast<int64_t>(out.size());
  if (!field.isCode()) {
    int64_t period =
        field.columns == SchemeField::perRow ? columns : field.columns;
    for (int64_t begin = 0, i = 0; begin < columns; begin += period, ++i)
      std::fill(out.begin() + begin,
                out.begin() + std::min(begin + period, columns),
                widenField(field, row.get(number, i)));
    return;
  }
  if (field.bits > 8) {
    for (int64_t i = 0; i < columns; ++i)
      out[i] = widenField(field, row.get(number, i));
    return;
  }
  uint32_t words[256];
  for (uint32_t raw = 0; raw < 1u << field.bits; ++raw)
    words[raw] = widenField(field, raw);
  uint32_t mask = (1u << field.bits) - 1;
  const uint8_t *codes = row.getBytes(number).data();
  for (int64_t i = 0; i < columns; ++i)
    out[i] = words[codes[i] & mask];
}

void lapidary::decodeRow(const Scheme &scheme, const EncodedRow &row,
                         std::span<float> out) {
  size_t count = scheme.fields.size();
  std::vector<uint32_t> words(count * out.size());
  std::vector<const uint32_t *> values(count);
  for (size_t f = 0; f < count; ++f) {
    std::span<uint32_t> own =
        std::span(words).subspan(f * out.size(), out.size());
    widenColumns(scheme.fields[f], row, f, own);
    values[f] = own.data();
  }
  scheme.decode.run(values, static_cast<int64_t>(out.size()), out.data());
}
