// A case of the linear kernels: its text, and the check against a plain matrix
// product.
#pragma once

#include "compiler/Passes.h"
#include "targets/cpu/Passes.h"
#include "test/targets/cpu/RandomMatrix.h"

#include <optional>

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

/// The texts of the kernels of a case: what packs the input, if it is packed,
/// and the product.
struct LinearText {
  std::string pack, linear;
  /// Words of a packed row.
  int64_t words = 0;
};

/// Finds what the input is packed as: the tensor's type, or nothing.
inline RankedTensorType getPackedType(const std::string &text,
                                      MLIRContext &context) {
  context.loadDialect<LapDialect, arith::ArithDialect, func::FuncDialect,
                      math::MathDialect>();
  OwningOpRef<ModuleOp> module =
      parseSourceString<ModuleOp>(text, ParserConfig(&context));
  PassManager passes(&context);
  passes.addPass(createPackInputsPass());
  if (!module || failed(passes.run(*module))) {
    ADD_FAILURE() << "cannot pack the input of " << text;
    return {};
  }
  RankedTensorType type;
  module->walk([&](PackInputOp op) { type = op.getResult().getType(); });
  return type;
}

inline LinearText getText(const LinearCase &c, size_t packedBytes) {
  std::string input = shapeOf({c.tokens, c.columns}, "f32", c.dynamic);
  std::string output = shapeOf({c.tokens, c.rows}, "f32", c.dynamic);
  std::string type = c.format.getType(c.rows, c.columns);
  std::string normWeight = shapeOf({c.columns}, "bf16");
  std::string normBias = shapeOf({c.columns}, "f32");
  std::string bias = shapeOf({c.rows}, "bf16");
  int64_t results = c.epilogue == "gated_gelu" ? 1 : c.weights;
  std::string norm,
      normAttributes = "norm = #lap.norm<" + c.norm + ">, eps = 1.0e-5 : f32";
  if (c.norm != "none")
    norm += " norm(%t_nw : tensor<" + normWeight + ">)";
  if (c.norm == "layer")
    norm += " norm_bias(%t_nb : tensor<" + normBias + ">)";
  std::string names, types, arguments = "%t_x: tensor<" + input + ">";
  for (int64_t i = 0; i < c.weights; ++i) {
    names += (i ? ", %t_w" : "%t_w") + std::to_string(i);
    types += (i ? ", " : "") + type;
    arguments += ", %t_w" + std::to_string(i) + ": " + type;
  }
  if (c.norm != "none")
    arguments += ", %t_nw: tensor<" + normWeight + ">";
  if (c.norm == "layer")
    arguments += ", %t_nb: tensor<" + normBias + ">";
  if (c.bias)
    arguments += ", %t_bias: tensor<" + bias + ">";
  auto getLine = [&](const std::string &x, const std::string &ownNorm,
                     const std::string &attributes) {
    std::string line = "%r:" + std::to_string(results) +
                       " = lap.fused_linear %t_x" + ownNorm + " weights(" +
                       names + " : " + types + ")";
    if (c.bias)
      line += " bias(%t_bias : tensor<" + bias + ">)";
    line += " {" + attributes + "epilogue = #lap.epilogue<" + c.epilogue + ">";
    if (c.epilogue == "softcap")
      line += ", cap = 3.0 : f32";
    if (c.activations != "f32")
      line += ", activations = #lap.activations<" + c.activations + ">";
    line += "} : " + x + " -> ";
    for (int64_t i = 0; i < results; ++i)
      line += (i ? ", tensor<" : "tensor<") + output + ">";
    return line;
  };

  MLIRContext context;
  RankedTensorType packed = getPackedType(
      c.format.text + "\nfunc.func @f(" + arguments + ") {\n" +
          getLine("tensor<" + input + ">", norm, normAttributes + ", ") +
          "\nreturn\n}\n",
      context);
  LinearText result;
  std::string inputShape = input, encoding;
  if (packed) {
    result.words = packed.getDimSize(1);
    inputShape = shapeOf({c.tokens, result.words}, "i32", c.dynamic);
    llvm::raw_string_ostream(encoding) << ", " << packed.getEncoding();
    KernelText pack;
    pack.tensor("x", input);
    if (c.norm != "none")
      pack.tensor("nw", normWeight);
    if (c.norm == "layer")
      pack.tensor("nb", normBias);
    pack.op("%p = lap.pack_input %t_x" + norm + " {" + normAttributes +
            "} : tensor<" + input + "> -> tensor<" + inputShape + encoding +
            ">");
    pack.result("%p", inputShape, encoding);
    result.pack = pack.str();
  }
  KernelText linear;
  linear.scheme(c.format.text);
  linear.tensor("x", inputShape, encoding);
  for (int64_t i = 0; i < c.weights; ++i)
    linear.packed("w" + std::to_string(i), type, packedBytes);
  if (c.bias)
    linear.tensor("bias", bias);
  linear.op(getLine("tensor<" + inputShape + encoding + ">", "", ""));
  for (int64_t i = 0; i < results; ++i)
    linear.result("%r#" + std::to_string(i), output);
  result.linear = linear.str();
  return result;
}

/// The kernels of a case, compiled.
class LinearKernels {
public:
  LinearKernels(const LinearCase &c, size_t packedBytes,
                const TestVariant &variant)
      : LinearKernels(getText(c, packedBytes), variant) {}

  /// `others` are what follows the packed input.
  void run(std::vector<void *> inputs, const std::vector<void *> &others,
           int64_t tokens) {
    // NaNs and codes of -1: what was not written must not be read.
    GuardedVector<uint8_t> packed(tokens * words * 4, 0xff);
    if (pack) {
      inputs.push_back(packed.data());
      pack->run(inputs, tokens);
      inputs = {packed.data()};
    }
    inputs.insert(inputs.end(), others.begin(), others.end());
    linear.run(inputs, tokens);
  }

private:
  LinearKernels(const LinearText &text, const TestVariant &variant)
      : words(text.words), linear(text.linear, variant) {
    if (!text.pack.empty())
      pack.emplace(text.pack, variant);
  }

  int64_t words;
  std::optional<CompiledKernel> pack;
  CompiledKernel linear;
};

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

inline void checkLinear(const LinearCase &c, const TestVariant &variant) {
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

  LinearKernels kernels(c, weights[0].packed.size(), variant);
  std::vector<void *> inputs = {x.data()}, buffers;
  if (c.norm != "none")
    inputs.push_back(normWeight.bytes.data());
  if (c.norm == "layer")
    inputs.push_back(normBias.bytes.data());
  for (Matrix &weight : weights)
    buffers.push_back(weight.packed.data());
  if (c.bias)
    buffers.push_back(bias.bytes.data());
  for (auto &output : outputs)
    buffers.push_back(output.data());
  kernels.run(inputs, buffers, c.tokens);

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
          double up = dot(weights[1], row, magnitude), gate = want;
          want = 0.5 * want *
                 (1 + std::tanh(0.7978845608028654 *
                                (want + 0.044715 * want * want * want))) *
                 up;
          // Where products are less exact than f32, what `up` lacks counts.
          magnitude *=
              1 + std::fabs(up) +
              (variant.gpu && variant.gpu->matrix ? std::fabs(gate) : 0);
        }
        // Sums of K products in f32: half an ulp each, the weight's own steps,
        // and the norm's few.
        double steps = 8 + double(weights[0].steps) + std::sqrt(c.columns);
        // Vulkan's exponentials and quotients may be some more off.
        if (variant.gpu && c.epilogue != "none")
          steps += 16;
        // Weights and inputs are rounded to f16, where they are not f32.
        if (variant.gpu && variant.gpu->matrix && c.activations != "f32")
          steps += 2 * 0x1p-11 / 6e-8;
        double bound = magnitude * steps * 6e-8 + allowed * largest;
        ASSERT_NEAR(outputs[r][t * c.rows + row], want, bound)
            << "token " << t << " row " << row << " result " << r;
      }
  }
}

} // namespace mlir::lap::cpu
