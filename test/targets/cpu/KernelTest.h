// What the tests of CPU kernels share: a fixture that runs each case in each
// variant, the text of a kernel, and random operands.
#pragma once

#include "compiler/WeightPacking.h"
#include "test/targets/cpu/CompiledKernel.h"
#include "test/targets/cpu/GuardedVector.h"

#include "mlir/AsmParser/AsmParser.h"

#include <cmath>
#include <random>
#include <tuple>

namespace mlir::lap::cpu {

/// Parameters: the index of a case, the index of a variant.
class KernelTest : public testing::TestWithParam<std::tuple<int, int>> {
protected:
  void SetUp() override {
    if (!canRun(getVariant()))
      GTEST_SKIP() << "this machine does not run "
                   << getVariant().blocking.name.str();
  }
  int getCase() const { return std::get<0>(GetParam()); }
  const CpuVariant &getVariant() const {
    return getX86Variants()[std::get<1>(GetParam())];
  }
};

inline auto allVariants(int cases) {
  return testing::Combine(testing::Range(0, cases),
                          testing::Range<int>(0, getX86Variants().size()));
}

inline std::string
getKernelTestName(const testing::TestParamInfo<std::tuple<int, int>> &info) {
  return std::to_string(std::get<0>(info.param)) + "_" +
         getX86Variants()[std::get<1>(info.param)].blocking.name.str();
}

/// The text of a bufferized `lap.kernel @kernel`. Its arguments come in the
/// order of the calls; shapes are written as in a type, "?x64xf32".
class KernelText {
public:
  /// A tensor in memory: gives the tensor's name in the body.
  std::string tensor(const std::string &name, const std::string &shape) {
    argument(name, "memref<" + shape + ">");
    body += "  %t_" + name + " = bufferization.to_tensor %" + name +
            " restrict : memref<" + shape + "> to tensor<" + shape + ">\n";
    return "%t_" + name;
  }
  /// A weight matrix in rows16.
  std::string packed(const std::string &name, const std::string &type,
                     size_t bytes) {
    std::string memref = "memref<" + std::to_string(bytes) + "xi8>";
    argument(name, memref);
    body += "  %t_" + name + " = lap.unpack %" + name +
            " {layout = #lap.layout<rows16>} : " + memref + " -> " + type +
            "\n";
    return "%t_" + name;
  }
  /// A cache or a size.
  std::string value(const std::string &name, const std::string &type) {
    argument(name, type);
    return "%" + name;
  }
  void op(const std::string &line) { body += "  " + line + "\n"; }
  /// `value` is written to an argument at the end.
  void result(const std::string &value, const std::string &shape) {
    std::string memref = "memref<" + shape + ">";
    std::string name = "out" + std::to_string(results++);
    argument(name, memref);
    body += "  bufferization.materialize_in_destination " + value +
            " in restrict writable %" + name + " : (tensor<" + shape + ">, " +
            memref + ") -> ()\n";
  }
  std::string str() const {
    return "lap.scheme @q8_0 {block = 32, codes = i8, scale = f16}\n"
           "lap.kernel @kernel(" +
           arguments + ") {\n" + body + "  lap.return\n}\n";
  }

private:
  void argument(const std::string &name, const std::string &type) {
    arguments += (arguments.empty() ? "%" : ", %") + name + ": " + type;
  }

  std::string arguments, body;
  int results = 0;
};

/// "2x3xf32", with "?" for a dimension that is not static.
inline std::string shapeOf(std::initializer_list<int64_t> sizes,
                           const std::string &element,
                           bool dynamicTokens = false) {
  std::string text;
  for (int64_t size : sizes) {
    text += (text.empty() && dynamicTokens ? "?" : std::to_string(size)) + "x";
  }
  return text + element;
}

inline SourceFormat getFormat(const std::string &element) {
  return element == "f32"   ? SourceFormat::F32
         : element == "f16" ? SourceFormat::F16
                            : SourceFormat::BF16;
}

/// Numbers as an f32, f16 or bf16 operand holds them, and rounded to that.
struct Operand {
  GuardedVector<uint8_t> bytes;
  std::vector<float> values;

  Operand(const std::string &element, std::vector<float> numbers)
      : bytes(numbers.size() * (element == "f32" ? 4 : 2)),
        values(numbers.size()) {
    size_t size = element == "f32" ? 4 : 2;
    for (size_t i = 0; i < numbers.size(); ++i) {
      uint32_t bits = __builtin_bit_cast(uint32_t, numbers[i]);
      if (element == "f16")
        bits = floatToHalf(numbers[i]);
      else if (element == "bf16")
        bits >>= 16;
      std::memcpy(bytes.data() + i * size, &bits, size);
    }
    convertToFloat(getFormat(element), bytes.data(), numbers.size(),
                   values.data());
  }
};

inline std::vector<float> randomNumbers(std::mt19937 &random, int64_t count,
                                        float deviation = 1, float mean = 0) {
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> numbers(count);
  for (float &number : numbers)
    number = normal(random);
  return numbers;
}

inline std::string getMatrixType(const std::string &scheme, int64_t rows,
                                 int64_t columns) {
  std::string shape = std::to_string(rows) + "x" + std::to_string(columns);
  return scheme == "q8_0" ? "!lap.quantized<" + shape + ", @q8_0>"
                          : "tensor<" + shape + "x" + scheme + ">";
}

/// A weight matrix as the kernel reads it, and as numbers.
struct Matrix {
  GuardedVector<uint8_t> packed;
  std::vector<float> values;

  /// `scheme` is bf16, f16, f32 or q8_0.
  Matrix(const std::string &scheme, int64_t rows, int64_t columns,
         std::mt19937 &random)
      : Matrix(scheme, getLayout(scheme, rows, columns),
               Operand(scheme == "q8_0" ? "bf16" : scheme,
                       randomNumbers(random, rows * columns,
                                     1 / std::sqrt(float(columns))))) {}

private:
  /// The layout's types live as long as the context.
  struct OwnedLayout {
    std::unique_ptr<MLIRContext> context;
    RowTileLayout numbers;
  };

  static OwnedLayout getLayout(const std::string &scheme, int64_t rows,
                               int64_t columns) {
    OwnedLayout layout{std::make_unique<MLIRContext>(), {}};
    layout.context->loadDialect<LapDialect>();
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(
        "lap.scheme @q8_0 {block = 32, codes = i8, scale = f16}",
        ParserConfig(layout.context.get()));
    layout.numbers = *getRowTileLayout(
        parseType(getMatrixType(scheme, rows, columns), layout.context.get()),
        &module->getBody()->front());
    return layout;
  }

  Matrix(const std::string &scheme, const OwnedLayout &layout, Operand source)
      : packed(layout.numbers.getBytes()), values(std::move(source.values)) {
    const RowTileLayout &numbers = layout.numbers;
    if (scheme == "q8_0")
      for (int64_t row = 0; row < numbers.rows; ++row)
        for (int64_t at = 0; at < numbers.columns; at += 32) {
          int64_t count = std::min<int64_t>(32, numbers.columns - at);
          float *block = values.data() + row * numbers.columns + at;
          int8_t codes[32];
          float scale = encodeBlock(block, count, true, codes);
          for (int64_t i = 0; i < count; ++i)
            block[i] = scale * codes[i];
        }
    packTiles(numbers, getFormat(scheme), source.bytes.data(), numbers.rows,
              numbers.tiles, packed.data());
  }
};

} // namespace mlir::lap::cpu
