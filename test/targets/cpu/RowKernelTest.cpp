// The kernels whose tile is a token (lap.embed, lap.residual_norm, lap.concat
// and lap.patch_embedding) against plain loops.
#include "test/targets/cpu/RandomMatrix.h"

#include <numeric>

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

namespace {

constexpr double roundoff = 0x1p-24, eps = 1e-5;

struct EmbedCase {
  MatrixFormat format;
  int64_t rows, width;
  bool media = false;
  bool dynamic = true;
};

const std::vector<EmbedCase> embedCases = [] {
  std::vector<EmbedCase> cases;
  std::vector<MatrixFormat> formats = {{"bf16", ""}, {"f16", ""}, {"f32", ""}};
  for (const std::string &name : builtinSchemes)
    formats.push_back(getBuiltin(name));
  for (const MatrixFormat &format : formats) {
    cases.push_back({format, 37, 101, true});
    cases.push_back({format, 16, 640, false, false});
    // One column, and schemes whose groups are the same as another's.
    if (format.text.empty() || format.name == "q8_0" || format.name == "q3_k")
      for (int64_t width : {1, 17, 64, 256})
        cases.push_back({format, 50, width, width % 4 == 1});
  }
  return cases;
}();

class EmbedKernel : public KernelTest {};

TEST_P(EmbedKernel, MatchesTheTable) {
  const EmbedCase &c = embedCases[getCase()];
  SCOPED_TRACE(c.format.name + " width " + std::to_string(c.width));
  std::mt19937 random(c.width);
  Matrix table(c.format, c.rows, c.width, random);
  // Every row once, the last ones first; with media, each third token is one.
  std::vector<int32_t> order(c.rows);
  std::iota(order.rbegin(), order.rend(), 0);
  auto ids = GuardedVector<int32_t>::copy(order);
  GuardedVector<int32_t> mediaRows(c.rows, -1);
  constexpr int64_t mediaCount = 5;
  auto media =
      GuardedVector<float>::copy(randomNumbers(random, mediaCount * c.width));
  if (c.media)
    for (int64_t t = 0; t < c.rows; t += 3) {
      mediaRows[t] = (mediaCount - 1 + t) % mediaCount;
      ids[t] = INT32_MIN; // A media token's id is not looked at.
    }

  std::string tokens = shapeOf({c.rows}, "i32", c.dynamic);
  std::string mediaShape = "?x" + std::to_string(c.width) + "xf32";
  std::string out = shapeOf({c.rows, c.width}, "f32", c.dynamic);
  std::string type = c.format.getType(c.rows, c.width);
  KernelText text;
  text.scheme(c.format.text);
  std::string line = "%r = lap.embed " + text.tensor("ids", tokens) + ", ";
  line += text.packed("table", type, table.packed.size());
  if (c.media) {
    line += " media(" + text.tensor("media", mediaShape) + ", ";
    line += text.tensor("rows", tokens) + " : tensor<" + mediaShape +
            ">, tensor<" + tokens + ">)";
  }
  text.op(line + " {scale = 3.3 : f32} : tensor<" + tokens + ">, " + type +
          " -> tensor<" + out + ">");
  text.result("%r", out);
  CompiledKernel kernel(text.str(), getVariant());
  GuardedVector<float> result(c.rows * c.width, NAN);
  std::vector<void *> buffers = {ids.data(), table.packed.data()};
  if (c.media)
    buffers.insert(buffers.end(), {media.data(), mediaRows.data()});
  buffers.push_back(result.data());
  kernel.run(buffers, c.rows);

  for (int64_t t = 0; t < c.rows; ++t)
    for (int64_t i = 0; i < c.width; ++i) {
      float got = result[t * c.width + i];
      if (mediaRows[t] >= 0) {
        ASSERT_EQ(got, media[mediaRows[t] * c.width + i])
            << "media token " << t << " column " << i;
        continue;
      }
      int64_t at = ids[t] * c.width + i;
      double want = double(3.3f) * table.values[at];
      // The scheme's own steps and the op's scale.
      double steps = double(table.steps) + 1;
      ASSERT_NEAR(got, want, 3.3 * table.magnitudes[at] * steps * roundoff)
          << "token " << t << " column " << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Tables, EmbedKernel, allVariants(embedCases.size()),
                         getKernelTestName);

struct ResidualCase {
  int64_t width, tokens;
  std::string weight;
  /// The scalar's element type, if there is one.
  std::string scalar;
  bool dynamic = true;
};

const std::vector<ResidualCase> residualCases = {
    {1, 1, "bf16", ""},          {1, 5, "f32", "bf16"},
    {15, 3, "f16", "f32"},       {15, 1, "bf16", "", false},
    {16, 3, "bf16", "bf16"},     {16, 1, "f32", "", false},
    {17, 16, "f32", ""},         {17, 1, "bf16", "f16", false},
    {33, 7, "f16", "bf16"},      {256, 3, "bf16", "bf16"},
    {256, 1, "bf16", "", false},
};

class ResidualNormKernel : public KernelTest {};

TEST_P(ResidualNormKernel, MatchesPlainSum) {
  const ResidualCase &c = residualCases[getCase()];
  SCOPED_TRACE("width " + std::to_string(c.width));
  std::mt19937 random(c.width);
  int64_t size = c.tokens * c.width;
  auto residual = GuardedVector<float>::copy(randomNumbers(random, size));
  auto input = GuardedVector<float>::copy(randomNumbers(random, size, 4));
  Operand weight(c.weight, randomNumbers(random, c.width));
  Operand scalar(c.scalar.empty() ? "f32" : c.scalar, {0.37f});
  std::string shape = shapeOf({c.tokens, c.width}, "f32", c.dynamic);
  KernelText text;
  std::string line =
      "%r = lap.residual_norm " + text.tensor("residual", shape) + ", ";
  line += text.tensor("input", shape) + ", ";
  line += text.tensor("weight", shapeOf({c.width}, c.weight));
  if (!c.scalar.empty())
    line += " scale(" + text.tensor("scalar", "1x" + c.scalar) +
            " : tensor<1x" + c.scalar + ">)";
  text.op(line + " {eps = 1.0e-5 : f32} : tensor<" + shape + ">, tensor<" +
          shapeOf({c.width}, c.weight) + ">");
  text.result("%r", shape);
  CompiledKernel kernel(text.str(), getVariant());
  GuardedVector<float> out(size, NAN);
  std::vector<void *> buffers = {residual.data(), input.data(),
                                 weight.bytes.data()};
  if (!c.scalar.empty())
    buffers.push_back(scalar.bytes.data());
  buffers.push_back(out.data());
  kernel.run(buffers, c.tokens);

  for (int64_t t = 0; t < c.tokens; ++t) {
    double squares = 0;
    for (int64_t i = 0; i < c.width; ++i)
      squares += std::pow(double(input[t * c.width + i]), 2) / c.width;
    double factor = c.scalar.empty() ? 1 : scalar.values[0];
    for (int64_t i = 0; i < c.width; ++i) {
      int64_t at = t * c.width + i;
      double branch = input[at] / std::sqrt(squares + eps) * weight.values[i];
      // The sum of squares over the width, a root, a division, two products,
      // the addition and the scale.
      double bound = std::fabs(factor) *
                     (std::fabs(branch) * (8 + std::sqrt(c.width)) +
                      2 * std::fabs(residual[at])) *
                     roundoff;
      ASSERT_NEAR(out[at], (residual[at] + branch) * factor, bound)
          << "token " << t << " column " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, ResidualNormKernel,
                         allVariants(residualCases.size(), Sums),
                         getKernelTestName);

struct ConcatCase {
  int64_t left, right, tokens;
  /// The norm's element type, if there is one.
  std::string norm;
  bool dynamic = true;
};

const std::vector<ConcatCase> concatCases = {{1, 1, 1, ""},
                                             {1, 1, 3, "bf16"},
                                             {15, 33, 3, "f32"},
                                             {33, 15, 1, "", false},
                                             {17, 16, 7, "f16"},
                                             {256, 256, 2, "bf16"},
                                             {101, 256, 1, "bf16", false}};

class ConcatKernel : public KernelTest {};

TEST_P(ConcatKernel, MatchesPlainRows) {
  const ConcatCase &c = concatCases[getCase()];
  SCOPED_TRACE(std::to_string(c.left) + " and " + std::to_string(c.right));
  std::mt19937 random(c.left);
  auto lhs =
      GuardedVector<float>::copy(randomNumbers(random, c.tokens * c.left));
  auto rhs =
      GuardedVector<float>::copy(randomNumbers(random, c.tokens * c.right, 4));
  Operand norm(c.norm.empty() ? "f32" : c.norm, randomNumbers(random, c.right));
  std::string left = shapeOf({c.tokens, c.left}, "f32", c.dynamic);
  std::string right = shapeOf({c.tokens, c.right}, "f32", c.dynamic);
  std::string both = shapeOf({c.tokens, c.left + c.right}, "f32", c.dynamic);
  KernelText text;
  std::string line = "%r = lap.concat " + text.tensor("lhs", left) + ", ";
  line += text.tensor("rhs", right);
  if (!c.norm.empty()) {
    std::string type = shapeOf({c.right}, c.norm);
    line += " norm(" + text.tensor("norm", type) + " : tensor<" + type + ">)";
  }
  text.op(line + " {eps = 1.0e-5 : f32} : tensor<" + left + ">, tensor<" +
          right + "> -> tensor<" + both + ">");
  text.result("%r", both);
  CompiledKernel kernel(text.str(), getVariant());
  GuardedVector<float> out(c.tokens * (c.left + c.right), NAN);
  std::vector<void *> buffers = {lhs.data(), rhs.data()};
  if (!c.norm.empty())
    buffers.push_back(norm.bytes.data());
  buffers.push_back(out.data());
  kernel.run(buffers, c.tokens);

  for (int64_t t = 0; t < c.tokens; ++t) {
    const float *row = out.data() + t * (c.left + c.right);
    for (int64_t i = 0; i < c.left; ++i)
      ASSERT_EQ(row[i], lhs[t * c.left + i])
          << "token " << t << " column " << i;
    double squares = 0;
    for (int64_t i = 0; i < c.right; ++i)
      squares += std::pow(double(rhs[t * c.right + i]), 2) / c.right;
    for (int64_t i = 0; i < c.right; ++i) {
      double want = rhs[t * c.right + i];
      if (!c.norm.empty())
        want *= norm.values[i] / std::sqrt(squares + eps);
      // As for a residual's branch; exact without a norm.
      double bound = c.norm.empty() ? 0
                                    : std::fabs(want) *
                                          (8 + std::sqrt(c.right)) * roundoff;
      ASSERT_NEAR(row[c.left + i], want, bound)
          << "token " << t << " column " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, ConcatKernel,
                         allVariants(concatCases.size(), Sums),
                         getKernelTestName);

/// Layer norm in double.
std::vector<double> layerNorm(const std::vector<double> &x,
                              const Operand &weight, const Operand &bias) {
  double width = x.size(), mean = 0, squares = 0;
  for (double v : x)
    mean += v / width;
  for (double v : x)
    squares += (v - mean) * (v - mean) / width;
  std::vector<double> y;
  for (size_t i = 0; i < x.size(); ++i)
    y.push_back((x[i] - mean) / std::sqrt(squares + eps) * weight.values[i] +
                bias.values[i]);
  return y;
}

struct PatchCase {
  int64_t width, tokens;
  std::string weights, table;
};

const std::vector<PatchCase> patchCases = {
    {1, 3, "bf16", "bf16"},   {15, 4, "f32", "f16"},  {33, 5, "f16", "f32"},
    {256, 3, "bf16", "bf16"}, {256, 1, "f32", "f32"},
};

class PatchEmbeddingKernel : public KernelTest {};

TEST_P(PatchEmbeddingKernel, MatchesPlainNorms) {
  const PatchCase &c = patchCases[getCase()];
  SCOPED_TRACE("width " + std::to_string(c.width));
  std::mt19937 random(c.width);
  constexpr int64_t places = 7;
  // A mean that is not small beside the deviation.
  auto input = GuardedVector<float>::copy(
      randomNumbers(random, c.tokens * c.width, 1, 3));
  auto vector = [&](float mean) {
    return Operand(c.weights, randomNumbers(random, c.width, 0.5f, mean));
  };
  Operand weight = vector(1), bias = vector(0);
  Operand weight2 = vector(1), bias2 = vector(0);
  Operand table(c.table, randomNumbers(random, places * 2 * c.width));
  GuardedVector<int32_t> positions(c.tokens * 2);
  for (int64_t t = 0; t < c.tokens; ++t) {
    positions[2 * t] = (places - 1 + t) % places; // From the last on.
    positions[2 * t + 1] = t * 3 % places;
  }
  std::string shape = shapeOf({c.tokens, c.width}, "f32", true);
  std::string one = shapeOf({c.width}, c.weights);
  std::string tableShape = shapeOf({places, 2, c.width}, c.table);
  KernelText text;
  std::string line = "%r = lap.patch_embedding " + text.tensor("x", shape);
  line += ", " + text.tensor("w", one) + ", " + text.tensor("b", one);
  line += ", " + text.tensor("xy", "?x2xi32");
  line += ", " + text.tensor("table", tableShape);
  line += ", " + text.tensor("w2", one) + ", " + text.tensor("b2", one);
  line += " {eps = 1.0e-5 : f32} : tensor<" + shape + ">";
  for (const std::string &type :
       {one, one, std::string("?x2xi32"), tableShape, one, one})
    line += ", tensor<" + type + ">";
  text.op(line);
  text.result("%r", shape);
  CompiledKernel kernel(text.str(), getVariant());
  GuardedVector<float> out(input.size(), NAN);
  kernel.run({input.data(), weight.bytes.data(), bias.bytes.data(),
              positions.data(), table.bytes.data(), weight2.bytes.data(),
              bias2.bytes.data(), out.data()},
             c.tokens);

  for (int64_t t = 0; t < c.tokens; ++t) {
    std::vector<double> x(input.begin() + t * c.width,
                          input.begin() + (t + 1) * c.width);
    double largest = 0;
    for (double v : x)
      largest = std::max(largest, std::fabs(v));
    std::vector<double> y = layerNorm(x, weight, bias);
    double scale = 0;
    for (int64_t i = 0; i < c.width; ++i) {
      y[i] += table.values[positions[2 * t] * 2 * c.width + i] +
              table.values[(positions[2 * t + 1] * 2 + 1) * c.width + i];
      scale = std::max(scale, std::fabs(y[i]));
    }
    std::vector<double> want = layerNorm(y, weight2, bias2);
    // A row's means are sums over the width; what x - mean loses is relative to
    // the largest of the row, which is a few deviations (1 here). Rows of one
    // column are their own mean, and 1/sqrt(eps) makes its error larger.
    double steps = 16 + std::sqrt(c.width);
    double lost = (largest + scale) * steps * roundoff;
    double growth = c.width == 1 ? 1 / eps : 16;
    for (int64_t i = 0; i < c.width; ++i)
      ASSERT_NEAR(out[t * c.width + i], want[i], lost * growth)
          << "token " << t << " column " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, PatchEmbeddingKernel,
                         allVariants(patchCases.size(), Sums),
                         getKernelTestName);

} // namespace
