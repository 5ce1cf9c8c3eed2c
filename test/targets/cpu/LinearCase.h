// A case of the linear kernels: its text, and the check against a plain matrix
// product.
#pragma once

#include "test/targets/cpu/RandomMatrix.h"

namespace mlir::lap::cpu {

struct LinearCase {
  MatrixFormat format;
  int64_t rows, columns, tokens;
  bool dynamic;
  std::string norm;     // none, rms, layer
  std::string epilogue; // none, gated_gelu, softcap
  int64_t weights = 1;
  bool bias = false;
  std::string activations = "f32";
  /// Inputs of a token that may be the next number when they are rounded.
  int mayDiffer = 0;
};

inline std::string getText(const LinearCase &c, size_t packedBytes) {
  std::string input = shapeOf({c.tokens, c.columns}, "f32", c.dynamic);
  std::string output = shapeOf({c.tokens, c.rows}, "f32", c.dynamic);
  std::string type = c.format.getType(c.rows, c.columns);
  std::string normWeight = shapeOf({c.columns}, "bf16");
  std::string normBias = shapeOf({c.columns}, "f32");
  std::string bias = shapeOf({c.rows}, "bf16");
  KernelText text;
  text.scheme(c.format.text);
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
  if (c.activations != "f32")
    line += ", activations = #lap.activations<" + c.activations + ">";
  line += "} : tensor<" + input + "> -> ";
  int64_t results = c.epilogue == "gated_gelu" ? 1 : c.weights;
  for (int64_t i = 0; i < results; ++i)
    line += (i ? ", tensor<" : "tensor<") + output + ">";
  text.op("%r:" + std::to_string(results) + " = " + line);
  for (int64_t i = 0; i < results; ++i)
    text.result("%r#" + std::to_string(i), output);
  return text.str();
}

inline std::vector<double> applyNorm(const LinearCase &c, const float *x,
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

/// Rounds a row as the op's `activations` says, in f32 as the kernel does.
/// Gives the largest distance between neighbours.
inline double roundInput(const LinearCase &c, std::vector<double> &row) {
  double distance = 0;
  auto size = static_cast<int64_t>(row.size());
  if (c.activations == "bf16") {
    lapidary::SchemeField field;
    field.kind = lapidary::FieldKind::BF16;
    for (double &value : row)
      value = __builtin_bit_cast(
          float, lapidary::widenField(
                     field, lapidary::narrowField(field, float(value))));
  }
  if (c.activations.substr(0, 4) != "int8")
    return distance;
  int64_t block = c.activations == "int8" ? 32 : size;
  for (int64_t begin = 0; begin < size; begin += block) {
    int64_t end = std::min(begin + block, size);
    float largest = 0;
    for (int64_t i = begin; i < end; ++i)
      largest = std::max(largest, std::fabs(float(row[i])));
    float inverse = largest > 0 ? 127 / largest : 0;
    for (int64_t i = begin; i < end; ++i)
      row[i] = double(std::nearbyint(float(row[i]) * inverse)) *
               double(largest / 127);
    distance = std::max(distance, double(largest / 127));
  }
  return distance;
}

inline void checkLinear(const LinearCase &c, const CpuVariant &variant) {
  SCOPED_TRACE(c.format.name + " " + std::to_string(c.rows) + "x" +
               std::to_string(c.columns) + " t" + std::to_string(c.tokens) +
               (c.dynamic ? " dynamic " : " static ") + c.norm + " " +
               c.epilogue + " " + c.activations);
  std::mt19937 random(c.rows * 31 + c.columns);
  std::vector<Matrix> weights;
  for (int64_t i = 0; i < c.weights; ++i)
    weights.emplace_back(c.format, c.rows, c.columns, random);
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
    double allowed = c.mayDiffer * roundInput(c, input);
    double largest = 0;
    auto dot = [&](const Matrix &w, int64_t row, double &magnitude) {
      double sum = 0;
      largest = 0;
      for (int64_t k = 0; k < c.columns; ++k) {
        int64_t at = row * c.columns + k;
        sum += input[k] * w.values[at];
        magnitude += std::fabs(input[k]) * w.magnitudes[at];
        largest = std::max(largest, std::fabs(double(w.values[at])));
      }
      return sum;
    };
    for (int64_t r = 0; r < results; ++r)
      for (int64_t row = 0; row < c.rows; ++row) {
        double magnitude = 0x1p-10;
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
        // Sums of K products in f32: half an ulp each, the weight's own steps,
        // and the norm's few.
        double steps = 8 + double(weights[0].steps) + std::sqrt(c.columns);
        double bound = magnitude * steps * 6e-8 + allowed * largest;
        ASSERT_NEAR(outputs[r][t * c.rows + row], want, bound)
            << "token " << t << " row " << row << " result " << r;
      }
  }
}

} // namespace mlir::lap::cpu
