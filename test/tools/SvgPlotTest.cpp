// Axes, escapes and places of points; and the file that is there whole or not
// at all.
#include "tools/lapidary/SvgPlot.h"

#include "runtime/core/ReplacingFile.h"
#include "test/TemporaryFolder.h"

#include <gmock/gmock.h>

#include <cmath>
#include <iterator>
#include <random>
#include <sys/stat.h>

namespace lapidary::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(SvgPlot, TicksAreRoundAndEnclose) {
  EXPECT_THAT(axisTicks(0, 10), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(axisTicks(5.7, 5.7).size(), testing::Ge(3u));
  EXPECT_THAT(logarithmicTicks(2e-5, 3e-5).size(), 4u);
  std::mt19937 random(3);
  std::uniform_real_distribution<double> exponent(-12, 12), part(0, 1);
  for (int round = 0; round < 2000; ++round) {
    const double low = std::pow(10, exponent(random)),
                 high = low * (1 + std::pow(10, exponent(random)));
    for (bool logarithmic : {false, true}) {
      const std::vector<double> ticks =
          logarithmic ? logarithmicTicks(low, high) : axisTicks(low, high);
      ASSERT_GE(ticks.size(), 2u);
      ASSERT_LE(ticks.size(), 20u) << low << " " << high;
      EXPECT_TRUE(std::is_sorted(ticks.begin(), ticks.end()));
      EXPECT_LE(ticks.front(), low * (1 + 1e-9));
      EXPECT_GE(ticks.back(), high * (1 - 1e-9));
    }
  }
  // Next to each other, far from 0: no endless loop over steps too small.
  EXPECT_LE(axisTicks(1e300, std::nextafter(1e300, 2e300)).size(), 20u);
}

TEST(SvgPlot, EscapesWhatXmlCannotHold) {
  EXPECT_EQ(escapeXml("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
  EXPECT_EQ(escapeXml("\x01 \xFF\xC3"), "\uFFFD \uFFFD\uFFFD");
  EXPECT_EQ(escapeXml("grün"), "grün");
}

TEST(SvgPlot, PointsStandWhereTheirNumbersSay) {
  ScatterPlot plot{"T", "x", "y", false, {}};
  plot.points = {{"low", "", 0, 0}, {"high<", "d", 10, 10}};
  const std::string svg = renderSvg(plot);
  EXPECT_THAT(svg, HasSubstr("cx=\"90.0\" cy=\"430.0\""));
  EXPECT_THAT(svg, HasSubstr("cx=\"770.0\" cy=\"56.0\""));
  EXPECT_THAT(svg, HasSubstr("high&lt;: d"));
  EXPECT_THAT(svg, Not(HasSubstr("high<")));
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme: dark"));
}

TEST(SvgPlot, LogarithmicAxisHasAPlaceForZero) {
  ScatterPlot plot{"T", "x", "y", true, {}};
  plot.points = {{"same", "", 1, 0}, {"a", "", 2, 1e-4}, {"b", "", 3, 1e-2}};
  const std::string svg = renderSvg(plot);
  EXPECT_THAT(svg, HasSubstr("cy=\"430.0\"")); // 0
  EXPECT_THAT(svg, HasSubstr("cy=\"56.0\""));  // 1e-2, the last tick
  EXPECT_THAT(svg, HasSubstr(">0</text>"));
  plot.points.erase(plot.points.begin());
  EXPECT_THAT(renderSvg(plot), HasSubstr("cy=\"430.0\"")); // now 1e-4
  EXPECT_THAT(renderSvg(plot), Not(HasSubstr("nan")));
  plot.points = {{"same", "", 1, 0}};
  EXPECT_THAT(renderSvg(plot), Not(HasSubstr("nan")));
}

TEST(ReplacingFile, IsWholeOrNotThere) {
  test::TemporaryFolder folder;
  const std::string path = folder.path("a.svg");
  auto files = [&] {
    std::filesystem::directory_iterator all(folder.path());
    return std::distance(begin(all), end(all));
  };
  {
    auto file = ReplacingFile::create(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_FALSE(std::filesystem::exists(path));
  }
  EXPECT_EQ(files(), 0);
  for (const char *content : {"one", "two"}) {
    auto file = ReplacingFile::create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->commit(content).ok());
    std::ifstream in(path);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), content);
  }
  EXPECT_EQ(files(), 1);
  EXPECT_THAT(ReplacingFile::create(folder.path()).status().message(),
              HasSubstr("not a regular file"));
  EXPECT_THAT(
      ReplacingFile::create(folder.path("none/a.svg")).status().message(),
      HasSubstr("cannot create"));
}

} // namespace
} // namespace lapidary::cli
