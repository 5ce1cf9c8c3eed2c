// The linear kernels against a plain matrix product, over odd shapes, schemes,
// norms and epilogues, in every variant that this machine runs.
#include "test/targets/cpu/KernelTest.h"

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

std::string getText(const Case &c, size_t packedBytes) {
  std::string input = shapeOf({c.tokens, c.columns}, "f32", c.dynamic);
  std::string output = shapeOf({c.tokens, c.rows}, "f32", c.dynamic);
  std::string type = getMatrixType(c.scheme, c.rows, c.columns);
  std::string normWeight = shapeOf({c.columns}, "bf16");
  std::string normBias = shapeOf({c.columns}, "f32");
  std::string bias = shapeOf({c.rows}, "bf16");
  KernelText text;
  std::string line = "lap.fused_linear " + text.tensor("x", input);
  if (c.norm != "none")
    line += " norm(" + text.tensor("nw", normWeight) + " : tensor<" +
            normWeight + ">)";
  if (c.norm == "layer")
    line += " norm_bias(" + text.tensor("nb", normBias) + " : tensor<" +
            normBias + ">)";
  std::string names, types;
  for (int64_t i = 0; i < c.weights; ++i) {
    names += (i ? ", " : "") +
             text.packed("w" + std::to_string(i), type, packedBytes);
    types += (i ? ", " : "") + type;
  }
  line += " weights(" + names + " : " + types + ")";
  if (c.bias)
    line += " bias(" + text.tensor("bias", bias) + " : tensor<" + bias + ">)";
  line += " {norm = #lap.norm<" + c.norm + ">, eps = 1.0e-5 : f32, " +
          "epilogue = #lap.epilogue<" + c.epilogue + ">";
  if (c.epilogue == "softcap")
    line += ", cap = 3.0 : f32";
  line += "} : tensor<" + input + "> -> ";
  int64_t results = c.epilogue == "gated_gelu" ? 1 : c.weights;
  for (int64_t i = 0; i < results; ++i)
    line += (i ? ", tensor<" : "tensor<") + output + ">";
  text.op("%r:" + std::to_string(results) + " = " + line);
  for (int64_t i = 0; i < results; ++i)
    text.result("%r#" + std::to_string(i), output);
  return text.str();
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

void check(const Case &c, const CpuVariant &variant) {
  SCOPED_TRACE(c.scheme + " " + std::to_string(c.rows) + "x" +
               std::to_string(c.columns) + " t" + std::to_string(c.tokens) +
               (c.dynamic ? " dynamic " : " static ") + c.norm + " " +
               c.epilogue);
  std::mt19937 random(c.rows * 31 + c.columns);
  std::vector<Matrix> weights;
  for (int64_t i = 0; i < c.weights; ++i)
    weights.emplace_back(c.scheme, c.rows, c.columns, random);
  auto x =
      GuardedVector<float>::copy(randomNumbers(random, c.tokens * c.columns));
  Operand normWeight("bf16", randomNumbers(random, c.columns));
  Operand normBias("f32", randomNumbers(random, c.columns));
  Operand bias("bf16", randomNumbers(random, c.rows));
  int64_t results = c.epilogue == "gated_gelu" ? 1 : c.weights;
  std::vector<GuardedVector<float>> outputs;
  for (int64_t i = 0; i < results; ++i)
    outputs.emplace_back(c.tokens * c.rows, NAN);

  CompiledKernel kernel(getText(c, weights[0].packed.size()), variant);
  std::vector<void *> buffers = {x.data()};
  if (c.norm != "none")
    buffers.push_back(normWeight.bytes.data());
  if (c.norm == "layer")
    buffers.push_back(normBias.bytes.data());
  for (Matrix &weight : weights)
    buffers.push_back(weight.packed.data());
  if (c.bias)
    buffers.push_back(bias.bytes.data());
  for (auto &output : outputs)
    buffers.push_back(output.data());
  kernel.run(buffers, c.tokens);

  for (int64_t t = 0; t < c.tokens; ++t) {
    std::vector<double> input = applyNorm(c, x.data() + t * c.columns,
                                          normWeight.values, normBias.values);
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
          want += bias.values[row];
        if (c.epilogue == "softcap")
          want = 3 * std::tanh(want / 3);
        if (c.epilogue == "gated_gelu") {
          double up = dot(weights[1], row, magnitude);
          want = 0.5 * want *
                 (1 + std::tanh(0.7978845608028654 *
                                (want + 0.044715 * want * want * want))) *
                 up;
          magnitude *= 1 + std::fabs(up);
        }
        // Sums of K products in f32: half an ulp each, and the norm's few.
        double bound = magnitude * (8 + std::sqrt(c.columns)) * 6e-8;
        ASSERT_NEAR(outputs[r][t * c.rows + row], want, bound)
            << "token " << t << " row " << row << " result " << r;
      }
  }
}

const std::vector<Case> cases = {
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

class LinearKernel : public KernelTest {};

TEST_P(LinearKernel, MatchesPlainProduct) {
  check(cases[getCase()], getVariant());
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearKernel, allVariants(cases.size()),
                         getKernelTestName);

} // namespace
