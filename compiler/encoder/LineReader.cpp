// Steps are read from the result backwards: sums and products of lines and of
// values that do not depend on the code are lines again.
#include "compiler/encoder/LineReader.h"

#include <bit>

using namespace lapidary;

static bool isIntegerStep(DecodeOpcode opcode) {
  return opcode == DecodeOpcode::AddI || opcode == DecodeOpcode::SubI ||
         opcode == DecodeOpcode::MulI || opcode == DecodeOpcode::SiToF ||
         opcode == DecodeOpcode::UiToF;
}

LineReader::LineReader(const Scheme &scheme)
    : scheme(scheme), code(scheme.getCode()) {
  const DecodeProgram &program = scheme.decode;
  size_t numbers = program.inputs + program.steps.size();
  onCode.resize(numbers);
  onOuter.resize(numbers);
  for (uint32_t n = 0; n < numbers; ++n)
    for (uint32_t input = 0; input < program.inputs; ++input)
      if (program.dependsOn(n, input))
        (input == code ? onCode : onOuter)[n] = true;
  if (!onCode[program.result])
    valid = false;
  else if (!onOuter[program.result])
    valid = setBase(program.result, false);
  else
    valid = readStep(program.result);
}

bool LineReader::setBase(uint32_t number, bool isInteger) {
  if (base >= 0)
    return base == number && baseIsInteger == isInteger;
  base = number;
  baseIsInteger = isInteger;
  return true;
}

/// `number` depends on the code and on an outer field.
bool LineReader::readStep(uint32_t number) {
  if (number < scheme.decode.inputs)
    return false;
  const DecodeStep &step = scheme.decode.steps[number - scheme.decode.inputs];
  bool isInteger = isIntegerStep(step.opcode);
  auto read = [&](uint32_t operand) {
    if (!onCode[operand])
      return true;
    return isMixed(operand) ? readStep(operand) : setBase(operand, isInteger);
  };
  uint32_t a = step.operands[0], b = step.operands[1], c = step.operands[2];
  switch (step.opcode) {
  case DecodeOpcode::AddF:
  case DecodeOpcode::SubF:
  case DecodeOpcode::AddI:
  case DecodeOpcode::SubI:
    return read(a) && read(b);
  case DecodeOpcode::MulF:
  case DecodeOpcode::MulI:
    return (!onCode[a] || !onCode[b]) && read(a) && read(b);
  case DecodeOpcode::DivF:
    return !onCode[b] && read(a);
  case DecodeOpcode::Fma:
    return (!onCode[a] || !onCode[b]) && read(a) && read(b) && read(c);
  case DecodeOpcode::NegF:
  case DecodeOpcode::SiToF:
  case DecodeOpcode::UiToF:
    return read(a);
  default:
    return false;
  }
}

std::vector<float> LineReader::run(uint32_t number, const Assignment &outer,
                                   std::span<const uint32_t> codes) const {
  DecodeProgram program = scheme.decode;
  program.result = number;
  size_t fields = scheme.fields.size();
  std::vector<std::vector<uint32_t>> words(fields);
  std::vector<const uint32_t *> inputs(fields);
  for (size_t f = 0; f < fields; ++f) {
    for (uint32_t raw : codes)
      words[f].push_back(
          widenField(scheme.fields[f], f == code ? raw : outer[f]));
    inputs[f] = words[f].data();
  }
  std::vector<float> out(codes.size());
  program.run(inputs, static_cast<int64_t>(codes.size()), out.data());
  return out;
}

std::vector<float> LineReader::decode(const Assignment &outer,
                                      std::span<const uint32_t> codes) const {
  return run(scheme.decode.result, outer, codes);
}

static double readWord(float word, bool isInteger) {
  return isInteger ? std::bit_cast<int32_t>(word) : double(word);
}

std::vector<double>
LineReader::tabulateBase(std::span<const uint32_t> codes) const {
  Assignment any(scheme.fields.size(), 0);
  std::vector<double> table;
  for (float word : run(static_cast<uint32_t>(base), any, codes))
    table.push_back(readWord(word, baseIsInteger));
  return table;
}

double LineReader::evaluateOuter(uint32_t number, bool isInteger,
                                 const Assignment &outer) const {
  uint32_t anyCode[1] = {0};
  return readWord(run(number, outer, anyCode)[0], isInteger);
}

Line LineReader::evaluateNumber(uint32_t number, bool isInteger,
                                const Assignment &outer) const {
  if (!onCode[number])
    return {0, evaluateOuter(number, isInteger, outer)};
  if (!isMixed(number))
    return {1, 0};
  const DecodeStep &step = scheme.decode.steps[number - scheme.decode.inputs];
  bool integerStep = isIntegerStep(step.opcode);
  auto get = [&](int i) {
    return evaluateNumber(step.operands[i], integerStep, outer);
  };
  auto multiply = [](Line a, Line b) -> Line {
    return {a.slope * b.offset + b.slope * a.offset, a.offset * b.offset};
  };
  Line a = get(0);
  switch (step.opcode) {
  case DecodeOpcode::AddF:
  case DecodeOpcode::AddI: {
    Line b = get(1);
    return {a.slope + b.slope, a.offset + b.offset};
  }
  case DecodeOpcode::SubF:
  case DecodeOpcode::SubI: {
    Line b = get(1);
    return {a.slope - b.slope, a.offset - b.offset};
  }
  case DecodeOpcode::MulF:
  case DecodeOpcode::MulI:
    return multiply(a, get(1));
  case DecodeOpcode::DivF: {
    double by = get(1).offset;
    return {a.slope / by, a.offset / by};
  }
  case DecodeOpcode::Fma: {
    Line product = multiply(a, get(1)), c = get(2);
    return {product.slope + c.slope, product.offset + c.offset};
  }
  case DecodeOpcode::NegF:
    return {-a.slope, -a.offset};
  default: // Conversions.
    return a;
  }
}

Line LineReader::evaluate(const Assignment &outer) const {
  return evaluateNumber(scheme.decode.result, false, outer);
}
