// What drafts cost and how often they are right, as steps tell; and drafts from
// the text so far.
#include "runtime/model/Drafter.h"
#include "runtime/model/StepCosts.h"

#include <gmock/gmock.h>

namespace lapidary {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(StepCosts, InterpolatesBetweenMeasuredSizes) {
  StepCosts costs;
  EXPECT_EQ(costs.seconds(3), 0);
  costs.add(1, 10);
  EXPECT_FALSE(costs.knows(1));
  EXPECT_EQ(costs.seconds(5), 10);
  // Of the first measurements the faster one counts.
  costs.add(1, 8);
  EXPECT_TRUE(costs.knows(1));
  EXPECT_FALSE(costs.knows(2));
  costs.add(5, 16);
  costs.add(5, 16);
  EXPECT_TRUE(costs.knows(4));
  EXPECT_DOUBLE_EQ(costs.seconds(1), 8);
  EXPECT_DOUBLE_EQ(costs.seconds(3), 12);
  EXPECT_DOUBLE_EQ(costs.seconds(5), 16);
  EXPECT_DOUBLE_EQ(costs.seconds(9), 24);
  // Out of range is nothing.
  costs.add(0, 1);
  costs.add(100000, 1);
  EXPECT_DOUBLE_EQ(costs.seconds(3), 12);
}

TEST(StepCosts, FollowsTheMachineButNotASingleStep) {
  StepCosts costs;
  for (int step = 0; step < 2; ++step)
    costs.add(1, 1);
  costs.add(1, 1000);
  EXPECT_LT(costs.seconds(1), 1.2);
  for (int step = 0; step < 60; ++step)
    costs.add(1, 3);
  EXPECT_NEAR(costs.seconds(1), 3, 0.1);
  // More tokens never cost less than fewer.
  for (int step = 0; step < 2; ++step)
    costs.add(2, 1);
  EXPECT_GE(costs.seconds(4), costs.seconds(2));
}

TEST(StepCosts, SizesThatAreNotMeasuredAnyMoreAreUnknownAgain) {
  StepCosts costs;
  for (int step = 0; step < 2; ++step)
    costs.add(8, 100);
  EXPECT_TRUE(costs.knows(8));
  for (int step = 0; step < 2000; ++step)
    costs.add(1, 1);
  EXPECT_TRUE(costs.knows(1));
  EXPECT_FALSE(costs.knows(8));
  // What is measured then counts alone.
  for (int step = 0; step < 2; ++step)
    costs.add(8, 2);
  EXPECT_TRUE(costs.knows(8));
  EXPECT_DOUBLE_EQ(costs.seconds(8), 2);
}

TEST(Acceptance, LearnsByDepthAndFallsBackToThePrior) {
  Acceptance all, own;
  EXPECT_DOUBLE_EQ(own.rate(0, nullptr), own.rate(5, nullptr));
  for (int step = 0; step < 50; ++step)
    all.add(3, 1);
  EXPECT_GT(all.rate(0, nullptr), 0.9);
  EXPECT_LT(all.rate(1, nullptr), 0.2);
  EXPECT_DOUBLE_EQ(own.rate(0, &all), all.rate(0, nullptr));
  for (int step = 0; step < 50; ++step)
    own.add(3, 0);
  EXPECT_LT(own.rate(0, &all), 0.3);
  // What was not tried is not known to be wrong.
  EXPECT_DOUBLE_EQ(own.rate(1, &all), all.rate(1, nullptr));
  own.add(100, 100);
  EXPECT_LE(own.rate(1000, &all), 1);
}

TEST(Lookup, FindsWhatFollowedTheLongestMatch) {
  std::vector<int32_t> history = {1, 2, 3, 4, 5, 9, 2, 3, 7, 8, 1, 2};
  // 1 2 3 was followed by 4, the later 2 3 by 7.
  EXPECT_THAT(lookUp(history, 3, 2), ElementsAre(4, 5));
  EXPECT_THAT(lookUp(history, 3, 0), IsEmpty());
  history = {5, 2, 3, 4, 6, 2, 3, 7, 8, 2};
  // Of equals the last one.
  EXPECT_THAT(lookUp(history, 3, 9), ElementsAre(7, 8, 2));
  EXPECT_THAT(lookUp(history, 4, 9), IsEmpty());
  // A single token is no match, nor is the present one.
  EXPECT_THAT(lookUp(std::vector<int32_t>{1, 2, 3}, 2, 3), IsEmpty());
  EXPECT_THAT(lookUp(std::vector<int32_t>{}, 2, 3), IsEmpty());
  EXPECT_THAT(lookUp(std::vector<int32_t>{2, 2, 2}, 2, 3), ElementsAre(2));
}

} // namespace
} // namespace lapidary
