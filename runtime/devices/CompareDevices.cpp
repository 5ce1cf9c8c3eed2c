// What lies in a buffer is not written down: a word counts as the same when it
// is about the same number as f32, as two of f16 or bf16, or as four codes of 8
// bits. Rounding differs in a few words of a kernel, an error in many.
#include "runtime/devices/CompareDevices.h"

#include "runtime/core/BundleValidation.h"
#include "runtime/core/Text.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace lapidary {
namespace {

/// Of the words that a dispatch changed, so many may differ.
constexpr double mostDiffering = 0.01;

float halfValue(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float value = exponent == 0 ? std::ldexp(float(fraction), -24)
                      : exponent == 31
                          ? INFINITY
                          : std::ldexp(float(fraction + 1024), exponent - 25);
  return (bits & 0x8000) != 0 ? -value : value;
}

bool isClose(float one, float two, float unit) {
  if (!std::isfinite(one) || !std::isfinite(two))
    return false;
  return std::abs(one - two) <=
         0.02f * std::max(std::abs(one), std::abs(two)) + 0.01f * unit;
}

bool isSame(uint32_t one, uint32_t two, float unit) {
  if (one == two ||
      isClose(std::bit_cast<float>(one), std::bit_cast<float>(two), unit))
    return true;
  bool halves = true, brains = true, codes = true;
  for (int part = 0; part < 2; ++part) {
    const auto first = static_cast<uint16_t>(one >> 16 * part),
               second = static_cast<uint16_t>(two >> 16 * part);
    halves &= isClose(halfValue(first), halfValue(second), 0.1f);
    brains &= isClose(std::bit_cast<float>(uint32_t(first) << 16),
                      std::bit_cast<float>(uint32_t(second) << 16), 0.1f);
  }
  for (int part = 0; part < 4; ++part)
    codes &= std::abs(static_cast<int8_t>(one >> 8 * part) -
                      static_cast<int8_t>(two >> 8 * part)) <= 2;
  return halves || brains || codes;
}

using Words = std::vector<uint32_t>;

std::span<uint8_t> bytesOf(Words &words) {
  return {reinterpret_cast<uint8_t *>(words.data()), 4 * words.size()};
}

/// Counts words that either device has changed, and those that differ.
class Difference {
public:
  void add(const Words &before, const Words &expected, const Words &found) {
    double squares = 0, numbers = 0;
    for (size_t index = 0; index < before.size(); ++index) {
      const float value = std::bit_cast<float>(expected[index]);
      if (expected[index] != before[index] && std::isfinite(value) &&
          std::abs(value) < 1e15f) {
        squares += double(value) * double(value);
        ++numbers;
      }
    }
    const auto unit =
        static_cast<float>(numbers > 0 ? std::sqrt(squares / numbers) : 0);
    for (size_t index = 0; index < before.size(); ++index) {
      if (before[index] == expected[index] && before[index] == found[index])
        continue;
      ++changed;
      differing += !isSame(expected[index], found[index], unit);
    }
  }
  bool isWrong() const {
    return double(differing) > mostDiffering * double(changed);
  }

  uint64_t changed = 0, differing = 0;
};

/// One entry point on both devices, with all that its dispatches leave.
class Comparison {
public:
  Comparison(const schema::Program &program, DispatchRunner &reference,
             DispatchRunner &tested, const DeviceOptions &options)
      : program(program), reference(reference), tested(tested),
        options(options) {}
  Status prepare();
  Result<std::string> run(uint32_t entry, std::span<const int32_t> tokens);

private:
  Result<std::string> runDispatch(uint32_t entry, uint32_t index,
                                  int64_t tokens);
  Status readState(const schema::EntryPoint &entry,
                   const schema::Dispatch &dispatch, bool ofTested,
                   std::vector<Words> &state);

  const schema::Program &program;
  DispatchRunner &reference, &tested;
  const DeviceOptions &options;
  std::unique_ptr<SequenceCaches> caches[2];
  std::vector<Words> inputs, outputs[2];
  std::vector<const void *> inputPointers;
  std::vector<void *> outputPointers[2];
};

Status Comparison::prepare() {
  caches[0] = LAPIDARY_TRY(reference.createCaches());
  caches[1] = LAPIDARY_TRY(tested.createCaches());
  return {};
}

Result<std::string> Comparison::run(uint32_t entry,
                                    std::span<const int32_t> tokens) {
  const schema::EntryPoint &description =
      *reference.target().entries()->Get(entry);
  const auto count = static_cast<int64_t>(tokens.size());
  inputs.clear();
  inputPointers.clear();
  for (const schema::Binding *binding : *description.inputs()) {
    std::string_view name = binding->name()->string_view();
    Words values(static_cast<size_t>(*evaluate(*binding->elements(), count)));
    for (size_t index = 0; index < values.size(); ++index)
      values[index] = name == "tokens"        ? uint32_t(tokens[index])
                      : name == "media_rows"  ? uint32_t(-1)
                      : name == "visible_end" ? uint32_t(index + 1)
                                              : 0;
    inputs.push_back(std::move(values));
  }
  for (const Words &values : inputs)
    inputPointers.push_back(values.data());
  for (int device : {0, 1}) {
    outputs[device].clear();
    outputPointers[device].clear();
    for (const schema::Binding *binding : *description.outputs())
      outputs[device].emplace_back(
          static_cast<size_t>(*evaluate(*binding->elements(), count)));
    for (Words &values : outputs[device])
      outputPointers[device].push_back(values.data());
    caches[device]->clear();
  }
  // Candidates follow from each device's own logits: near ones may stand in
  // another order. Self-tests compare them with the logits that they are of.
  const uint32_t end =
      description.dispatches()->size() - description.candidate_dispatches();
  for (uint32_t index = 0; index < end; ++index) {
    std::string found = LAPIDARY_TRY(runDispatch(entry, index, count));
    if (!found.empty())
      return found;
  }
  return std::string();
}

/// The arena and, of what the dispatch has as operands, caches and outputs.
Status Comparison::readState(const schema::EntryPoint &entry,
                             const schema::Dispatch &dispatch, bool ofTested,
                             std::vector<Words> &state) {
  state.clear();
  state.emplace_back(entry.arena_bytes() / 4);
  LAPIDARY_TRY(
      (ofTested ? tested : reference).readArena(0, bytesOf(state.back())));
  for (const schema::BufferRef *operand : *dispatch.operands()) {
    if (operand->kind() == schema::BufferKind::Cache) {
      const schema::Cache &cache = *program.caches()->Get(operand->index());
      state.emplace_back(
          uint64_t(cacheRows(cache, options.context, options.chunk)) *
          cache.row_bytes() / 4);
      LAPIDARY_TRY(
          caches[ofTested]->read(operand->index(), 0, bytesOf(state.back())));
    }
    if (operand->kind() == schema::BufferKind::Output)
      state.push_back(outputs[ofTested][operand->index()]);
  }
  return {};
}

Result<std::string> Comparison::runDispatch(uint32_t entry, uint32_t index,
                                            int64_t tokens) {
  const schema::EntryPoint &description =
      *reference.target().entries()->Get(entry);
  const schema::Dispatch &dispatch = *description.dispatches()->Get(index);
  std::vector<Words> before, expected, found;
  LAPIDARY_TRY(readState(description, dispatch, false, before));
  LAPIDARY_TRY(tested.writeArena(0, bytesOf(before[0])));
  size_t place = 1;
  for (const schema::BufferRef *operand : *dispatch.operands()) {
    if (operand->kind() == schema::BufferKind::Cache)
      LAPIDARY_TRY(
          caches[1]->write(operand->index(), 0, bytesOf(before[place++])));
    if (operand->kind() == schema::BufferKind::Output)
      outputs[1][operand->index()] = before[place++];
  }
  for (int device : {0, 1}) {
    for (size_t output = 0; output < outputs[device].size(); ++output)
      outputPointers[device][output] = outputs[device][output].data();
    Step step{.tokens = tokens, .past = 0, .caches = caches[device].get()};
    LAPIDARY_TRY((device == 0 ? reference : tested)
                     .runDispatches(entry, {index, index + 1}, {&step, 1},
                                    inputPointers, outputPointers[device],
                                    nullptr));
  }
  LAPIDARY_TRY(readState(description, dispatch, false, expected));
  LAPIDARY_TRY(readState(description, dispatch, true, found));
  Difference difference;
  for (size_t part = 0; part < before.size(); ++part)
    difference.add(before[part], expected[part], found[part]);
  if (!difference.isWrong())
    return std::string();
  return concat("The first kernel that is wrong is ",
                reference.target()
                    .kernels()
                    ->Get(dispatch.kernel())
                    ->symbol()
                    ->string_view(),
                ", dispatch ", index, " of \"",
                description.name()->string_view(), "\": ", difference.differing,
                " of ", difference.changed, " words differ from those of ",
                reference.description());
}

} // namespace

Status checkSameProgram(const schema::Target &left,
                        const schema::Target &right) {
  auto differs = [](std::string_view what) {
    return unsupported(
        concat("the bundle's programs for its devices differ in ", what,
               "; compile the checkpoint for both at once"));
  };
  auto sameOperands = [](const auto *one, const auto *two) {
    return std::ranges::equal(*one->operands(), *two->operands(),
                              [](const auto *first, const auto *second) {
                                return first->kind() == second->kind() &&
                                       first->index() == second->index() &&
                                       first->offset() == second->offset();
                              });
  };
  if (left.entries()->size() != right.entries()->size())
    return differs("their entry points");
  for (uint32_t index = 0; index < left.entries()->size(); ++index) {
    const schema::EntryPoint &one = *left.entries()->Get(index),
                             &two = *right.entries()->Get(index);
    if (one.name()->string_view() != two.name()->string_view() ||
        one.max_tokens() != two.max_tokens() ||
        one.arena_bytes() != two.arena_bytes() ||
        one.candidate_dispatches() != two.candidate_dispatches() ||
        !std::ranges::equal(*one.dispatches(), *two.dispatches(), sameOperands))
      return differs(concat("\"", one.name()->string_view(), "\""));
  }
  return {};
}

Result<std::string> compareDevices(const schema::Program &program,
                                   DispatchRunner &reference,
                                   DispatchRunner &tested,
                                   const DeviceOptions &options,
                                   std::span<const int32_t> tokens) {
  Comparison comparison(program, reference, tested, options);
  LAPIDARY_TRY(comparison.prepare());
  // The smallest arena first.
  for (std::string_view name : {"decode", "extend", "prefill", "logits"})
    for (uint32_t entry = 0; entry < reference.target().entries()->size();
         ++entry) {
      const schema::EntryPoint &description =
          *reference.target().entries()->Get(entry);
      if (description.name()->string_view() != name)
        continue;
      const auto most = static_cast<size_t>(
          std::min(description.max_tokens(), options.chunk));
      std::string found = LAPIDARY_TRY(
          comparison.run(entry, tokens.first(std::min(tokens.size(), most))));
      if (!found.empty())
        return found;
    }
  return std::string();
}

} // namespace lapidary
