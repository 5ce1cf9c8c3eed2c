// lap.attention against a plain softmax in double precision: head sizes and
// groups that fill no vector, windows on rings that wrapped around many times,
// blocks that see each other in both directions, every format of the cache, and
// the two kernels of attention that is cut into parts.
#include "test/targets/cpu/KvCache.h"

#include <optional>

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
  std::string format = "f16";
  int64_t rotated = 0;
  /// More than 0: partial_attention and merge_attention.
  int64_t splits = 0;
  /// The deviation of scores: 2 is neither flat nor all on one position.
  float deviation = 2;

  KvShape getShape() const {
    return {kvHeads, headDim, window, format, rotated};
  }
};

struct Step {
  int64_t past, tokens, chunk;
};

std::string getText(const Case &c) {
  std::string cacheType = c.getShape().getType();
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

/// The width of a row of partial results.
int64_t getPartialWidth(const Case &c) {
  return c.splits * c.kvHeads * c.group * (c.headDim + 2);
}

std::string getPartialText(const Case &c) {
  std::string cacheType = c.getShape().getType();
  std::string query =
      shapeOf({1, c.kvHeads * c.group * c.headDim}, "f32", c.dynamic);
  std::string partial = shapeOf({1, getPartialWidth(c)}, "f32", c.dynamic);
  KernelText text;
  std::string line =
      "%r = lap.partial_attention " + text.value("cache", cacheType) + ", ";
  line += text.tensor("query", query) + ", " + text.value("past", "index");
  line += " {splits = " + std::to_string(c.splits) + " : i64} : " + cacheType;
  text.op(line + ", tensor<" + query + "> -> tensor<" + partial + ">");
  text.result("%r", partial);
  return text.str();
}

std::string getMergeText(const Case &c) {
  int64_t heads = c.kvHeads * c.group;
  std::string partial = shapeOf({1, getPartialWidth(c)}, "f32", c.dynamic);
  std::string out = shapeOf({1, heads * c.headDim}, "f32", c.dynamic);
  KernelText text;
  std::string line =
      "%r = lap.merge_attention " + text.tensor("partial", partial);
  line += " {heads = " + std::to_string(heads) +
          " : i64, splits = " + std::to_string(c.splits) + " : i64}";
  text.op(line + " : tensor<" + partial + "> -> tensor<" + out + ">");
  text.result("%r", out);
  return text.str();
}

/// The kernel of an attention, or the two that it is cut into.
class Attention {
public:
  Attention(const Case &c, const TestVariant &variant)
      : width(c.splits ? getPartialWidth(c) : 0),
        first(c.splits ? getPartialText(c) : getText(c), variant) {
    if (c.splits)
      second.emplace(getMergeText(c), variant);
  }
  void run(std::vector<void *> buffers, float *out, const Step &step,
           int64_t parts) {
    // What an empty part leaves out must not be read.
    GuardedVector<float> partial(width * step.tokens, NAN);
    buffers.push_back(second ? partial.data() : out);
    first.run(buffers, step.tokens, step.past, step.chunk, parts);
    if (second)
      second->run({partial.data(), out}, step.tokens, step.past, step.chunk,
                  parts);
  }

private:
  int64_t width;
  CompiledKernel first;
  std::optional<CompiledKernel> second;
};

void check(const Case &c, const Step &step, Attention &kernel) {
  SCOPED_TRACE("past " + std::to_string(step.past) + " tokens " +
               std::to_string(step.tokens) + " chunk " +
               std::to_string(step.chunk));
  std::mt19937 random(step.past * 7 + step.tokens);
  std::normal_distribution<float> normal(0, 1);
  int64_t all = step.past + step.tokens, heads = c.kvHeads * c.group;
  KvShape shape = c.getShape();
  KvCache cache(shape, step.chunk, all);
  // What was written since `first`, beside the ring: position, head, element.
  std::vector<float> keys, values;
  int64_t first = std::max<int64_t>(0, all - cache.rows);
  for (int64_t p = first; p < all; ++p)
    for (int64_t head = 0; head < c.kvHeads; ++head) {
      auto numbers = [&](int64_t count) {
        std::vector<float> list;
        for (int64_t i = 0; i < count; ++i)
          list.push_back(normal(random));
        return list;
      };
      std::vector<float> key =
          cache.keys.store(p, head, numbers(shape.keyDim()));
      std::vector<float> value =
          cache.values.store(p, head, numbers(c.headDim));
      // What is not stored of a key is the value's.
      for (int64_t i = 0; i < c.headDim; ++i) {
        int64_t pair = i % std::max<int64_t>(1, c.headDim / 2);
        bool own = !c.rotated || pair < c.rotated;
        int64_t at = !c.rotated ? i : i < c.headDim / 2 ? i : c.rotated + pair;
        keys.push_back(own ? key[at] : value[i]);
      }
      values.insert(values.end(), value.begin(), value.end());
    }
  auto query = GuardedVector<float>::copy(
      randomNumbers(random, step.tokens * heads * c.headDim,
                    c.deviation / std::sqrt(static_cast<float>(c.headDim))));
  auto ends = GuardedVector<int32_t>::copy(chooseEnds(c, step, random));
  GuardedVector<float> out(query.size(), NAN);
  std::vector<void *> buffers = {cache.keys.bytes.data(),
                                 cache.values.bytes.data(), query.data()};
  if (c.visible)
    buffers.push_back(ends.data());
  kernel.run(buffers, out.data(), step, /*parts=*/1 + random() % 5);

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
    // The other formats.
    {2, 2, 6, 5, false, true, "f32"},
    {1, 16, 100, 0, false, false, "f32"},
    {3, 7, 100, 128, false, true, "bf16"},
    {4, 2, 256, 16, false, false, "bf16"},
    {1, 1, 2, 0, false, true, "q8_0"},
    {3, 7, 100, 128, true, true, "q8_0"},
    {2, 3, 36, 5, false, false, "q8_0"},
    {4, 2, 256, 128, false, false, "q8_0"},
    // Keys that follow from values but where they turn.
    {1, 16, 128, 0, false, true, "f16", 16},
    {2, 3, 100, 0, false, true, "f16", 17},
    {1, 5, 36, 0, false, false, "f32", 1},
    {1, 16, 64, 0, false, false, "bf16", 20},
    {1, 7, 256, 0, false, true, "q8_0", 32},
    {2, 1, 18, 16, false, true, "q8_0", 8},
    // In parts.
    {1, 16, 64, 0, false, false, "f16", 0, 16},
    {1, 16, 256, 0, false, true, "f16", 32, 16},
    {3, 5, 18, 0, false, true, "f16", 0, 6},
    {2, 2, 100, 0, false, true, "q8_0", 0, 8},
    {1, 7, 36, 0, false, false, "bf16", 4, 1},
    {5, 3, 6, 5, false, true, "f32", 0, 4},
    // Scores whose exponentials no f32 holds.
    {2, 5, 18, 16, false, true, "f16", 0, 0, 500},
    {1, 16, 64, 0, false, false, "f16", 0, 16, 500},
    {2, 3, 36, 0, false, true, "bf16", 4, 8, 500},
};

class AttentionKernel : public KernelTest {};

TEST_P(AttentionKernel, MatchesPlainSoftmax) {
  const Case &c = cases[getCase()];
  Attention kernel(c, getVariant());
  std::vector<int64_t> pasts = {0, 1, 14, 15, 16, 33, 63, 127, 130, 300};
  if (c.window) // Rings of up to 176 rows, around many times.
    pasts.insert(pasts.end(), {std::max<int64_t>(0, c.window - 2), c.window - 1,
                               c.window, c.window + 1, 1023, 5000, 262128});
  // A GPU that is none takes its time: each case has some of the steps, others
  // than the next one.
  auto run = [&, number = getCase()](const Step &step) mutable {
    if (!getVariant().gpu || number++ % 5 == 0)
      check(c, step, kernel);
  };
  for (int64_t chunk : {16, 48})
    for (int64_t past : pasts)
      for (int64_t tokens : {1, 3, 17, 33})
        if (tokens <= (c.dynamic ? chunk : 1))
          run({past, tokens, chunk});
  if (c.dynamic)
    for (int64_t past : {int64_t(0), int64_t(120), pasts.back()})
      for (int64_t tokens : {2, 4, 5, 6, 7, 8, 9})
        run({past, tokens, 16});
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionKernel, allVariants(cases.size()),
                         getKernelTestName);

// A long context: more than a thousand blocks add up in one streaming pass.
class LongAttentionKernel : public KernelTest {};

TEST_P(LongAttentionKernel, MatchesPlainSoftmax) {
  Case c = {2, 3, 40, 0};
  c.dynamic = getCase() % 2 == 1;
  c.splits = getCase() / 2 ? 7 : 0;
  Attention kernel(c, getVariant());
  check(c, {20001, c.dynamic ? 3 : 1, 16}, kernel);
}

// More tokens than one tile takes, and more runs of them than tiles.
class ManyTokensAttentionKernel : public KernelTest {};

TEST_P(ManyTokensAttentionKernel, MatchesPlainSoftmax) {
  Case c = getCase() == 0 ? Case{40, 16, 6, 0} : Case{1, 16, 6, 48};
  Attention kernel(c, getVariant());
  for (int64_t tokens : {47, 64, 131})
    check(c, {70, tokens, 144}, kernel);
}

INSTANTIATE_TEST_SUITE_P(Heads, ManyTokensAttentionKernel, allVariants(2),
                         getKernelTestName);

INSTANTIATE_TEST_SUITE_P(Tokens, LongAttentionKernel, allVariants(4),
                         getKernelTestName);

} // namespace
