// Numbers within bounds, all of them that are small enough to be tried.
#include "runtime/grammar/NumberNfa.h"

#include "NfaMatch.h"

#include <gtest/gtest.h>

#include <random>

using namespace lapidary;
using namespace lapidary::test;
using Json = nlohmann::ordered_json;

namespace {

/// Hundredths as a number is written.
std::string write(int hundredths, int digits) {
  int size = std::abs(hundredths);
  std::string text = std::to_string(size / 100);
  if (digits > 0)
    text += "." + std::to_string(size % 100 / 10);
  if (digits > 1)
    text += std::to_string(size % 10);
  return text;
}

TEST(NumberNfa, EveryNumberWithinTheBoundsAndNoOther) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    bool integer = round % 2 == 0;
    int unit = integer ? 100 : 1;
    int least = (int(random() % 2401) - 1200) / unit * unit,
        most = least + int(random() % 1500) / unit * unit;
    NumberBounds bounds;
    bool hasLeast = random() % 4 != 0, hasMost = random() % 4 != 0;
    if (hasLeast)
      bounds.least = parseDecimal(Json(least / 100.0));
    if (hasMost)
      bounds.most = parseDecimal(Json(most / 100.0));
    ASSERT_TRUE((!hasLeast || bounds.least) && (!hasMost || bounds.most));
    bounds.leastExcluded = random() % 2;
    bounds.mostExcluded = random() % 2;
    for (bool negative : {false, true}) {
      auto nfa = numberNfa(bounds, integer, negative);
      ASSERT_TRUE(nfa.ok()) << nfa.status().message();
      ASSERT_TRUE(nfa->removeSkips().ok());
      for (int value = 0; value <= 3000; ++value) {
        int signedValue = negative ? -value : value;
        bool within = (!hasLeast || signedValue > least ||
                       (signedValue == least && !bounds.leastExcluded)) &&
                      (!hasMost || signedValue < most ||
                       (signedValue == most && !bounds.mostExcluded)) &&
                      !(integer && negative && value == 0);
        for (int digits = 0; digits <= (integer ? 0 : 2); ++digits) {
          int step = digits == 0 ? 100 : digits == 1 ? 10 : 1;
          if (value % step == 0)
            ASSERT_EQ(accepts(*nfa, write(value, digits)), within)
                << least << (bounds.leastExcluded ? "<" : "<=") << signedValue
                << (bounds.mostExcluded ? "<" : "<=") << most << " " << digits;
        }
      }
    }
  }
}

TEST(NumberNfa, BoundsAreExact) {
  const auto text = [](const char *json) {
    std::optional<Decimal> decimal = parseDecimal(Json::parse(json));
    return !decimal ? "none"
                    : (decimal->negative ? "-" : "") + decimal->whole + "." +
                          decimal->fraction;
  };
  EXPECT_EQ(text("0"), "0.");
  EXPECT_EQ(text("-0.0"), "0.");
  EXPECT_EQ(text("-12.50"), "-12.5");
  EXPECT_EQ(text("1e20"), "100000000000000000000.");
  EXPECT_EQ(text("1e-7"), "0.0000001");
  EXPECT_EQ(text("1e-30"), "none");
  EXPECT_EQ(text("9223372036854775807"), "9223372036854775807.");
  EXPECT_EQ(text("\"1\""), "none");
}

} // namespace
