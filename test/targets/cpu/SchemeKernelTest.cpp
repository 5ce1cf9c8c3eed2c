// Kernels of any scheme against the reference dequantizer and a plain matrix
// product: those that are built in, and random ones.
#include "test/targets/cpu/LinearCase.h"

using namespace mlir;
using namespace mlir::lap;
using namespace mlir::lap::cpu;

namespace {

// Rows are no multiple of a tile, columns none of a unit or a block; 640 leaves
// half of a block of 256 unused.
const std::vector<LinearCase> builtinCases = [] {
  std::vector<LinearCase> cases;
  for (const std::string &name : builtinSchemes) {
    MatrixFormat format = getBuiltin(name);
    cases.push_back({format, 17, 1, 1, false, "none", "none"});
    cases.push_back({format, 33, 101, 1, false, "rms", "gated_gelu", 2});
    cases.push_back({format, 19, 640, 1, false, "none", "none"});
    cases.push_back({format, 50, 293, 14, true, "rms", "none", 2});
    cases.push_back({format, 16, 640, 3, true, "rms", "gated_gelu", 2});
  }
  return cases;
}();

class BuiltinKernel : public KernelTest {};

TEST_P(BuiltinKernel, MatchesTheDequantizer) {
  checkLinear(builtinCases[getCase()], getVariant());
}

INSTANTIATE_TEST_SUITE_P(Schemes, BuiltinKernel,
                         allVariants(builtinCases.size()), getKernelTestName);

// Sums of integers are exact, so that the bound is that of f32. The inputs are
// not normalized: what is rounded is the same number in kernel and test.
const std::vector<LinearCase> roundedCases = [] {
  std::vector<LinearCase> cases;
  auto add = [&](LinearCase c, const std::string &activations) {
    c.activations = activations;
    cases.push_back(c);
  };
  for (const std::string &name : builtinSchemes) {
    MatrixFormat format = getBuiltin(name);
    add({format, 33, 101, 1, false, "none", "gated_gelu", 2}, "int8");
    add({format, 33, 293, 14, true, "none", "none", 2}, "int8_token");
  }
  // All ways through the blocks of tokens, and the panels of more than 8.
  for (int64_t tokens = 1; tokens <= 17; ++tokens) {
    add({getBuiltin("q4_0"), 33, 101, tokens, true, "none", "none"}, "int8");
    add({getBuiltin("q4_k"), 40, 300, tokens, true, "none", "gated_gelu", 2},
        "int8");
    add({getBuiltin("q8_0"), 16, 67, tokens, true, "none", "none"},
        "int8_token");
  }
  // Columns that matrix registers take, of runs of 16, 32 and 256.
  for (int64_t tokens : {9, 15, 16, 17, 24, 31}) {
    add({getBuiltin("q4_0"), 33, 128, tokens, true, "none", "none", 2}, "int8");
    add({getBuiltin("q6_k"), 40, 512, tokens, true, "none", "gated_gelu", 2},
        "int8");
    add({getBuiltin("int8_channel"), 35, 256, tokens, true, "none", "none"},
        "int8_token");
  }
  // Several panels, and several parts of the columns with a rest.
  add({getBuiltin("q4_k"), 49, 4400, 131, true, "none", "none"}, "int8");
  add({getBuiltin("q6_k"), 35, 1024, 121, true, "none", "none"}, "int8_token");
  for (const char *activations : {"int8", "int8_token"})
    for (const MatrixFormat &format :
         {MatrixFormat{"bf16", ""}, getBuiltin("q4_k"), getBuiltin("nf4")}) {
      add({format, 17, 1, 1, false, "none", "none"}, activations);
      add({format, 17, 17, 2, true, "none", "none"}, activations);
      add({format, 33, 37, 1, false, "none", "none"}, activations);
      add({format, 48, 320, 27, true, "none", "gated_gelu", 2}, activations);
    }
  // After a norm, a rounded input may be the next number where the norm's last
  // bit differs: of few columns.
  for (const char *name : {"q8_0", "q4_k", "iq4_nl", "int8_channel"})
    for (const char *norm : {"rms", "layer"})
      for (bool many : {false, true}) {
        LinearCase c = {
            getBuiltin(name), 50, 293, many ? 14 : 1, many, norm, "none"};
        c.mayDiffer = 2;
        add(c, many ? "int8_token" : "int8");
      }
  return cases;
}();

class RoundedInputKernel : public KernelTest {};

TEST_P(RoundedInputKernel, MatchesTheDequantizer) {
  checkLinear(roundedCases[getCase()], getVariant());
}

INSTANTIATE_TEST_SUITE_P(Schemes, RoundedInputKernel,
                         allVariants(roundedCases.size(), Integers | Matrices),
                         getKernelTestName);

const std::vector<LinearCase> halfCases = [] {
  std::vector<LinearCase> cases;
  auto add = [&](LinearCase c) {
    c.activations = "bf16";
    cases.push_back(c);
  };
  const MatrixFormat plain = {"bf16", ""};
  for (const MatrixFormat &format : {plain, getBuiltin("q4_k")}) {
    add({format, 17, 1, 1, false, "none", "none"});
    add({format, 17, 17, 2, true, "none", "none"});
    add({format, 33, 37, 1, false, "none", "none"});
    add({format, 48, 320, 27, true, "none", "gated_gelu", 2});
  }
  for (int64_t tokens : {1, 4, 11, 25})
    add({plain, 49, 99, tokens, tokens > 1, "none", "none", 2});
  for (int64_t tokens : {8, 9, 15, 16, 17, 33}) {
    add({plain, 49, 96, tokens, true, "none", "none", 2});
    add({plain, 40, 64, tokens, true, "none", "gated_gelu", 2});
  }
  return cases;
}();

class HalfInputKernel : public KernelTest {};

TEST_P(HalfInputKernel, MatchesTheDequantizer) {
  checkLinear(halfCases[getCase()], getVariant());
}

INSTANTIATE_TEST_SUITE_P(Schemes, HalfInputKernel,
                         allVariants(halfCases.size(), Halves | Matrices),
                         getKernelTestName);

/// Writes schemes: random fields, and a region of random ops over them.
class SchemeGenerator {
public:
  explicit SchemeGenerator(unsigned seed) : random(seed) {}

  MatrixFormat make() {
    std::string fields = "%code : " + makeCode();
    constexpr int64_t periods[] = {4,  8,  12, 16,  20,  24, 32,
                                   48, 64, 96, 128, 256, 0};
    // A period divides the block: of each choice, those that do.
    int64_t block = pick(periods);
    for (size_t i = 0, count = pick(5); i < count; ++i) {
      int64_t period = i ? pick(periods) : block;
      if (period && (!block || block % period))
        period = block;
      std::string name = "%f" + std::to_string(i);
      bool isFloat = pick(2);
      fields += ", " + name + " : " + (isFloat ? makeFloat() : makeInteger()) +
                " per " + (period ? std::to_string(period) : "row");
      (isFloat ? floats : integers).push_back(name);
    }
    (codeIsFloat ? floats : integers).push_back("%code");
    for (size_t i = 0, count = pick(9); i < count; ++i)
      addStep();
    std::string weight = makeWeight();
    return {"random", "lap.scheme @random(" + fields + ") {\n" + body +
                          "  lap.yield " + weight + " : f32\n}\n"};
  }

private:
  size_t pick(size_t count) { return random() % count; }
  template <typename T, size_t N> T pick(const T (&choices)[N]) {
    return choices[pick(N)];
  }
  const std::string &pick(const std::vector<std::string> &names) {
    return names[pick(names.size())];
  }

  std::string makeInteger() {
    return (pick(2) ? "ui" : "si") + std::to_string(1 + pick(8));
  }
  std::string makeFloat() {
    constexpr const char *types[] = {
        "f32", "f16", "bf16", "f8E4M3FN", "f8E5M2", "f8E8M0FNU", "f4E2M1FN"};
    return pick(types);
  }
  std::string makeCode() {
    codeIsFloat = pick(4) == 0;
    return codeIsFloat ? makeFloat() : makeInteger();
  }

  std::string step(const std::string &text, const char *type) {
    std::string name = "%v" + std::to_string(values++);
    body += "  " + name + " = " + text + " : " + type + "\n";
    return name;
  }
  std::string convert(const std::string &integer) {
    return step("arith.sitofp " + integer, "i32 to f32");
  }
  std::string makeConstant(bool isFloat) {
    if (!isFloat)
      return step("arith.constant " + std::to_string(int(pick(64)) - 32),
                  "i32");
    return step("arith.constant " + std::to_string(int(pick(64)) - 32) + ".25",
                "f32");
  }
  /// Keeps what could grow with each step within a few thousand.
  std::string limit(const std::string &integer) {
    std::string most = step("arith.constant 4095", "i32");
    return step("arith.andi " + integer + ", " + most, "i32");
  }

  void addLookup() {
    size_t size = size_t(2) << pick(8);
    bool isFloat = pick(2);
    std::string line = "lap.lookup " + pick(integers) + ", array<";
    line += isFloat ? "f32: " : "i32: ";
    for (size_t i = 0; i < size; ++i)
      line += (i ? ", " : "") + std::to_string(int(pick(200)) - 100) +
              (isFloat ? ".5" : "");
    std::string name = "%v" + std::to_string(values++);
    body +=
        "  " + name + " = " + line + "> -> " + (isFloat ? "f32" : "i32") + "\n";
    (isFloat ? floats : integers).push_back(name);
  }
  void addInteger() {
    constexpr const char *ops[] = {"addi",  "subi",  "muli",  "andi",  "ori",
                                   "xori",  "shli",  "shrui", "shrsi", "minsi",
                                   "maxsi", "minui", "maxui"};
    std::string left = pick(integers);
    std::string right = pick(2) ? pick(integers) : makeConstant(false);
    std::string name = step(
        std::string("arith.") + pick(ops) + " " + left + ", " + right, "i32");
    integers.push_back(pick(4) ? limit(name) : name);
    if (integers.back() == name) // Sums with it must not leave i32 far behind.
      integers.back() = limit(name);
  }
  void addFloat() {
    constexpr const char *ops[] = {"arith.addf", "arith.subf", "arith.mulf",
                                   "arith.maximumf", "arith.minimumf"};
    constexpr const char *unary[] = {"arith.negf", "math.absf", "math.floor",
                                     "math.ceil", "math.roundeven"};
    if (pick(3) == 0) {
      floats.push_back(
          step(std::string(pick(unary)) + " " + pick(floats), "f32"));
      return;
    }
    std::string right = pick(2) ? pick(floats) : makeConstant(true);
    floats.push_back(step(
        std::string(pick(ops)) + " " + pick(floats) + ", " + right, "f32"));
  }
  void addSelect() {
    bool isFloat = !floats.empty() && pick(2);
    std::string condition = isFloat ? step("arith.cmpf olt, " + pick(floats) +
                                               ", " + makeConstant(true),
                                           "f32")
                                    : step("arith.cmpi ult, " + pick(integers) +
                                               ", " + makeConstant(false),
                                           "i32");
    std::vector<std::string> &from = isFloat ? floats : integers;
    from.push_back(step("arith.select " + condition + ", " + pick(from) + ", " +
                            makeConstant(isFloat),
                        isFloat ? "f32" : "i32"));
  }
  void addStep() {
    switch (pick(8)) {
    case 0:
    case 1:
      if (!integers.empty())
        addInteger();
      return;
    case 2:
    case 3:
      if (!floats.empty())
        addFloat();
      return;
    case 4:
      if (!integers.empty())
        addLookup();
      return;
    case 5:
      if (!integers.empty())
        addSelect();
      return;
    case 6:
      if (!integers.empty())
        floats.push_back(convert(pick(integers)));
      return;
    case 7:
      if (!floats.empty()) {
        // Within what an integer holds; 0 times what is not finite is NaN.
        std::string whole = step("arith.fptosi " + pick(floats), "f32 to i32");
        integers.push_back(limit(whole));
      }
      return;
    }
  }

  /// In most cases the last values, so that steps are not in vain, and the
  /// code; often in the form that is affine.
  std::string makeWeight() {
    std::string code =
        codeIsFloat ? "%code" : convert(pick(2) ? "%code" : integers.back());
    if (floats.empty())
      return code;
    std::string weight =
        step("arith.mulf " + code + ", " + pick(floats), "f32");
    if (pick(2))
      weight = step("arith.subf " + weight + ", " + floats.back(), "f32");
    if (pick(3) == 0)
      weight = step("arith.negf " + weight, "f32");
    return weight;
  }

  std::mt19937 random;
  bool codeIsFloat = false;
  std::vector<std::string> integers, floats;
  std::string body;
  int values = 0;
};

constexpr int randomSchemes = 24;

class RandomKernel : public KernelTest {};

TEST_P(RandomKernel, MatchesTheDequantizer) {
  unsigned seed = getCase();
  MatrixFormat format = SchemeGenerator(seed).make();
  SCOPED_TRACE(format.text);
  std::mt19937 random(seed);
  auto size = [&](unsigned most) { return int64_t(1 + random() % most); };
  // Its products of f32 are those of another variant.
  if (!getVariant().hasDotProducts()) {
    checkLinear({format, size(40), size(600), 1, false, "none", "none"},
                getVariant());
    checkLinear({format, size(40), size(300), size(20), true, "rms", "none"},
                getVariant());
  }
  LinearCase rounded = {format, size(40), size(600), 1, false, "none", "none"};
  rounded.activations = "int8";
  checkLinear(rounded, getVariant());
  rounded = {format, size(40), size(300), size(20), true, "none", "none"};
  rounded.activations = "int8_token";
  checkLinear(rounded, getVariant());
}

INSTANTIATE_TEST_SUITE_P(Schemes, RandomKernel,
                         allVariants(randomSchemes, Integers),
                         getKernelTestName);

// What has no instruction of its own, and what `arith` leaves undefined: powers
// of two whose results are denormal, zero or large, shifts by more than a
// word, numbers that no i32 holds. Each weight is the kernel's only product,
// and must have the bits that the dequantizer gives (a power: but for some last
// bits).
struct OpCase {
  const char *name, *body;
  bool exact;
  /// Vulkan's roots and quotients may be some last bits off.
  bool exactOnGpu = exact;
};
const OpCase opCases[] = {
    {"exp2",
     "%x = arith.sitofp %code : i32 to f32\n%y = arith.mulf %x, %scale : f32\n"
     "%far = arith.constant 16.0 : f32\n%z = arith.mulf %y, %far : f32\n"
     "%most = arith.constant 127.0 : f32\n%p = arith.minimumf %z, %most : f32\n"
     "%w = math.exp2 %p : f32",
     false},
    {"shift",
     "%a = arith.shli %code, %field : i32\n%b = arith.shrui %code, %field : "
     "i32\n%c = arith.shrsi %code, %field : i32\n%d = arith.xori %a, %b : "
     "i32\n%e = arith.xori %c, %d : i32\n%w = arith.sitofp %e : i32 to f32",
     true},
    {"convert",
     "%x = arith.sitofp %code : i32 to f32\n%big = arith.constant 1.0e+9 : "
     "f32\n%y = arith.mulf %x, %big : f32\n%i = arith.fptosi %y : f32 to "
     "i32\n%w = arith.sitofp %i : i32 to f32",
     true},
    {"root",
     "%x = arith.sitofp %code : i32 to f32\n%a = math.absf %x : f32\n%one = "
     "arith.constant 1.0 : f32\n%b = arith.addf %a, %one : f32\n%c = "
     "math.sqrt %b : f32\n%d = arith.divf %x, %c : f32\n%w = math.fma %d, "
     "%scale, %c : f32",
     true, false},
};

class OpKernel : public KernelTest {};

TEST_P(OpKernel, MatchesTheDequantizer) {
  const OpCase &c = opCases[getCase()];
  SCOPED_TRACE(c.name);
  MatrixFormat format = {"ops", std::string("lap.scheme @ops(%code : si8, "
                                            "%scale : f32 per 4, %field : ui6 "
                                            "per 4) {\n") +
                                    c.body + "\nlap.yield %w : f32\n}\n"};
  // One row of the identity's: the weight of a column.
  constexpr int64_t rows = 16, columns = 4;
  std::mt19937 random(7);
  for (int64_t column = 0; column < columns; ++column) {
    Matrix matrix(format, rows, columns, random);
    LinearCase linear = {format, rows, columns, 1, false, "none", "none"};
    LinearKernels kernels(linear, matrix.packed.size(), getVariant());
    GuardedVector<float> x(columns), out(rows, NAN);
    x[column] = 1;
    kernels.run({x.data()}, {matrix.packed.data(), out.data()}, 1);
    for (int64_t row = 0; row < rows; ++row) {
      float want = matrix.values[row * columns + column];
      double bound = std::fabs(want) * 0x1p-18 + 0x1p-149;
      bool exact = getVariant().gpu ? c.exactOnGpu : c.exact;
      ASSERT_NEAR(out[row], want, exact ? 0 : bound);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, OpKernel, allVariants(std::size(opCases)),
                         getKernelTestName);

} // namespace
