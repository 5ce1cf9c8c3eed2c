// lap.rope_kv_update and lap.rope_query against angles in double precision:
// what queries become, what the cache gets, and that the rest of the cache
// stays as it was.
#include "compiler/SourceFormat.h"
#include "compiler/WeightWriter.h"
#include "test/targets/cpu/KvCache.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

namespace {

constexpr double roundoff = 0x1p-24, theta = 1e4, eps = 1e-6;

struct Case {
  int64_t kvHeads, group, headDim, rotated, window;
  std::string norms = "bf16";
  /// The values are the keys, before their norm.
  bool shared = false;
  bool dynamic = true;
  std::string format = "f16";
  /// Whether the cache leaves out what keys have from their values.
  bool partial = false;

  KvShape getShape() const {
    return {kvHeads, headDim, window, format, partial ? rotated : 0};
  }
};

struct Step {
  int64_t past, tokens, chunk;
};

std::string getText(const Case &c, const std::string &cacheType,
                    int64_t tableRows) {
  int64_t width = c.kvHeads * c.headDim;
  std::string query = shapeOf({1, width * c.group}, "f32", c.dynamic);
  std::string keys = shapeOf({1, width}, "f32", c.dynamic);
  std::string norm = shapeOf({c.headDim}, c.norms);
  std::string table = shapeOf({tableRows, 2 * c.rotated}, "f32");
  KernelText text;
  std::string line =
      "%r = lap.rope_kv_update " + text.value("cache", cacheType) + ", ";
  line += text.tensor("query", query) + ", ";
  std::string key = text.tensor("keys", keys);
  line += key + ", " + (c.shared ? key : text.tensor("values", keys)) + ", ";
  line += text.tensor("query_norm", norm) + ", ";
  line += text.tensor("key_norm", norm) + ", ";
  line += text.tensor("table", table) + ", ";
  line += text.value("past", "index") + " {eps = 1.0e-6 : f32} : " + cacheType;
  for (const std::string &type : {query, keys, norm, norm, table})
    line += ", tensor<" + type + ">";
  text.op(line);
  text.result("%r", query);
  return text.str();
}

/// A number and a bound of the kernel's error.
struct Expected {
  double value, bound;
};

/// The head at `x`, normalized and turned by `position` where `weight` is
/// given.
std::vector<Expected> transform(const Case &c, const float *x,
                                const std::vector<float> *weight,
                                int64_t position) {
  double squares = 0;
  for (int64_t i = 0; i < c.headDim; ++i)
    squares += double(x[i]) * x[i] / c.headDim;
  std::vector<Expected> result;
  // The sum of headDim squares, a root, a division and two products.
  double relative = (8 + std::sqrt(c.headDim)) * roundoff;
  for (int64_t i = 0; i < c.headDim; ++i) {
    double y = x[i] / std::sqrt(squares + eps) * (weight ? (*weight)[i] : 1);
    result.push_back({y, std::fabs(y) * relative});
  }
  if (!weight)
    return result;
  int64_t half = c.headDim / 2;
  for (int64_t i = 0; i < c.rotated; ++i) {
    double angle = position * std::pow(theta, -2.0 * i / c.headDim);
    double a = result[i].value, b = result[i + half].value;
    // Sine and cosine are sums of two products of table values: 4 roundings
    // each, absolute; then two products and a sum.
    double bound = (std::fabs(a) + std::fabs(b)) * (relative + 8 * roundoff);
    result[i] = {a * std::cos(angle) - b * std::sin(angle), bound};
    result[i + half] = {b * std::cos(angle) + a * std::sin(angle), bound};
  }
  return result;
}

/// Whether the elements of a head are within the kernel's error of the numbers,
/// then rounded as the cache rounds.
void expectRounded(const KvPart &part, int64_t position, int64_t head,
                   const std::vector<Expected> &want, const char *what) {
  std::vector<float> found = part.load(position, head);
  for (int64_t i = 0; i < int64_t(want.size()); ++i) {
    auto [begin, end] = part.getRun(i);
    double largest = 0, bound = want[i].bound;
    for (int64_t other = begin; other < end; ++other) {
      largest = std::max(largest, std::fabs(want[other].value));
      bound = std::max(bound, want[other].bound);
    }
    // Twice: once for the element, once for the one that makes the scale.
    ASSERT_NEAR(found[i], want[i].value,
                2 * bound +
                    part.halfStep(want[i].value, largest) * (1 + 0x1p-10))
        << what << ", position " << position << " head " << head << " element "
        << i;
  }
}

void check(const Case &c, const Step &step, GuardedVector<float> &table,
           CompiledKernel &kernel) {
  SCOPED_TRACE("past " + std::to_string(step.past) + " tokens " +
               std::to_string(step.tokens) + " chunk " +
               std::to_string(step.chunk));
  std::mt19937 random(step.past * 5 + step.tokens);
  int64_t width = c.kvHeads * c.headDim, heads = c.kvHeads * c.group;
  KvCache cache(c.getShape(), step.chunk, step.past + step.tokens);
  GuardedVector<uint8_t> &keyBytes = cache.keys.bytes;
  GuardedVector<uint8_t> &valueBytes = cache.values.bytes;
  std::vector<uint8_t> keysBefore(keyBytes.begin(), keyBytes.end());
  std::vector<uint8_t> valuesBefore(valueBytes.begin(), valueBytes.end());
  auto numbers = [&](int64_t size) {
    return GuardedVector<float>::copy(randomNumbers(random, size, 3, 0.5f));
  };
  GuardedVector<float> query = numbers(step.tokens * heads * c.headDim);
  GuardedVector<float> keys = numbers(step.tokens * width);
  GuardedVector<float> values = numbers(step.tokens * width);
  Operand queryNorm(c.norms, randomNumbers(random, c.headDim, 0.3f, 1));
  Operand keyNorm(c.norms, randomNumbers(random, c.headDim, 0.3f, 1));
  GuardedVector<float> out(query.size(), NAN);
  std::vector<void *> buffers = {keyBytes.data(), valueBytes.data(),
                                 query.data(), keys.data()};
  if (!c.shared)
    buffers.push_back(values.data());
  for (void *operand :
       {static_cast<void *>(queryNorm.bytes.data()),
        static_cast<void *>(keyNorm.bytes.data()),
        static_cast<void *>(table.data()), static_cast<void *>(out.data())})
    buffers.push_back(operand);
  kernel.run(buffers, step.tokens, step.past, step.chunk,
             /*parts=*/1 + random() % 5);

  for (int64_t token = 0; token < step.tokens; ++token) {
    int64_t position = step.past + token;
    for (int64_t head = 0; head < heads; ++head) {
      int64_t at = (token * heads + head) * c.headDim;
      std::vector<Expected> want =
          transform(c, query.data() + at, &queryNorm.values, position);
      for (int64_t i = 0; c.partial && i < c.headDim; ++i)
        if (i % (c.headDim / 2) >= c.rotated) {
          want[i].value *= keyNorm.values[i];
          want[i].bound =
              (want[i].bound + std::fabs(want[i].value) * roundoff) *
              std::max(1.0f, std::fabs(keyNorm.values[i]));
        }
      for (int64_t i = 0; i < c.headDim; ++i)
        ASSERT_NEAR(out[at + i], want[i].value, want[i].bound)
            << "query, token " << token << " head " << head << " element " << i;
    }
    for (int64_t head = 0; head < c.kvHeads; ++head) {
      int64_t at = token * width + head * c.headDim;
      std::vector<Expected> key =
          transform(c, keys.data() + at, &keyNorm.values, position);
      std::vector<Expected> value = transform(
          c, (c.shared ? keys : values).data() + at, nullptr, position);
      if (c.partial) {
        // The elements that turn, side by side.
        key.erase(key.begin() + c.headDim / 2 + c.rotated, key.end());
        key.erase(key.begin() + c.rotated, key.begin() + c.headDim / 2);
      }
      expectRounded(cache.keys, position, head, key, "key");
      expectRounded(cache.values, position, head, value, "value");
      // Back to what was there, for the comparison of the rest.
      cache.keys.restore(position, head, keysBefore);
      cache.values.restore(position, head, valuesBefore);
    }
  }
  EXPECT_TRUE(std::equal(keyBytes.begin(), keyBytes.end(), keysBefore.begin()))
      << "wrote keys of other positions";
  EXPECT_TRUE(
      std::equal(valueBytes.begin(), valueBytes.end(), valuesBefore.begin()))
      << "wrote values of other positions";
}

const std::vector<Case> cases = {
    {1, 1, 2, 1, 0},
    {2, 2, 6, 3, 5},
    {2, 3, 6, 1, 5, "f32"},
    {1, 7, 32, 16, 16, "f16"},
    {4, 2, 64, 32, 128},
    {3, 7, 100, 50, 1},
    {3, 1, 100, 17, 128, "f32"},
    {2, 8, 256, 128, 128},
    {1, 16, 256, 32, 0, "bf16", true},
    {2, 2, 100, 12, 0, "f16", true},
    {2, 2, 32, 0, 16},
    {1, 2, 6, 0, 0, "f32", true},
    // One token, known when compiling.
    {2, 2, 6, 3, 5, "bf16", false, false},
    {4, 8, 64, 16, 128, "bf16", true, false},
    {2, 7, 100, 50, 16, "f32", false, false},
    {1, 16, 256, 128, 0, "bf16", false, false},
    // The other formats, and keys that are stored in part.
    {2, 2, 6, 3, 5, "bf16", false, true, "q8_0"},
    {3, 2, 100, 17, 128, "f32", false, true, "q8_0"},
    {1, 7, 32, 16, 16, "f16", false, true, "bf16"},
    {2, 2, 100, 12, 0, "f16", true, false, "f32"},
    {1, 16, 256, 32, 0, "bf16", true, true, "f16", true},
    {2, 2, 100, 17, 0, "f16", true, true, "q8_0", true},
    {1, 3, 36, 1, 16, "f32", true, false, "bf16", true},
};

class RopeKernel : public KernelTest {};

TEST_P(RopeKernel, MatchesAnglesInDouble) {
  const Case &c = cases[getCase()];
  // With a window as far as the longest context goes; without, the cache has
  // all positions, so a shorter one, whose last row of angles is not whole.
  int64_t positions = c.window ? 262144 : 1300;
  auto table = GuardedVector<float>::copy(
      computeRopeTable(c.headDim, c.rotated, theta, positions));
  CompiledKernel kernel(
      getText(c, c.getShape().getType(), 512 + (positions + 511) / 512),
      getVariant());
  for (int64_t chunk : {16, 32})
    for (int64_t tokens : {1, 3, 16, 32})
      if (tokens <= (c.dynamic ? chunk : 1))
        for (int64_t past : {int64_t(0), int64_t(13), 512 - tokens / 2,
                             int64_t(1025), positions - tokens})
          check(c, {past, tokens, chunk}, table, kernel);
}

std::string getQueryText(const Case &c, int64_t tableRows) {
  std::string cacheType = c.getShape().getType();
  std::string query =
      shapeOf({1, c.kvHeads * c.group * c.headDim}, "f32", c.dynamic);
  std::string norm = shapeOf({c.headDim}, c.norms);
  std::string table = shapeOf({tableRows, 2 * c.rotated}, "f32");
  KernelText text;
  std::string line =
      "%r = lap.rope_query " + text.value("cache", cacheType) + ", ";
  line += text.tensor("query", query) + ", ";
  line += text.tensor("query_norm", norm) + ", ";
  line += text.tensor("table", table) + ", " + text.value("past", "index");
  if (c.partial)
    line += " key_norm(" + text.tensor("key_norm", norm) + " : tensor<" + norm +
            ">)";
  line += " {eps = 1.0e-6 : f32, ahead = 1 : i64} : " + cacheType;
  for (const std::string &type : {query, norm, table})
    line += ", tensor<" + type + ">";
  text.op(line);
  text.result("%r", query);
  return text.str();
}

TEST_P(RopeKernel, QueriesAloneStandOneAhead) {
  const Case &c = cases[getCase()];
  constexpr int64_t positions = 1300;
  auto table = GuardedVector<float>::copy(
      computeRopeTable(c.headDim, c.rotated, theta, positions));
  CompiledKernel kernel(getQueryText(c, 512 + (positions + 511) / 512),
                        getVariant());
  int64_t heads = c.kvHeads * c.group;
  for (int64_t tokens : {1, 3, 7})
    for (int64_t past : {int64_t(0), int64_t(510), positions - tokens - 1}) {
      if (tokens > 1 && !c.dynamic)
        continue;
      SCOPED_TRACE("past " + std::to_string(past) + " tokens " +
                   std::to_string(tokens));
      std::mt19937 random(past + tokens);
      auto query = GuardedVector<float>::copy(
          randomNumbers(random, tokens * heads * c.headDim, 3, 0.5f));
      Operand queryNorm(c.norms, randomNumbers(random, c.headDim, 0.3f, 1));
      Operand keyNorm(c.norms, randomNumbers(random, c.headDim, 0.3f, 1));
      GuardedVector<float> out(query.size(), NAN);
      // The cache is neither read nor written.
      GuardedVector<uint8_t> keys(64, 7), values(64, 7);
      std::vector<void *> buffers = {keys.data(), values.data(), query.data(),
                                     queryNorm.bytes.data(), table.data()};
      if (c.partial)
        buffers.push_back(keyNorm.bytes.data());
      buffers.push_back(out.data());
      kernel.run(buffers, tokens, past, /*chunk=*/32, /*parts=*/3);
      for (GuardedVector<uint8_t> *part : {&keys, &values})
        EXPECT_TRUE(std::all_of(part->begin(), part->end(),
                                [](uint8_t byte) { return byte == 7; }));
      for (int64_t row = 0; row < tokens * heads; ++row) {
        std::vector<Expected> want =
            transform(c, query.data() + row * c.headDim, &queryNorm.values,
                      past + 1 + row / heads);
        for (int64_t i = 0; i < c.headDim; ++i) {
          if (c.partial && i % (c.headDim / 2) >= c.rotated) {
            want[i].value *= keyNorm.values[i];
            want[i].bound =
                (want[i].bound + std::fabs(want[i].value) * roundoff) *
                std::max(1.0f, std::fabs(keyNorm.values[i]));
          }
          ASSERT_NEAR(out[row * c.headDim + i], want[i].value, want[i].bound)
              << "row " << row << " element " << i;
        }
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, RopeKernel, allVariants(cases.size(), Sums),
                         getKernelTestName);

} // namespace
