// `lap.top_k` against std::sort, for all targets: blocks of odd sizes, equal
// values, what is not finite, and rows of a whole vocabulary in several rounds.
#include "test/targets/cpu/KernelTest.h"

#include <algorithm>
#include <bit>

namespace mlir::lap::cpu {
namespace {

constexpr int64_t blockColumns = TopKOp::blockColumns;

enum class Kind { Random, Coarse, Equal, NotFinite };

struct TopKCase {
  int64_t width, tokens, count;
  Kind kind = Kind::Random;
  /// Of another kernel's results, of which some are not there.
  bool hasIds = false;
  bool dynamic = true;
};

const std::vector<TopKCase> topKCases = {
    {1, 1, 1},
    {1, 3, 4, Kind::Random, true},
    {7, 2, 7, Kind::Coarse, false, false},
    {7, 5, 3, Kind::NotFinite, true},
    {127, 1, 128, Kind::Equal},
    {1023, 2, 128, Kind::Coarse, true, false},
    {1024, 1, 128, Kind::NotFinite},
    {1025, 3, 64, Kind::Equal, true},
    {2047, 1, 1024, Kind::Coarse},
    {2048, 3, 128, Kind::Random, false, false},
    {2049, 3, 128, Kind::NotFinite},
    {4099, 2, 5, Kind::Coarse, true},
};

struct Candidate {
  float value;
  int32_t id;
};

/// The order that the op's description says, of floats: what is not finite
/// without its sign.
bool isBefore(const Candidate &left, const Candidate &right) {
  auto rank = [](float value) {
    return std::isnan(value) ? 2 : std::isinf(value) ? 1 : 0;
  };
  if (rank(left.value) != rank(right.value))
    return rank(left.value) > rank(right.value);
  if (rank(left.value) == 2) {
    auto magnitude = [](float value) {
      return std::bit_cast<uint32_t>(value) & 0x7fffffff;
    };
    if (magnitude(left.value) != magnitude(right.value))
      return magnitude(left.value) > magnitude(right.value);
  }
  if (rank(left.value) == 0 && left.value != right.value)
    return left.value > right.value;
  return left.id < right.id;
}

std::vector<float> makeValues(std::mt19937 &random, int64_t count, Kind kind) {
  std::vector<float> values = randomNumbers(random, count, 5);
  for (float &value : values) {
    const uint32_t dice = random();
    if (kind == Kind::Equal)
      value = -2.5f;
    if (kind == Kind::Coarse)
      value = dice % 8 == 0 ? -0.0f : std::round(value);
    if (kind == Kind::NotFinite && dice % 5 == 0)
      value = std::bit_cast<float>((dice & 0x80000000) | 0x7f800000 |
                                   (dice >> 8) % 3);
    if (kind == Kind::NotFinite && dice % 5 == 1)
      value = dice % 2 ? -3.4e38f : 1e-42f;
  }
  return values;
}

/// What one of a row's blocks should give.
std::vector<Candidate> select(std::vector<Candidate> block, int64_t count) {
  llvm::erase_if(block,
                 [](const Candidate &candidate) { return candidate.id < 0; });
  std::sort(block.begin(), block.end(), isBefore);
  block.resize(count, {0, -1});
  return block;
}

bool isSame(float found, float wanted) {
  // Zeros and what is not finite lose their sign.
  if (std::isfinite(wanted))
    return found == wanted;
  return std::bit_cast<uint32_t>(found) ==
         (std::bit_cast<uint32_t>(wanted) & 0x7fffffff);
}

class Rows {
public:
  Rows(int64_t tokens, int64_t width)
      : values(tokens * width), ids(tokens * width), width(width) {}
  Candidate at(int64_t token, int64_t column) const {
    return {values[token * width + column], ids[token * width + column]};
  }

  GuardedVector<float> values;
  GuardedVector<int32_t> ids;
  const int64_t width;
};

/// Runs a kernel on rows.
Rows runTopK(const TestVariant &variant, Rows &input, int64_t tokens,
             int64_t count, bool hasIds, bool dynamic) {
  const int64_t blocks = llvm::divideCeil(input.width, blockColumns);
  const std::string in = shapeOf({tokens, input.width}, "", dynamic),
                    out = shapeOf({tokens, blocks * count}, "", dynamic);
  KernelText text;
  std::string line = "%v, %i = lap.top_k " + text.tensor("x", in + "f32");
  if (hasIds)
    line +=
        " ids(" + text.tensor("ids", in + "i32") + " : tensor<" + in + "i32>)";
  text.op(line + " {count = " + std::to_string(count) + " : i64} : tensor<" +
          in + "f32> -> tensor<" + out + "f32>, tensor<" + out + "i32>");
  text.result("%v", out + "f32");
  text.result("%i", out + "i32");
  CompiledKernel kernel(text.str(), variant);
  Rows result(tokens, blocks * count);
  std::fill(result.values.begin(), result.values.end(), NAN);
  std::vector<void *> buffers = {input.values.data()};
  if (hasIds)
    buffers.push_back(input.ids.data());
  buffers.insert(buffers.end(), {result.values.data(), result.ids.data()});
  kernel.run(buffers, tokens);
  return result;
}

class TopKKernel : public KernelTest {};

TEST_P(TopKKernel, MatchesSort) {
  const TopKCase &c = topKCases[getCase()];
  SCOPED_TRACE("width " + std::to_string(c.width));
  std::mt19937 random(c.width);
  Rows input(c.tokens, c.width);
  const std::vector<float> values =
      makeValues(random, c.tokens * c.width, c.kind);
  std::copy(values.begin(), values.end(), input.values.begin());
  for (int64_t i = 0; i < c.tokens * c.width; ++i)
    input.ids[i] = random() % 6 == 0 ? -1 : int32_t(3 * c.width - i);
  Rows result =
      runTopK(getVariant(), input, c.tokens, c.count, c.hasIds, c.dynamic);
  for (int64_t t = 0; t < c.tokens; ++t)
    for (int64_t first = 0; first < c.width; first += blockColumns) {
      std::vector<Candidate> block;
      for (int64_t i = first; i < std::min(first + blockColumns, c.width); ++i)
        block.push_back({input.values[t * c.width + i],
                         c.hasIds ? input.ids[t * c.width + i] : int32_t(i)});
      block = select(block, c.count);
      for (int64_t i = 0; i < c.count; ++i) {
        const Candidate found =
            result.at(t, first / blockColumns * c.count + i);
        ASSERT_EQ(found.id, block[i].id) << "token " << t << " place " << i;
        ASSERT_TRUE(isSame(found.value, block[i].value))
            << found.value << " for " << block[i].value;
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Blocks, TopKKernel, allVariants(topKCases.size()),
                         getKernelTestName);

struct VocabularyCase {
  int64_t width, tokens;
  Kind kind;
};

const std::vector<VocabularyCase> vocabularyCases = {{262144, 1, Kind::Coarse},
                                                     {33333, 2, Kind::Random}};

class TopKVocabulary : public KernelTest {};

TEST_P(TopKVocabulary, IsLeftInRounds) {
  const VocabularyCase &c = vocabularyCases[getCase()];
  constexpr int64_t count = 128;
  std::mt19937 random(c.width);
  std::vector<float> logits = makeValues(random, c.tokens * c.width, c.kind);
  Rows rows(c.tokens, c.width);
  std::copy(logits.begin(), logits.end(), rows.values.begin());
  std::vector<Rows> rounds;
  rounds.push_back(runTopK(getVariant(), rows, c.tokens, count, false, true));
  while (rounds.back().width > count)
    rounds.push_back(
        runTopK(getVariant(), rounds.back(), c.tokens, count, true, true));
  const Rows &result = rounds.back();
  for (int64_t t = 0; t < c.tokens; ++t) {
    std::vector<Candidate> row;
    for (int64_t i = 0; i < c.width; ++i)
      row.push_back({logits[t * c.width + i], int32_t(i)});
    row = select(row, count);
    for (int64_t i = 0; i < count; ++i) {
      ASSERT_EQ(result.at(t, i).id, row[i].id) << "token " << t << " " << i;
      ASSERT_EQ(result.at(t, i).value, row[i].value);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, TopKVocabulary,
                         allVariants(vocabularyCases.size()),
                         getKernelTestName);

} // namespace
} // namespace mlir::lap::cpu
