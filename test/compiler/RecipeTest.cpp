// Recipes: which line decides, which layers a line is for, and what is said of
// lines that mean nothing.
#include "compiler/Recipe.h"

#include "gmock/gmock.h"

using namespace lapidary;

namespace {

Recipe parse(llvm::StringRef text) {
  auto recipe = Recipe::parse(text, "r");
  EXPECT_TRUE(recipe.ok()) << recipe.status().message();
  return recipe.ok() ? *std::move(recipe) : Recipe::forAll("none");
}

std::string error(llvm::StringRef text) {
  auto recipe = Recipe::parse(text, "r");
  return recipe.ok() ? "" : recipe.status().message();
}

/// The layers that "*.w SCHEME layers RANGES" gives the scheme of.
std::vector<int64_t> layersOf(const std::string &ranges, int64_t layers) {
  Recipe recipe = parse("*.w q layers " + ranges + "\n* other\n");
  std::vector<int64_t> found;
  for (int64_t i = 0; i < layers; ++i)
    if (recipe.getScheme("m.layers." + std::to_string(i) + ".w", layers) == "q")
      found.push_back(i);
  return found;
}

TEST(Recipe, TheFirstLineThatFitsDecides) {
  Recipe recipe = parse("# a comment\n\n"
                        "  a.b\tq1   # the rest is a comment\n"
                        "a.?  q2\r\n"
                        "a.* keep\n"
                        "[xy]*z q3\n");
  EXPECT_EQ(recipe.getScheme("a.b", 1), "q1");
  EXPECT_EQ(recipe.getScheme("a.c", 1), "q2");
  EXPECT_EQ(recipe.getScheme("a.cc", 1), Recipe::keep);
  EXPECT_EQ(recipe.getScheme("x.z", 1), "q3");
  EXPECT_EQ(recipe.getScheme("z.z", 1), "");
  EXPECT_THAT(recipe.getSchemes(), testing::ElementsAre("q1", "q2", "q3"));
}

TEST(Recipe, ForAllAndMapSchemes) {
  Recipe recipe = Recipe::forAll("q");
  EXPECT_EQ(recipe.getScheme("anything", 0), "q");
  recipe = parse("a keep\n* q\n");
  recipe.mapSchemes([](llvm::StringRef scheme) { return "p/" + scheme.str(); });
  EXPECT_EQ(recipe.getScheme("a", 0), Recipe::keep);
  EXPECT_EQ(recipe.getScheme("b", 0), "p/q");
}

TEST(Recipe, LayerNumbers) {
  EXPECT_EQ(getLayerNumber("model.layers.17.mlp.w"), 17);
  EXPECT_EQ(getLayerNumber("layers.0"), 0);
  EXPECT_EQ(getLayerNumber("model.embed.w"), -1);
  EXPECT_EQ(getLayerNumber("layers.x.w"), -1);
  EXPECT_EQ(getLayerNumber("layers."), -1);
  EXPECT_EQ(getLayerNumber("layers.99999999999999999999.w"), -1);
}

TEST(Recipe, LayerRanges) {
  using testing::ElementsAre;
  EXPECT_THAT(layersOf("first/4", 8), ElementsAre(0, 1));
  EXPECT_THAT(layersOf("last/4", 8), ElementsAre(6, 7));
  // Less than a whole layer is none.
  EXPECT_THAT(layersOf("first/16", 8), ElementsAre());
  EXPECT_THAT(layersOf("every/3", 8), ElementsAre(2, 5));
  EXPECT_THAT(layersOf("every/1", 2), ElementsAre(0, 1));
  EXPECT_THAT(layersOf("3", 8), ElementsAre(3));
  EXPECT_THAT(layersOf("2-4", 8), ElementsAre(2, 3, 4));
  EXPECT_THAT(layersOf("7-99", 8), ElementsAre(7));
  EXPECT_THAT(layersOf("first/8,last/8,every/3", 8), ElementsAre(0, 2, 5, 7));
  // A tensor of no layer is not in any.
  EXPECT_EQ(parse("* q layers 0-99\n* p\n").getScheme("head", 4), "p");
}

TEST(Recipe, ErrorsNameTheLine) {
  using testing::HasSubstr;
  EXPECT_THAT(error(""), HasSubstr("r: expected at least one line"));
  EXPECT_THAT(error("# nothing\n"), HasSubstr("expected at least one line"));
  EXPECT_THAT(error("* q\nword\n"),
              HasSubstr("r:2: expected 'PATTERN SCHEME' or"));
  EXPECT_THAT(error("* q layers\n"), HasSubstr("r:1: expected 'PATTERN"));
  EXPECT_THAT(error("* q rows 3\n"), HasSubstr("r:1: expected 'PATTERN"));
  EXPECT_THAT(error("a[ q\n"), HasSubstr("r:1: "));
  for (const char *range :
       {"first", "first/", "first/0", "first/-1", "middle/2", "x", "-1", "3-",
        "4-3", "1,,2", "99999999999999999999", "first/99999999999999999999"})
    EXPECT_THAT(error(std::string("* q layers ") + range + "\n"),
                HasSubstr("r:1: expected first/N, last/N, every/N, A or A-B"))
        << range;
  std::string many;
  for (int i = 0; i < 10001; ++i)
    many += "* q\n";
  EXPECT_THAT(error(many), HasSubstr("r:10001: expected at most 10000 lines"));
}

} // namespace
