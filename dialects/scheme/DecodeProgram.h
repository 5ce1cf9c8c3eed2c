// The decode region of a scheme as a list of operations on 32-bit words, so
// that it runs without a compiler: each operation works on many lanes at once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lapidary {

enum class DecodeOpcode : uint8_t {
  // f32
  AddF,
  SubF,
  MulF,
  DivF,
  NegF,
  MaximumF,
  MinimumF,
  AbsF,
  Floor,
  Ceil,
  RoundEven,
  Sqrt,
  Fma,
  Exp2,
  // i32
  AddI,
  SubI,
  MulI,
  AndI,
  OrI,
  XorI,
  ShlI,
  ShrUI,
  ShrSI,
  MinSI,
  MaxSI,
  MinUI,
  MaxUI,
  // comparisons give 0 or 1
  CmpEqI,
  CmpNeI,
  CmpLtSI,
  CmpLeSI,
  CmpGtSI,
  CmpGeSI,
  CmpLtUI,
  CmpLeUI,
  CmpGtUI,
  CmpGeUI,
  CmpEqF,
  CmpNeF,
  CmpLtF,
  CmpLeF,
  CmpGtF,
  CmpGeF,
  // operands: condition, if true, if false
  Select,
  SiToF,
  UiToF,
  FToSi,
  /// The same bits as the other type.
  Bitcast,
  /// `immediate` in all lanes.
  Constant,
  /// table[operand & (size - 1)], bits of f32 or i32; the size is a power of
  /// two.
  Lookup,
};

struct DecodeStep {
  DecodeOpcode opcode;
  /// Numbers of values: the fields first, then a value a step.
  uint32_t operands[3] = {0, 0, 0};
  uint32_t immediate = 0;
  std::vector<uint32_t> table;
};

class DecodeProgram {
public:
  /// Inputs of the program: the scheme's fields in order.
  uint32_t inputs = 0;
  std::vector<DecodeStep> steps;
  /// The number of the value that the program gives, an f32.
  uint32_t result = 0;

  /// Runs all steps for `lanes` lanes. `values[i]` has the widened words of
  /// input i, one a lane. Every step is rounded by itself, as IEEE 754 says.
  void run(std::span<const uint32_t *const> values, int64_t lanes,
           float *out) const;
  /// Whether value `number` depends on input `input`.
  bool dependsOn(uint32_t number, uint32_t input) const;
};

} // namespace lapidary
