// What the tests of kernels share, of all targets: a fixture that runs each
// case in each variant, the text of a kernel, and random operands.
#pragma once

#include "compiler/SourceFormat.h"
#include "dialects/scheme/Scheme.h"
#include "test/targets/cpu/CompiledKernel.h"
#include "test/targets/cpu/GuardedVector.h"

#include <cmath>
#include <random>
#include <tuple>

namespace mlir::lap::cpu {

/// Parameters: the index of a case, the index of a variant.
class KernelTest : public testing::TestWithParam<std::tuple<int, int>> {
protected:
  void SetUp() override {
    if (!canRun(getVariant()))
      GTEST_SKIP() << "this machine does not run " << getVariant().getName()
                   << (getVariant().isEmulated()
                           ? ": it was built with sanitizers, or without "
                             "qemu-aarch64 and a C library for it, which "
                             "scripts/setup installs"
                       : getVariant().gpu
                           ? ": there is no Vulkan driver, or none that has "
                             "what the variant needs; scripts/setup installs "
                             "one that needs no GPU"
                           : "");
  }
  int getCase() const { return std::get<0>(GetParam()); }
  const TestVariant &getVariant() const {
    return getTestVariants()[std::get<1>(GetParam())];
  }
};

/// What kernels of a suite have that only some variants write in another way:
/// products of integers, or of pairs of bf16; sums over a workgroup; products
/// of matrices.
enum Special { Nothing = 0, Integers = 1, Halves = 2, Sums = 4, Matrices = 8 };

/// Whether the variant is none of those that are for something special, or one
/// for what is `there`.
inline bool isWorthwhile(const TestVariant &variant, int there) {
  int own = Nothing;
  if (variant.gpu && variant.gpu->matrix)
    own = Matrices;
  else if (variant.gpu && variant.gpu->subgroups)
    own = Integers | Sums;
  else if (variant.hasDotProducts())
    own = Integers;
  else if (variant.hasHalfProducts())
    own = Halves;
  return own == Nothing || (own & there) != 0;
}

/// Cases in variants that are worth it. Emulation takes its time: of many
/// cases, each emulated variant has some, others than the next one.
inline auto allVariants(int cases, int special = Nothing) {
  constexpr int many = 20;
  // Cases come in twos and in fives.
  const int share = (special & Integers) != 0 ? 5 : 3;
  std::vector<std::tuple<int, int>> tests;
  for (int number = 0; number < int(getTestVariants().size()); ++number) {
    const TestVariant &variant = getTestVariants()[number];
    if (!isWorthwhile(variant, special))
      continue;
    bool thinned = variant.isEmulated() && cases > many;
    for (int own = thinned ? number % share : 0; own < cases;
         own += thinned ? share : 1)
      tests.emplace_back(own, number);
  }
  return testing::ValuesIn(tests);
}

inline std::string
getKernelTestName(const testing::TestParamInfo<std::tuple<int, int>> &info) {
  return std::to_string(std::get<0>(info.param)) + "_" +
         getTestVariants()[std::get<1>(info.param)].getName();
}

/// The text of a bufferized `lap.kernel @kernel`. Its arguments come in the
/// order of the calls; shapes are written as in a type, "?x64xf32".
class KernelText {
public:
  /// A tensor in memory: gives the tensor's name in the body. `encoding` is
  /// ", #..." or nothing.
  std::string tensor(const std::string &name, const std::string &shape,
                     const std::string &encoding = "") {
    argument(name, "memref<" + shape + ">");
    body += "  %t_" + name + " = bufferization.to_tensor %" + name +
            " restrict : memref<" + shape + "> to tensor<" + shape + encoding +
            ">\n";
    return "%t_" + name;
  }
  /// A weight matrix in rows16.
  std::string packed(const std::string &name, const std::string &type,
                     size_t bytes) {
    std::string memref = "memref<" + std::to_string(bytes) + "xi8>";
    argument(name, memref);
    body += "  %t_" + name + " = lap.unpack %" + name +
            " {layout = #lap.layout<rows16>} : " + memref + " -> " + type +
            "\n";
    return "%t_" + name;
  }
  /// A cache or a size.
  std::string value(const std::string &name, const std::string &type) {
    argument(name, type);
    return "%" + name;
  }
  void op(const std::string &line) { body += "  " + line + "\n"; }
  /// A `lap.scheme` that a weight is in.
  void scheme(const std::string &text) {
    if (schemes.find(text) == std::string::npos)
      schemes += text + "\n";
  }
  /// `value` is written to an argument at the end.
  void result(const std::string &value, const std::string &shape,
              const std::string &encoding = "") {
    std::string memref = "memref<" + shape + ">";
    std::string name = "out" + std::to_string(results++);
    argument(name, memref);
    body += "  bufferization.materialize_in_destination " + value +
            " in restrict writable %" + name + " : (tensor<" + shape +
            encoding + ">, " + memref + ") -> ()\n";
  }
  std::string str() const {
    return schemes + "lap.kernel @kernel(" + arguments + ") {\n" + body +
           "  lap.return\n}\n";
  }

private:
  void argument(const std::string &name, const std::string &type) {
    arguments += (arguments.empty() ? "%" : ", %") + name + ": " + type;
  }

  std::string schemes, arguments, body;
  int results = 0;
};

/// "2x3xf32", with "?" for a dimension that is not static.
inline std::string shapeOf(std::initializer_list<int64_t> sizes,
                           const std::string &element,
                           bool dynamicTokens = false) {
  std::string text;
  for (int64_t size : sizes) {
    text += (text.empty() && dynamicTokens ? "?" : std::to_string(size)) + "x";
  }
  return text + element;
}

/// Numbers as an f32, f16 or bf16 operand holds them, and rounded to that.
struct Operand {
  GuardedVector<uint8_t> bytes;
  std::vector<float> values;

  Operand(const std::string &element, std::vector<float> numbers)
      : bytes(numbers.size() * (element == "f32" ? 4 : 2)),
        values(numbers.size()) {
    lapidary::SchemeField field;
    field.kind = element == "f32"   ? lapidary::FieldKind::F32
                 : element == "f16" ? lapidary::FieldKind::F16
                                    : lapidary::FieldKind::BF16;
    size_t size = element == "f32" ? 4 : 2;
    for (size_t i = 0; i < numbers.size(); ++i) {
      uint32_t bits = lapidary::narrowField(field, numbers[i]);
      std::memcpy(bytes.data() + i * size, &bits, size);
      values[i] = __builtin_bit_cast(float, lapidary::widenField(field, bits));
    }
  }
};

inline std::vector<float> randomNumbers(std::mt19937 &random, int64_t count,
                                        float deviation = 1, float mean = 0) {
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> numbers(count);
  for (float &number : numbers)
    number = normal(random);
  return numbers;
}

} // namespace mlir::lap::cpu
