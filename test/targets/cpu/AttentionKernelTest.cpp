// lap.attention against a plain softmax in double precision: head sizes and
// groups that fill no vector, windows on rings that wrapped around many times,
// and blocks that see each other in both directions.
#include "test/targets/cpu/KvCache.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

namespace {

/// Half an ulp of f32, relative.
constexpr double roundoff = 0x1p-24;

struct Case {
  int64_t kvHeads, group, headDim, window;
  bool visible = false;
  bool dynamic = true;
};

struct Step {
  int64_t past, tokens, chunk;
};

std::string getText(const Case &c, const std::string &cacheType) {
  std::string query =
      shapeOf({1, c.kvHeads * c.group * c.headDim}, "f32", c.dynamic);
  std::string ends = shapeOf({1}, "i32", c.dynamic);
  KernelText text;
  std::string line =
      "%r = lap.attention " + text.value("cache", cacheType) + ", ";
  line += text.tensor("query", query) + ", ";
  line += text.value("past", "index");
  if (c.visible)
    line +=
        " visible(" + text.tensor("ends", ends) + " : tensor<" + ends + ">)";
  text.op(line + " : " + cacheType + ", tensor<" + query + ">");
  text.result("%r", query);
  return text.str();
}

/// For each token one past the last position that it sees: in the steps of
/// several tokens, runs of 1 to 7 of them, every second run a block.
std::vector<int32_t> chooseEnds(const Case &c, const Step &step,
                                std::mt19937 &random) {
  std::vector<int32_t> ends;
  for (bool block = true; int64_t(ends.size()) < step.tokens; block = !block) {
    int64_t first = ends.size();
    int64_t last = std::min<int64_t>(step.tokens, first + 1 + random() % 7);
    for (int64_t token = first; token < last; ++token)
      ends.push_back(step.past + (c.visible && block ? last : token + 1));
  }
  return ends;
}

void check(const Case &c, const Step &step, CompiledKernel &kernel) {
  SCOPED_TRACE("past " + std::to_string(step.past) + " tokens " +
               std::to_string(step.tokens) + " chunk " +
               std::to_string(step.chunk));
  std::mt19937 random(step.past * 7 + step.tokens);
  std::normal_distribution<float> normal(0, 1);
  int64_t all = step.past + step.tokens, heads = c.kvHeads * c.group;
  KvCache cache(c.kvHeads, c.headDim, c.window, step.chunk, all);
  // What was written since `first`, beside the ring: position, head, element.
  std::vector<float> keys, values;
  int64_t first = std::max<int64_t>(0, all - cache.rows);
  for (int64_t p = first; p < all; ++p)
    for (int64_t head = 0; head < c.kvHeads; ++head)
      for (int64_t i = 0; i < c.headDim; ++i) {
        uint16_t key = floatToHalf(normal(random));
        uint16_t value = floatToHalf(normal(random));
        cache.key(p, head, i) = key;
        cache.value(p, head, i) = value;
        keys.push_back(halfToFloat(key));
        values.push_back(halfToFloat(value));
      }
  // Scores of deviation 2: neither flat nor all on one position.
  auto query = GuardedVector<float>::copy(
      randomNumbers(random, step.tokens * heads * c.headDim,
                    2 / std::sqrt(static_cast<float>(c.headDim))));
  auto ends = GuardedVector<int32_t>::copy(chooseEnds(c, step, random));
  GuardedVector<float> out(query.size(), NAN);
  std::vector<void *> buffers = {cache.keys.data(), cache.values.data(),
                                 query.data()};
  if (c.visible)
    buffers.push_back(ends.data());
  buffers.push_back(out.data());
  kernel.run(buffers, step.tokens, step.past, step.chunk,
             /*parts=*/1 + random() % 5);

  for (int64_t token = 0; token < step.tokens; ++token)
    for (int64_t head = 0; head < heads; ++head) {
      int64_t at = (token * heads + head) * c.headDim;
      auto row = [&](const std::vector<float> &rows, int64_t p) {
        return rows.data() +
               ((p - first) * c.kvHeads + head / c.group) * c.headDim;
      };
      int64_t position = step.past + token, end = ends[token];
      int64_t begin =
          c.window ? std::max<int64_t>(0, position - c.window + 1) : 0;
      std::vector<double> weights;
      double maximum = -INFINITY, total = 0, magnitude = 0;
      for (int64_t p = begin; p < end; ++p) {
        double score = 0, absolute = 0;
        const float *key = row(keys, p);
        for (int64_t i = 0; i < c.headDim; ++i) {
          double product = double(query[at + i]) * key[i];
          score += product;
          absolute += std::fabs(product);
        }
        weights.push_back(score);
        maximum = std::max(maximum, score);
        magnitude = std::max(magnitude, absolute);
      }
      for (double &weight : weights)
        total += weight = std::exp(weight - maximum);
      // A score is a sum of headDim products, and its error is the relative
      // error of a weight; so is the error of exp (some ulps), and of sums over
      // the positions.
      double relative = (2 * (4 + std::sqrt(c.headDim)) * magnitude + 16 +
                         std::sqrt(static_cast<double>(end - begin))) *
                        roundoff;
      std::vector<double> want(c.headDim), absolute(c.headDim);
      for (int64_t p = begin; p < end; ++p)
        for (int64_t i = 0; i < c.headDim; ++i) {
          double term = weights[p - begin] / total * row(values, p)[i];
          want[i] += term;
          absolute[i] += std::fabs(term);
        }
      for (int64_t i = 0; i < c.headDim; ++i)
        ASSERT_NEAR(out[at + i], want[i], absolute[i] * relative)
            << "token " << token << " head " << head << " element " << i;
    }
}

const std::vector<Case> cases = {
    {1, 1, 2, 0},
    {2, 2, 6, 5},
    {2, 7, 6, 0},
    {1, 3, 32, 16},
    {3, 1, 32, 1},
    {4, 8, 64, 128},
    {3, 7, 100, 128},
    {1, 16, 100, 0},
    {2, 16, 256, 128},
    {4, 2, 256, 16},
    {1, 11, 18, 5}, // A group that no number up to 8 divides.
    {2, 2, 6, 5, true},
    {1, 3, 32, 16, true},
    {4, 8, 64, 128, true},
    {2, 2, 100, 1, true},
    {2, 1, 256, 128, true},
    // One token, known when compiling.
    {1, 1, 2, 0, false, false},
    {2, 7, 6, 5, false, false},
    {4, 8, 32, 16, false, false},
    {2, 3, 100, 128, true, false},
    {1, 16, 256, 128, false, false},
    {1, 8, 64, 0, false, false},
};

class AttentionKernel : public KernelTest {};

TEST_P(AttentionKernel, MatchesPlainSoftmax) {
  const Case &c = cases[getCase()];
  KvCache any(c.kvHeads, c.headDim, c.window, 16, 1);
  CompiledKernel kernel(getText(c, any.getType()), getVariant());
  std::vector<int64_t> pasts = {0, 1, 14, 15, 16, 33, 127, 130, 300};
  if (c.window) // Rings of up to 160 rows, around many times.
    pasts.insert(pasts.end(), {1023, 5000, 262128});
  for (int64_t chunk : {16, 32})
    for (int64_t past : pasts)
      for (int64_t tokens : {1, 3, 16, 32})
        if (tokens <= (c.dynamic ? chunk : 1))
          check(c, {past, tokens, chunk}, kernel);
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionKernel, allVariants(cases.size()),
                         getKernelTestName);

// A long context: more than a thousand blocks add up in one streaming pass.
class LongAttentionKernel : public KernelTest {};

TEST_P(LongAttentionKernel, MatchesPlainSoftmax) {
  Case c = {2, 3, 40, 0};
  c.dynamic = getCase() == 1;
  KvCache any(c.kvHeads, c.headDim, c.window, 16, 1);
  CompiledKernel kernel(getText(c, any.getType()), getVariant());
  check(c, {20001, c.dynamic ? 3 : 1, 16}, kernel);
}

INSTANTIATE_TEST_SUITE_P(Tokens, LongAttentionKernel, allVariants(2),
                         getKernelTestName);

} // namespace
