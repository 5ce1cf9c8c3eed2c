// Random weight matrices in any scheme: the bytes that a kernel reads, and what
// the reference dequantizer makes of the same fields.
#pragma once

#include "compiler/WeightPacking.h"
#include "dialects/lap/SchemeLibrary.h"
#include "test/targets/cpu/KernelTest.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace mlir::lap::cpu {

/// How a matrix is stored: f32, f16 or bf16 as a tensor, or a scheme.
struct MatrixFormat {
  std::string name;
  /// The text of the `lap.scheme` @name; empty for a tensor.
  std::string text;

  std::string getType(int64_t rows, int64_t columns) const {
    std::string shape = std::to_string(rows) + "x" + std::to_string(columns);
    return text.empty() ? "tensor<" + shape + "x" + name + ">"
                        : "!lap.quantized<" + shape + ", @" + name + ">";
  }
  lapidary::Scheme getModel() const {
    MLIRContext context;
    context.loadDialect<LapDialect, arith::ArithDialect, math::MathDialect>();
    if (text.empty())
      return getFloatScheme(name == "f32"   ? Type(Float32Type::get(&context))
                            : name == "f16" ? Type(Float16Type::get(&context))
                                            : BFloat16Type::get(&context));
    OwningOpRef<ModuleOp> module =
        parseSourceString<ModuleOp>(text, ParserConfig(&context));
    if (!module) {
      ADD_FAILURE() << "cannot parse " << text;
      return {};
    }
    return (*module->getOps<SchemeOp>().begin()).getModel();
  }
};

/// A scheme that is built in.
inline MatrixFormat getBuiltin(const std::string &name) {
  const BuiltInText *found = findText(getBuiltInSchemes(), name);
  EXPECT_NE(found, nullptr) << "no scheme " << name;
  return {name, found ? found->text.str() : ""};
}

inline const std::vector<std::string> builtinSchemes = [] {
  std::vector<std::string> names;
  for (const BuiltInText &scheme : getBuiltInSchemes())
    names.push_back(scheme.name.str());
  return names;
}();

/// Raw bits of a field: any bits where they are few, but for those that mean
/// no finite number or, of a scale of eight bits, one far from 1.
inline uint32_t randomField(const lapidary::SchemeField &field,
                            std::mt19937 &random) {
  if (field.bits > 8)
    return lapidary::narrowField(
        field, std::normal_distribution<float>(0, 0.1F)(random));
  if (field.kind == lapidary::FieldKind::F8E8M0)
    return 115 + random() % 16;
  for (;;) {
    uint32_t raw = random() & ((1u << field.bits) - 1);
    float value = __builtin_bit_cast(float, lapidary::widenField(field, raw));
    if (!field.isFloat() || std::isfinite(value))
      return raw;
  }
}

/// For each lane, the sum of the magnitudes that the weight's rounding errors
/// are relative to: where the region adds, what is added may cancel.
inline std::vector<double>
getMagnitudes(const lapidary::DecodeProgram &program,
              std::span<const uint32_t *const> inputs, int64_t lanes) {
  using lapidary::DecodeOpcode;
  // Integers as such, f32 by their values.
  std::vector<std::vector<double>> magnitudes;
  for (uint32_t i = 0; i < program.inputs; ++i) {
    std::vector<double> &own = magnitudes.emplace_back(lanes);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      auto number = static_cast<int32_t>(inputs[i][lane]);
      // A field's integer is small; an f32 that is not 0 or denormal is not.
      own[lane] = std::abs(number) < 1 << 16
                      ? std::abs(number)
                      : std::fabs(__builtin_bit_cast(float, number));
    }
  }
  for (size_t s = 0; s < program.steps.size(); ++s) {
    const lapidary::DecodeStep &step = program.steps[s];
    lapidary::DecodeProgram upTo = program;
    upTo.result = program.inputs + s;
    std::vector<float> values(lanes);
    upTo.run(inputs, lanes, values.data());
    std::vector<double> own(lanes);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      auto operand = [&](int i) { return magnitudes[step.operands[i]][lane]; };
      switch (step.opcode) {
      case DecodeOpcode::AddF:
      case DecodeOpcode::SubF:
      case DecodeOpcode::AddI:
      case DecodeOpcode::SubI:
        own[lane] = operand(0) + operand(1);
        break;
      case DecodeOpcode::MulF:
        own[lane] = operand(0) * operand(1);
        break;
      case DecodeOpcode::NegF:
      case DecodeOpcode::SiToF:
      case DecodeOpcode::UiToF:
        own[lane] = operand(0);
        break;
      default: {
        auto number = __builtin_bit_cast(int32_t, values[lane]);
        own[lane] = std::abs(int64_t(number)) < 1 << 16
                        ? std::abs(number)
                        : std::fabs(values[lane]);
      }
      }
    }
    magnitudes.push_back(std::move(own));
  }
  return magnitudes[program.result];
}

/// A weight matrix as the kernel reads it, and as numbers.
struct Matrix {
  GuardedVector<uint8_t> packed;
  std::vector<float> values;
  /// What rounding errors of the values are relative to.
  std::vector<double> magnitudes;
  /// Rounded steps from fields to a weight.
  size_t steps;

  Matrix(const MatrixFormat &format, int64_t rows, int64_t columns,
         std::mt19937 &random)
      : Matrix(format.getModel(), rows, columns, random) {}

private:
  Matrix(const lapidary::Scheme &scheme, int64_t rows, int64_t columns,
         std::mt19937 &random)
      : Matrix(scheme, getRowTileLayout(scheme, rows, columns), random) {}

  Matrix(const lapidary::Scheme &scheme, const RowTileLayout &layout,
         std::mt19937 &random)
      : packed(layout.getBytes()), values(layout.rows * layout.columns),
        magnitudes(values.size()), steps(scheme.decode.steps.size()) {
    constexpr int64_t tileRows = RowTileLayout::tileRows;
    int64_t columns = layout.columns;
    for (int64_t tile = 0; tile < layout.tiles; ++tile) {
      std::vector<lapidary::EncodedRow> rows;
      for (int64_t row = tile * tileRows;
           row < std::min(layout.rows, (tile + 1) * tileRows); ++row) {
        lapidary::EncodedRow &encoded = rows.emplace_back(scheme, columns);
        // Columns past the last have fields too: they must not count.
        for (size_t f = 0; f < scheme.fields.size(); ++f)
          for (int64_t i = 0; i < encoded.getCount(f); ++i)
            encoded.set(f, i, randomField(scheme.fields[f], random));
        std::span<float> out(values.data() + row * columns, columns);
        lapidary::decodeRow(scheme, encoded, out);
        setMagnitudes(scheme, encoded, row);
        for (float value : out)
          if (!std::isfinite(value))
            ADD_FAILURE() << scheme.name << " gave " << value;
      }
      SmallVector<const lapidary::EncodedRow *> pointers;
      for (const lapidary::EncodedRow &row : rows)
        pointers.push_back(&row);
      packTile(layout, pointers, packed.data() + tile * layout.tileBytes);
    }
  }

  void setMagnitudes(const lapidary::Scheme &scheme,
                     const lapidary::EncodedRow &encoded, int64_t row) {
    int64_t columns = encoded.getColumns();
    std::vector<std::vector<uint32_t>> words;
    std::vector<const uint32_t *> inputs;
    for (size_t f = 0; f < scheme.fields.size(); ++f) {
      const lapidary::SchemeField &field = scheme.fields[f];
      std::vector<uint32_t> &own = words.emplace_back(columns);
      for (int64_t c = 0; c < columns; ++c)
        own[c] = lapidary::widenField(
            field, encoded.get(f, field.columns ? c / field.columns : 0));
    }
    for (const auto &own : words)
      inputs.push_back(own.data());
    std::vector<double> own = getMagnitudes(scheme.decode, inputs, columns);
    std::copy(own.begin(), own.end(), magnitudes.begin() + row * columns);
  }
};

} // namespace mlir::lap::cpu
