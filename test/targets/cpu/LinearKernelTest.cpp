// The linear kernels against a plain matrix product, over odd shapes, schemes,
// norms and epilogues, in every variant that this machine runs.
#include "compiler/WeightPacking.h"
#include "test/targets/cpu/CompiledKernel.h"

#include "mlir/AsmParser/AsmParser.h"

#include <cmath>
#include <random>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

namespace {

struct Case {
  std::string scheme; // bf16, f16, f32, q8_0
  int64_t rows, columns, tokens;
  bool dynamic;
  std::string norm;     // none, rms, layer
  std::string epilogue; // none, gated_gelu, softcap
  int64_t weights = 1;
  bool bias = false;
};

/// A matrix as the checkpoint has it, as the kernel reads it, and as numbers.
struct Matrix {
  std::vector<uint8_t> packed;
  std::vector<float> values;
};

std::string getMatrixType(const Case &c) {
  std::string shape = std::to_string(c.rows) + "x" + std::to_string(c.columns);
  return c.scheme == "q8_0" ? "!lap.quantized<" + shape + ", @q8_0>"
                            : "tensor<" + shape + "x" + c.scheme + ">";
}

Matrix makeMatrix(const Case &c, std::mt19937 &random) {
  MLIRContext context;
  context.loadDialect<LapDialect>();
  OpBuilder b(&context);
  RowTileLayout layout;
  layout.rows = c.rows;
  layout.columns = c.columns;
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(
      "lap.scheme @q8_0 {block = 32, codes = i8, scale = f16}",
      ParserConfig(&context));
  layout = *getRowTileLayout(parseType(getMatrixType(c), &context),
                             module->getBody()->getOperations().begin().operator->());
  SourceFormat format = c.scheme == "f32"   ? SourceFormat::F32
                        : c.scheme == "f16" ? SourceFormat::F16
                                            : SourceFormat::BF16;
  std::normal_distribution<float> normal(0, 1);
  std::vector<uint8_t> source;
  Matrix matrix;
  for (int64_t i = 0; i < c.rows * c.columns; ++i) {
    float value = normal(random) / std::sqrt(static_cast<float>(c.columns));
    uint32_t bits = __builtin_bit_cast(uint32_t, value);
    if (format == SourceFormat::F16)
      bits = floatToHalf(value);
    else if (format == SourceFormat::BF16)
      bits >>= 16;
    const auto *bytes = reinterpret_cast<const uint8_t *>(&bits);
    source.insert(source.end(), bytes,
                  bytes + (format == SourceFormat::F32 ? 4 : 2));
  }
  matrix.values.resize(c.rows * c.columns);
  convertToFloat(format, source.data(), c.rows * c.columns,
                 matrix.values.data());
  if (c.scheme == "q8_0")
    for (int64_t row = 0; row < c.rows; ++row)
      for (int64_t at = 0; at < c.columns; at += 32) {
        int64_t count = std::min<int64_t>(32, c.columns - at);
        float *block = matrix.values.data() + row * c.columns + at;
        int8_t codes[32];
        float scale = encodeBlock(block, count, true, codes);
        for (int64_t i = 0; i < count; ++i)
          block[i] = scale * codes[i];
      }
  matrix.packed.resize(layout.getBytes());
  packTiles(layout, format, source.data(), c.rows, layout.tiles,
            matrix.packed.data());
  return matrix;
}

std::string getText(const Case &c, size_t packedBytes) {
  std::string t = c.dynamic ? "?" : std::to_string(c.tokens);
  std::string k = std::to_string(c.columns), m = std::to_string(c.rows);
  std::string bytes = "memref<" + std::to_string(packedBytes) + "xi8>";
  std::string text =
      "lap.scheme @q8_0 {block = 32, codes = i8, scale = f16}\n"
      "lap.kernel @kernel(%x: memref<" + t + "x" + k + "xf32>";
  bool norm = c.norm != "none", layer = c.norm == "layer";
  if (norm)
    text += ", %nw: memref<" + k + "xbf16>";
  if (layer)
    text += ", %nb: memref<" + k + "xf32>";
  for (int64_t i = 0; i < c.weights; ++i)
    text += ", %w" + std::to_string(i) + ": " + bytes;
  if (c.bias)
    text += ", %bias: memref<" + m + "xbf16>";
  int64_t results = c.epilogue == "gated_gelu" ? 1 : c.weights;
  for (int64_t i = 0; i < results; ++i)
    text += ", %o" + std::to_string(i) + ": memref<" + t + "x" + m + "xf32>";
  text += ") {\n  %tx = bufferization.to_tensor %x restrict : memref<" + t +
          "x" + k + "xf32> to tensor<" + t + "x" + k + "xf32>\n";
  if (norm)
    text += "  %tnw = bufferization.to_tensor %nw restrict : memref<" + k +
            "xbf16> to tensor<" + k + "xbf16>\n";
  if (layer)
    text += "  %tnb = bufferization.to_tensor %nb restrict : memref<" + k +
            "xf32> to tensor<" + k + "xf32>\n";
  if (c.bias)
    text += "  %tbias = bufferization.to_tensor %bias restrict : memref<" + m +
            "xbf16> to tensor<" + m + "xbf16>\n";
  std::string names, types;
  for (int64_t i = 0; i < c.weights; ++i) {
    std::string n = std::to_string(i);
    text += "  %u" + n + " = lap.unpack %w" + n +
            " {layout = #lap.layout<rows16>} : " + bytes + " -> " +
            getMatrixType(c) + "\n";
    names += (i ? ", %u" : "%u") + n;
    types += (i ? ", " : "") + getMatrixType(c);
  }
  std::string out, outTypes;
  for (int64_t i = 0; i < results; ++i) {
    out += (i ? ", %r" : "%r") + std::to_string(i);
    outTypes += (i ? ", tensor<" : "tensor<") + t + "x" + m + "xf32>";
  }
  text += "  " + out + " = lap.fused_linear %tx ";
  if (norm)
    text += "norm(%tnw : tensor<" + k + "xbf16>) ";
  if (layer)
    text += "norm_bias(%tnb : tensor<" + k + "xf32>) ";
  text += "weights(" + names + " : " + types + ") ";
  if (c.bias)
    text += "bias(%tbias : tensor<" + m + "xbf16>) ";
  text += "{norm = #lap.norm<" + c.norm + ">, eps = 1.0e-5 : f32, epilogue = " +
          "#lap.epilogue<" + c.epilogue + ">";
  if (c.epilogue == "softcap")
    text += ", cap = 3.0 : f32";
  text += "} : tensor<" + t + "x" + k + "xf32> -> " + outTypes + "\n";
  for (int64_t i = 0; i < results; ++i) {
    std::string n = std::to_string(i);
    text += "  bufferization.materialize_in_destination %r" + n +
            " in restrict writable %o" + n + " : (tensor<" + t + "x" + m +
            "xf32>, memref<" + t + "x" + m + "xf32>) -> ()\n";
  }
  return text + "  lap.return\n}\n";
}

std::vector<double> applyNorm(const Case &c, const float *x,
                              const std::vector<float> &weight,
                              const std::vector<float> &bias) {
  std::vector<double> y(x, x + c.columns);
  double mean = 0, squares = 0;
  for (double v : y)
    mean += v / c.columns;
  if (c.norm != "layer")
    mean = 0;
  for (double v : y)
    squares += (v - mean) * (v - mean) / c.columns;
  if (c.norm != "none")
    for (int64_t i = 0; i < c.columns; ++i)
      y[i] = (y[i] - mean) / std::sqrt(squares + 1e-5) * weight[i] +
             (c.norm == "layer" ? bias[i] : 0);
  return y;
}

class LinearKernel : public testing::TestWithParam<int> {};

void check(const Case &c, const CpuVariant &variant) {
  SCOPED_TRACE(c.scheme + " " + std::to_string(c.rows) + "x" +
               std::to_string(c.columns) + " t" + std::to_string(c.tokens) +
               (c.dynamic ? " dynamic " : " static ") + c.norm + " " +
               c.epilogue + " " + variant.blocking.name.str());
  std::mt19937 random(c.rows * 31 + c.columns);
  std::vector<Matrix> weights;
  for (int64_t i = 0; i < c.weights; ++i)
    weights.push_back(makeMatrix(c, random));
  std::normal_distribution<float> normal(0, 1);
  auto vector = [&](int64_t size) {
    std::vector<float> v(size);
    for (float &x : v) // bf16 values, so that one vector serves both formats.
      x = __builtin_bit_cast(
          float, __builtin_bit_cast(uint32_t, normal(random)) & 0xffff0000);
    return v;
  };
  auto toBf16 = [](const std::vector<float> &values) {
    std::vector<uint16_t> bits;
    for (float v : values)
      bits.push_back(__builtin_bit_cast(uint32_t, v) >> 16);
    return bits;
  };
  std::vector<float> x = vector(c.tokens * c.columns);
  std::vector<float> normWeight = vector(c.columns), normBias = vector(c.columns);
  std::vector<float> bias = vector(c.rows);
  std::vector<uint16_t> normBits = toBf16(normWeight), biasBits = toBf16(bias);
  int64_t results = c.epilogue == "gated_gelu" ? 1 : c.weights;
  // A guard row behind the output must stay as it is.
  std::vector<std::vector<float>> outputs(
      results, std::vector<float>(c.tokens * c.rows + 16, 77.0f));

  CompiledKernel kernel(getText(c, weights[0].packed.size()), variant);
  std::vector<void *> buffers = {x.data()};
  if (c.norm != "none")
    buffers.push_back(normBits.data());
  if (c.norm == "layer")
    buffers.push_back(normBias.data());
  for (Matrix &weight : weights)
    buffers.push_back(weight.packed.data());
  if (c.bias)
    buffers.push_back(biasBits.data());
  for (auto &output : outputs)
    buffers.push_back(output.data());
  kernel.run(buffers, c.tokens);

  for (int64_t t = 0; t < c.tokens; ++t) {
    std::vector<double> input =
        applyNorm(c, x.data() + t * c.columns, normWeight, normBias);
    auto dot = [&](const Matrix &w, int64_t row, double &magnitude) {
      double sum = 0;
      for (int64_t k = 0; k < c.columns; ++k) {
        double product = input[k] * w.values[row * c.columns + k];
        sum += product;
        magnitude += std::fabs(product);
      }
      return sum;
    };
    for (int64_t r = 0; r < results; ++r)
      for (int64_t row = 0; row < c.rows; ++row) {
        double magnitude = 1;
        double want = dot(weights[r], row, magnitude);
        if (c.bias)
          want += bias[row];
        if (c.epilogue == "softcap")
          want = 3 * std::tanh(want / 3);
        if (c.epilogue == "gated_gelu") {
          double up = dot(weights[1], row, magnitude);
          want = 0.5 * want * (1 + std::tanh(0.7978845608028654 *
                                             (want + 0.044715 * want * want *
                                                         want))) * up;
          magnitude *= 1 + std::fabs(up);
        }
        // Sums of K products in f32: half an ulp each, and the norm's few.
        double bound = magnitude * (8 + std::sqrt(c.columns)) * 6e-8;
        ASSERT_NEAR(outputs[r][t * c.rows + row], want, bound)
            << "token " << t << " row " << row << " result " << r;
      }
  }
  for (auto &output : outputs)
    for (int64_t i = 0; i < 16; ++i)
      ASSERT_EQ(output[c.tokens * c.rows + i], 77.0f) << "wrote past the end";
}

const std::vector<Case> &getCases() {
  static const std::vector<Case> cases = {
      {"bf16", 64, 64, 1, false, "rms", "none"},
      {"bf16", 64, 64, 30, true, "rms", "none"},
      {"bf16", 1, 1, 1, false, "none", "none"},
      {"bf16", 17, 37, 1, false, "rms", "none"},
      {"bf16", 33, 101, 13, true, "layer", "none", 1, true},
      {"bf16", 48, 40, 1, true, "none", "none"},
      {"bf16", 80, 72, 25, true, "rms", "gated_gelu", 2},
      {"bf16", 80, 72, 1, false, "rms", "gated_gelu", 2},
      {"bf16", 31, 33, 5, true, "rms", "gated_gelu", 2},
      {"bf16", 40, 48, 1, false, "rms", "none", 3},
      {"bf16", 40, 48, 7, true, "rms", "none", 3},
      {"bf16", 100, 32, 3, true, "rms", "softcap"},
      {"bf16", 100, 32, 1, false, "rms", "softcap"},
      {"f16", 17, 37, 1, false, "rms", "none"},
      {"f16", 48, 53, 13, true, "none", "none"},
      {"f32", 17, 37, 1, false, "rms", "none"},
      {"f32", 48, 53, 13, true, "none", "none"},
      {"q8_0", 64, 64, 1, false, "rms", "none"},
      {"q8_0", 17, 37, 1, false, "none", "none"},
      {"q8_0", 1, 1, 1, false, "none", "none"},
      {"q8_0", 48, 101, 13, true, "rms", "none"},
      {"q8_0", 80, 96, 14, true, "rms", "gated_gelu", 2},
      {"q8_0", 33, 31, 1, false, "rms", "gated_gelu", 2},
  };
  return cases;
}

TEST_P(LinearKernel, MatchesPlainProduct) {
  for (const CpuVariant &variant : getX86Variants())
    if (canRun(variant))
      check(getCases()[GetParam()], variant);
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearKernel, testing::Range(0, 23));

} // namespace
