// The encoder against known answers, brute force and its own cheaper
// strategies, for the built-in schemes, written by hand, and for others.
#include "compiler/encoder/Encoder.h"
#include "test/compiler/EncoderSchemes.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <thread>

using namespace lapidary;
using namespace lapidary::test;

namespace {

/// Fields are what the scheme allows: no NaN, no infinity, within bounds.
void expectValidFields(const Scheme &scheme, const EncodedRow &row) {
  for (size_t f = 0; f < scheme.fields.size(); ++f) {
    const SchemeField &field = scheme.fields[f];
    for (int64_t i = 0; i < row.getCount(f); ++i) {
      uint32_t word = widenField(field, row.get(f, i));
      if (field.isFloat()) {
        ASSERT_TRUE(std::isfinite(std::bit_cast<float>(word))) << field.name;
      } else {
        ASSERT_GE(static_cast<int32_t>(word), field.minimum) << field.name;
        ASSERT_LE(static_cast<int32_t>(word), field.maximum) << field.name;
      }
    }
  }
}

std::vector<float> encodeAndDecode(const Scheme &scheme,
                                   std::span<const float> values,
                                   std::span<const float> importance = {},
                                   SourceFormat rounding = SourceFormat::F32) {
  auto columns = static_cast<int64_t>(values.size());
  EncodedRow row(scheme, columns);
  RowEncoder(scheme, columns).encode(values, importance, rounding, row);
  expectValidFields(scheme, row);
  std::vector<float> decoded(values.size());
  decodeRow(scheme, row, decoded);
  return decoded;
}

double getError(std::span<const float> a, std::span<const float> b,
                std::span<const float> weights = {}) {
  double error = 0;
  for (size_t i = 0; i < a.size(); ++i)
    error += (weights.empty() ? 1.0 : weights[i]) * (double(a[i]) - b[i]) *
             (double(a[i]) - b[i]);
  return error;
}

double getRelativeError(const Scheme &scheme, std::span<const float> values) {
  std::vector<float> zeros(values.size());
  return std::sqrt(getError(values, encodeAndDecode(scheme, values)) /
                   getError(values, zeros));
}

enum class Shape { Normal, Laplacian, HeavyTailed };

std::vector<float> draw(size_t count, uint32_t seed,
                        Shape shape = Shape::Normal) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02f);
  std::exponential_distribution<float> exponential(50);
  std::student_t_distribution<float> heavy(3);
  std::vector<float> values(count);
  for (float &value : values)
    value = shape == Shape::Normal ? normal(random)
            : shape == Shape::Laplacian
                ? exponential(random) * (random() % 2 ? 1.0f : -1.0f)
                : heavy(random) * 0.02f;
  return values;
}

float roundTo(float value, SourceFormat rounding) {
  if (rounding == SourceFormat::F32)
    return value;
  SchemeField field;
  field.kind = rounding == SourceFormat::F16 ? Kind::F16 : Kind::BF16;
  field.bits = 16;
  return std::bit_cast<float>(widenField(field, narrowField(field, value)));
}

/// A row with random fields whose weights are about 0.1.
EncodedRow drawFields(const Scheme &scheme, int64_t columns, uint32_t seed) {
  std::mt19937 random(seed);
  EncodedRow row(scheme, columns);
  for (size_t f = 0; f < scheme.fields.size(); ++f) {
    const SchemeField &field = scheme.fields[f];
    for (int64_t i = 0; i < row.getCount(f); ++i) {
      auto range = static_cast<uint32_t>(field.maximum - field.minimum + 1);
      uint32_t raw =
          field.kind == Kind::F8E8M0           ? 118 + random() % 4
          : field.bits == 4 && field.isFloat() ? random() % 16
          : field.isFloat()
              ? narrowField(field, 0.01f + float(random() % 1000) * 1e-5f)
              : (static_cast<uint32_t>(field.minimum) + random() % range) &
                    ((1u << field.bits) - 1);
      row.set(f, i, raw);
    }
  }
  return row;
}

} // namespace

TEST(Encoder, ReachesKnownAnswers) {
  std::vector<float> ramp(32);
  for (int i = 0; i < 32; ++i)
    ramp[i] = 0.5f * static_cast<float>(i % 16 - 8);
  std::vector<float> one(32);
  one[5] = 1;
  for (EncodeStrategy strategy :
       {EncodeStrategy::Nearest, EncodeStrategy::Absmax, EncodeStrategy::Search,
        EncodeStrategy::Weighted}) {
    Scheme scheme = makeSymmetric(4);
    scheme.strategy = strategy;
    EXPECT_EQ(encodeAndDecode(scheme, ramp), ramp);
    EXPECT_EQ(encodeAndDecode(scheme, one), one);
    scheme = makeWithMinimum(4);
    scheme.strategy = strategy;
    EXPECT_EQ(encodeAndDecode(scheme, ramp), ramp);
  }
}

TEST(Encoder, AbsmaxMeetsTheLargestAndNearestClipsNothing) {
  // -8 is the code of the largest magnitude, so the scale is negative.
  std::vector<float> values = draw(32, 3);
  values[7] = 0.4f;
  Scheme scheme = makeSymmetric(4);
  scheme.strategy = EncodeStrategy::Absmax;
  EXPECT_FLOAT_EQ(encodeAndDecode(scheme, values)[7],
                  roundTo(0.05f, SourceFormat::F16) * 8);
  // 0.4 and -0.38 do not both fit beside 8 and -7 steps of 0.05.
  values[8] = -0.38f;
  scheme.strategy = EncodeStrategy::Nearest;
  std::vector<float> decoded = encodeAndDecode(scheme, values);
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(decoded[i], values[i], 0.0545 / 2) << i;
}

TEST(Encoder, KeepsZerosConstantsAndSingleValues) {
  for (auto &[name, scheme] : listSchemes()) {
    SCOPED_TRACE(name);
    std::vector<float> values(512);
    EXPECT_EQ(encodeAndDecode(scheme, values), values);
    values[300] = -0.25f;
    // iq4_nl has no 0, but a level of 1/127.
    EXPECT_LT(getRelativeError(scheme, values), 0.05);
    std::fill(values.begin(), values.end(), 0.25f);
    EXPECT_LT(getRelativeError(scheme, values), 0.04);
  }
}

TEST(Encoder, TakesAnyMagnitude) {
  for (auto &[name, scheme] : listSchemes()) {
    SCOPED_TRACE(name);
    for (float scale : {1e-38f, 1e-30f, 1e-5f, 1e6f, 1e30f, 1e38f}) {
      std::vector<float> values = draw(512, 1);
      for (float &value : values)
        value = std::clamp(value * 40, -3.0f, 3.0f) * scale;
      for (float value : encodeAndDecode(scheme, values))
        ASSERT_TRUE(std::isfinite(value)) << scale;
    }
    // One value dwarfs all others.
    std::vector<float> values = draw(512, 1);
    values[17] = -3e38f;
    values[18] = 1e-45f;
    encodeAndDecode(scheme, values);
  }
}

/// The least error of columns over all values of fields `f` and up that have
/// one value for them; the fields of shorter periods are chosen cell by cell.
static double searchAll(const Scheme &scheme, std::span<const float> values,
                        std::vector<uint32_t> &raws, size_t f = 0) {
  auto columns = static_cast<int64_t>(values.size());
  double best = INFINITY;
  if (f < scheme.fields.size()) {
    const SchemeField &field = scheme.fields[f];
    if (field.columns != columns)
      return searchAll(scheme, values, raws, f + 1);
    for (uint32_t raw = 0; raw < 1u << field.bits; ++raw) {
      float word = std::bit_cast<float>(widenField(field, raw));
      if (field.isFloat() && !std::isfinite(word))
        continue;
      raws[f] = raw;
      best = std::min(best, searchAll(scheme, values, raws, f + 1));
    }
    return best;
  }
  int64_t cell = 0;
  for (const SchemeField &field : scheme.fields)
    if (!field.isCode() && field.columns < columns)
      cell = std::max(cell, field.columns);
  if (cell > 0) {
    double sum = 0;
    for (int64_t begin = 0; begin < columns; begin += cell)
      sum += searchAll(scheme, values.subspan(begin, cell), raws);
    return sum;
  }
  constexpr size_t mostCodes = 16, mostFields = 4;
  uint32_t words[mostFields][mostCodes];
  const uint32_t *inputs[mostFields];
  size_t code = scheme.getCode();
  uint32_t codes = 1u << scheme.fields[code].bits;
  for (size_t i = 0; i < scheme.fields.size(); ++i) {
    for (uint32_t k = 0; k < codes; ++k)
      words[i][k] = widenField(scheme.fields[i], i == code ? k : raws[i]);
    inputs[i] = words[i];
  }
  float table[mostCodes];
  scheme.decode.run({inputs, scheme.fields.size()}, codes, table);
  double error = 0;
  for (float value : values) {
    double nearest = INFINITY;
    for (uint32_t k = 0; k < codes; ++k)
      nearest = std::min(nearest, std::fabs(double(value) - table[k]));
    error += nearest * nearest;
  }
  return error;
}

TEST(Encoder, SearchIsNearTheTrueMinimum) {
  Builder minimum;
  {
    uint32_t code = minimum.code(ui, 2),
             scale = minimum.field(Kind::F8E4M3, 8, 8),
             least = minimum.field(Kind::F8E4M3, 8, 8);
    minimum.add(minimum.mul(minimum.toFloat(code), scale), least);
  }
  Builder twoLevel;
  {
    uint32_t code = twoLevel.code(ui, 3), scale = twoLevel.field(ui, 4, 8),
             outer = twoLevel.field(Kind::F4E2M1, 4, 16);
    twoLevel.mul(twoLevel.mul(twoLevel.minus(scale, 8), outer),
                 twoLevel.minus(code, 4));
  }
  struct Case {
    Scheme scheme;
    int blocks;
    /// So that values are in the middle of what the fields hold.
    float magnitude;
  } cases[] = {{makeSymmetric(2, 8), 12, 1},
               {makeSymmetric(4, 16), 12, 1},
               {minimum.scheme, 12, 50},
               {twoLevel.scheme, 60, 1500}};
  for (Case &it : cases) {
    double found = 0, best = 0;
    for (int block = 0; block < it.blocks; ++block) {
      std::vector<float> values =
          draw(static_cast<size_t>(it.scheme.getBlockColumns()), 100 + block);
      for (float &value : values)
        value *= it.magnitude;
      found += getError(values, encodeAndDecode(it.scheme, values));
      std::vector<uint32_t> raws(it.scheme.fields.size());
      best += searchAll(it.scheme, values, raws);
    }
    EXPECT_GE(found, best * (1 - 1e-6));
    EXPECT_LE(found, best * 1.01) << &it - cases;
  }
}

TEST(Encoder, SearchIsBetterThanCheapStrategies) {
  for (auto &[name, scheme] : listSchemes())
    for (Shape shape : {Shape::Normal, Shape::Laplacian, Shape::HeavyTailed})
      for (uint32_t seed = 0; seed < 24; ++seed) {
        SCOPED_TRACE(name);
        std::vector<float> values = draw(512, seed, shape);
        double search = getError(values, encodeAndDecode(scheme, values));
        Scheme cheap = scheme;
        for (EncodeStrategy strategy :
             {EncodeStrategy::Absmax, EncodeStrategy::Nearest}) {
          cheap.strategy = strategy;
          EXPECT_LE(search, getError(values, encodeAndDecode(cheap, values)))
              << seed;
        }
      }
}

TEST(Encoder, ImportanceMovesTheError) {
  std::vector<float> importance(512);
  for (size_t i = 0; i < importance.size(); ++i)
    importance[i] = i % 4 ? 0.01f : 1.0f;
  for (auto &[name, scheme] : listSchemes()) {
    // A power of two, one scale a row or three levels cannot move much.
    if (name == "mxfp4" || name == "fp8_e4m3" || name == "ternary")
      continue;
    SCOPED_TRACE(name);
    double important[2] = {}, all[2] = {};
    for (uint32_t seed = 0; seed < 8; ++seed)
      for (int use = 0; use < 2; ++use) {
        std::vector<float> values = draw(512, seed, Shape::Laplacian);
        std::vector<float> decoded =
            encodeAndDecode(scheme, values,
                            use ? std::span<const float>(importance)
                                : std::span<const float>());
        important[use] += getError(values, decoded, importance);
        all[use] += getError(values, decoded);
      }
    EXPECT_LT(important[1], 0.97 * important[0]);
    EXPECT_GT(all[1], all[0]);
    // Only `weighted` schemes look at it.
    Scheme plain = scheme;
    plain.strategy = EncodeStrategy::Search;
    std::vector<float> values = draw(512, 1);
    EXPECT_EQ(encodeAndDecode(plain, values, importance),
              encodeAndDecode(plain, values));
  }
}

TEST(Encoder, FindsLatticesExactly) {
  for (auto &[name, scheme] : listSchemes()) {
    if (name != "q4_0" && name != "q5_0" && name != "iq4_nl" && name != "nf4" &&
        name != "mxfp4" && name != "ternary" && name != "int4_group128")
      continue;
    for (SourceFormat rounding :
         {SourceFormat::F32, SourceFormat::F16, SourceFormat::BF16})
      for (uint32_t seed = 0; seed < 20; ++seed) {
        SCOPED_TRACE(name);
        std::vector<float> values(512);
        decodeRow(scheme, drawFields(scheme, 512, seed), values);
        for (float &value : values)
          value = roundTo(value, rounding);
        std::vector<float> decoded =
            encodeAndDecode(scheme, values, {}, rounding);
        for (size_t i = 0; i < values.size(); ++i)
          ASSERT_EQ(roundTo(decoded[i], rounding), values[i])
              << i << " of seed " << seed;
      }
  }
}

TEST(Encoder, PadsTheLastBlock) {
  for (auto &[name, scheme] : listSchemes()) {
    SCOPED_TRACE(name);
    // The columns of whole blocks do not depend on those after them, unless a
    // field is per row.
    std::vector<float> values = draw(256 + 100, 9);
    double ragged = getRelativeError(scheme, values);
    double whole = getRelativeError(scheme, draw(512, 9));
    EXPECT_LT(ragged, 1.15 * whole);
    EXPECT_LT(getRelativeError(scheme, draw(4, 9)), whole * 1.2);
    // A power of two times 6 may be a quarter off.
    EXPECT_LT(getRelativeError(scheme, draw(1, 9)),
              name == "mxfp4" ? 0.2 : whole);
  }
}

TEST(Encoder, NarrowsPlainFloats) {
  std::vector<float> values = {1.0f, -0.1f, 3e38f, 1e-45f, 65520.0f, 0.0f};
  for (Kind kind : {Kind::F32, Kind::F16, Kind::BF16}) {
    Builder b;
    b.code(kind, kind == Kind::F32 ? 32 : 16);
    std::vector<float> decoded = encodeAndDecode(b.scheme, values);
    for (size_t i = 0; i < values.size(); ++i) {
      const SchemeField &field = b.scheme.fields[0];
      EXPECT_EQ(std::bit_cast<uint32_t>(decoded[i]),
                widenField(field, narrowField(field, values[i])));
    }
  }
}

TEST(Encoder, HandlesSchemesThatAreNotAffine) {
  // sign * exp2(magnitude * scale + base)
  Builder log;
  uint32_t code = log.code(ui, 4), scale = log.field(f16, 16, 32),
           base = log.field(f16, 16, 32);
  uint32_t sign = log.op(Op::AndI, code, log.integer(1));
  uint32_t magnitude = log.op(Op::ShrUI, code, log.integer(1));
  uint32_t power =
      log.op(Op::Exp2, log.add(log.mul(log.toFloat(magnitude), scale), base));
  log.mul(power, log.minus(log.op(Op::AddI, sign, sign), 1));
  EXPECT_FALSE(RowEncoder(log.scheme, 256).isAffine());
  EXPECT_LT(getRelativeError(log.scheme, draw(256, 4)), 0.15);

  Builder inverse; // (code - 8) / scale
  code = inverse.code(ui, 4);
  scale = inverse.field(f16, 16, 32);
  inverse.op(Op::DivF, inverse.minus(code, 8), scale);
  EXPECT_LT(getRelativeError(inverse.scheme, draw(256, 4)), 0.1);

  Builder crossed; // Periods of which neither divides the other.
  code = crossed.code(ui, 4);
  scale = crossed.field(f16, 16, 8);
  uint32_t other = crossed.field(ui, 4, 12);
  crossed.field(f16, 16, 24); // Not used.
  crossed.mul(crossed.mul(crossed.minus(code, 8), scale),
              crossed.minus(other, -1));
  EXPECT_LT(getRelativeError(crossed.scheme, draw(96, 4)), 0.1);

  Builder outer; // Outer fields of which neither is a part of the other.
  code = outer.code(ui, 4);
  scale = outer.field(ui, 4, 32);
  uint32_t minimum = outer.field(ui, 4, 32), by = outer.field(f16, 16, 64),
           minimumBy = outer.field(f16, 16, 96);
  outer.field(f16, 16, 192); // Not used.
  outer.sub(outer.mul(outer.mul(by, outer.toFloat(scale)), outer.toFloat(code)),
            outer.mul(minimumBy, outer.toFloat(minimum)));
  EXPECT_FALSE(RowEncoder(outer.scheme, 384).isAffine());
  EXPECT_LT(getRelativeError(outer.scheme, draw(384, 4)), 0.2);

  Builder wide; // A float code with a scale.
  code = wide.code(f16, 16);
  scale = wide.field(Kind::F32, 32, perRow);
  wide.mul(code, scale);
  EXPECT_LT(getRelativeError(wide.scheme, draw(256, 4)), 0.001);

  Builder constant; // Ignores its fields.
  constant.code(ui, 4);
  constant.field(f16, 16, 32);
  constant.real(NAN);
  encodeAndDecode(constant.scheme, draw(64, 4));
}

TEST(Encoder, TakesRandomSchemes) {
  std::mt19937 random(17);
  auto pick = [&](auto... options) {
    std::common_type_t<decltype(options)...> all[] = {options...};
    return all[random() % sizeof...(options)];
  };
  const Kind floats[] = {Kind::F32,    Kind::F16,    Kind::BF16,  Kind::F8E4M3,
                         Kind::F8E5M2, Kind::F8E8M0, Kind::F4E2M1};
  const unsigned sizes[] = {32, 16, 16, 8, 8, 8, 4};
  for (int attempt = 0; attempt < 120; ++attempt) {
    Builder b;
    std::vector<uint32_t> integers, reals;
    auto add = [&](int64_t columns) {
      if (random() % 2) {
        size_t kind = random() % std::size(floats);
        reals.push_back(b.field(floats[kind], sizes[kind], columns));
      } else {
        integers.push_back(b.field(pick(ui, si), 1 + random() % 8, columns));
      }
    };
    add(1);
    for (size_t outer = random() % 4; outer > 0; --outer)
      add(pick(8, 32, 64, 64, 0));
    for (size_t i = 0; i < integers.size(); ++i)
      reals.push_back(b.toFloat(integers[i]));
    for (size_t step = random() % 6; step > 0; --step) {
      uint32_t x = reals[random() % reals.size()];
      uint32_t y = reals[random() % reals.size()];
      reals.push_back(
          b.op(pick(Op::MulF, Op::MulF, Op::MulF, Op::AddF, Op::SubF, Op::DivF,
                    Op::Exp2, Op::AbsF, Op::MaximumF, Op::Sqrt),
               x, y));
    }
    b.scheme.decode.result = reals.back();
    SCOPED_TRACE(attempt);
    // Valid fields, no crash.
    encodeAndDecode(b.scheme, draw(72, attempt));
  }
}

TEST(Encoder, IsTheSameInEveryThread) {
  for (auto &[name, scheme] : listSchemes()) {
    RowEncoder encoder(scheme, 512);
    EXPECT_TRUE(encoder.isAffine()) << name;
    std::vector<float> values = draw(512, 2);
    auto encode = [&](EncodedRow &row) {
      for (int repeat = 0; repeat < 3; ++repeat)
        encoder.encode(values, {}, SourceFormat::BF16, row);
    };
    EncodedRow first(scheme, 512), second(scheme, 512);
    std::thread other([&] { encode(second); });
    encode(first);
    other.join();
    for (size_t f = 0; f < scheme.fields.size(); ++f)
      for (int64_t i = 0; i < first.getCount(f); ++i)
        ASSERT_EQ(first.get(f, i), second.get(f, i)) << name;
  }
}
