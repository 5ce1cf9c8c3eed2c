// Finding schemes and recipes by name and path, and texts that are none:
// whatever a file holds, it is an error and not an end.
#include "compiler/RecipeLibrary.h"
#include "test/TemporaryFolder.h"

#include "mlir/IR/Diagnostics.h"
#include "gmock/gmock.h"

#include <random>

using namespace mlir;
using namespace mlir::lap;
using lapidary::test::TemporaryFolder;
using testing::HasSubstr;

namespace {

class SchemeLibrary : public testing::Test {
protected:
  SchemeLibrary()
      : handler(&context, [&](Diagnostic &diagnostic) {
          if (auto at = dyn_cast<FileLineColLoc>(diagnostic.getLocation()))
            messages += at.getFilename().str() + ":" +
                        std::to_string(at.getLine()) + ": ";
          messages += diagnostic.str() + "\n";
        }) {}

  std::string parseError(StringRef text) {
    messages.clear();
    EXPECT_TRUE(failed(parseScheme(&context, text, "t.mlir")));
    return messages;
  }

  MLIRContext context;
  std::string messages;
  ScopedDiagnosticHandler handler;
};

constexpr StringRef valid = "lap.scheme @own(%code : si8, %s : f16 per 32) {\n"
                            "  %v = arith.sitofp %code : i32 to f32\n"
                            "  %w = arith.mulf %v, %s : f32\n"
                            "  lap.yield %w : f32\n"
                            "}\n";

TEST_F(SchemeLibrary, EveryBuiltInLoadsAndPrintsAsItself) {
  for (const BuiltInText &text : getBuiltInSchemes()) {
    auto module = loadScheme(&context, text.name);
    ASSERT_TRUE(succeeded(module)) << text.name.str() << messages;
    SchemeOp scheme = lap::getScheme(**module);
    EXPECT_EQ(scheme.getSymName(), text.name);
    std::string printed;
    llvm::raw_string_ostream(printed) << *scheme;
    auto again = parseScheme(&context, printed, "printed");
    ASSERT_TRUE(succeeded(again)) << printed << messages;
    std::string twice;
    llvm::raw_string_ostream(twice) << *lap::getScheme(**again);
    EXPECT_EQ(printed, twice);
    bool plain =
        text.name == "bf16" || text.name == "f16" || text.name == "f32";
    EXPECT_EQ(bool(getFloatType(scheme)), plain) << text.name.str();
  }
  EXPECT_EQ(getBuiltInSchemes().size(), 21u);
}

TEST_F(SchemeLibrary, EveryBuiltInRecipeNamesSchemesThatExist) {
  for (const BuiltInText &text : getBuiltInRecipes()) {
    auto recipe = loadRecipe(&context, text.name);
    ASSERT_TRUE(succeeded(recipe)) << text.name.str() << messages;
    for (const std::string &scheme : recipe->getSchemes())
      EXPECT_TRUE(succeeded(loadScheme(&context, scheme))) << scheme;
    // The last line is for everything.
    EXPECT_FALSE(recipe->getScheme("no.such.tensor", 48).empty());
  }
  EXPECT_EQ(getBuiltInRecipes().size(), 8u);
}

TEST_F(SchemeLibrary, PathsOfSchemesAreFromTheRecipesFolder) {
  TemporaryFolder folder;
  folder.write("own.mlir", valid.str());
  folder.write("own.recipe", "a q4_0\n* own.mlir\n");
  std::string path = folder.path("own.recipe");
  auto recipe = loadQuant(&context, path);
  ASSERT_TRUE(succeeded(recipe)) << messages;
  EXPECT_EQ(recipe->getScheme("a", 0), "q4_0");
  EXPECT_EQ(recipe->getScheme("b", 0), folder.path("own.mlir"));
  EXPECT_TRUE(succeeded(loadScheme(&context, folder.path("own.mlir"))));
}

TEST_F(SchemeLibrary, UnknownNamesAreErrorsThatListTheKnownOnes) {
  EXPECT_TRUE(failed(loadScheme(&context, "q9")));
  EXPECT_THAT(messages, HasSubstr("unknown scheme 'q9': known are bf16, "));
  EXPECT_TRUE(failed(loadRecipe(&context, "q9")));
  EXPECT_THAT(messages, HasSubstr("unknown recipe 'q9': known are 2bit, "));
  EXPECT_TRUE(failed(loadQuant(&context, "q9")));
  EXPECT_THAT(messages, HasSubstr("unknown --quant 'q9'"));
  EXPECT_TRUE(failed(loadScheme(&context, "/no/such.mlir")));
  EXPECT_THAT(messages, HasSubstr("cannot read /no/such.mlir"));
}

TEST_F(SchemeLibrary, LargeFilesAreNoSchemes) {
  TemporaryFolder folder;
  folder.write("large.mlir", valid.str() + std::string(2 << 20, ' '));
  EXPECT_TRUE(failed(loadScheme(&context, folder.path("large.mlir"))));
  EXPECT_THAT(messages, HasSubstr("is larger than"));
}

TEST_F(SchemeLibrary, OneSchemeAndNothingElse) {
  EXPECT_THAT(parseError(""), HasSubstr("expected one lap.scheme"));
  EXPECT_THAT(parseError("// a comment\n"), HasSubstr("t.mlir"));
  EXPECT_THAT(parseError(valid.str() + "lap.scheme @two(%c : f32) {\n"
                                       "  lap.yield %c : f32\n}\n"),
              HasSubstr("expected one lap.scheme and nothing else"));
  EXPECT_THAT(parseError("module {\n" + valid.str() + "module {}\n}"),
              HasSubstr("nothing else"));
  EXPECT_THAT(parseError("func.func private @f()"), HasSubstr("t.mlir:1: "));
}

TEST_F(SchemeLibrary, ValuesAreDefinedBeforeTheyAreUsed) {
  EXPECT_THAT(parseError("lap.scheme @s(%code : f32) {\n"
                         "  %a = arith.addf %b, %code : f32\n"
                         "  %b = arith.addf %a, %code : f32\n"
                         "  lap.yield %b : f32\n}\n"),
              HasSubstr("t.mlir:2: "));
  EXPECT_THAT(parseError("lap.scheme @s(%code : f32) {\n"
                         "  %a = arith.addf %a, %code : f32\n"
                         "  lap.yield %a : f32\n}\n"),
              HasSubstr("t.mlir:2: "));
}

TEST_F(SchemeLibrary, DeepNestingIsRefused) {
  constexpr int64_t bytes = 60000;
  for (StringRef open : {"(", "[", "{", "<", "[[", "tuple<", "loc("}) {
    std::string text = "lap.scheme @s(%code : f32) {\n  %a = \"x\"() {a = ";
    while (text.size() < bytes)
      text += open;
    EXPECT_THAT(parseError(text),
                HasSubstr("t.mlir:2: expected brackets of at most 64 levels"))
        << open.str();
  }
  for (StringRef term : {"d + ", "-", "d floordiv "}) {
    std::string text = "affine_map<(d) -> (";
    while (text.size() < bytes)
      text += term;
    EXPECT_THAT(parseError(text), HasSubstr("t.mlir:1: a scheme has no affine"))
        << term.str();
  }
  // Brackets in strings and comments are none.
  std::string harmless = "// " + std::string(100, '(') + "\n" + valid.str();
  EXPECT_TRUE(succeeded(parseScheme(&context, harmless, "t.mlir"))) << messages;
  EXPECT_THAT(
      parseError(std::string(70000, ' ')),
      HasSubstr("t.mlir has 70000 bytes: expected a scheme of at most"));
}

// Names of attributes nest without brackets, and would print as a tree.
TEST_F(SchemeLibrary, NamedAttributesAndTypesAreRefused) {
  std::string aliases = "#a0 = [1, 1]\n";
  for (int i = 1; i < 60; ++i) {
    std::string last = "#a" + std::to_string(i - 1);
    aliases += "#a" + std::to_string(i) + " = [" + last + ", " + last + "]\n";
  }
  EXPECT_THAT(parseError(aliases + valid.str()),
              HasSubstr("t.mlir:1: a scheme has no attributes and types"));
  for (StringRef name : {"#a = [1, 1] // affine_map\n", "#a\n = [1, 1]\n"})
    EXPECT_THAT(parseError(name.str() + valid.str()),
                HasSubstr("t.mlir:1: a scheme has no attributes and types"));
  EXPECT_THAT(parseError(valid.str() + "#a = [1, 1]\n"),
              HasSubstr("t.mlir:6: a scheme has no attributes and types"));
  EXPECT_THAT(parseError("!t = f32\n" + valid.str()),
              HasSubstr("a scheme has no attributes and types"));
  // In comments they are nobody's.
  EXPECT_TRUE(succeeded(
      parseScheme(&context, "// #1, yes!\n" + valid.str(), "t.mlir")));
}

// Bytes that are changed, cut out and doubled: an error or another scheme.
TEST_F(SchemeLibrary, AlteredTextsDoNoHarm) {
  std::mt19937 random(5);
  auto below = [&](size_t count) { return random() % count; };
  constexpr StringRef words[] = {"%code",
                                 "per ",
                                 "4294967296",
                                 "-1",
                                 "ui8",
                                 "f64",
                                 "lap.yield",
                                 "{",
                                 "}",
                                 "\"",
                                 "@",
                                 "arith.constant",
                                 "0x7fffffffffffffff"};
  int accepted = 0;
  for (const BuiltInText &builtIn : getBuiltInSchemes())
    for (int i = 0; i < 150; ++i) {
      std::string text = builtIn.text.str();
      for (size_t changes = 1 + below(3); changes; --changes) {
        size_t at = below(text.size());
        switch (below(4)) {
        case 0:
          text[at] = char(random());
          break;
        case 1:
          text.erase(at, below(8));
          break;
        case 2:
          text.insert(at, text.substr(below(text.size()), below(40)));
          break;
        default:
          text.insert(at, words[below(std::size(words))]);
        }
      }
      messages.clear();
      auto module = parseScheme(&context, text, "t.mlir");
      if (failed(module)) {
        EXPECT_FALSE(messages.empty()) << text;
        continue;
      }
      ++accepted;
      lapidary::Scheme scheme = lap::getScheme(**module).getModel();
      EXPECT_GT(scheme.getBitsPerWeight(640), 0);
    }
  EXPECT_GT(accepted, 0);
}

TEST_F(SchemeLibrary, OneMeaningAName) {
  auto own = parseScheme(&context, valid, "t.mlir");
  ASSERT_TRUE(succeeded(own));
  SchemeOp scheme = lap::getScheme(**own);
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
  auto first = addScheme(*module, scheme);
  auto second = addScheme(*module, scheme);
  ASSERT_TRUE(succeeded(first) && succeeded(second));
  EXPECT_EQ(*first, *second);
  std::string other = valid.str();
  other.replace(other.find("per 32"), 6, "per 64");
  auto another = parseScheme(&context, other, "t.mlir");
  ASSERT_TRUE(succeeded(another));
  EXPECT_TRUE(failed(addScheme(*module, lap::getScheme(**another))));
  EXPECT_THAT(messages, HasSubstr("give your scheme another name"));
}

} // namespace
