// The whole answer is one grammar, whose marks are the model's control tokens;
// only the budget of thinking, which counts tokens, stands beside it.
#include "runtime/chat/ChatConstraint.h"

#include "runtime/core/Text.h"
#include "runtime/grammar/Gbnf.h"
#include "runtime/grammar/JsonSchema.h"
#include "runtime/grammar/TokenGrammar.h"

#include "runtime/schema/bundle_generated.h"

#include <algorithm>
#include <array>

namespace lapidary {
namespace {

/// What follows `<|channel>`.
constexpr std::string_view channelName = "thought\n";

/// Symbols of the grammar beyond bytes, in the order of `markNames`.
enum Mark : uint16_t {
  ChannelBegin = firstMark,
  ChannelEnd,
  CallBegin,
  CallEnd,
  Quote,
  /// Tokens that end an answer without and with calls.
  End,
  EndOfCalls,
  markCount = EndOfCalls - firstMark + 1,
};
constexpr std::array<const char *, 5> markNames = {
    "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|\"|>"};
/// Ends an answer that waits for what its calls give.
constexpr const char *responseName = "<|tool_response>";

struct Marks {
  std::array<int32_t, markNames.size()> ids;
  std::vector<std::vector<int32_t>> tokens;
  int32_t id(Mark mark) const { return ids[mark - firstMark]; }
  bool has(Mark mark) const { return id(mark) >= 0; }
};

Marks findMarks(const schema::Model &model, const Tokenizer &tokenizer) {
  Marks marks;
  marks.tokens.resize(markCount);
  for (size_t index = 0; index < markNames.size(); ++index) {
    // As text, a mark would be made from what users write.
    std::optional<int32_t> id = tokenizer.idOf(markNames[index]);
    marks.ids[index] = id && tokenizer.isSpecial(*id) ? *id : -1;
    if (marks.ids[index] >= 0)
      marks.tokens[index] = {marks.ids[index]};
  }
  std::optional<int32_t> response = tokenizer.idOf(responseName);
  for (int32_t token : *model.stop_tokens()) {
    marks.tokens[EndOfCalls - firstMark].push_back(token);
    if (token != response)
      marks.tokens[End - firstMark].push_back(token);
  }
  return marks;
}

using ToolChoice = ChatRules::ToolChoice;

class AnswerGrammar {
public:
  AnswerGrammar(const ChatRules &rules, const Marks &marks)
      : rules(rules), marks(marks), builder(markCount) {}

  Result<std::shared_ptr<const Grammar>> build() {
    bool calls = rules.toolChoice != ToolChoice::None &&
                 rules.tools.is_array() && !rules.tools.empty();
    bool isFree = !rules.shapesContent();
    bool mustCall =
        rules.toolChoice == ToolChoice::Required || !rules.toolName.empty();
    if (mustCall && !calls)
      return invalidArgument("a tool must be called, and there are no tools");

    auto root = builder.newRule("an answer");
    State start = builder.newState(), end = builder.newState();
    State content = builder.newState();
    addThoughts(start, content, isFree && !mustCall);
    if (isFree && !mustCall) {
      builder.addSymbols(content, 0, 255, content);
      builder.addSkip(builder.addMark(content, End), end);
    } else if (!mustCall) {
      State rest = builder.addCall(content, LAPIDARY_TRY(contentRule()));
      builder.addSkip(builder.addMark(rest, End), end);
    }
    if (calls)
      LAPIDARY_TRY(addCalls(content, end));
    builder.define(root, start, end);
    return builder.finish(root);
  }

private:
  using State = GrammarBuilder::State;
  using Rule = GrammarBuilder::Rule;
  using Json = nlohmann::ordered_json;

  /// Thinking comes before the content, or also amid free text.
  void addThoughts(State start, State content, bool anywhere) {
    if (!marks.has(ChannelBegin) || !marks.has(ChannelEnd)) {
      builder.addSkip(start, content);
      return;
    }
    State thought = builder.newState();
    builder.addSymbols(thought, 0, 255, thought);
    builder.addSymbols(thought, ChannelEnd, ChannelEnd, content);
    if (rules.startsInThought)
      builder.addSkip(start, thought);
    else
      builder.addSkip(start, content);
    if (rules.thinkingBudget == 0)
      return;
    State open = builder.addMark(anywhere ? content : start, ChannelBegin);
    builder.addSkip(builder.addText(open, channelName), thought);
  }

  Result<Rule> contentRule() {
    if (!rules.grammar.empty())
      return addGbnf(builder, rules.grammar);
    if (rules.schema)
      return addSchema(builder, {}, *rules.schema, "");
    return addSchema(builder, {}, Json::object({{"type", "object"}}), "");
  }

  /// <|tool_call>call:NAME{ARGUMENTS}<tool_call|>, once or several times, and
  /// then nothing but the end.
  Status addCalls(State content, State end) {
    for (Mark mark : {CallBegin, CallEnd, Quote})
      if (!marks.has(mark))
        return unsupported(concat("the model has no token ",
                                  markNames[mark - firstMark],
                                  ", so it cannot call tools"));
    State begin = builder.newState(), called = builder.newState();
    builder.addSymbols(content, CallBegin, CallBegin, begin);
    State name = builder.addText(begin, "call:");
    bool found = false;
    for (size_t index = 0; index < rules.tools.size(); ++index) {
      const nlohmann::ordered_json &tool = rules.tools[index];
      std::string at = concat("/tools/", index, "/function");
      if (!tool.is_object() || !tool.contains("function") ||
          !tool["function"].is_object() || !tool["function"].contains("name") ||
          !tool["function"]["name"].is_string())
        return invalidArgument(
            concat("the tool at '", at, "' has no function with a name"));
      const nlohmann::ordered_json &function = tool["function"];
      auto text = function["name"].get<std::string>();
      if (text.empty() ||
          text.find_first_of("{}:\"<> \t\r\n") != std::string::npos)
        return invalidArgument(concat("the tool at '", at, "/name': '", text,
                                      "' is no name for a function"));
      if (!rules.toolName.empty() && rules.toolName != text)
        continue;
      found = true;
      builder.addCall(builder.addText(name, text),
                      LAPIDARY_TRY(argumentsRule(function, at)), called);
    }
    if (!found)
      return invalidArgument(concat("the function '", rules.toolName,
                                    "' is to be called, and is not among the "
                                    "tools"));
    State closed = builder.addMark(called, CallEnd);
    builder.addSymbols(closed, EndOfCalls, EndOfCalls, end);
    if (rules.parallelCalls && rules.toolName.empty())
      builder.addSymbols(closed, CallBegin, CallBegin, begin);
    return {};
  }

  Result<Rule> argumentsRule(const nlohmann::ordered_json &function,
                             const std::string &at) {
    JsonNotation notation{Quote};
    // No parameters are an empty list of them.
    Json parameters =
        function.contains("parameters") && !function["parameters"].is_null()
            ? function["parameters"]
            : Json::object(
                  {{"type", "object"}, {"properties", Json::object()}});
    if (parameters.is_object() && !parameters.contains("type"))
      parameters["type"] = "object";
    if (!parameters.is_object() || parameters["type"] != "object")
      return unsupported(concat("the tool at '", at,
                                "/parameters/type': parameters are of the "
                                "type 'object'"));
    return addSchema(builder, notation, parameters, at + "/parameters");
  }

  const ChatRules &rules;
  const Marks &marks;
  GrammarBuilder builder;
};

class ChatConstraint : public Constraint {
public:
  ChatConstraint(TokenGrammar grammar, const Tokenizer &tokenizer,
                 const TokenTable &tokens, const ChatRules &rules, Marks marks)
      : grammar(std::move(grammar)), tokenizer(tokenizer), tokens(tokens),
        marks(std::move(marks)), budget(rules.thinkingBudget),
        inThought(rules.startsInThought && this->marks.has(ChannelEnd)),
        state(this->grammar.start()) {
    // The tokens are in the order of their bytes.
    const auto bytes = [&](int32_t token) { return tokens.bytes(token); };
    const auto [first, last] = std::ranges::equal_range(
        tokens.all().tokens, std::string_view("\n"), {}, bytes);
    newLines.assign(first, last);
  }

  /// Finds dead ends before anything is chosen.
  Status check() { return grammar.mask(state).status(); }

  bool restrict(std::span<uint32_t> bits) override {
    if (ended)
      return false;
    if (inThought && nameLeft == 0 && isSpent())
      return closeThought(bits);
    Result<std::span<const uint32_t>> mask = grammar.mask(state);
    for (size_t word = 0; word < bits.size(); ++word)
      bits[word] &= mask.ok() && word < mask->size() ? (*mask)[word] : 0;
    if (isSpent() && marks.has(ChannelBegin))
      clear(bits, marks.id(ChannelBegin));
    return true;
  }

  Status accept(int32_t token) override {
    if (ended)
      return invalidArgument("the answer has ended already");
    TokenGrammar::State next = grammar.step(state, token);
    if (next == Automaton::dead)
      return invalidArgument(
          concat("the token ", token, " ('", tokenizer.piece(token),
                 "') cannot come here by the grammar or schema"));
    std::string_view bytes = tokens.bytes(token);
    if (token == marks.id(ChannelBegin)) {
      inThought = true;
      nameLeft = channelName.size();
    } else if (token == marks.id(ChannelEnd)) {
      inThought = false;
    } else if (inThought && nameLeft > 0) {
      nameLeft -= std::min(nameLeft, bytes.size());
    } else if (inThought) {
      ++spent;
    }
    atLineStart = bytes.ends_with('\n');
    state = grammar.tidy(next);
    ended = grammar.isEnd(state);
    return ended ? Status() : grammar.mask(state).status();
  }

private:
  /// One token of the budget is for the line's end before the channel's.
  bool isSpent() const { return budget >= 0 && spent + 1 >= budget; }

  static void set(std::span<uint32_t> bits, int32_t token) {
    if (static_cast<size_t>(token) / 32 < bits.size())
      bits[token / 32] |= 1u << token % 32;
  }
  static void clear(std::span<uint32_t> bits, int32_t token) {
    if (static_cast<size_t>(token) / 32 < bits.size())
      bits[token / 32] &= ~(1u << token % 32);
  }

  /// As the template closes it: the mark stands at the beginning of a line.
  bool closeThought(std::span<uint32_t> bits) {
    std::fill(bits.begin(), bits.end(), 0);
    if (!atLineStart && spent < budget) {
      for (int32_t token : newLines)
        set(bits, token);
      if (!newLines.empty())
        return true;
    }
    set(bits, marks.id(ChannelEnd));
    return true;
  }

  TokenGrammar grammar;
  const Tokenizer tokenizer;
  const TokenTable &tokens;
  Marks marks;
  /// Tokens of nothing but a line's end.
  std::vector<int32_t> newLines;
  int64_t budget, spent = 0;
  bool inThought;
  /// Bytes of the channel's name that have not come.
  size_t nameLeft = 0;
  bool ended = false, atLineStart = true;
  TokenGrammar::State state;
};

} // namespace

Result<ConstraintMaker> compileRules(const schema::Model &model,
                                     const Tokenizer &tokenizer,
                                     const TokenTable &tokens,
                                     const ChatRules &rules) {
  bool hasTools = rules.tools.is_array() && !rules.tools.empty();
  bool shaped = rules.shapesContent();
  if (!hasTools && !shaped && rules.thinkingBudget < 0 &&
      rules.toolChoice != ToolChoice::Required && rules.toolName.empty())
    return ConstraintMaker();
  if (int(rules.schema.has_value()) + int(rules.jsonObject) +
          int(!rules.grammar.empty()) >
      1)
    return invalidArgument("only one of a schema, a JSON object and a grammar "
                           "can be asked for");
  Marks marks = findMarks(model, tokenizer);
  std::shared_ptr<const Grammar> grammar =
      LAPIDARY_TRY(AnswerGrammar(rules, marks).build());
  auto unused = std::make_shared<ChatConstraint>(
      TokenGrammar(std::move(grammar), tokens, marks.tokens), tokenizer, tokens,
      rules, marks);
  LAPIDARY_TRY(unused->check());
  return ConstraintMaker(
      [unused = std::shared_ptr<const ChatConstraint>(std::move(unused))] {
        return std::make_shared<ChatConstraint>(*unused);
      });
}

Result<std::shared_ptr<Constraint>> makeConstraint(const schema::Model &model,
                                                   const Tokenizer &tokenizer,
                                                   const TokenTable &tokens,
                                                   const ChatRules &rules) {
  const ConstraintMaker make =
      LAPIDARY_TRY(compileRules(model, tokenizer, tokens, rules));
  return make ? make() : nullptr;
}

} // namespace lapidary
