// Stop strings against a plain search of the whole text, with the text cut at
// every place.
#include "runtime/model/StopStrings.h"

#include <gtest/gtest.h>

#include <random>

namespace lapidary {
namespace {

StopStrings makeStops(const std::vector<std::string> &texts) {
  auto stops = StopStrings::create(texts);
  EXPECT_TRUE(stops.ok()) << stops.status().message();
  return *std::move(stops);
}

/// What is free of the text by looking at all of it, and which string ended it.
StopStrings::Found search(const std::string &text,
                          const std::vector<std::string> &stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    StopStrings::Found found;
    size_t longest = 0;
    for (size_t index = 0; index < stops.size(); ++index)
      if (std::string_view(text).substr(0, end).ends_with(stops[index]) &&
          stops[index].size() > longest) {
        longest = stops[index].size();
        found = {end - longest, static_cast<int>(index)};
      }
    if (found.index >= 0)
      return found;
  }
  size_t held = 0;
  for (const std::string &stop : stops)
    for (size_t size = 1; size < stop.size(); ++size)
      if (text.ends_with(stop.substr(0, size)))
        held = std::max(held, size);
  return {text.size() - held, -1};
}

TEST(StopStrings, AreFoundWhateverTheCuts) {
  const std::vector<std::vector<std::string>> lists = {{},
                                                       {"a"},
                                                       {"ab", "b"},
                                                       {"abab"},
                                                       {"aab", "ba"},
                                                       {"aaab", "bb"},
                                                       {"bab", "abb", "aaaa"}};
  std::mt19937 random(1);
  int hits = 0;
  for (int round = 0; round < 3000; ++round) {
    const auto &list = lists[random() % lists.size()];
    std::string text;
    for (size_t size = random() % 14; text.size() < size;)
      text += "abc"[random() % 3];
    StopStrings stops = makeStops(list);
    StopStrings::Found found;
    for (size_t at = 0; at < text.size() && found.index < 0;) {
      size_t size = 1 + random() % 3;
      found = stops.push(text.substr(at, size));
      at += size;
      if (found.index < 0 && at < text.size()) {
        EXPECT_EQ(found.free, search(text.substr(0, at), list).free);
      }
    }
    StopStrings::Found expected = search(text, list);
    ASSERT_EQ(found.index, expected.index) << text;
    ASSERT_EQ(found.free, expected.free) << text;
    hits += found.index >= 0;
  }
  EXPECT_GT(hits, 500);
}

TEST(StopStrings, ClearForgetsWhatCameBefore) {
  StopStrings stops = makeStops({"ab"});
  EXPECT_EQ(stops.push("xa").free, 1u);
  EXPECT_EQ(stops.push("").free, 1u);
  stops.clear();
  EXPECT_EQ(stops.push("b").free, 1u);
  EXPECT_EQ(stops.push("ab").index, 0);
}

TEST(StopStrings, LongOnesTakeNoLongerThanShortOnes) {
  // A byte that differs at the end of a long match, again and again.
  std::string text(100000, 'a');
  StopStrings stops = makeStops({text + "b"});
  for (int round = 0; round < 100; ++round)
    EXPECT_EQ(stops.push(text.substr(0, 10000)).index, -1);
  EXPECT_EQ(stops.push("b").index, 0);
}

TEST(StopStrings, RefusesWhatIsNoText) {
  EXPECT_FALSE(StopStrings::create({""}).ok());
  EXPECT_FALSE(StopStrings::create({"a", "\xFF"}).ok());
  EXPECT_FALSE(
      StopStrings::create({std::string((size_t(1) << 20) + 1, 'a')}).ok());
}

} // namespace
} // namespace lapidary
