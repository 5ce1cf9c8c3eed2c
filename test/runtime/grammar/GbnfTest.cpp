// Grammars in GBNF: what they accept, what they refuse, and their errors.
#include "runtime/grammar/Gbnf.h"

#include "GrammarWalk.h"

#include <gmock/gmock.h>

#include <regex>

using namespace lapidary;
using namespace lapidary::test;
using testing::HasSubstr;

namespace {

Result<std::shared_ptr<const Grammar>> compile(std::string_view text) {
  GrammarBuilder builder(0);
  return builder.finish(LAPIDARY_TRY(addGbnf(builder, text)));
}

struct Case {
  const char *grammar;
  std::vector<const char *> texts, others;
};

TEST(Gbnf, TakesWhatItDescribes) {
  const std::vector<Case> cases = {
      {"root ::= \"yes\" | \"no\"", {"yes", "no"}, {"", "yesno", "ye"}},
      {"# sums\nroot ::= term (op term)*   # a comment\nterm ::= [0-9]+ | "
       "\"(\" root \")\"\nop ::= [-+*/]\n",
       {"1", "1+23*(4-5)", "((7))"},
       {"1+", "(1", "a", "1 + 2"}},
      {"root ::= [a-c]{2,3} \"x\"? .{2} [^\\n\\]]{1}",
       {"ab日本z", "abcx12z"},
       {"a12z", "ab1\n\n", "ab12]"}},
      {"root ::= (\"a\" |\n  \"b\")+ \"\\x41\\u00e9\\t\\\"\" end\nend ::= ",
       {"aA\xC3\xA9\t\"", "abbaA\xC3\xA9\t\""},
       {"A\xC3\xA9\t\""}},
      {"root ::= \"a\"{3,} list\nlist ::= item | item \",\" list\nitem ::= "
       "\"i\"*\n",
       {"aaa", "aaaaai,,ii"},
       {"aa", "aab"}},
      {"root ::= b \"!\"\nb ::= \"(\" b \")\" b | \"\"\n",
       {"!", "(()())()!"},
       {"(!", "())!"}},
  };
  std::mt19937 random(1);
  for (const Case &c : cases) {
    SCOPED_TRACE(c.grammar);
    auto grammar = compile(c.grammar);
    ASSERT_TRUE(grammar.ok()) << grammar.status().message();
    TokenGrammar tokens(*grammar, Vocabulary::tiny().tokens, {});
    for (const char *text : c.texts)
      for (int round = 0; round < 5; ++round)
        EXPECT_TRUE(takesText(tokens, text, random)) << text;
    for (const char *text : c.others)
      EXPECT_FALSE(takesText(tokens, text, random)) << text;
  }
}

TEST(Gbnf, RandomTextsMatch) {
  auto grammar = compile("root ::= line{1,4}\nline ::= name \"=\" [0-9]{1,3} "
                         "(\".\" [0-9]+)? \"\\n\"\nname ::= [a-z_]{1,8}");
  ASSERT_TRUE(grammar.ok()) << grammar.status().message();
  std::regex expected("([a-z_]{1,8}=[0-9]{1,3}(\\.[0-9]+)?\\n){1,4}");
  TokenGrammar tokens(*grammar, Vocabulary::tiny().tokens, {});
  std::mt19937 random(5);
  int ended = 0;
  for (int round = 0; round < 50; ++round) {
    std::optional<std::string> text = randomText(tokens, random);
    if (!text)
      continue;
    ++ended;
    EXPECT_TRUE(std::regex_match(*text, expected)) << *text;
  }
  EXPECT_GT(ended, 25);
}

TEST(Gbnf, SaysWhatIsWrong) {
  const std::vector<std::pair<const char *, const char *>> bad = {
      {"", "no rule 'root'"},
      {"root ::= x", "the rule 'x', which is not defined"},
      {"root ::= \"a", "line 1, column 12: the text has no end"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 9: the rule 'root' is "
                                         "defined twice"},
      {"root ::= [a", "class has no end"},
      {"root ::= (\"a\"", "expected ')'"},
      {"root ::= root \"a\" | \"b\"", "left recursion"},
      {"root ::= a root | \"b\"\na ::= \"x\"?", "left recursion"},
      {"root ::= \"a\"{3,2}", "wrong way round"},
      {"root ::= \"a\"{x}", "expected a count"},
      {"root ::= [z-a]", "wrong way round"},
      {"root ::= \"\\q\"", "unknown escape"},
      {"root ::= \"\\ud800\"", "no such character"},
      {"root ::= <think>", "tokens in a grammar"},
      {"root = \"a\"", "expected '::='"},
      {"root ::= \"a\" )", "expected the end of the rule"},
      {"root ::= \"a\" root", "can never end"},
      {"root ::= \"a\"{999999999}", "too large"},
  };
  for (const auto &[grammar, message] : bad) {
    SCOPED_TRACE(grammar);
    auto compiled = compile(grammar);
    ASSERT_FALSE(compiled.ok());
    EXPECT_THAT(compiled.status().message(), HasSubstr(message));
  }
}

// Each text has very many readings; it is given up, and nothing hangs.
TEST(Gbnf, AmbiguityIsBounded) {
  for (const char *text :
       {"root ::= a{1,300} \"!\"\na ::= (\"x\"{1,300}){1,300}",
        "root ::= (\"a\" | \"b\")* \"a\" (\"a\" | \"b\"){40} \"!\""}) {
    auto grammar = compile(text);
    ASSERT_TRUE(grammar.ok()) << grammar.status().message();
    TokenGrammar tokens(*grammar, Vocabulary::tiny().tokens, {});
    TokenGrammar::State state = tokens.start();
    Status status;
    for (int i = 0; i < 600 && status.ok() && state != Automaton::dead; ++i) {
      auto mask = tokens.mask(state);
      status = mask.status();
      if (mask.ok())
        state = tokens.tidy(
            tokens.step(state, Vocabulary::tiny().id(text[9] == 'a' ? "x"
                                                     : i % 3 == 0   ? "a"
                                                                    : "b")));
    }
    if (!status.ok())
      EXPECT_THAT(status.message(), HasSubstr("too ambiguous"));
  }
}

} // namespace
