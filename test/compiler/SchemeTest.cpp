// Schemes: the built-in ones on blocks made by hand, and the numbers of small
// floats against LLVM's.
#include "compiler/RecipeLibrary.h"

#include "dialects/lap/WeightLayout.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/APFloat.h"

#include <bit>
#include <gtest/gtest.h>

using namespace mlir;
using namespace mlir::lap;
using lapidary::EncodedRow;
using lapidary::FieldKind;
using lapidary::Scheme;
using lapidary::SchemeField;

namespace {

Scheme load(MLIRContext &context, StringRef name) {
  auto module = loadScheme(&context, name);
  EXPECT_TRUE(succeeded(module)) << name.str();
  return getScheme(**module).getModel();
}

/// Raw bits of the outer fields, the same in all groups, codes of the first
/// columns, and what they stand for by the format's definition.
struct Block {
  const char *scheme;
  int64_t columns;
  std::vector<uint32_t> outer;
  std::vector<uint32_t> codes;
  std::vector<float> values;
};

// f16: 1 is 0x3c00, 2 is 0x4000, 0.5 is 0x3800, -0.25 is 0xb400.
const Block blocks[] = {
    {"bf16", 3, {}, {0x3f80, 0xc000, 0x3dcd}, {1, -2, 0x1.9ap-4f}},
    {"f16", 3, {}, {0x3c00, 0xc000, 0x0001}, {1, -2, 0x1p-24f}},
    {"f32", 2, {}, {0x3f800000, 0xc0490fdb}, {1, -3.14159274f}},
    {"q8_0", 32, {0x3800}, {1, 0x7f, 0x81}, {0.5f, 63.5f, -63.5f}},
    {"q4_0", 32, {0x4000}, {0, 8, 15}, {-16, 0, 14}},
    {"q4_1", 32, {0x4000, 0xb400}, {0, 1, 15}, {-0.25f, 1.75f, 29.75f}},
    {"q5_0", 32, {0x4000}, {0, 16, 31}, {-32, 0, 30}},
    {"q5_1", 32, {0x3800, 0x4000}, {0, 3, 31}, {2, 3.5f, 17.5f}},
    // d * scale * code - dmin * min: 2 * 3 * code - 0.5 * 5.
    {"q2_k", 256, {3, 5, 0x4000, 0x3800}, {0, 1, 3}, {-2.5f, 3.5f, 15.5f}},
    {"q4_k", 256, {3, 5, 0x4000, 0x3800}, {0, 1, 15}, {-2.5f, 3.5f, 87.5f}},
    {"q5_k", 256, {63, 63, 0x4000, 0x3800}, {0, 31}, {-31.5f, 3874.5f}},
    // d * (scale - 32) * (code - 4).
    {"q3_k", 256, {30, 0x4000}, {0, 4, 7}, {16, 0, -12}},
    {"q6_k", 256, {0xfe, 0x4000}, {0, 32, 63}, {128, 0, -124}},
    {"iq4_nl", 32, {0x3800}, {0, 7, 8, 15}, {-63.5f, -5, 0.5f, 56.5f}},
    // 2^(129 - 127).
    {"mxfp4", 32, {129}, {0, 1, 7, 8, 9, 15}, {0, 2, 24, -0.0f, -2, -24}},
    // e4m3 0x40 is 2; the row's factor is 0.5.
    {"nvfp4", 16, {0x40, 0x3f000000}, {1, 6, 14}, {0.5f, 4, -4}},
    {"nf4", 64, {0x4000}, {0, 7, 15}, {-2, 0, 2}},
    {"fp8_e4m3", 3, {0x40000000}, {0x38, 0x7e, 0x81}, {2, 896, -0x1p-8f}},
    {"int8_channel", 3, {0x40000000}, {1, 0x7f, 0x81}, {2, 254, -254}},
    {"int4_group128", 128, {0x3800, 6}, {0, 6, 15}, {-3, 0, 4.5f}},
    {"ternary", 256, {0x4000}, {0, 1, 2}, {-2, 0, 2}},
};

TEST(SchemeTest, BuiltInsDecodeBlocksMadeByHand) {
  MLIRContext context;
  std::vector<std::string> seen;
  for (const Block &block : blocks) {
    SCOPED_TRACE(block.scheme);
    Scheme scheme = load(context, block.scheme);
    EncodedRow row(scheme, block.columns);
    size_t next = 0;
    for (size_t field = 0; field < scheme.fields.size(); ++field) {
      if (field == scheme.getCode()) {
        for (size_t i = 0; i < block.codes.size(); ++i)
          row.set(field, int64_t(i), block.codes[i]);
        continue;
      }
      ASSERT_LT(next, block.outer.size());
      for (int64_t i = 0; i < row.getCount(field); ++i)
        row.set(field, i, block.outer[next]);
      ++next;
    }
    EXPECT_EQ(next, block.outer.size());
    std::vector<float> values(block.codes.size());
    decodeRow(scheme, row, values);
    EXPECT_EQ(values, block.values);
    seen.push_back(block.scheme);
  }
  for (const BuiltInText &text : getBuiltInSchemes())
    EXPECT_TRUE(llvm::is_contained(seen, text.name)) << text.name.str();
}

TEST(SchemeTest, BitsPerWeightCountEveryField) {
  MLIRContext context;
  auto bits = [&](StringRef name, int64_t columns) {
    return load(context, name).getBitsPerWeight(columns);
  };
  EXPECT_DOUBLE_EQ(bits("q4_0", 4096), 4.5);
  EXPECT_DOUBLE_EQ(bits("q2_k", 4096), 2.625);
  EXPECT_DOUBLE_EQ(bits("q3_k", 4096), 3.4375);
  EXPECT_DOUBLE_EQ(bits("q6_k", 4096), 6.5625);
  EXPECT_DOUBLE_EQ(bits("int8_channel", 64), 8.5);
  // 640 columns: codes for 640, 20 groups of 32, and 3 of 256 (one half empty).
  EXPECT_DOUBLE_EQ(bits("q4_k", 640), (640 * 4 + 20 * 12 + 3 * 32) / 640.0);
  EXPECT_DOUBLE_EQ(bits("bf16", 7), 16);
}

SchemeField getField(FieldKind kind, unsigned bits) {
  SchemeField field;
  field.kind = kind;
  field.bits = bits;
  return field;
}

TEST(SchemeTest, WidensSmallFloatsAsTheirFormatsSay) {
  struct Format {
    FieldKind kind;
    unsigned bits;
    const llvm::fltSemantics &semantics;
  };
  const Format formats[] = {
      {FieldKind::F8E4M3, 8, APFloat::Float8E4M3FN()},
      {FieldKind::F8E5M2, 8, APFloat::Float8E5M2()},
      {FieldKind::F8E8M0, 8, APFloat::Float8E8M0FNU()},
      {FieldKind::F4E2M1, 4, APFloat::Float4E2M1FN()},
      {FieldKind::F16, 16, APFloat::IEEEhalf()},
      {FieldKind::BF16, 16, APFloat::BFloat()},
  };
  for (const Format &format : formats) {
    SchemeField field = getField(format.kind, format.bits);
    for (uint32_t raw = 0; raw < 1u << format.bits; ++raw) {
      APFloat exact(format.semantics, APInt(format.bits, raw)), single = exact;
      bool inexact;
      single.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven,
                     &inexact);
      float expected = single.convertToFloat();
      float value = std::bit_cast<float>(widenField(field, raw));
      // LLVM makes an infinity of e8m0's NaN.
      if (exact.isNaN()) {
        EXPECT_TRUE(std::isnan(value)) << int(format.kind) << " " << raw;
        continue;
      }
      EXPECT_EQ(std::bit_cast<uint32_t>(value),
                std::bit_cast<uint32_t>(expected))
          << int(format.kind) << " " << raw;
      // The nearest to a value that the format has is that value.
      if (std::isfinite(value)) {
        float back =
            std::bit_cast<float>(widenField(field, narrowField(field, value)));
        EXPECT_EQ(back, value) << int(format.kind) << " " << raw;
      }
    }
  }
}

TEST(SchemeTest, NarrowsToTheNearestAndStaysFinite) {
  SchemeField e2m1 = getField(FieldKind::F4E2M1, 4);
  auto near = [](const SchemeField &field, float value) {
    return std::bit_cast<float>(widenField(field, narrowField(field, value)));
  };
  EXPECT_EQ(near(e2m1, 2.4f), 2);
  EXPECT_EQ(near(e2m1, 2.6f), 3);
  EXPECT_EQ(near(e2m1, 2.5f), 2); // Ties to even.
  EXPECT_EQ(near(e2m1, 3.5f), 4);
  EXPECT_EQ(near(e2m1, 100), 6);
  EXPECT_EQ(near(e2m1, -100), -6);
  EXPECT_EQ(near(getField(FieldKind::F8E4M3, 8), 1e9f), 448);
  EXPECT_EQ(near(getField(FieldKind::F16, 16), 1e9f), 65504);
  EXPECT_TRUE(std::isfinite(near(getField(FieldKind::BF16, 16), 3.4e38f)));
  EXPECT_EQ(near(getField(FieldKind::F8E8M0, 8), 0.0f), 0x1p-127f);
  EXPECT_EQ(near(getField(FieldKind::F8E8M0, 8), 3.0f), 4);
  SchemeField code = getField(FieldKind::Signed, 8);
  code.minimum = -127;
  code.maximum = 127;
  EXPECT_EQ(int32_t(widenField(code, narrowField(code, -1000))), -127);
}

} // namespace
