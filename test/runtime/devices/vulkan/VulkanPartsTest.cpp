// How dispatches are cut: every tile and every row tile once, within limits.
#include "runtime/devices/vulkan/VulkanParts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lapidary {
namespace {

constexpr VulkanLimits wide{.bindingRange = 1 << 27,
                            .offsetAlignment = 64,
                            .workgroupsX = 65535,
                            .workgroupsY = 65535,
                            .storageBuffers = 32,
                            .allocation = 1 << 30};

TEST(VulkanParts, LeavesWholeWhatFits) {
  auto parts = cutDispatch(70, std::vector<PartOperand>{{9600, 96}, {100, 0}},
                           false, wide, "x");
  ASSERT_TRUE(parts.ok());
  ASSERT_EQ(parts->size(), 1u);
  EXPECT_EQ(parts->front().tiles, 70);
  EXPECT_EQ(parts->front().windowBegin, 0);
  parts = cutDispatch(3, std::vector<PartOperand>{{9601, 96}}, true, wide, "x");
  ASSERT_EQ(parts->size(), 1u);
  EXPECT_EQ(parts->front().windowEnd, 101);
  EXPECT_TRUE(cutDispatch(0, {}, false, wide, "x")->empty());
}

TEST(VulkanParts, CoversAllOnce) {
  for (uint64_t alignment : {1, 4, 16, 64, 256})
    for (uint64_t range : {4096, 10000, 123456})
      for (uint32_t groups : {1, 5, 64, 1000})
        for (uint64_t window : {4, 96, 100, 256, 1000})
          for (bool repeats : {false, true}) {
            VulkanLimits limits = wide;
            limits.bindingRange = range;
            limits.offsetAlignment = alignment;
            limits.workgroupsX = groups;
            constexpr int64_t rows = 601;
            const std::vector<PartOperand> operands = {
                {rows * window - 3, window}, {rows * 8, 8}};
            const int64_t tiles = repeats ? 37 : rows;
            auto parts = cutDispatch(tiles, operands, repeats, limits, "x");
            if (!parts.ok()) {
              // Too few workgroups or too short bindings to be aligned.
              EXPECT_LT(std::min<uint64_t>(groups, range / window), 256u);
              continue;
            }
            std::vector<int> seen(tiles * rows);
            for (const DispatchPart &part : *parts) {
              EXPECT_LE(part.tiles, groups);
              EXPECT_EQ(part.windowBegin * window % alignment, 0u);
              EXPECT_EQ(part.windowBegin * 8 % alignment, 0u);
              EXPECT_LE((part.windowEnd - part.windowBegin) * window, range);
              for (int64_t tile = part.firstTile;
                   tile < part.firstTile + part.tiles; ++tile)
                for (int64_t row = part.windowBegin;
                     row < std::min(part.windowEnd, rows); ++row)
                  if (repeats || row == tile)
                    ++seen[tile * rows + row];
            }
            for (int64_t tile = 0; tile < tiles; ++tile)
              for (int64_t row = 0; row < rows; ++row)
                ASSERT_EQ(seen[tile * rows + row], repeats || row == tile);
          }
}

TEST(VulkanParts, SaysWhatCannotBeCut) {
  VulkanLimits limits = wide;
  limits.bindingRange = 1000;
  auto parts = cutDispatch(5, std::vector<PartOperand>{{99999, 1004}}, false,
                           limits, "dispatch 3");
  EXPECT_THAT(parts.status().message(),
              testing::HasSubstr("dispatch 3 cannot be cut for this device"));
}

} // namespace
} // namespace lapidary
