// Every stop string is an automaton of its own, which takes one step a byte on
// average: the work does not grow with what is held back.
#include "runtime/model/StopStrings.h"

#include "runtime/core/Text.h"
#include "runtime/model/Unicode.h"

#include <algorithm>

namespace lapidary {
namespace {

/// No text that ends an answer is that long; its borders fit.
constexpr size_t longestStop = size_t(1) << 20;

} // namespace

Result<StopStrings> StopStrings::create(const std::vector<std::string> &texts) {
  StopStrings stops;
  for (const std::string &text : texts) {
    if (text.empty() || text.size() > longestStop || !isValidUtf8(text))
      return invalidArgument(
          concat("a stop string has ", text.size(), " bytes",
                 isValidUtf8(text) ? "" : " that are not UTF-8",
                 ", expected UTF-8 text of 1 to ", longestStop));
    Pattern pattern{text, {0}};
    for (size_t at = 1, length = 0; at < text.size(); ++at) {
      while (length > 0 && text[at] != text[length])
        length = pattern.borders[length - 1];
      length += text[at] == text[length];
      pattern.borders.push_back(static_cast<uint32_t>(length));
    }
    stops.patterns.push_back(std::move(pattern));
  }
  return stops;
}

StopStrings::Found StopStrings::push(std::string_view text) {
  if (patterns.empty()) {
    seen += text.size();
    return {seen, -1};
  }
  size_t held = 0;
  for (char byte : text) {
    ++seen;
    held = 0;
    Found found;
    for (size_t index = 0; index < patterns.size(); ++index) {
      Pattern &pattern = patterns[index];
      while (pattern.matched > 0 && pattern.text[pattern.matched] != byte)
        pattern.matched = pattern.borders[pattern.matched - 1];
      pattern.matched += pattern.text[pattern.matched] == byte;
      if (pattern.matched == pattern.text.size()) {
        const size_t before = seen - pattern.matched;
        if (found.index < 0 || before < found.free)
          found = {before, static_cast<int>(index)};
        pattern.matched = pattern.borders[pattern.matched - 1];
      }
      held = std::max(held, pattern.matched);
    }
    if (found.index >= 0)
      return found;
  }
  if (text.empty())
    for (const Pattern &pattern : patterns)
      held = std::max(held, pattern.matched);
  return {seen - held, -1};
}

void StopStrings::clear() {
  seen = 0;
  for (Pattern &pattern : patterns)
    pattern.matched = 0;
}

} // namespace lapidary
