// Fuzzes what makes grammars. The first byte of the input chooses what the rest
// is: 0, a JSON schema; 1, a JSON schema of a tool's parameters; 2, GBNF; else
// a regular expression. What compiles is followed for some steps: a state that
// is reached must lead on or be able to end.
#include "runtime/grammar/Automaton.h"
#include "runtime/grammar/Gbnf.h"
#include "runtime/grammar/JsonSchema.h"
#include "runtime/grammar/Regex.h"

#include <cstdlib>

using namespace lapidary;

namespace {

void require(bool holds) {
  if (!holds)
    std::abort();
}

/// The way is chosen by the bytes of the text, so that it is the same for the
/// same input.
void follow(std::shared_ptr<const Grammar> grammar, std::string_view seed) {
  Automaton automaton(std::move(grammar));
  automaton.allowWork();
  Automaton::State state = automaton.start();
  for (size_t step = 0; step < 64; ++step) {
    std::vector<Automaton::State> next;
    for (uint16_t symbol = 0; symbol < firstMark + 1; ++symbol)
      if (Automaton::State to = automaton.step(state, symbol);
          to != Automaton::dead)
        next.push_back(to);
    if (automaton.overflowed())
      return;
    require(!next.empty() || automaton.accepts(state));
    if (next.empty())
      return;
    state = next[(seed.empty() ? 0 : uint8_t(seed[step % seed.size()])) %
                 next.size()];
    if (step == 20)
      state = automaton.compact(state);
    require(state != Automaton::dead);
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0 || size > 20000)
    return 0;
  std::string_view text(reinterpret_cast<const char *>(data) + 1, size - 1);
  if (*data > 2) {
    static_cast<void>(parseRegex(text));
    return 0;
  }
  GrammarBuilder builder(1);
  Result<GrammarBuilder::Rule> root = invalidArgument("");
  if (*data == 2) {
    root = addGbnf(builder, text);
  } else if (auto schema = parseSchema(text); schema.ok()) {
    JsonNotation notation;
    if (*data == 1)
      notation.quote = firstMark;
    root = addSchema(builder, notation, *schema, "");
  }
  if (!root.ok())
    return 0;
  if (auto grammar = builder.finish(*root); grammar.ok())
    follow(*grammar, text);
  return 0;
}
