// Runs a scheme's decode program, lane by lane in plain loops that the compiler
// vectorizes.
#include "dialects/scheme/DecodeProgram.h"

#include <algorithm>
#include <bit>
#include <cmath>

using namespace lapidary;

namespace {

// Shared by all lanes of one step.
using Words = const uint32_t *;

float asFloat(uint32_t bits) { return std::bit_cast<float>(bits); }
uint32_t asBits(float value) { return std::bit_cast<uint32_t>(value); }
int32_t asSigned(uint32_t bits) { return static_cast<int32_t>(bits); }

/// out[i] = f(a[i], b[i]); the functions ignore what they do not need.
template <typename Function>
void forLanes(int64_t lanes, uint32_t *out, Words a, Words b, Function f) {
  for (int64_t i = 0; i < lanes; ++i)
    out[i] = f(a[i], b[i]);
}

template <typename Function>
void forFloats(int64_t lanes, uint32_t *out, Words a, Words b, Function f) {
  forLanes(lanes, out, a, b, [&](uint32_t x, uint32_t y) {
    return asBits(f(asFloat(x), asFloat(y)));
  });
}

template <typename Function>
void compareFloats(int64_t lanes, uint32_t *out, Words a, Words b, Function f) {
  forLanes(lanes, out, a, b, [&](uint32_t x, uint32_t y) -> uint32_t {
    return f(asFloat(x), asFloat(y));
  });
}

/// A shift by the word's width or more gives what shifting bit by bit would.
uint32_t shiftLeft(uint32_t x, uint32_t by) { return by < 32 ? x << by : 0; }
uint32_t shiftRight(uint32_t x, uint32_t by) { return by < 32 ? x >> by : 0; }

uint32_t toSigned(float value) {
  if (!(value > -2147483648.0f)) // NaN too.
    return value == value ? 0x80000000u : 0;
  return value >= 2147483648.0f
             ? 0x7fffffffu
             : static_cast<uint32_t>(static_cast<int32_t>(value));
}

} // namespace

static void runStep(const DecodeStep &step, Words a, Words b, Words c,
                    int64_t lanes, uint32_t *out) {
  auto floats = [&](auto f) { forFloats(lanes, out, a, b, f); };
  auto words = [&](auto f) { forLanes(lanes, out, a, b, f); };
  auto signedWords = [&](auto f) {
    forLanes(lanes, out, a, b, [&](uint32_t x, uint32_t y) {
      return static_cast<uint32_t>(f(asSigned(x), asSigned(y)));
    });
  };
  auto floatTest = [&](auto f) { compareFloats(lanes, out, a, b, f); };
  switch (step.opcode) {
  case DecodeOpcode::AddF:
    return floats([](float x, float y) { return x + y; });
  case DecodeOpcode::SubF:
    return floats([](float x, float y) { return x - y; });
  case DecodeOpcode::MulF:
    return floats([](float x, float y) { return x * y; });
  case DecodeOpcode::DivF:
    return floats([](float x, float y) { return x / y; });
  case DecodeOpcode::NegF:
    return floats([](float x, float) { return -x; });
  case DecodeOpcode::MaximumF:
    return floats([](float x, float y) { return x > y || x != x ? x : y; });
  case DecodeOpcode::MinimumF:
    return floats([](float x, float y) { return x < y || x != x ? x : y; });
  case DecodeOpcode::AbsF:
    return floats([](float x, float) { return std::fabs(x); });
  case DecodeOpcode::Floor:
    return floats([](float x, float) { return std::floor(x); });
  case DecodeOpcode::Ceil:
    return floats([](float x, float) { return std::ceil(x); });
  case DecodeOpcode::RoundEven:
    return floats([](float x, float) { return std::nearbyint(x); });
  case DecodeOpcode::Sqrt:
    return floats([](float x, float) { return std::sqrt(x); });
  case DecodeOpcode::Exp2:
    return floats([](float x, float) { return std::exp2(x); });
  case DecodeOpcode::Fma:
    for (int64_t i = 0; i < lanes; ++i)
      out[i] = asBits(std::fma(asFloat(a[i]), asFloat(b[i]), asFloat(c[i])));
    return;
  case DecodeOpcode::AddI:
    return words([](uint32_t x, uint32_t y) { return x + y; });
  case DecodeOpcode::SubI:
    return words([](uint32_t x, uint32_t y) { return x - y; });
  case DecodeOpcode::MulI:
    return words([](uint32_t x, uint32_t y) { return x * y; });
  case DecodeOpcode::AndI:
    return words([](uint32_t x, uint32_t y) { return x & y; });
  case DecodeOpcode::OrI:
    return words([](uint32_t x, uint32_t y) { return x | y; });
  case DecodeOpcode::XorI:
    return words([](uint32_t x, uint32_t y) { return x ^ y; });
  case DecodeOpcode::ShlI:
    return words(shiftLeft);
  case DecodeOpcode::ShrUI:
    return words(shiftRight);
  case DecodeOpcode::ShrSI:
    return words([](uint32_t x, uint32_t y) {
      return static_cast<uint32_t>(asSigned(x) >> std::min(y, 31u));
    });
  case DecodeOpcode::MinSI:
    return signedWords([](int32_t x, int32_t y) { return std::min(x, y); });
  case DecodeOpcode::MaxSI:
    return signedWords([](int32_t x, int32_t y) { return std::max(x, y); });
  case DecodeOpcode::MinUI:
    return words([](uint32_t x, uint32_t y) { return std::min(x, y); });
  case DecodeOpcode::MaxUI:
    return words([](uint32_t x, uint32_t y) { return std::max(x, y); });
  case DecodeOpcode::CmpEqI:
    return words([](uint32_t x, uint32_t y) -> uint32_t { return x == y; });
  case DecodeOpcode::CmpNeI:
    return words([](uint32_t x, uint32_t y) -> uint32_t { return x != y; });
  case DecodeOpcode::CmpLtSI:
    return signedWords([](int32_t x, int32_t y) { return x < y; });
  case DecodeOpcode::CmpLeSI:
    return signedWords([](int32_t x, int32_t y) { return x <= y; });
  case DecodeOpcode::CmpGtSI:
    return signedWords([](int32_t x, int32_t y) { return x > y; });
  case DecodeOpcode::CmpGeSI:
    return signedWords([](int32_t x, int32_t y) { return x >= y; });
  case DecodeOpcode::CmpLtUI:
    return words([](uint32_t x, uint32_t y) -> uint32_t { return x < y; });
  case DecodeOpcode::CmpLeUI:
    return words([](uint32_t x, uint32_t y) -> uint32_t { return x <= y; });
  case DecodeOpcode::CmpGtUI:
    return words([](uint32_t x, uint32_t y) -> uint32_t { return x > y; });
  case DecodeOpcode::CmpGeUI:
    return words([](uint32_t x, uint32_t y) -> uint32_t { return x >= y; });
  case DecodeOpcode::CmpEqF:
    return floatTest([](float x, float y) { return x == y; });
  case DecodeOpcode::CmpNeF:
    return floatTest([](float x, float y) { return x < y || x > y; });
  case DecodeOpcode::CmpLtF:
    return floatTest([](float x, float y) { return x < y; });
  case DecodeOpcode::CmpLeF:
    return floatTest([](float x, float y) { return x <= y; });
  case DecodeOpcode::CmpGtF:
    return floatTest([](float x, float y) { return x > y; });
  case DecodeOpcode::CmpGeF:
    return floatTest([](float x, float y) { return x >= y; });
  case DecodeOpcode::Select:
    for (int64_t i = 0; i < lanes; ++i)
      out[i] = a[i] ? b[i] : c[i];
    return;
  case DecodeOpcode::SiToF:
    return words([](uint32_t x, uint32_t) {
      return asBits(static_cast<float>(asSigned(x)));
    });
  case DecodeOpcode::UiToF:
    return words(
        [](uint32_t x, uint32_t) { return asBits(static_cast<float>(x)); });
  case DecodeOpcode::FToSi:
    return words([](uint32_t x, uint32_t) { return toSigned(asFloat(x)); });
  case DecodeOpcode::Bitcast:
    return words([](uint32_t x, uint32_t) { return x; });
  case DecodeOpcode::Constant:
    std::fill_n(out, lanes, step.immediate);
    return;
  case DecodeOpcode::Lookup: {
    auto mask = static_cast<uint32_t>(step.table.size() - 1);
    return words([&](uint32_t x, uint32_t) { return step.table[x & mask]; });
  }
  }
}

void DecodeProgram::run(std::span<const uint32_t *const> values, int64_t lanes,
                        float *out) const {
  // Small pieces stay in the first cache.
  constexpr int64_t piece = 128;
  std::vector<uint32_t> scratch(steps.size() * piece);
  std::vector<Words> words(inputs + steps.size());
  for (int64_t begin = 0; begin < lanes; begin += piece) {
    int64_t count = std::min(piece, lanes - begin);
    for (uint32_t i = 0; i < inputs; ++i)
      words[i] = values[i] + begin;
    for (size_t s = 0; s < steps.size(); ++s) {
      uint32_t *to = scratch.data() + s * piece;
      const uint32_t *operands = steps[s].operands;
      runStep(steps[s], words[operands[0]], words[operands[1]],
              words[operands[2]], count, to);
      words[inputs + s] = to;
    }
    Words from = words[result];
    for (int64_t i = 0; i < count; ++i)
      out[begin + i] = asFloat(from[i]);
  }
}

static uint32_t getOperandCount(DecodeOpcode opcode) {
  switch (opcode) {
  case DecodeOpcode::Constant:
    return 0;
  case DecodeOpcode::NegF:
  case DecodeOpcode::AbsF:
  case DecodeOpcode::Floor:
  case DecodeOpcode::Ceil:
  case DecodeOpcode::RoundEven:
  case DecodeOpcode::Sqrt:
  case DecodeOpcode::Exp2:
  case DecodeOpcode::SiToF:
  case DecodeOpcode::UiToF:
  case DecodeOpcode::FToSi:
  case DecodeOpcode::Bitcast:
  case DecodeOpcode::Lookup:
    return 1;
  case DecodeOpcode::Fma:
  case DecodeOpcode::Select:
    return 3;
  default:
    return 2;
  }
}

bool DecodeProgram::dependsOn(uint32_t number, uint32_t input) const {
  std::vector<bool> depends(inputs + steps.size());
  depends[input] = true;
  for (size_t s = 0; s < steps.size(); ++s)
    for (uint32_t i = 0; i < getOperandCount(steps[s].opcode); ++i)
      if (depends[steps[s].operands[i]])
        depends[inputs + s] = true;
  return depends[number];
}
