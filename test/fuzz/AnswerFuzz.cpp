// Fuzzes the parser of answers: each byte is one of its special tokens or a
// piece of text.
#include "runtime/chat/AnswerParser.h"
#include "test/TinyTokenizer.h"

#include <nlohmann/json.hpp>

#include <cstdlib>

using namespace lapidary;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  constexpr std::string_view marks[] = {
      "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>",
      "<|\"|>",     "<turn|>",    "<|image|>"};
  if (size == 0)
    return 0;
  AnswerParser parser(test::tinyTokenizer(), data[0] % 2);
  std::vector<std::string> arguments;
  const auto take = [&](const AnswerDelta &delta) {
    for (const AnswerDelta::Call &call : delta.calls) {
      if (!call.name.empty())
        arguments.emplace_back();
      if (call.index + 1 != arguments.size())
        std::abort();
      arguments[call.index] += call.arguments;
    }
  };
  for (size_t i = 1; i < size; ++i) {
    // Bytes that no text has here are tokens.
    const char c = static_cast<char>(data[i] & 0x7F);
    if (data[i] >= 0x80)
      take(parser.push(
          {"",
           *test::tinyTokenizer().idOf(marks[data[i] % std::size(marks)]),
           {}}));
    else
      take(parser.push({std::string_view(&c, 1), -1, {}}));
  }
  take(parser.finish());
  for (const std::string &text : arguments)
    if (!nlohmann::json::parse(text, nullptr, false).is_object())
      std::abort();
  return 0;
}
